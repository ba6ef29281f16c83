//! A writer whose bytes are sent by somebody else meanwhile.

use std::io::{self, Write};

use tokio::sync::mpsc;

/// Bytes of a piece.
const PIECE: usize = 256 << 10;
/// Pieces that may wait.
const QUEUE: usize = 4;

/// Gathers what is written into pieces. Writing waits for whoever takes them, and fails once nobody will. One that is dropped
/// before [`PieceWriter::finish`] ends the pieces with an error: a part must not be taken for the whole. Not for tasks: it blocks.
pub(super) struct PieceWriter {
    pieces: mpsc::Sender<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    is_finished: bool,
}

impl PieceWriter {
    /// Makes a writer and the other end.
    pub(super) fn new() -> (Self, mpsc::Receiver<io::Result<Vec<u8>>>) {
        let (pieces, receiver) = mpsc::channel(QUEUE);
        (Self { pieces, piece: Vec::with_capacity(PIECE), is_finished: false }, receiver)
    }

    /// Sends what is left: all was written.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.is_finished = true;
        Ok(())
    }
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.pieces.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Drop for PieceWriter {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = self.pieces.blocking_send(Err(io::Error::other("what was to be sent could not be written")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_from_a_failure() {
        let read = |finish: bool| {
            let (mut out, mut pieces) = PieceWriter::new();
            let writer = std::thread::spawn(move || {
                out.write_all(&[7; 3 * PIECE + 1]).unwrap();
                if finish {
                    out.finish().unwrap();
                }
            });
            let (mut length, mut failed) = (0, false);
            while let Some(piece) = pieces.blocking_recv() {
                match piece {
                    Ok(piece) => length += piece.len(),
                    Err(_) => failed = true,
                }
            }
            writer.join().unwrap();
            (length, failed)
        };
        assert_eq!(read(true), (3 * PIECE + 1, false));
        assert_eq!(read(false), (3 * PIECE, true));
        let (mut out, pieces) = PieceWriter::new();
        drop(pieces);
        assert_eq!(out.write_all(&[0; PIECE]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
