//! Which packages an image has: what package managers wrote down, and what programs and libraries say of themselves.
//!
//! | what                         | where                                                           | file        |
//! |------------------------------|-----------------------------------------------------------------|-------------|
//! | dpkg                         | `var/lib/dpkg/status`, `status.d/*` (images without dpkg)       | `dpkg`      |
//! | and their licences           | `usr/share/doc/NAME/copyright`                                  | `copyright` |
//! | apk                          | `lib/apk/db/installed`                                          | `apk`       |
//! | Python                       | `*.dist-info/METADATA`, `*.egg-info`                            | `python`    |
//! | npm                          | `node_modules/NAME/package.json`                                | `npm`       |
//! | rpm                          | `var/lib/rpm`, `usr/lib/sysimage/rpm`                           | `rpm`       |
//! | Go                           | programs: the modules they were built of                        | `go`        |
//! | cargo                        | programs built with `cargo auditable`; `Cargo.lock`             | `cargo`     |
//!
//! The tree is walked once, by names sorted by bytes; links are not followed, so what is seen is in the image, and once. A file is
//! read when its path or its first bytes say that a scanner knows it.
//!
//! The files are hostile. A file that is too long is not read, a record that makes no sense is left out, and so are records beyond
//! a number no image has: each of these is said in [`Inventory::remarks`] and ends nothing. What is found is bounded by
//! the limits below, so that memory is too.

mod apk;
mod cargo;
mod copyright;
mod dpkg;
mod elf;
mod go;
mod npm;
mod os;
mod python;
mod rpm;
mod stanza;
mod walk;

use std::collections::BTreeMap;

use super::licence::Licence;
use crate::fsutil::Dir;

pub use os::Os;

/// The longest list of all packages of a distribution that is read, in bytes: that of all of Debian is half as long.
const LIST_LIMIT: u64 = 128 << 20;

/// The longest other file that is read whole, in bytes.
const FILE_LIMIT: u64 = 16 << 20;

/// Most bytes that all packages together may take.
const TEXT_LIMIT: usize = 64 << 20;

/// Most files that are named for one package; more say the same.
const FOUND_LIMIT: usize = 16;

/// Most packages of an image, and most remarks.
const PACKAGE_LIMIT: usize = 200_000;
const REMARK_LIMIT: usize = 100;

/// Longest name, version or other field, in bytes.
const FIELD_LIMIT: usize = 4096;

/// A package that is in an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Package {
    /// Its ecosystem, as in its package URL: `deb`, `pypi`, ..
    pub(super) kind: &'static str,
    pub(super) name: String,
    /// May be empty.
    pub(super) version: String,
    pub(super) purl: String,
    pub(super) licence: Option<Licence>,
    /// Who gives it out: a name, and an address in angle brackets if there is one.
    pub(super) supplier: Option<String>,
    /// The source package it was built from, with its version.
    pub(super) source: Option<String>,
    /// Files that tell of it, sorted.
    pub(super) found: Vec<String>,
}

impl Package {
    fn length(&self) -> usize {
        let optional = [&self.supplier, &self.source].into_iter().flatten().map(String::len).sum::<usize>();
        let licence = self.licence.as_ref().map_or(0, Licence::length);
        self.name.len() + self.version.len() + self.purl.len() + optional + licence
    }
}

/// All that was found in an image.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Inventory {
    /// The distribution, if the image says.
    pub(super) os: Option<Os>,
    /// By package URL.
    pub(super) packages: BTreeMap<String, Package>,
    /// What was left out, and why; a line each.
    pub remarks: Vec<String>,
    /// What the packages take.
    bytes: usize,
    /// Licences of packages of dpkg, by their names.
    licences: BTreeMap<String, Licence>,
}

impl Inventory {
    /// Returns how many packages there are.
    pub fn len(&self) -> usize {
        self.packages.len()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }

    /// The distribution as package URLs have it; empty if the image does not say.
    fn distro(&self) -> String {
        self.os.as_ref().map(Os::distro).unwrap_or_default()
    }

    /// Who makes the distribution, as package URLs have it.
    fn vendor<'a>(&'a self, unsaid: &'a str) -> &'a str {
        self.os.as_ref().map_or(unsaid, |os| os.id.as_str())
    }

    /// Adds a package that the file at `path` tells of; one that is known already was found there, too.
    fn add(&mut self, path: &str, mut package: Package) {
        let fields = [&package.name, &package.version];
        if package.name.is_empty() || fields.iter().any(|field| field.len() > FIELD_LIMIT || has_controls(field)) {
            return self.remark(path, "a package without a proper name and version is left out");
        }
        let optional = [&mut package.supplier, &mut package.source];
        optional.into_iter().for_each(|field| {
            field.take_if(|text| text.trim().is_empty() || text.len() > FIELD_LIMIT || has_controls(text));
        });
        let is_new = !self.packages.contains_key(&package.purl);
        let bytes = if is_new { package.length() } else { 0 };
        if is_new && (self.packages.len() >= PACKAGE_LIMIT || self.bytes + bytes > TEXT_LIMIT) {
            return self.remark(path, "there are more packages than are listed");
        }
        self.bytes += bytes;
        let known = self.packages.entry(package.purl.clone()).or_insert(package);
        if known.found.last().is_none_or(|last| last != path) && known.found.len() < FOUND_LIMIT {
            known.found.push(path.to_owned());
        }
    }

    /// Says what was left out; only so often.
    fn remark(&mut self, path: &str, what: &str) {
        let remark = format!("/{}: {what}", crate::diag::printable(path));
        if self.remarks.len() < REMARK_LIMIT && self.remarks.last() != Some(&remark) {
            self.remarks.push(remark);
        }
    }
}

fn has_controls(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// Lists the packages of the tree at `root`. Blocks. Fails when the tree itself cannot be read; what a file holds is no reason to.
pub fn scan(root: &Dir) -> std::io::Result<Inventory> {
    let mut inventory = Inventory { os: os::read(root), ..Inventory::default() };
    walk::walk(root, &mut inventory)?;
    let licences = std::mem::take(&mut inventory.licences);
    for package in inventory.packages.values_mut() {
        if package.kind == dpkg::KIND && package.licence.is_none() {
            package.licence = licences.get(&package.name).cloned();
        }
        package.found.sort();
        package.found.dedup();
    }
    Ok(inventory)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Scans a tree of these files; returns its packages by URL, and the remarks.
    pub(crate) fn scanned(files: &[(&str, &[u8])]) -> Inventory {
        let temp = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            let path = temp.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        scan(&Dir::open(temp.path()).unwrap()).unwrap()
    }

    /// The same, of files that may be run.
    pub(crate) fn scanned_programs(files: &[(&str, &[u8])]) -> Inventory {
        use std::os::unix::fs::PermissionsExt as _;
        let temp = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            let path = temp.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        scan(&Dir::open(temp.path()).unwrap()).unwrap()
    }

    pub(crate) fn urls(inventory: &Inventory) -> Vec<&str> {
        inventory.packages.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_package_told_of_twice_is_listed_once() {
        let one: &[u8] = b"Name: a\nVersion: 1\n";
        let inventory = scanned(&[("y/a-1.dist-info/METADATA", one), ("x/a-1.dist-info/METADATA", one)]);
        assert_eq!(urls(&inventory), ["pkg:pypi/a@1"]);
        let found = &inventory.packages["pkg:pypi/a@1"].found;
        assert_eq!(found, &["x/a-1.dist-info/METADATA", "y/a-1.dist-info/METADATA"]);
    }

    proptest::proptest! {
        /// Any text in any of the lists gives something or nothing.
        #[test]
        fn any_text_does_no_harm(text in "([A-Za-z:=\\[\\]{}\"' \n.,@/-]|Package: |Status: install ok installed|Name: |Version: |P:|V:|L:|name|version|\\PC){0,200}") {
            for path in [
                "var/lib/dpkg/status", "usr/lib/apk/db/installed", "x.dist-info/METADATA", "node_modules/a/package.json",
                "Cargo.lock", "etc/os-release",
            ] {
                let inventory = scanned(&[(path, text.as_bytes())]);
                let about = crate::attest::About {
                    id: crate::digest::Digest::of(b""),
                    created: crate::fsutil::Timestamp::from_seconds(0),
                };
                crate::attest::document(&about, &inventory);
            }
        }
    }

    #[test]
    fn links_are_not_followed() {
        let (temp, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("status"), "Package: out\nVersion: 1\nStatus: install ok installed\n")
            .unwrap();
        std::fs::create_dir_all(temp.path().join("var/lib")).unwrap();
        std::os::unix::fs::symlink(outside.path(), temp.path().join("var/lib/dpkg")).unwrap();
        let status = temp.path().join("var/lib/status");
        std::os::unix::fs::symlink(outside.path().join("status"), status).unwrap();
        let inventory = scan(&Dir::open(temp.path()).unwrap()).unwrap();
        assert!(inventory.is_empty() && inventory.remarks.is_empty(), "{inventory:?}");
    }

    #[test]
    fn what_makes_no_sense_is_left_out_and_said() {
        let bad: &[u8] = b"Package: a\x07b\nVersion: 1\nStatus: install ok installed\n\nPackage: c\nVersion: 1\nStatus: install ok installed\n";
        let inventory = scanned(&[("var/lib/dpkg/status", bad)]);
        assert_eq!(urls(&inventory), ["pkg:deb/debian/c@1"]);
        assert_eq!(
            inventory.remarks,
            ["/var/lib/dpkg/status: a package without a proper name and version is left out"]
        );
    }
}
