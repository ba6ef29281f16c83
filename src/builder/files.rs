//! `type=local` and `type=tar`: the files of a result.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::failure::{environment, failure};
use super::outputs::{Delivery, view};
use super::remote::blocking;
use super::{BuildFailure, BuildRequest, ContextSource, Destination, FailureKind, LocalDirectory, NamedContext};
use crate::export::{self, Files, LocalError, Paths, Report};
use crate::fsutil::{Dir, Timestamp};
use crate::progress::VertexId;

/// The files of one platform, by the name of the directory that they may get.
struct View {
    platform: String,
    files: Dir,
}

impl Delivery<'_> {
    /// Writes the files into a directory.
    pub(super) async fn files(&self, local: &LocalDirectory) -> Result<(), BuildFailure> {
        let (local, time) = (local.clone(), self.file_time());
        let split = local.split.unwrap_or(self.set.index.is_some());
        let write = async |id| {
            let (views, report) = (self.views(id).await?, self.report(id));
            blocking(move || write(&local, split, &views, time, &report)).await
        };
        self.vertices.show("exporting to client directory".to_owned(), write).await
    }

    /// Writes the files as one tar.
    pub(super) async fn files_tar(&self, destination: &Destination, split: Option<bool>) -> Result<(), BuildFailure> {
        let (destination, time) = (destination.clone(), self.file_time());
        let split = split.unwrap_or(self.set.index.is_some());
        let write = async |id| {
            let (views, report) = (self.views(id).await?, self.report(id));
            let files = together(views, split)?;
            blocking(move || {
                let wrong = |error: &(dyn std::error::Error + 'static)| failure(FailureKind::Environment, error);
                match destination {
                    Destination::File(path) => {
                        export::to_file(&path, |out| export::write_files_tar(&files, time, out, &report))
                            .map_err(|e| wrong(&e))
                    }
                    Destination::Stdout => {
                        let out = BufWriter::new(std::io::stdout().lock());
                        let mut out =
                            export::write_files_tar(&files, time, out, &report).map_err(|error| wrong(&error))?;
                        out.flush().map_err(|error| environment("cannot write to standard output", &error))
                    }
                }
            })
            .await
        };
        self.vertices.show("exporting to client tarball".to_owned(), write).await
    }

    async fn views(&self, id: VertexId) -> Result<Vec<View>, BuildFailure> {
        let mut views = Vec::new();
        for (built, image) in self.built.iter().zip(&self.set.images) {
            let files = view(self.open, self.worker, &built.layers, id).await?;
            views.push(View { platform: export::platform_directory(&image.platform), files });
        }
        Ok(views)
    }

    /// SOURCE_DATE_EPOCH is the time of every file that comes out.
    fn file_time(&self) -> Option<Timestamp> {
        self.worker.settings.epoch.map(Timestamp::from_seconds)
    }
}

fn together(mut views: Vec<View>, split: bool) -> Result<Files, BuildFailure> {
    match (split, views.len()) {
        (false, 1) => Ok(Files::One(views.swap_remove(0).files)),
        (true, _) => Ok(Files::ByPlatform(views.into_iter().map(|view| (view.platform, view.files)).collect())),
        (false, _) => {
            let message = "the files of several platforms go into a tar as a directory for each";
            let mut failure = BuildFailure::new(FailureKind::User, message);
            failure
                .help
                .push("leave `platform-split=false` out, or write a directory: `-o type=local,dest=DIR`".to_owned());
            Err(failure)
        }
    }
}

fn write(
    local: &LocalDirectory,
    split: bool,
    views: &[View],
    time: Option<Timestamp>,
    report: &Report,
) -> Result<(), BuildFailure> {
    let wrong = |error: LocalError| failure(FailureKind::Environment, &error);
    let prefix = |view: &View| if split { PathBuf::from(&view.platform) } else { PathBuf::new() };
    let mut paths = Paths::default();
    if local.delete || (!split && views.len() > 1) {
        for view in views {
            let own = Paths::of(&view.files, &prefix(view)).map_err(wrong)?;
            if let Some(clash) = paths.merge(own).filter(|_| !split) {
                return Err(two_platforms(&clash, &view.platform));
            }
        }
    }
    for view in views {
        export::write_local(&view.files, &local.path.join(prefix(view)), time, report).map_err(wrong)?;
    }
    if local.delete {
        export::remove_others(&local.path, &paths).map_err(wrong)?;
    }
    Ok(())
}

fn two_platforms(path: &Path, platform: &str) -> BuildFailure {
    let platform = platform.replace('_', "/");
    let message = format!(
        "cannot overwrite `{}` with that of {platform} when split option is disabled: another platform has it too",
        path.display()
    );
    let mut failure = BuildFailure::new(FailureKind::User, message);
    failure
        .help
        .push("leave `platform-split=false` out, or give the files of each platform names of their own".to_owned());
    failure
}

/// Refuses a `mode=delete` that would take what the build itself needs: files are removed that no build can make again.
pub(super) fn check_deletion(request: &BuildRequest, local: &LocalDirectory) -> Result<(), BuildFailure> {
    if !local.delete {
        return Ok(());
    }
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut needed = vec![("the store", request.store.clone())];
    if let ContextSource::Directory(path) = &request.context {
        needed.push(("the build context", path.clone()));
    }
    for context in request.build_contexts.values() {
        match context {
            NamedContext::Directory(path) => needed.push(("a named context", path.clone())),
            NamedContext::OciLayout { path, .. } => needed.push(("a named context", path.clone())),
            _ => {}
        }
    }
    let dest = real(&local.path);
    let Some((what, path)) = needed.iter().find(|(_, path)| real(path).starts_with(&dest)) else { return Ok(()) };
    let message = format!("mode=delete would remove {what}, `{}`", path.display());
    let mut failure = BuildFailure::new(FailureKind::User, message);
    failure.help.push("give `dest=` a directory that holds nothing but the result".to_owned());
    Err(failure)
}
