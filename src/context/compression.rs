//! Compressed streams, known by their first bytes and never by a name.

use std::io::{self, BufReader, Cursor, Read};

use liblzma::stream::Stream;

use crate::expansion::{self, Metered};

/// Bytes that are enough to tell every format.
const MAGIC: usize = 6;
const BUFFER: usize = 64 * 1024;

/// What a decoder of xz may need: the dictionary that a stream asks for, and a little more. `xz -9` takes 64 MiB; twice that is what
/// zstd may ask for, too.
const XZ_MEMORY: u64 = (128 << 20) + (1 << 20);

/// Says what it means that a stream needs more than [`XZ_MEMORY`].
struct Xz<D>(D);

impl<D: Read> Read for Xz<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            let found = error.get_ref().and_then(|found| found.downcast_ref());
            match found {
                Some(liblzma::stream::Error::MemLimit) => io::Error::new(io::ErrorKind::InvalidData, DictionaryError),
                _ => error,
            }
        })
    }
}

/// A dictionary that no usual stream has.
#[derive(Debug, thiserror::Error)]
#[error("the xz stream asks for a dictionary of more than 128 MiB, and is refused: `xz -9` takes 64 MiB")]
struct DictionaryError;

/// Returns what `reader` holds once decompressed, whether it was gzip, bzip2, xz, zstd or none of them.
/// Members that follow each other are read as one. A bomb is an error ([`expansion`]).
pub fn decompressed<'r>(mut reader: impl Read + 'r) -> io::Result<Decompressed<'r>> {
    let mut magic = Vec::with_capacity(MAGIC);
    reader.by_ref().take(MAGIC as u64).read_to_end(&mut magic)?;
    let whole = Cursor::new(magic.clone()).chain(reader);
    let decoder: Box<dyn Read + 'r> = match magic.as_slice() {
        [0x1f, 0x8b, ..] => bounded(whole, |input| Ok(flate2::bufread::MultiGzDecoder::new(input)))?,
        [b'B', b'Z', b'h', ..] => bounded(whole, |input| Ok(bzip2::bufread::MultiBzDecoder::new(input)))?,
        [0xfd, b'7', b'z', b'X', b'Z', 0] => bounded(whole, |input| {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Ok(Xz(liblzma::bufread::XzDecoder::new_stream(input, stream)))
        })?,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => bounded(whole, zstd::Decoder::with_buffer)?,
        _ => {
            return Ok(Decompressed {
                was_compressed: false,
                reader: Box::new(BufReader::with_capacity(BUFFER, whole)),
            });
        }
    };
    Ok(Decompressed { was_compressed: true, reader: decoder })
}

fn bounded<'r, R: Read + 'r, D: Read + 'r>(
    whole: R,
    decode: impl FnOnce(BufReader<Metered<R>>) -> io::Result<D>,
) -> io::Result<Box<dyn Read + 'r>> {
    let decoder = expansion::bounded(whole, |input| decode(BufReader::with_capacity(BUFFER, input)))?;
    Ok(Box::new(decoder))
}

/// A stream after decompression.
pub struct Decompressed<'r> {
    /// Whether it was compressed at all.
    pub was_compressed: bool,
    /// The plain bytes.
    pub reader: Box<dyn Read + 'r>,
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn plain(bytes: &[u8]) -> (bool, Vec<u8>) {
        let mut found = decompressed(bytes).unwrap();
        let mut out = Vec::new();
        found.reader.read_to_end(&mut out).unwrap();
        (found.was_compressed, out)
    }

    #[test]
    fn a_dictionary_of_xz_is_bounded() {
        let compressed = |dictionary: u32| {
            let mut options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
            options.dict_size(dictionary);
            let mut filters = liblzma::stream::Filters::new();
            filters.lzma2(&options);
            let stream = Stream::new_stream_encoder(&filters, liblzma::stream::Check::None).unwrap();
            let mut xz = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
            xz.write_all(b"text").unwrap();
            xz.finish().unwrap()
        };
        let text = plain(&compressed(128 << 20));
        assert_eq!(text, (true, b"text".to_vec()));
        let error = decompressed(compressed(256 << 20).as_slice()).unwrap().reader.read(&mut [0; 9]).unwrap_err();
        assert!(error.to_string().contains("a dictionary of more than 128 MiB"), "{error}");
    }

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        let text = b"some text, some text, some text".as_slice();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(text).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(text).unwrap();
        let zstd = zstd::encode_all(text, 1).unwrap();
        for compressed in [gzip.clone(), bzip2.finish().unwrap(), xz.finish().unwrap(), zstd] {
            assert_eq!(plain(&compressed), (true, text.to_vec()));
        }
        assert_eq!(plain(&gzip.repeat(2)), (true, text.repeat(2)));
        for other in [text, b"", b"BZ"] {
            assert_eq!(plain(other), (false, other.to_vec()));
        }
    }
}
