//! Python distributions: what installers leave beside the modules (Core metadata specifications).

use super::stanza::{Stanza, stanzas};
use super::{Inventory, Package};
use crate::attest::licence::Licence;
use crate::attest::purl::purl;

/// Reads `METADATA` or `PKG-INFO`: headers, then perhaps a text of any kind.
pub(super) fn read(path: &str, text: &str, inventory: &mut Inventory) {
    let Some(headers) = stanzas(text).next().filter(|headers| headers.get("Name").is_some()) else {
        return inventory.remark(path, "these are no metadata of a Python distribution");
    };
    inventory.add(path, package(&headers));
}

fn package(headers: &Stanza<'_>) -> Package {
    let (name, version) = (headers.text("Name"), headers.text("Version"));
    let licence = headers.get("License-Expression").or(headers.get("License")).and_then(Licence::of);
    let maker = |name: &str, address: &str| match (headers.get(name), headers.get(address)) {
        // The address may hold the name itself.
        (_, Some(address)) if address.contains('<') => Some(address.to_owned()),
        (Some(name), Some(address)) if !name.is_empty() => Some(format!("{name} <{address}>")),
        (name, _) => name.map(str::to_owned),
    };
    Package {
        kind: "pypi",
        purl: purl("pypi", &[&normal(&name)], &version, &[]),
        licence: licence.or_else(|| of_classifiers(headers)),
        supplier: maker("Author", "Author-email").or_else(|| maker("Maintainer", "Maintainer-email")),
        source: None,
        found: Vec::new(),
        name,
        version,
    }
}

/// `License :: OSI Approved :: MIT License`: the last part are the words.
fn of_classifiers(headers: &Stanza<'_>) -> Option<Licence> {
    let stated = headers.all("Classifier").find_map(|text| text.strip_prefix("License :: "))?;
    Licence::of(stated.rsplit(" :: ").next()?)
}

/// Names that differ only in case and in runs of `-`, `_` and `.` are the same (PEP 503).
fn normal(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '-' | '_' | '.' if out.ends_with('-') => {}
            '-' | '_' | '.' => out.push('-'),
            other => out.extend(other.to_lowercase()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::{scanned, urls};

    #[test]
    fn distributions_of_all_forms_are_listed() {
        let inventory = scanned(&[
            (
                "usr/lib/python3/dist-packages/Zope.Interface-5.5.dist-info/METADATA",
                b"Metadata-Version: 2.1\nName: Zope.Interface\nVersion: 5.5\nAuthor: A\nAuthor-email: a@example.com\n\
                  License: ZPL-2.1\nClassifier: License :: OSI Approved :: MIT License\n\nVersion: 6 is a joke\n",
            ),
            (
                "opt/a/old-1.egg-info",
                b"Name: old\nVersion: 1\nLicense: UNKNOWN\n\
                Classifier: License :: OSI Approved :: MIT License\n",
            ),
            ("opt/b/egg_2.egg-info/PKG-INFO", b"Name: egg__2\nVersion: 2\nLicense-Expression: MIT OR BSD-3-Clause\n"),
            ("opt/c/x.dist-info/METADATA", b"nothing\n"),
            ("opt/METADATA", b"Name: elsewhere\n"),
        ]);
        assert_eq!(urls(&inventory), ["pkg:pypi/egg-2@2", "pkg:pypi/old@1", "pkg:pypi/zope-interface@5.5"]);
        let licence = |url: &str| inventory.packages[url].licence.as_ref().unwrap().expression();
        assert_eq!(licence("pkg:pypi/egg-2@2"), "MIT OR BSD-3-Clause");
        assert_eq!(licence("pkg:pypi/zope-interface@5.5"), "ZPL-2.1");
        assert!(licence("pkg:pypi/old@1").starts_with("LicenseRef-"));
        assert_eq!(inventory.packages["pkg:pypi/zope-interface@5.5"].supplier.as_deref(), Some("A <a@example.com>"));
        assert_eq!(inventory.remarks, ["/opt/c/x.dist-info/METADATA: these are no metadata of a Python distribution"]);
    }
}
