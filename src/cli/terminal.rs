//! Printing: the two places where text leaves the program outside of progress.

use std::io::{self, Write};

/// Prints `text`, or bytes, on standard output. A reader that went away is no error: it has seen what it wanted.
pub(super) fn print(text: &(impl AsRef<[u8]> + ?Sized)) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Prints `text` on standard error; when that fails, there is nowhere left to say so.
pub(super) fn print_error(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
