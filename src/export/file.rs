//! `dest=`: an archive that is a file appears when all of it is written.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use super::parts::{ArchiveError, BUFFER};
use crate::fsutil::random_name;

/// Lets `write` write the file at `path`; what was there stays until the new file is complete, and for good if `write` fails.
///
/// A link is followed. A device or a pipe (`/dev/stdout`, `/dev/null`) is written to as it is.
pub fn to_file(
    path: &Path,
    write: impl FnOnce(BufWriter<File>) -> Result<BufWriter<File>, ArchiveError>,
) -> Result<(), ArchiveError> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let failed = |source| ArchiveError::File { path: path.clone(), source };
    let in_place = std::fs::metadata(&path).is_ok_and(|found| !found.is_file() && !found.is_dir());
    if in_place {
        let file = File::options().write(true).open(&path).map_err(failed)?;
        return write(BufWriter::with_capacity(BUFFER, file)).map(|_| ());
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", random_name()));
    let temporary = path.with_file_name(name);
    let file = File::create_new(&temporary).map_err(failed)?;
    let written =
        write(BufWriter::with_capacity(BUFFER, file)).and_then(|_| std::fs::rename(&temporary, &path).map_err(failed));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
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
    fn a_directory_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        assert!(to_file(temp.path(), put("x")).is_err());
    }
}
