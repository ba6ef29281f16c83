//! Reading a stored layer as a tar, however it is compressed.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use crate::expansion::{self, Bounded, Metered};

use crate::oci::Compression;

/// Largest window a zstd frame may ask for: 128 MiB, what readers must take at most (RFC 8878, 3.1.1.1.2 asks
/// for 8 MiB at least).
const WINDOW_LOG: u32 = 27;
const BUFFER: usize = 128 * 1024;

/// The tar inside a stored layer. gzip may have several members, zstd several frames. A bomb is an error.
pub struct Decoder<R: Read>(Inner<R>);

enum Inner<R: Read> {
    Plain(Prefixed<R>),
    Gzip(Box<MultiGzDecoder<BufReader<Prefixed<R>>>>),
    Zstd(Box<Zstd<R>>),
}

type Zstd<R> = Bounded<zstd::Decoder<'static, BufReader<Metered<Prefixed<R>>>>>;

/// The first bytes, read already, and the rest.
type Prefixed<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

/// Opens a layer of that compression. The first bytes decide: a layer whose media type is wrong about its
/// compression, as some tools write, is read all the same. Its digest is checked by the reader below.
pub fn decoder<R: Read>(_stated: Compression, mut input: R) -> io::Result<Decoder<R>> {
    let mut first = Vec::with_capacity(4);
    input.by_ref().take(4).read_to_end(&mut first)?;
    let actual = compression_of(&first);
    let input = io::Cursor::new(first).chain(input);
    Ok(Decoder(match actual {
        Compression::None => Inner::Plain(input),
        Compression::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, input)))),
        Compression::Zstd => {
            let decoder = expansion::bounded(input, |input| {
                let mut decoder = zstd::Decoder::with_buffer(BufReader::with_capacity(BUFFER, input))?;
                decoder.window_log_max(WINDOW_LOG)?;
                Ok(decoder)
            });
            Inner::Zstd(Box::new(decoder?))
        }
    }))
}

/// Returns how a stream that begins with these (at least four) bytes is compressed. No tar begins like the others:
/// its first byte is that of a name.
pub fn compression_of(first: &[u8]) -> Compression {
    match first {
        [0x1f, 0x8b, 8, ..] => Compression::Gzip,
        // A frame, or a skippable one before it.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(input) => input.read(buf),
            Inner::Gzip(input) => input.read(buf),
            Inner::Zstd(input) => input.read(buf),
        }
    }
}
