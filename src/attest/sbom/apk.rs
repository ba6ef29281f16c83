//! Packages of apk: `lib/apk/db/installed`, records of lines that begin with one letter (apk-tools, "APKINDEX format").

use super::stanza::{Stanza, stanzas};
use super::{Inventory, Package};
use crate::attest::licence::Licence;
use crate::attest::purl::purl;

/// Reads a list of installed packages.
pub(super) fn read(path: &str, text: &str, inventory: &mut Inventory) {
    for stanza in stanzas(text).filter(|stanza| stanza.get("P").is_some()) {
        let package = package(&stanza, inventory);
        inventory.add(path, package);
    }
}

fn package(stanza: &Stanza<'_>, inventory: &Inventory) -> Package {
    let (name, version, architecture) = (stanza.text("P"), stanza.text("V"), stanza.text("A"));
    let distro = inventory.distro();
    let vendor = inventory.vendor("alpine");
    let origin = stanza.get("o").filter(|origin| *origin != name);
    let qualifiers = [("arch", &*architecture), ("distro", &distro), ("upstream", origin.unwrap_or_default())];
    Package {
        kind: "apk",
        purl: purl("apk", &[vendor, &name], &version, &qualifiers),
        licence: stanza.get("L").and_then(Licence::of),
        supplier: stanza.get("m").map(str::to_owned),
        source: origin.map(|origin| format!("{origin} {version}")),
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
        let installed = b"C:Q1abc=\nP:busybox-binsh\nV:1.36.1-r15\nA:x86_64\nS:1\nT:a shell\nL:GPL-2.0-only\no:busybox\n\
            m:S\xc3\xb6ren <s@alpine.example>\np:/bin/sh cmd:sh=1\nF:bin\nR:sh\n\nP:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\no:musl\n\n";
        let os = b"ID=alpine\nVERSION_ID=3.19.1\n";
        let inventory = scanned(&[("usr/lib/apk/db/installed", installed), ("etc/os-release", os)]);
        assert_eq!(
            urls(&inventory),
            [
                "pkg:apk/alpine/busybox-binsh@1.36.1-r15?arch=x86_64&distro=alpine-3.19.1&upstream=busybox",
                "pkg:apk/alpine/musl@1.2.4-r2?arch=x86_64&distro=alpine-3.19.1",
            ]
        );
        let first = inventory.packages.values().next().unwrap();
        assert_eq!(first.licence.as_ref().unwrap().expression(), "GPL-2.0-only");
        assert_eq!(first.supplier.as_deref(), Some("Sören <s@alpine.example>"));
    }
}
