//! gzip on several threads, as one member that every reader takes. Level 1 is the encoder of `deflate`, the others are zlib's.
//!
//! The input is cut into blocks of 1 MiB. Each is deflated on its own and ended with an empty stored block,
//! which leaves the output at a byte boundary, so the pieces can stand one after the other (RFC 1951, 3.2.4);
//! the member is closed by an empty final block. The blocks do not depend on who deflates them, so the bytes do
//! not depend on the number of threads. The header holds no time and no name, and says "unknown" for the
//! system (RFC 1952, 2.3.1).

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};

use flate2::{Compress, Compression, FlushCompress, Status};

use super::deflate;

/// Names the encoder: other versions may write other bytes for the same input. Belongs into the key of whatever
/// remembers a compressed blob, with the level.
pub const ENCODER_VERSION: &str = "kiln-1-zlib-rs-0.6.1m";

/// Level when none is asked for: an image is pushed earlier, and a little larger, than with the next ones.
pub const DEFAULT_LEVEL: i32 = FAST;

/// The level that is not zlib's.
const FAST: i32 = 1;

const BLOCK: usize = 1024 * 1024;
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// A final block with nothing in it, in fixed codes.
const END: [u8; 2] = [3, 0];

/// Compresses all of `input` to `output` (not flushed), deflating on `threads` threads beside the caller's, which reads
/// and writes. `level` is 0 to 9, clamped.
pub fn compress(mut input: impl Read, mut output: impl Write, level: i32, threads: usize) -> io::Result<()> {
    output.write_all(&HEADER)?;
    let mut checksum = crc32fast::Hasher::new();
    let mut length = 0u32;
    let mut write = |block: &Deflated| {
        checksum.combine(&block.checksum);
        // The trailer counts modulo 2^32.
        length = length.wrapping_add(block.input.len() as u32);
        output.write_all(&block.output)
    };
    deflate_blocks(level, threads, &mut |block| fill(&mut input, block), &mut write)?;
    output.write_all(&END)?;
    output.write_all(&checksum.finalize().to_le_bytes())?;
    output.write_all(&length.to_le_bytes())
}

/// Deflates the blocks that `fill` makes (false is the end), and gives them to `write` in their order. Both are called on
/// this thread; a bounded number of blocks is there at once.
pub(super) fn deflate_blocks(
    level: i32,
    threads: usize,
    fill: &mut dyn FnMut(&mut Vec<u8>) -> io::Result<bool>,
    write: &mut dyn FnMut(&Deflated) -> io::Result<()>,
) -> io::Result<()> {
    let level = level.clamp(0, 9);
    if threads > 1 {
        return on_threads(fill, level, threads, write);
    }
    let mut encoder = Encoder::new(level);
    let mut block = Deflated::default();
    while fill(&mut block.input)? {
        block.deflate(&mut encoder)?;
        write(&block)?;
    }
    Ok(())
}

/// A block, and what it deflates to: ended at a byte boundary, but not final.
#[derive(Default)]
pub(super) struct Deflated {
    input: Vec<u8>,
    output: Vec<u8>,
    checksum: crc32fast::Hasher,
}

impl Deflated {
    /// Writes the block as a member of its own and returns the member's length.
    pub(super) fn write_member(&self, output: &mut impl Write) -> io::Result<u64> {
        let checksum = self.checksum.clone().finalize().to_le_bytes();
        let parts = [&HEADER[..], &self.output, &END, &checksum, &(self.input.len() as u32).to_le_bytes()];
        parts.iter().try_for_each(|part| output.write_all(part))?;
        Ok(parts.iter().map(|part| part.len() as u64).sum())
    }

    fn deflate(&mut self, encoder: &mut Encoder) -> io::Result<()> {
        self.checksum.reset();
        self.checksum.update(&self.input);
        match encoder {
            Encoder::Fast(encoder) => encoder.deflate(&self.input, &mut self.output),
            Encoder::Zlib(encoder) => zlib(encoder, &self.input, &mut self.output)?,
        }
        Ok(())
    }
}

enum Encoder {
    Fast(deflate::Encoder),
    Zlib(Compress),
}

impl Encoder {
    fn new(level: i32) -> Self {
        match level {
            FAST => Self::Fast(deflate::Encoder::new()),
            _ => Self::Zlib(Compress::new(Compression::new(level.unsigned_abs()), false)),
        }
    }
}

fn zlib(encoder: &mut Compress, input: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    encoder.reset();
    output.clear();
    // Room for what does not compress: deflate adds five bytes to each 16 KiB at worst, and a flush a few.
    output.reserve(input.len() + input.len() / 1024 + 64);
    loop {
        let consumed = encoder.total_in() as usize;
        let before = output.len();
        let status = encoder.compress_vec(&input[consumed..], output, FlushCompress::Sync)?;
        let done = encoder.total_in() as usize == input.len() && output.len() < output.capacity();
        if done || (status == Status::BufError && output.len() == before) {
            return Ok(());
        }
        output.reserve(4096);
    }
}

/// Keeps all threads busy with a bounded number of blocks, and writes these in order.
fn on_threads(
    fill: &mut dyn FnMut(&mut Vec<u8>) -> io::Result<bool>,
    level: i32,
    threads: usize,
    write: &mut dyn FnMut(&Deflated) -> io::Result<()>,
) -> io::Result<()> {
    let (to_workers, jobs) = mpsc::channel::<(u64, Deflated)>();
    let (to_writer, results) = mpsc::channel();
    let jobs = Mutex::new(jobs);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (jobs, to_writer) = (&jobs, to_writer.clone());
            scope.spawn(move || deflate_all(jobs, &to_writer, level));
        }
        drop(to_writer);
        // Ends the workers when this closure ends, also by an error.
        let to_workers = to_workers;
        let mut spare: Vec<Deflated> = Vec::new();
        let mut waiting = BTreeMap::new();
        let (mut read, mut written) = (0u64, 0u64);
        let mut at_end = false;
        while !at_end || written < read {
            while !at_end && read - written < 2 * threads as u64 {
                let mut block = spare.pop().unwrap_or_default();
                if !fill(&mut block.input)? {
                    at_end = true;
                } else if to_workers.send((read, block)).is_ok() {
                    read += 1;
                }
            }
            if written == read {
                break;
            }
            let Ok((number, block)) = results.recv() else { return Err(io::ErrorKind::BrokenPipe.into()) };
            waiting.insert(number, block);
            while let Some(block) = waiting.remove(&written) {
                let block = block?;
                write(&block)?;
                spare.push(block);
                written += 1;
            }
        }
        Ok(())
    })
}

type Results = mpsc::Sender<(u64, io::Result<Deflated>)>;

fn deflate_all(jobs: &Mutex<mpsc::Receiver<(u64, Deflated)>>, results: &Results, level: i32) {
    let mut encoder = Encoder::new(level);
    loop {
        // Held while waiting: one idle worker waits for a job, the others for the lock.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((number, mut block)) = job else { return };
        let result = block.deflate(&mut encoder).map(|()| block);
        if results.send((number, result)).is_err() {
            return;
        }
    }
}

/// Reads one block, shorter only at the end; false if nothing was left.
fn fill(input: &mut impl Read, block: &mut Vec<u8>) -> io::Result<bool> {
    block.clear();
    block.reserve_exact(BLOCK);
    input.take(BLOCK as u64).read_to_end(block)?;
    Ok(!block.is_empty())
}
