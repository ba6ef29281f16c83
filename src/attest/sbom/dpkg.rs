//! Packages of dpkg (deb822(5), dpkg(1) "FILES").

use super::stanza::{Stanza, stanzas};
use super::{Inventory, Package};
use crate::attest::purl::purl;

/// Their ecosystem.
pub(super) const KIND: &str = "deb";

/// Reads a status file.
pub(super) fn read(path: &str, text: &str, inventory: &mut Inventory) {
    for stanza in stanzas(text).filter(is_installed) {
        let package = package(&stanza, inventory);
        inventory.add(path, package);
    }
}

/// The third word counts; what was removed and left its configuration is still listed. In `status.d` nothing is said.
fn is_installed(stanza: &Stanza<'_>) -> bool {
    stanza.get("Package").is_some()
        && stanza.get("Status").is_none_or(|status| status.split_whitespace().nth(2) == Some("installed"))
}

fn package(stanza: &Stanza<'_>, inventory: &Inventory) -> Package {
    let (name, version, architecture) = (stanza.text("Package"), stanza.text("Version"), stanza.text("Architecture"));
    let distro = inventory.distro();
    let vendor = inventory.vendor("debian");
    // `Source: name (version)`, where either differs from the package's.
    let source = stanza.get("Source").map(|source| match source.split_once('(') {
        Some((name, version)) => (name.trim().to_owned(), version.trim_end_matches(')').trim().to_owned()),
        None => (source.to_owned(), version.clone()),
    });
    let upstream =
        source.as_ref().map(|(source, of)| if *of == version { source.clone() } else { format!("{source}@{of}") });
    let qualifiers =
        [("arch", &*architecture), ("distro", &distro), ("upstream", upstream.as_deref().unwrap_or_default())];
    Package {
        kind: KIND,
        purl: purl("deb", &[vendor, &name], &version, &qualifiers),
        licence: None,
        supplier: stanza.get("Maintainer").map(str::to_owned),
        source: source.map(|(name, version)| format!("{name} {version}")),
        found: Vec::new(),
        name,
        version,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{scanned, urls};

    #[test]
    fn installed_packages_are_listed() {
        let status = b"Package: libc6\nStatus: install ok installed\nMaintainer: GNU Libc <x@lists.example>\nArchitecture: amd64\n\
            Source: glibc\nVersion: 2.36-9+deb12u4\nDescription: GNU C Library\n Package: not-this\n\n\
            Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
            Package: g++\nStatus: install ok installed\nArchitecture: amd64\nSource: gcc-defaults (1.203)\nVersion: 4:12.2.0-3\n";
        let os = b"ID=debian\nVERSION_ID=\"12\"\n";
        let inventory = scanned(&[("var/lib/dpkg/status", status), ("etc/os-release", os)]);
        assert_eq!(
            urls(&inventory),
            [
                "pkg:deb/debian/g%2B%2B@4:12.2.0-3?arch=amd64&distro=debian-12&upstream=gcc-defaults%401.203",
                "pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12&upstream=glibc",
            ]
        );
        let libc = inventory.packages.values().nth(1).unwrap();
        assert_eq!(libc.supplier.as_deref(), Some("GNU Libc <x@lists.example>"));
        assert_eq!(libc.source.as_deref(), Some("glibc 2.36-9+deb12u4"));
        assert_eq!(libc.found, ["var/lib/dpkg/status"]);
    }

    #[test]
    fn images_without_dpkg_list_theirs_in_a_directory() {
        let inventory = scanned(&[
            ("var/lib/dpkg/status.d/base", b"Package: base-files\nVersion: 12\n"),
            ("var/lib/dpkg/status.d/base.md5sums", b"Package: no\nVersion: 1\n"),
        ]);
        assert_eq!(urls(&inventory), ["pkg:deb/debian/base-files@12"]);
    }
}
