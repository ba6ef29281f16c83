//! `type=tar`: the files of a result as one tar stream.

use std::io::Write;

use super::parts::ArchiveError;
use super::report::Report;
use crate::fsutil::Dir;
use crate::layer;

/// Writes everything in `view` as one tar and returns `out` flushed. The same files give the same bytes. What no tar can hold is
/// left out with a notice.
pub fn write_files_tar<W: Write>(view: &Dir, mut out: W, report: &Report) -> Result<W, ArchiveError> {
    let summary = layer::write_tree(view, &mut out)?;
    for warning in summary.warnings {
        report.notice(warning.to_string());
    }
    out.flush().map_err(|source| ArchiveError::Tar { part: "end".to_owned(), source })?;
    Ok(out)
}
