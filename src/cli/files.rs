//! `kiln diff` and `kiln cp`: the files of images.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use serde_json::{Value, json};

use super::environment::Environment;
use super::image_args::{CopyArguments, DiffArguments};
use super::report::{self, Exit};
use super::terminal;
use super::usage::UsageError;
use crate::images::{self, CopyTo, Difference, ImagesError, Unpacked};
use crate::sandbox::idmap::Entered;

/// `kiln diff`. Exits with 1 if the images differ and that is asked for, as `diff` does.
pub(super) fn diff(typed: &DiffArguments, entered: Entered) -> Exit {
    let root = Environment::read().and_then(|environment| environment.store(typed.store.store.as_deref()));
    let root = match root {
        Ok(root) => root,
        Err(error) => return report::refused(&error),
    };
    let found = Unpacked::open(&root, entered).and_then(|unpacked| {
        let find = |text: &str| images::find(&unpacked.store, text, None);
        images::diff(&unpacked, &find(&typed.one)?, &find(&typed.other)?)
    });
    match found {
        Ok(found) => {
            let line = |difference: &Difference| match typed.json {
                true => format!("{}\n", json_of(difference)),
                false => format!("{difference}\n"),
            };
            let printed = report::printed(terminal::print(&found.iter().map(line).collect::<String>()));
            if typed.exit_code && !found.is_empty() { Exit::Failed } else { printed }
        }
        Err(error) => report::of_images(&error),
    }
}

fn json_of(difference: &Difference) -> Value {
    match difference {
        Difference::Added(path) => json!({ "kind": "added", "path": path.to_string_lossy() }),
        Difference::Deleted(path) => json!({ "kind": "deleted", "path": path.to_string_lossy() }),
        Difference::Changed(path, what) => json!({ "kind": "changed", "path": path.to_string_lossy(), "what": what }),
        Difference::Config(name, one, other) => json!({ "kind": "config", "name": name, "from": one, "to": other }),
    }
}

/// `kiln cp`.
pub(super) fn copy(typed: &CopyArguments, entered: Entered) -> Exit {
    let prepared = Environment::read().and_then(|environment| {
        // The path begins after the last colon that a slash follows: names of images have colons, too.
        let split = typed.source.rfind(":/").or_else(|| typed.source.rfind(':'));
        let missing = || UsageError::malformed("IMAGE:PATH", &typed.source, "expected an image, a colon and a path");
        let at = split.filter(|at| *at > 0).ok_or_else(missing)?;
        if typed.destination == "-" && io::stdout().is_terminal() {
            return Err(UsageError::Terminal { flag: "kiln cp", instead: "a path in place of `-`" });
        }
        let destination = environment.absolute(&typed.destination);
        Ok((environment.store(typed.store.store.as_deref())?, at, destination))
    });
    let (root, at, destination) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return report::refused(&error),
    };
    let (image, path) = (&typed.source[..at], &typed.source[at + 1..]);
    let mut out = io::stdout();
    let to = if typed.destination == "-" { CopyTo::Archive(&mut out) } else { CopyTo::Path(destination) };
    match copied(&root, entered, image, path, typed.follow_link, to) {
        Ok(()) => Exit::Success,
        Err(error) => report::of_images(&error),
    }
}

fn copied(
    root: &Path,
    entered: Entered,
    image: &str,
    path: &str,
    follow: bool,
    to: CopyTo<'_>,
) -> Result<(), ImagesError> {
    let unpacked = Unpacked::open(root, entered)?;
    let image = images::find(&unpacked.store, image, None)?;
    images::copy(&unpacked, &image, path, follow, to)
}
