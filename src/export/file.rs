//! `dest=`: an archive that is a file appears when all of it is written.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use super::parts::{ArchiveError, BUFFER};
use crate::fsutil::replace_with;

/// Lets `write` write the file at `path`; what was there stays until the new file is complete, and for good if `write` fails.
///
/// A link is followed. A device or a pipe (`/dev/stdout`, `/dev/null`) is written to as it is.
pub fn to_file(
    path: &Path,
    write: impl FnOnce(BufWriter<File>) -> Result<BufWriter<File>, ArchiveError>,
) -> Result<(), ArchiveError> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let failed = |source| ArchiveError::File { path: path.clone(), source };
    let write = |file| match write(BufWriter::with_capacity(BUFFER, file)) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.in_file(&path)),
    };
    match std::fs::metadata(&path) {
        // Before hours are spent on what could not be put there.
        Ok(found) if found.is_dir() => Err(failed(io::ErrorKind::IsADirectory.into())),
        Ok(found) if !found.is_file() => write(File::options().write(true).open(&path).map_err(failed)?),
        _ => replace_with(&path, 0o666, write, failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn put(text: &'static str) -> impl FnOnce(BufWriter<File>) -> Result<BufWriter<File>, ArchiveError> {
        move |mut out| {
            out.write_all(text.as_bytes()).unwrap();
            out.flush().unwrap();
            Ok(out)
        }
    }

    #[test]
    fn a_failed_archive_leaves_the_old_one() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("image.tar");
        to_file(&path, put("old")).unwrap();
        to_file(&path, |out| put("half")(out).and(Err(ArchiveError::SeveralPlatforms { count: 2 }))).unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(crate::fsutil::Dir::open(temp.path()).unwrap().entries().unwrap().len(), 1);
    }

    #[test]
    fn links_are_followed_and_devices_written_to() {
        let temp = tempfile::tempdir().unwrap();
        let (path, link) = (temp.path().join("image.tar"), temp.path().join("link"));
        std::fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink("image.tar", &link).unwrap();
        to_file(&link, put("new")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert!(link.is_symlink());
        to_file(Path::new("/dev/null"), put("gone")).unwrap();
    }

    #[test]
    fn what_does_not_fit_is_named_by_its_file() {
        let error = to_file(Path::new("/dev/full"), |mut out| {
            let full = out.write_all(b"x").and_then(|()| out.flush());
            full.map_err(|source| ArchiveError::Tar { part: "x".to_owned(), source }).map(|()| out)
        });
        assert_eq!(error.unwrap_err().to_string(), "cannot write `/dev/full`");
        let (temp, long) = (tempfile::tempdir().unwrap(), "n".repeat(255));
        to_file(&temp.path().join(&long), put("as long as names get")).unwrap();
    }

    #[test]
    fn a_directory_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let error = to_file(temp.path(), |_| unreachable!("nothing is written")).unwrap_err();
        assert!(matches!(error, ArchiveError::File { path, .. } if path == temp.path()), "before anything is written");
    }
}
