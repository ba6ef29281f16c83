//! Packages of rpm: its database, in each form that it has had. What is read of any of them are the headers of packages.
//!
//! | form        | file              | since    | read by  |
//! |-------------|-------------------|----------|----------|
//! | SQLite      | `rpmdb.sqlite`    | rpm 4.16 | `sqlite` |
//! | ndb         | `Packages.db`     | rpm 4.14 | `ndb`    |
//! | Berkeley DB | `Packages`        | always   | `berkeley` |
//!
//! Only one table is wanted, to be read once and never written, of a file that nobody vouches for. So these are readers of their own that
//! follow the published formats, take no more memory than a header, and cannot do more harm than to find nothing.

mod berkeley;
mod header;
mod ndb;
mod sqlite;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::{Inventory, Package};
use crate::attest::licence::Licence;
use crate::attest::purl::purl;
use header::Header;

/// The longest header of a package, in bytes: rpm's own limit is 256 MiB, of which the lists of files are most.
const HEADER_LIMIT: u64 = 64 << 20;

/// Whether this is where rpm has its database, below the root of an image.
pub(super) fn is_database(parent: &str, name: &str) -> bool {
    ["var/lib/rpm", "usr/lib/sysimage/rpm"].contains(&parent)
        && ["rpmdb.sqlite", "rpmdb.sqlite-wal", "Packages.db", "Packages"].contains(&name)
}

/// Reads a database. What is damaged in it ends the reading of it; what was found before stays.
pub(super) fn read(path: &str, file: &File, inventory: &mut Inventory) {
    let pages = match Pages::of(file) {
        Ok(pages) => pages,
        Err(error) => return inventory.remark(path, &format!("cannot be read: {error}")),
    };
    let distro = inventory.distro();
    let vendor = inventory.vendor("").to_owned();
    let mut take = |bytes: &[u8]| match Header::read(bytes).and_then(|header| package(&header)) {
        Some(Installed::Package(package)) => inventory.add(path, package.named(&vendor, &distro)),
        Some(Installed::Key) => {}
        None => inventory.remark(path, "a package whose header makes no sense is left out"),
    };
    let read = match path.rsplit('/').next() {
        Some("rpmdb.sqlite") => sqlite::read(&pages, &mut take),
        Some("Packages.db") => ndb::read(&pages, &mut take),
        Some("Packages") => berkeley::read(&pages, &mut take),
        _ if pages.length > 0 => Err(bad("what is in the log and not yet in the database is not seen")),
        _ => Ok(()),
    };
    if let Err(error) = read {
        inventory.remark(path, &error.to_string());
    }
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A file that is read here and there.
struct Pages<'a> {
    file: &'a File,
    length: u64,
}

impl<'a> Pages<'a> {
    fn of(file: &'a File) -> io::Result<Self> {
        Ok(Self { file, length: file.metadata()?.len() })
    }

    /// For what a database lists: no part of the file belongs to two packages.
    fn budget(&self) -> Budget {
        Budget(self.length)
    }

    /// Reads `length` bytes; what is not in the file is an error before there is memory for it.
    fn at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        if offset.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(bad("the database is cut short"));
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

/// How many bytes all that is listed may still have.
struct Budget(u64);

impl Budget {
    fn take(&mut self, length: usize) -> io::Result<()> {
        self.0 = self.0.checked_sub(length as u64).ok_or(bad("its headers overlap"))?;
        Ok(())
    }
}

enum Installed {
    Package(Box<Facts>),
    /// A key that the user trusts is listed as if it were a package.
    Key,
}

/// What a header says of a package.
struct Facts {
    name: String,
    version: String,
    epoch: String,
    architecture: String,
    source: String,
    licence: String,
    supplier: String,
}

fn package(header: &Header<'_>) -> Option<Installed> {
    let name = header.text(header::NAME)?;
    if name == "gpg-pubkey" {
        return Some(Installed::Key);
    }
    let text = |tag| header.text(tag).unwrap_or_default();
    let version = format!("{}-{}", header.text(header::VERSION)?, header.text(header::RELEASE)?);
    let supplier = header.text(header::VENDOR).or_else(|| header.text(header::PACKAGER)).unwrap_or_default();
    Some(Installed::Package(Box::new(Facts {
        name,
        version,
        epoch: header.number(header::EPOCH).map(|epoch| epoch.to_string()).unwrap_or_default(),
        architecture: text(header::ARCHITECTURE),
        source: text(header::SOURCE),
        licence: text(header::LICENCE),
        supplier,
    })))
}

impl Facts {
    fn named(self, vendor: &str, distro: &str) -> Package {
        let qualifiers =
            [("arch", &*self.architecture), ("distro", distro), ("epoch", &self.epoch), ("upstream", &self.source)];
        let purl = purl("rpm", &[vendor, &self.name], &self.version, &qualifiers);
        let version = match self.epoch.as_str() {
            "" => self.version,
            epoch => format!("{epoch}:{}", self.version),
        };
        Package {
            kind: "rpm",
            name: self.name,
            version,
            purl,
            licence: Licence::of(&self.licence),
            supplier: Some(self.supplier).filter(|text| !text.is_empty() && text != "(none)"),
            source: Some(self.source).filter(|text| !text.is_empty()),
            found: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{scanned, urls};
    use super::header::tests::blob;
    use super::*;

    /// A database in each form, made by rpm 4.18 and db 5.3 (`testdata/rpm/README.md`).
    fn made(name: &str) -> Vec<u8> {
        std::fs::read(format!("testdata/rpm/{name}")).unwrap()
    }

    #[test]
    fn each_form_gives_the_same_packages() {
        let os: &[u8] = b"ID=fedora\nVERSION_ID=40\n";
        for name in ["rpmdb.sqlite", "Packages.db", "Packages"] {
            let bytes = made(name);
            let path = format!("usr/lib/sysimage/rpm/{name}");
            let inventory = scanned(&[(&path, &bytes), ("etc/os-release", os)]);
            assert_eq!(
                urls(&inventory),
                [
                    "pkg:rpm/fedora/hello@1.0-2?arch=noarch&distro=fedora-40&epoch=3&upstream=hello-1.0-2.src.rpm",
                    "pkg:rpm/fedora/large@7-1?arch=noarch&distro=fedora-40&upstream=large-7-1.src.rpm",
                ],
                "{name}: {:?}",
                inventory.remarks
            );
            assert!(inventory.remarks.is_empty(), "{name}: {:?}", inventory.remarks);
            let hello = inventory.packages.values().next().unwrap();
            assert_eq!(hello.version, "3:1.0-2");
            assert_eq!(hello.licence.as_ref().unwrap().expression(), "MIT");
            assert_eq!(hello.supplier.as_deref(), Some("The Vendor"));
        }
    }

    #[test]
    fn keys_are_no_packages() {
        let header = blob(&[(header::NAME, "gpg-pubkey")]);
        assert!(matches!(package(&Header::read(&header).unwrap()), Some(Installed::Key)));
        assert!(package(&Header::read(&blob(&[(header::NAME, "x")])).unwrap()).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A database whose bytes were changed gives something or nothing, and a remark.
        #[test]
        fn damaged_databases_do_no_harm(
            form in 0..3usize,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
            cut in any::<prop::sample::Index>(),
            is_cut in any::<bool>(),
        ) {
            let name = ["rpmdb.sqlite", "Packages.db", "Packages"][form];
            let mut bytes = made(name);
            for (at, value) in changes {
                // Most of what matters stands at the start of a page.
                let at = at.index(bytes.len());
                let at = if value % 2 == 0 { at / 4096 * 4096 + at % 64 } else { at };
                let end = bytes.len() - 1;
                bytes[at.min(end)] = value;
            }
            if is_cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            scanned(&[(&format!("var/lib/rpm/{name}"), &bytes)]);
        }
    }
}
