//! What the steps of a build were when it last had something to do.
//!
//! ```text
//! cache/builds/<key hex>    one JSON object a build, by what is built: its context, Dockerfile, target and platforms
//! ```
//!
//! It explains why a step is not what it was, and tells how long steps take. Nothing depends on it: one that is missing or
//! damaged is none.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{CacheError, Key};
use crate::digest::DiffId;
use crate::fsutil::write_atomically;

/// The steps of a build, in their order.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LastBuild {
    /// Its steps.
    pub steps: Vec<LastStep>,
}

/// A step as it was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LastStep {
    /// What users see, for example `[builder 2/5] RUN make`.
    pub name: String,
    /// Its key, as hex digits; empty of an image.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// The facts behind the key, as `cache::explain` writes them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub facts: String,
    /// Its layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<DiffId>,
    /// How long it took to make, in milliseconds, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<u64>,
}

impl LastStep {
    /// An image, which has no key.
    pub fn of_image(name: &str) -> Self {
        Self { name: name.to_owned(), key: String::new(), facts: String::new(), layer: None, milliseconds: None }
    }
}

impl LastBuild {
    /// Returns the step that a step of this name was: the one of the same stage with the same words, or else in the same place.
    pub fn step(&self, name: &str) -> Option<&LastStep> {
        let (stage, number, words) = parts(name);
        let same = |wanted: &dyn Fn((&str, &str, &str)) -> bool| {
            self.steps.iter().find(|step| {
                let parts = parts(&step.name);
                parts.0 == stage && wanted(parts)
            })
        };
        same(&|(_, at, said)| at == number && said == words)
            .or_else(|| same(&|(_, _, said)| said == words))
            .or_else(|| same(&|(_, at, _)| at == number))
    }
}

/// `[builder 2/5] RUN make` is stage `builder`, number `2` and `RUN make`.
fn parts(name: &str) -> (&str, &str, &str) {
    let (head, words) = name.strip_prefix('[').and_then(|rest| rest.split_once("] ")).unwrap_or(("", name));
    let (stage, place) = head.rsplit_once(' ').map_or(("", head), |(stage, place)| (stage.trim_end(), place));
    (stage, place.split('/').next().unwrap_or(place).trim(), words)
}

pub(super) fn read(directory: &Path, build: &Key) -> Option<LastBuild> {
    serde_json::from_slice(&std::fs::read(directory.join(build.hex())).ok()?).ok()
}

pub(super) fn write(directory: &Path, build: &Key, last: &LastBuild) -> Result<(), CacheError> {
    let path = directory.join(build.hex());
    let bytes = serde_json::to_vec(last).expect("strings and numbers");
    let written = std::fs::create_dir_all(directory).and_then(|()| write_atomically(&path, &bytes));
    written.map_err(|source| CacheError { doing: "write", path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(names: &[&str]) -> LastBuild {
        let step = |name: &&str| LastStep {
            name: (*name).to_owned(),
            key: String::new(),
            facts: String::new(),
            layer: None,
            milliseconds: None,
        };
        LastBuild { steps: names.iter().map(step).collect() }
    }

    #[test]
    fn a_step_is_found_by_its_words_before_its_place() {
        let last = last(&["[1/3] FROM a", "[2/3] COPY . .", "[3/3] RUN make", "[b 2/2] COPY . .", "[b  3/10] RUN x"]);
        let found = |name: &str| last.step(name).map(|step| step.name.as_str());
        assert_eq!(found("[2/3] COPY . ."), Some("[2/3] COPY . ."));
        assert_eq!(found("[2/4] RUN make"), Some("[3/3] RUN make"), "moved");
        assert_eq!(found("[2/3] COPY a b"), Some("[2/3] COPY . ."), "other words at the same place");
        assert_eq!(found("[b 7/7] COPY . ."), Some("[b 2/2] COPY . ."));
        assert_eq!(found("[b 3/10] RUN y"), Some("[b  3/10] RUN x"));
        assert_eq!(found("[c 2/2] COPY . ."), None);
        assert_eq!(found("[4/4] RUN new"), None);
    }

    #[test]
    fn what_is_damaged_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let build = crate::cache::KeyHasher::default().finish();
        assert_eq!(read(directory.path(), &build), None);
        let written = last(&["[1/1] RUN x"]);
        write(directory.path(), &build, &written).unwrap();
        assert_eq!(read(directory.path(), &build), Some(written));
        std::fs::write(directory.path().join(build.hex()), "{").unwrap();
        assert_eq!(read(directory.path(), &build), None);
    }
}
