//! Crates that a Rust program was built of (`cargo auditable`: the section `.dep-v0`), and those that a `Cargo.lock` names.

use std::io::Read as _;

use serde::Deserialize;

use super::{Inventory, Package};
use crate::attest::purl::purl;

/// The section that has them: JSON, compressed by zlib.
pub(super) const SECTION: &str = ".dep-v0";

/// The longest list, in bytes: that of the format's own readers.
const LIMIT: u64 = 8 << 20;

#[derive(Deserialize)]
struct Auditable {
    packages: Vec<Crate>,
}

#[derive(Deserialize)]
struct Crate {
    name: String,
    version: String,
    /// `crates.io`, `git`, `local`, `registry`, ..
    source: Option<String>,
    /// `build` for what only ran during the build.
    kind: Option<String>,
}

/// Reads the section of the program at `path`.
pub(super) fn read_section(path: &str, section: &[u8], inventory: &mut Inventory) {
    let mut json = Vec::new();
    let inflated = flate2::read::ZlibDecoder::new(section).take(LIMIT + 1).read_to_end(&mut json);
    let list = match inflated {
        Ok(_) if json.len() as u64 <= LIMIT => serde_json::from_slice::<Auditable>(&json).ok(),
        _ => None,
    };
    let Some(list) = list else {
        return inventory.remark(path, "the list of crates of a program makes no sense");
    };
    for one in list.packages.into_iter().filter(|one| one.kind.as_deref() != Some("build")) {
        inventory.add(path, package(one));
    }
}

/// Reads a `Cargo.lock`.
pub(super) fn read_lock(path: &str, text: &str, inventory: &mut Inventory) {
    #[derive(Deserialize)]
    struct Lock {
        #[serde(default)]
        package: Vec<Crate>,
    }
    match toml::from_str::<Lock>(text) {
        Ok(lock) => lock.package.into_iter().for_each(|one| inventory.add(path, package(one))),
        Err(_) => inventory.remark(path, "this is no Cargo.lock"),
    }
}

fn package(one: Crate) -> Package {
    Package {
        kind: "cargo",
        purl: purl("cargo", &[&one.name], &one.version, &[]),
        licence: None,
        supplier: None,
        source: one.source.filter(|source| source.starts_with("git+")),
        found: Vec::new(),
        name: one.name,
        version: one.version,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::elf::tests::program;
    use super::super::tests::{scanned, scanned_programs, urls};
    use super::*;

    fn section(json: &str) -> Vec<u8> {
        let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        out.write_all(json.as_bytes()).unwrap();
        program(SECTION, &out.finish().unwrap(), true, false)
    }

    #[test]
    fn crates_of_programs_and_locks_are_listed() {
        let json = r#"{"packages":[
            {"name":"app","version":"0.1.0","source":"local","dependencies":[1],"root":true},
            {"name":"serde","version":"1.0.200","source":"crates.io"},
            {"name":"cc","version":"1.0.0","source":"crates.io","kind":"build"}]}"#;
        let inventory = scanned_programs(&[("usr/bin/app", &section(json))]);
        assert_eq!(urls(&inventory), ["pkg:cargo/app@0.1.0", "pkg:cargo/serde@1.0.200"]);
        let lock: &[u8] = b"version = 4\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry+x\"\n";
        let inventory = scanned(&[("src/Cargo.lock", lock), ("bad/Cargo.lock", b"=")]);
        assert_eq!(urls(&inventory), ["pkg:cargo/a@1.0.0"]);
        assert_eq!(inventory.remarks, ["/bad/Cargo.lock: this is no Cargo.lock"]);
    }

    #[test]
    fn a_list_that_is_too_long_is_not_read() {
        let long = format!("{{\"packages\":[]{}}}", " ".repeat(LIMIT as usize));
        let inventory = scanned_programs(&[("app", &section(&long))]);
        assert_eq!(inventory.remarks, ["/app: the list of crates of a program makes no sense"]);
        assert_eq!(scanned_programs(&[("app", &section("{"))]).remarks.len(), 1);
    }
}
