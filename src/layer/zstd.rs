//! zstd, on one thread: a level of 3 keeps up with gzip on several, and one frame is what every reader takes.

use std::io::{self, Read, Write};

/// Names the encoder, as [`super::gzip::ENCODER_VERSION`] does.
pub const ENCODER_VERSION: &str = "zstd-1.5.7";

/// Level when none is asked for.
pub const DEFAULT_LEVEL: i32 = 3;

/// Compresses all of `input` to `output` (not flushed). `level` is 1 to 22, clamped. `threads` is not used yet.
pub fn compress(mut input: impl Read, output: impl Write, level: i32, _threads: usize) -> io::Result<()> {
    let mut encoder = zstd::Encoder::new(output, level.clamp(1, 22))?;
    encoder.include_checksum(true)?;
    io::copy(&mut input, &mut encoder)?;
    encoder.finish()?;
    Ok(())
}
