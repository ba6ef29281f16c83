//! gzip on several threads, as one member that every reader takes. Level 1 is the encoder of `deflate`, the others are zlib's.
//!
//! The input is cut into blocks where its files begin and end (`cut`). Each is deflated on its own and ended with an empty stored block,
//! which leaves the output at a byte boundary, so the pieces can stand one after the other (RFC 1951, 3.2.4);
//! the member is closed by an empty final block. What a block deflates to depends on nothing but the block, so the bytes do
//! not depend on the number of threads, and a block that was deflated before, in this layer or another, is copied ([`Memory`]). The header holds no time and no name, and says "unknown" for the
//! system (RFC 1952, 2.3.1).

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};

use flate2::{Compress, Compression, FlushCompress, Status};

use super::cut::Cutter;
use super::deflate;

/// Names the encoder: other versions may write other bytes for the same input. Belongs into the key of whatever
/// remembers a compressed blob, with the level.
pub const ENCODER_VERSION: &str = "kiln-2-zlib-rs-0.6.1m";

/// Level when none is asked for: an image is pushed earlier, and a little larger, than with the next ones.
pub const DEFAULT_LEVEL: i32 = FAST;

/// The level that is not zlib's.
const FAST: i32 = 1;

/// Blocks go to the threads in batches; one is full from this size on.
const ENOUGH: usize = 512 << 10;
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// A final block with nothing in it, in fixed codes.
const END: [u8; 2] = [3, 0];

/// Names a block: the blake3 hash of its bytes.
pub type BlockHash = [u8; 32];

/// Knows what blocks deflated to before: they are not deflated again.
pub trait Memory: Sync {
    /// Adds what the block deflated to, all of it, at this level and by this version; false, and nothing, if that is not known.
    fn recall(&self, block: &BlockHash, output: &mut Vec<u8>) -> bool;

    /// Is told of the deflated bytes of each block, in their order, once they were written; the first come [`FIRST_BLOCK`] bytes
    /// behind the beginning.
    fn written(&self, block: &BlockHash, deflated: &[u8]);
}

/// Where the blocks begin in what [`compress`] writes.
pub const FIRST_BLOCK: u64 = HEADER.len() as u64;

/// Remembers nothing.
pub struct NoMemory;

impl Memory for NoMemory {
    fn recall(&self, _: &BlockHash, _: &mut Vec<u8>) -> bool {
        false
    }

    fn written(&self, _: &BlockHash, _: &[u8]) {}
}

/// Compresses all of `input` to `output` (not flushed), deflating on `threads` threads beside the caller's, which reads
/// and writes. `level` is 0 to 9, clamped. What `memory` knows makes it faster, and changes nothing in what is written.
pub fn compress(
    input: impl Read,
    mut output: impl Write,
    level: i32,
    threads: usize,
    memory: &dyn Memory,
) -> io::Result<()> {
    output.write_all(&HEADER)?;
    let mut checksum = crc32fast::Hasher::new();
    let mut length = 0u32;
    let mut write = |batch: &Batch| {
        checksum.combine(&batch.checksum);
        // The trailer counts modulo 2^32.
        length = length.wrapping_add(batch.input.len() as u32);
        output.write_all(&batch.output)?;
        batch.tell(memory);
        Ok(())
    };
    let mut cutter = Cutter::new(input);
    let mut fill = |batch: &mut Batch| {
        while batch.input.len() < ENOUGH {
            let before = batch.input.len();
            cutter.block(&mut batch.input)?;
            if batch.input.len() == before {
                break;
            }
            batch.ends.push(batch.input.len());
        }
        Ok(!batch.input.is_empty())
    };
    deflate_batches(level, threads, memory, &mut fill, &mut write)?;
    output.write_all(&END)?;
    output.write_all(&checksum.finalize().to_le_bytes())?;
    output.write_all(&length.to_le_bytes())
}

/// Deflates the members that `fill` makes (false is the end), and gives them to `write` in their order. Both are called on
/// this thread; a bounded number of members is there at once.
pub(super) fn deflate_members(
    level: i32,
    threads: usize,
    fill: &mut dyn FnMut(&mut Vec<u8>) -> io::Result<bool>,
    write: &mut dyn FnMut(&Batch) -> io::Result<()>,
) -> io::Result<()> {
    let mut fill = |batch: &mut Batch| {
        let is_more = fill(&mut batch.input)?;
        batch.ends.push(batch.input.len());
        Ok(is_more)
    };
    deflate_batches(level, threads, &NoMemory, &mut fill, write)
}

fn deflate_batches(
    level: i32,
    threads: usize,
    memory: &dyn Memory,
    fill: Fill<'_>,
    write: &mut dyn FnMut(&Batch) -> io::Result<()>,
) -> io::Result<()> {
    let level = level.clamp(0, 9);
    if threads > 1 {
        return on_threads(fill, level, threads, memory, write);
    }
    let mut encoder = Encoder::new(level);
    let mut batch = Batch::default();
    while fill(&mut batch)? {
        batch.deflate(&mut encoder, memory)?;
        write(&batch)?;
        batch.clear();
    }
    Ok(())
}

/// Fills an empty batch; false at the end.
type Fill<'a> = &'a mut dyn FnMut(&mut Batch) -> io::Result<bool>;

/// Some blocks, and what they deflate to: each ended at a byte boundary, and none final.
#[derive(Default)]
pub(super) struct Batch {
    input: Vec<u8>,
    /// Where each block ends.
    ends: Vec<usize>,
    output: Vec<u8>,
    /// Each block, and where its output ends.
    deflated: Vec<(BlockHash, usize)>,
    checksum: crc32fast::Hasher,
}

impl Batch {
    /// Writes it as a member of its own and returns the member's length.
    pub(super) fn write_member(&self, output: &mut impl Write) -> io::Result<u64> {
        let checksum = self.checksum.clone().finalize().to_le_bytes();
        let parts = [&HEADER[..], &self.output, &END, &checksum, &(self.input.len() as u32).to_le_bytes()];
        parts.iter().try_for_each(|part| output.write_all(part))?;
        Ok(parts.iter().map(|part| part.len() as u64).sum())
    }

    fn deflate(&mut self, encoder: &mut Encoder, memory: &dyn Memory) -> io::Result<()> {
        self.checksum.update(&self.input);
        let mut from = 0;
        for to in &self.ends {
            let block = &self.input[from..*to];
            let hash = *blake3::hash(block).as_bytes();
            if !memory.recall(&hash, &mut self.output) {
                encoder.deflate(block, &mut self.output)?;
            }
            self.deflated.push((hash, self.output.len()));
            from = *to;
        }
        Ok(())
    }

    fn tell(&self, memory: &dyn Memory) {
        let mut from = 0;
        for (hash, to) in &self.deflated {
            memory.written(hash, &self.output[from..*to]);
            from = *to;
        }
    }

    fn clear(&mut self) {
        self.input.clear();
        self.ends.clear();
        self.output.clear();
        self.deflated.clear();
        self.checksum.reset();
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

    /// Adds the block to `output`.
    fn deflate(&mut self, block: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Fast(encoder) => encoder.deflate(block, output),
            Self::Zlib(encoder) => zlib(encoder, block, output)?,
        }
        Ok(())
    }
}

/// Adds the block to `output`.
fn zlib(encoder: &mut Compress, input: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    encoder.reset();
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

/// Keeps all threads busy with a bounded number of batches, and writes these in order.
fn on_threads(
    fill: Fill<'_>,
    level: i32,
    threads: usize,
    memory: &dyn Memory,
    write: &mut dyn FnMut(&Batch) -> io::Result<()>,
) -> io::Result<()> {
    let (to_workers, jobs) = mpsc::channel::<(u64, Batch)>();
    let (to_writer, results) = mpsc::channel();
    let jobs = Mutex::new(jobs);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (jobs, to_writer) = (&jobs, to_writer.clone());
            scope.spawn(move || deflate_all(jobs, &to_writer, level, memory));
        }
        drop(to_writer);
        // Ends the workers when this closure ends, also by an error.
        let to_workers = to_workers;
        let mut spare: Vec<Batch> = Vec::new();
        let mut waiting = BTreeMap::new();
        let (mut read, mut written) = (0u64, 0u64);
        let mut at_end = false;
        while !at_end || written < read {
            while !at_end && read - written < 2 * threads as u64 {
                let mut batch = spare.pop().unwrap_or_default();
                if !fill(&mut batch)? {
                    at_end = true;
                } else if to_workers.send((read, batch)).is_ok() {
                    read += 1;
                }
            }
            if written == read {
                break;
            }
            let Ok((number, batch)) = results.recv() else { return Err(io::ErrorKind::BrokenPipe.into()) };
            waiting.insert(number, batch);
            while let Some(batch) = waiting.remove(&written) {
                let mut batch = batch?;
                write(&batch)?;
                batch.clear();
                spare.push(batch);
                written += 1;
            }
        }
        Ok(())
    })
}

type Results = mpsc::Sender<(u64, io::Result<Batch>)>;

fn deflate_all(jobs: &Mutex<mpsc::Receiver<(u64, Batch)>>, results: &Results, level: i32, memory: &dyn Memory) {
    let mut encoder = Encoder::new(level);
    loop {
        // Held while waiting: one idle worker waits for a job, the others for the lock.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((number, mut batch)) = job else { return };
        let result = batch.deflate(&mut encoder, memory).map(|()| batch);
        if results.send((number, result)).is_err() {
            return;
        }
    }
}
