//! Where a tar is cut into blocks: where its files begin and end, so the same file is the same block, wherever it stands.
//!
//! ```text
//! a file of 32 KiB or more    blocks of its own, 512 KiB each but for the last one, which ends with its padding
//! entries before and after    gathered, up to 512 KiB; from 64 KiB on, some names end the block before them
//! what is not a tar           512 KiB each
//! ```
//!
//! A file that is added, removed or changed changes the blocks it stands in, and no other. Nothing depends on how the input is
//! read, and it is no reader of archives: whatever it takes for a header, the blocks are the input in its order.

use std::io::{self, BufReader, Read};

use super::header::{BLOCK, Header, NAME, SIZE, flag};

/// Files from this size on are blocks of their own.
const LARGE: u64 = 32 << 10;
/// Bytes of a block at most; where entries are gathered, a small file and its header may come on top.
const LONGEST: usize = 512 << 10;
/// Gathered blocks below this size go on.
const SHORTEST: usize = 64 << 10;
/// One name of so many ends the block before it.
const ENDING: u32 = 32;

/// Cuts what it reads.
pub(super) struct Cutter<R: Read> {
    input: BufReader<R>,
    state: State,
}

enum State {
    /// A header comes next, this one if it was read.
    Entries(Option<Box<Header>>),
    /// So much of a file is left, with its padding.
    Large(u64),
    /// Not a header: the end of the archive, or no archive.
    Rest,
}

impl<R: Read> Cutter<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input: BufReader::with_capacity(64 << 10, input), state: State::Entries(None) }
    }

    /// Adds the next block; nothing at the end.
    pub(super) fn block(&mut self, block: &mut Vec<u8>) -> io::Result<()> {
        let start = block.len();
        if let State::Entries(_) = self.state {
            self.entries(block, start)?;
        }
        if block.len() == start {
            let length = match self.state {
                State::Large(left) => left.min(LONGEST as u64),
                _ => LONGEST as u64,
            };
            let read = self.read(block, length)?;
            if let State::Large(left) = &mut self.state {
                *left -= read;
                // A file that ends early is the last thing there is.
                if *left == 0 || read < length {
                    self.state = State::Entries(None);
                }
            }
        }
        Ok(())
    }

    /// Gathers headers and small files until the block ends; a large file, or what is no header, comes next then.
    fn entries(&mut self, block: &mut Vec<u8>, start: usize) -> io::Result<()> {
        while let State::Entries(next) = &mut self.state {
            let header = match next.take() {
                Some(header) => header,
                None => match self.header(block)? {
                    Some(header) => header,
                    None => return Ok(()),
                },
            };
            let gathered = block.len() - start;
            if gathered >= LONGEST || (gathered >= SHORTEST && is_ending(&header)) {
                self.state = State::Entries(Some(header));
                return Ok(());
            }
            block.extend_from_slice(&header.0);
            match size(&header) {
                Some(size @ ..LARGE) => _ = self.read(block, size.next_multiple_of(BLOCK as u64))?,
                Some(size) => self.state = State::Large(size.next_multiple_of(BLOCK as u64)),
                None => self.state = State::Rest,
            }
        }
        Ok(())
    }

    /// Reads a header. Less than one, at the end, is added to the block.
    fn header(&mut self, block: &mut Vec<u8>) -> io::Result<Option<Box<Header>>> {
        let start = block.len();
        if self.read(block, BLOCK as u64)? < BLOCK as u64 {
            return Ok(None);
        }
        let mut header = Box::new(Header([0; BLOCK]));
        header.0.copy_from_slice(&block[start..]);
        block.truncate(start);
        Ok(Some(header))
    }

    fn read(&mut self, block: &mut Vec<u8>, length: u64) -> io::Result<u64> {
        Ok((&mut self.input).take(length).read_to_end(block)? as u64)
    }
}

/// How many bytes follow a header; `None` if it is none.
fn size(header: &Header) -> Option<u64> {
    let size = header.number(SIZE).and_then(|size| u64::try_from(size).ok()).filter(|_| header.is_intact())?;
    match header.type_flag() {
        flag::HARDLINK | flag::SYMLINK | flag::DIRECTORY => Some(0),
        // So large that its padding could not be counted.
        _ => (size < 1 << 62).then_some(size),
    }
}

/// A choice that only the entry's own name decides.
fn is_ending(header: &Header) -> bool {
    crc32fast::hash(&header.0[NAME]).is_multiple_of(ENDING)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn blocks(input: impl Read) -> Vec<Vec<u8>> {
        let mut cutter = Cutter::new(input);
        let next = || {
            let mut block = Vec::new();
            cutter.block(&mut block).unwrap();
            Some(block).filter(|block| !block.is_empty())
        };
        std::iter::from_fn(next).collect()
    }

    /// Gives a few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(self.1);
            self.0.read(&mut buffer[..length])
        }
    }

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut tar = ::tar::Builder::new(Vec::new());
        for (name, data) in files {
            let mut header = ::tar::Header::new_ustar();
            header.set_size(data.len() as u64);
            tar.append_data(&mut header, name, data.as_slice()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn small_files(count: u64) -> Vec<(String, Vec<u8>)> {
        (0..count).map(|number| (format!("small/{number}"), noise(number, 3000))).collect()
    }

    /// How many of `others` are not among `blocks`.
    fn new_ones(blocks: &[Vec<u8>], others: &[Vec<u8>]) -> usize {
        others.iter().filter(|other| !blocks.contains(other)).count()
    }

    #[test]
    fn a_large_file_is_the_same_blocks_wherever_it_stands() {
        let large = noise(1, 2 * LONGEST + 100);
        let once = blocks(tar(&[("large".into(), large.clone())]).as_slice());
        let lengths: Vec<usize> = once.iter().map(Vec::len).collect();
        assert_eq!(lengths, [BLOCK, LONGEST, LONGEST, BLOCK, BLOCK, BLOCK]);
        let moved = [small_files(5), vec![("moved".into(), large.clone()), ("again".into(), large)]].concat();
        let twice = blocks(tar(&moved).as_slice());
        for block in &once[1..4] {
            assert_eq!(twice.iter().filter(|other| *other == block).count(), 2);
        }
    }

    #[test]
    fn a_change_stays_in_its_block() {
        let files = small_files(1000);
        let before = blocks(tar(&files).as_slice());
        assert!(
            before.len() > 8 && before.iter().all(|block| block.len() < LONGEST + LARGE as usize),
            "{}",
            before.len()
        );
        let mut changed = files.clone();
        changed[500].1 = noise(7, 5000);
        assert_eq!(new_ones(&before, &blocks(tar(&changed).as_slice())), 1);
        let mut fewer = files;
        fewer.remove(200);
        let new = new_ones(&before, &blocks(tar(&fewer).as_slice()));
        assert!((1..=3).contains(&new), "{new}");
    }

    #[test]
    fn what_is_no_tar_is_cut_too() {
        let input = noise(3, 3 * LONGEST + 5);
        let lengths: Vec<usize> = blocks(input.as_slice()).iter().map(Vec::len).collect();
        assert_eq!(lengths, [BLOCK, LONGEST, LONGEST, LONGEST + 5 - BLOCK]);
        assert!(blocks(io::empty()).is_empty());
    }

    /// A header that claims anything.
    fn header() -> impl Strategy<Value = Vec<u8>> {
        let size = prop_oneof![0u64..2000, 30_000u64..40_000, any::<u64>()];
        (any::<[u8; 4]>(), size, any::<u8>()).prop_map(|(name, size, kind)| {
            let mut header = ::tar::Header::new_gnu();
            header.as_mut_bytes()[..4].copy_from_slice(&name);
            header.set_size(size);
            header.as_mut_bytes()[156] = kind;
            header.set_cksum();
            header.as_bytes().to_vec()
        })
    }

    proptest! {
        /// Nothing is lost or changed, whatever the headers say, and how it is read does not matter.
        #[test]
        fn blocks_are_the_input(
            pieces in prop::collection::vec(prop_oneof![header(), prop::collection::vec(any::<u8>(), 0..1500), Just(vec![0; 512])], 0..30),
            step in 1usize..3000,
        ) {
            let input = pieces.concat();
            let cut = blocks(input.as_slice());
            prop_assert!(cut.concat() == input);
            prop_assert!(blocks(Trickle(&input, step)) == cut);
        }
    }
}
