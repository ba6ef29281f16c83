//! Hashing and storing a layer on a thread of its own, while the next piece of it is made.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

use super::error::CopyError;
use crate::layer::WriteError;

/// So many pieces may wait; one is 256 KiB, as the writer of layers hands them over.
const WAITING: usize = 2;

/// Lets `write` write to a pipe whose other end writes to `out`.
pub fn piped<T>(
    out: &mut (dyn Write + Send),
    write: impl FnOnce(Pipe) -> Result<T, CopyError>,
) -> Result<T, CopyError> {
    thread::scope(|scope| {
        let (sender, pieces) = sync_channel::<Vec<u8>>(WAITING);
        let (back, used) = channel();
        let storing = scope.spawn(move || {
            pieces.into_iter().try_for_each(|piece| {
                out.write_all(&piece)?;
                // Nobody wants the last ones.
                let _ = back.send(piece);
                Ok(())
            })
        });
        let written = write(Pipe { sender, used });
        // Why the other end is closed says more than that it is.
        storing.join().expect("writing does not panic").map_err(WriteError::Output)?;
        written
    })
}

/// The end that is written to.
pub struct Pipe {
    sender: SyncSender<Vec<u8>>,
    /// Pieces to be filled again.
    used: Receiver<Vec<u8>>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut piece = self.used.try_recv().unwrap_or_default();
        piece.clear();
        piece.extend_from_slice(bytes);
        self.sender.send(piece).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives_in_order() {
        let mut out = Vec::new();
        let write = |mut pipe: Pipe| {
            (0..100u8).for_each(|number| pipe.write_all(&[number; 7]).unwrap());
            Ok(3)
        };
        assert_eq!(piped(&mut out, write).unwrap(), 3);
        assert_eq!(out, (0..100u8).flat_map(|number| [number; 7]).collect::<Vec<_>>());
    }

    #[test]
    fn the_reason_of_a_failure_is_told() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let write = |mut pipe: Pipe| {
            while pipe.write_all(b"x").is_ok() {}
            Err::<(), _>(WriteError::Output(io::ErrorKind::BrokenPipe.into()).into())
        };
        let error = crate::diag::chain(&piped(&mut Full, write).unwrap_err());
        assert!(error.contains("no storage space"), "{error}");
    }
}
