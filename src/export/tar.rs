//! `type=tar`: the files of a result as one tar stream.

use std::collections::BTreeMap;
use std::io::Write;

use super::parts::ArchiveError;
use super::report::Report;
use crate::fsutil::{Dir, Timestamp};
use crate::layer;

/// The files of a result.
#[derive(Debug)]
pub enum Files {
    /// Of one platform.
    One(Dir),
    /// Of several, by the name of the directory that they stand in ([`super::platform_directory`]).
    ByPlatform(BTreeMap<String, Dir>),
}

/// Writes all `files` as one tar and returns `out` flushed. The same files give the same bytes; with `time` (SOURCE_DATE_EPOCH)
/// that is the time of all of them. What no tar can hold is left out with a notice.
pub fn write_files_tar<W: Write>(
    files: &Files,
    time: Option<Timestamp>,
    mut out: W,
    report: &Report,
) -> Result<W, ArchiveError> {
    let summary = match files {
        Files::One(view) => layer::write_tree_at(view, time, &mut out)?,
        Files::ByPlatform(views) => layer::write_trees(views, time, &mut out)?,
    };
    for warning in summary.warnings {
        report.notice(warning.to_string());
    }
    out.flush().map_err(|source| ArchiveError::Tar { part: "end".to_owned(), source })?;
    Ok(out)
}
