//! `kiln build`.

use std::path::PathBuf;

use super::args::BuildArguments;
use super::call::{self, CallOptions, Status};
use super::environment::Environment;
use super::interrupt::Interrupt;
use super::progress::{Mode, Progress};
use super::report::{self, Exit, Style};
use super::request::{build_request, is_unisolated};
use super::usage::UsageError;
use super::{describe, entered_as, metadata, terminal};
use crate::builder::{self, BuildOutcome, BuildRequest, Call, CallReport, FailureKind};
use crate::sandbox::idmap;
use crate::source::Sources;

/// Builds, reports, and says how to exit.
pub(super) fn run(typed: &BuildArguments) -> Exit {
    match Job::prepare(typed) {
        // To describe a Dockerfile takes no privilege.
        Ok(job) if job.call.call != Call::Build => job.run(),
        Ok(mut job) => {
            let entered = if job.unisolated { idmap::stay() } else { idmap::enter() };
            entered_as(entered, |entered| {
                job.request.entered = entered;
                job.run()
            })
        }
        Err(error) => report::refused(&error),
    }
}

/// A build that is ready to start, and what is to be said of it at its end.
struct Job {
    request: BuildRequest,
    /// Without namespaces.
    unisolated: bool,
    call: CallOptions,
    mode: Mode,
    color: bool,
    image_id_on_stdout: bool,
    image_id_file: Option<PathBuf>,
    metadata_file: Option<PathBuf>,
}

impl Job {
    fn prepare(typed: &BuildArguments) -> Result<Self, UsageError> {
        let environment = Environment::read()?;
        let mode = Mode::choose(typed.progress.as_deref(), typed.quiet, &environment)?;
        let request = build_request(typed, &environment)?;
        Ok(Self {
            unisolated: is_unisolated(typed.isolation.as_deref())?,
            call: call::call(typed)?,
            mode,
            color: environment.stderr_is_terminal && environment.variable("NO_COLOR").is_none(),
            image_id_on_stdout: typed.quiet,
            image_id_file: typed.iidfile.as_ref().map(|path| environment.absolute(path)),
            metadata_file: typed.metadata_file.as_ref().map(|path| environment.absolute(path)),
            request,
        })
    }

    fn run(self) -> Exit {
        let interrupt = match Interrupt::watch() {
            Ok(interrupt) => interrupt,
            Err(error) => return report::failed("cannot watch for signals", &error),
        };
        // A call prints its finding, which progress would only surround.
        let mode = if self.call.call == Call::Build { self.mode } else { Mode::Quiet };
        let progress = Progress::start(mode, self.request.now);
        let ended = builder::build(self.request.clone(), progress.sink(), interrupt.cancel());
        progress.finish();
        match ended {
            Ok(outcome) => self.succeed(&outcome),
            Err(mut failure) => {
                if interrupt.came() {
                    failure.kind = FailureKind::Canceled;
                }
                let for_logs = matches!(self.mode, Mode::Plain | Mode::RawJson);
                terminal::print_error(&report::failure(&failure, Style { color: self.color, for_logs }));
                Exit::of(failure.kind)
            }
        }
    }

    fn succeed(&self, outcome: &BuildOutcome) -> Exit {
        if let Some(found) = &outcome.report {
            return self.print_report(found, &outcome.sources);
        }
        // Programs get them as objects of the stream.
        if matches!(self.mode, Mode::Plain | Mode::Tty) {
            let warnings = report::warnings(&outcome.warnings, &outcome.sources, self.color);
            terminal::print_error(&warnings);
        }
        let image = outcome.image.as_ref();
        if let (Some(path), Some(image)) = (&self.image_id_file, image)
            && let Err(error) = metadata::write_image_id(path, image)
        {
            return report::failed("cannot write the file of --iidfile", &error);
        }
        if let Some(path) = &self.metadata_file
            && let Err(error) = metadata::write_metadata(path, image)
        {
            return report::failed("cannot write the file of --metadata-file", &error);
        }
        match image.filter(|_| self.image_id_on_stdout) {
            Some(image) => report::printed(terminal::print(&format!("{}\n", metadata::id_of(image)))),
            None => Exit::Success,
        }
    }

    fn print_report(&self, found: &CallReport, sources: &Sources) -> Exit {
        let description = describe::describe(found, sources, self.call.json, self.color);
        let printed = report::printed(terminal::print(&description.text));
        terminal::print_error(&description.error);
        let has_error = !description.error.is_empty();
        let fails = match self.call.status {
            Status::Findings => has_error || description.has_warnings,
            Status::Errors => has_error,
            Status::Never => false,
        };
        if printed == Exit::Success && fails { Exit::Failed } else { printed }
    }
}
