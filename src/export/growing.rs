//! A file that is read while it is still being written: a layer goes out before all of it is compressed.
//!
//! The writer is never held up by the reader, and nothing is kept in memory for it: what is written is in the file.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use tokio::sync::mpsc;

/// Bytes read at a time.
const PIECE: usize = 256 << 10;
/// Pieces that may wait for the network.
const QUEUE: usize = 4;

/// How far the writer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// It goes on.
    Writing,
    /// This many bytes are all.
    Done(u64),
    /// It failed, or was dropped.
    Failed,
}

#[derive(Debug)]
struct Shared {
    stage: Mutex<Stage>,
    changed: Condvar,
}

impl Shared {
    fn set(&self, stage: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
        self.changed.notify_all();
    }
}

/// The end that reads.
#[derive(Debug)]
pub struct Growing {
    file: File,
    shared: Arc<Shared>,
}

/// The end that writes: it tells the other of every write to `W`.
pub(super) struct Telling<W> {
    inner: W,
    written: u64,
    shared: Arc<Shared>,
}

/// Opens `path`, which `inner` is going to write, for reading meanwhile. The writer may have a buffer, and the file may be renamed.
pub(super) fn growing<W: Write>(path: &Path, inner: W) -> io::Result<(Telling<W>, Growing)> {
    let file = File::open(path)?;
    let shared = Arc::new(Shared { stage: Mutex::new(Stage::Writing), changed: Condvar::new() });
    Ok((Telling { inner, written: 0, shared: shared.clone() }, Growing { file, shared }))
}

impl<W: Write> Telling<W> {
    /// Says that all is written.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.inner.flush()?;
        self.shared.set(Stage::Done(self.written));
        Ok(())
    }
}

impl<W: Write> Write for Telling<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.written += n as u64;
        self.shared.changed.notify_all();
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W> Drop for Telling<W> {
    fn drop(&mut self) {
        let stage = *self.shared.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if stage == Stage::Writing {
            self.shared.set(Stage::Failed);
        }
    }
}

impl Growing {
    /// Returns the bytes as they come, and an error last if the writer fails. They are read on a thread that may block. Must be
    /// called within a runtime.
    pub fn pieces(self) -> mpsc::Receiver<io::Result<Vec<u8>>> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::task::spawn_blocking(move || self.read_to(&sender));
        receiver
    }

    fn read_to(&self, sender: &mpsc::Sender<io::Result<Vec<u8>>>) {
        let mut position = 0;
        loop {
            // Asked before the read: what was written by then is seen.
            let stage = *self.shared.stage.lock().unwrap_or_else(PoisonError::into_inner);
            let mut piece = vec![0; PIECE];
            let piece = match (self.file.read_at(&mut piece, position), stage) {
                (Ok(0), Stage::Done(length)) if position == length => return,
                (Ok(0), Stage::Writing) => {
                    if sender.is_closed() {
                        return;
                    }
                    self.wait();
                    continue;
                }
                (Ok(0), Stage::Done(_) | Stage::Failed) => Err(io::Error::other("the layer could not be written")),
                (Ok(length), _) => {
                    position += length as u64;
                    piece.truncate(length);
                    Ok(piece)
                }
                (Err(error), _) => Err(error),
            };
            let is_last = piece.is_err();
            // Nobody listens any more when the request failed.
            if sender.blocking_send(piece).is_err() || is_last {
                return;
            }
        }
    }

    /// A while, or until something changed; a change in between is seen by the next read.
    fn wait(&self) {
        let stage = self.shared.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if *stage == Stage::Writing {
            let _ = self.shared.changed.wait_timeout(stage, std::time::Duration::from_millis(20));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_comes_before_the_end() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        let file = File::create(&path).unwrap();
        let (mut writer, reader) = growing(&path, file).unwrap();
        let mut pieces = reader.pieces();
        writer.write_all(b"first").unwrap();
        assert_eq!(pieces.recv().await.unwrap().unwrap(), b"first");
        std::fs::rename(&path, temp.path().join("renamed")).unwrap();
        writer.write_all(&[7; 3 * PIECE]).unwrap();
        writer.finish().unwrap();
        let mut length = 0;
        while let Some(piece) = pieces.recv().await {
            length += piece.unwrap().len();
        }
        assert_eq!(length, 3 * PIECE);
    }

    #[tokio::test]
    async fn a_writer_that_fails_is_told() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        let file = File::create(&path).unwrap();
        let (mut writer, reader) = growing(&path, file).unwrap();
        let mut pieces = reader.pieces();
        writer.write_all(b"half").unwrap();
        drop(writer);
        assert_eq!(pieces.recv().await.unwrap().unwrap(), b"half");
        assert!(pieces.recv().await.unwrap().is_err());
        assert!(pieces.recv().await.is_none());
    }
}
