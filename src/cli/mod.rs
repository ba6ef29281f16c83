//! The command line: arguments to requests, events to progress, outcomes to reports and exit codes.
//!
//! ```text
//! args (as typed) --request, environment--> BuildRequest --builder--> outcome --report, metadata--> terminal, files
//!                                              events --progress::{plain, tty, rawjson}--> standard error
//! ```
//!
//! One verb, one file. Only here is the environment read, the clock asked and something printed. Standard
//! output carries results (an image id, a list, an archive); everything else goes to standard error.

mod account;
mod age;
mod annotations;
mod archive;
mod args;
mod attestations;
mod buckets;
mod build;
mod caches;
mod call;
mod describe;
mod doctor;
mod du;
mod engines;
mod environment;
mod fault;
mod fields;
mod files;
mod image_args;
mod images;
mod interrupt;
mod limits;
mod look;
mod manifest;
mod metadata;
mod name;
mod names;
mod outputs;
mod progress;
mod proxy;
mod prune;
mod registries;
mod report;
mod request;
mod run;
mod secrets;
mod services;
mod sign;
mod size;
mod sources;
mod table;
mod template;
mod terminal;
mod transfer;
mod usage;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Arguments, Verb};
use report::Exit;

use crate::sandbox::idmap::{self, Entered, IdmapError};

/// Does what `arguments` (the program's name first) ask for.
///
/// Must be called while the process has one thread: a verb that builds enters its namespaces here, and threads would
/// stay outside.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    fault::end_on_panic();
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(answer) => {
            if answer.use_stderr() && answer.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                return report::not_understood(&answer).into();
            }
            let exit = if answer.use_stderr() { Exit::Usage } else { Exit::Success };
            // Help that nobody reads to its end is no failure.
            let _ = answer.print();
            return exit.into();
        }
    };
    let exit = match arguments.verb {
        Verb::Run(typed) => return run::run(&typed),
        Verb::Diff(typed) => entered_as(idmap::enter(), |entered| files::diff(&typed, entered)),
        Verb::Cp(typed) => entered_as(idmap::enter(), |entered| files::copy(&typed, entered)),
        Verb::Build(typed) => build::run(&typed),
        Verb::Images(typed) => images::run(&typed),
        Verb::Inspect(typed) => look::inspect(&typed),
        Verb::History(typed) => look::history(&typed),
        Verb::Tag(typed) => name::tag(&typed),
        Verb::Save(typed) => archive::save(&typed),
        Verb::Load(typed) => archive::load(&typed),
        Verb::Import(typed) => archive::import(&typed),
        Verb::Pull(typed) => transfer::pull(&typed),
        Verb::Push(typed) => transfer::push(&typed),
        Verb::Sign(typed) => sign::sign(&typed),
        Verb::Verify(typed) => sign::verify(&typed),
        Verb::GenerateKeyPair(typed) => sign::generate_key_pair(&typed),
        Verb::Manifest(manifest::ManifestVerb::Rm(typed)) => with_files_of_others(|| manifest::remove(&typed)),
        Verb::Manifest(typed) => manifest::run(&typed),
        Verb::Imagetools(typed) => manifest::imagetools(&typed),
        Verb::Rmi(typed) => with_files_of_others(|| name::remove(&typed)),
        Verb::Login(typed) => account::login(&typed),
        Verb::Logout(typed) => account::logout(&typed),
        Verb::Doctor(typed) => doctor::run(&typed, idmap::enter()),
        Verb::Du(typed) => with_files_of_others(|| du::run(&typed)),
        Verb::Prune(typed) => with_files_of_others(|| prune::run(&typed)),
    };
    exit.into()
}

/// Goes on with the rights that it takes to read and remove unpacked layers: those of an ordinary user's builds hold files of
/// other users, which only the namespace may touch.
fn with_files_of_others(verb: impl FnOnce() -> Exit) -> Exit {
    match rustix::process::geteuid().is_root() {
        true => verb(),
        false => entered_as(idmap::enter(), |_| verb()),
    }
}

/// Goes on with the rights that a build needs, or says why there are none.
fn entered_as(entered: Result<Entered, IdmapError>, verb: impl FnOnce(Entered) -> Exit) -> Exit {
    match entered {
        Ok(entered) => verb(entered),
        Err(error) => {
            terminal::print_error(&format!("ERROR: {}\n", crate::diag::chain(&error)));
            Exit::Environment
        }
    }
}
