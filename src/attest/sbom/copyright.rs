//! Licences of Debian packages: `usr/share/doc/NAME/copyright`, where it is written for machines ("Machine-readable debian/copyright file").

use std::collections::BTreeSet;

use super::Inventory;
use super::stanza::stanzas;
use crate::attest::licence::Licence;

/// The package whose licences the file at a path tells of.
pub(super) fn package_of(path: &str) -> Option<&str> {
    let package = path.strip_prefix("usr/share/doc/")?.strip_suffix("/copyright")?;
    (!package.contains('/')).then_some(package)
}

/// Reads the licences of all files of a package. Most files of this name are written for people; of them nothing is known.
pub(super) fn read(path: &str, text: &str, inventory: &mut Inventory) {
    let mut all = stanzas(text);
    let is_for_machines =
        all.next().and_then(|first| first.get("Format")).is_some_and(|format| format.contains("copyright-format"));
    let Some(package) = package_of(path).filter(|_| is_for_machines) else { return };
    let of_files = all.filter(|stanza| stanza.get("Files").is_some());
    let names: BTreeSet<&str> =
        of_files.filter_map(|stanza| stanza.get("License")).filter(|name| !name.is_empty()).collect();
    if let Some(licence) = together(&names) {
        inventory.licences.insert(package.to_owned(), licence);
    }
}

/// All of them hold. If SPDX has no name for one, the words stay as they are.
fn together(names: &BTreeSet<&str>) -> Option<Licence> {
    let listed: Option<BTreeSet<String>> = names.iter().map(|name| listed(name)).collect();
    let joined = |names: Vec<String>| {
        let alone = names.len() == 1;
        let parenthesized =
            names.into_iter().map(|name| if alone || !name.contains(' ') { name } else { format!("({name})") });
        parenthesized.collect::<Vec<_>>().join(" AND ")
    };
    let licence = listed.and_then(|listed| Licence::of(&joined(listed.into_iter().collect())));
    match licence {
        Some(licence @ Licence::Expression(_)) => Some(licence),
        _ => Licence::of(&joined(names.iter().map(|name| (*name).to_owned()).collect())),
    }
}

/// A name, or several with `and` and `or`, in the words of SPDX.
fn listed(text: &str) -> Option<String> {
    let words = text.split_whitespace().map(|word| match word {
        "and" | "or" => Some(word.to_uppercase()),
        // Commas change what binds closer, and exceptions have other names.
        _ if word.ends_with(',') || word == "with" => None,
        name => Some(spdx_name(name)),
    });
    Some(words.collect::<Option<Vec<_>>>()?.join(" "))
}

fn spdx_name(name: &str) -> String {
    let known = match name {
        "Expat" => "MIT",
        "Apache-2" => "Apache-2.0",
        "BSD-2-clause" => "BSD-2-Clause",
        "BSD-3-clause" => "BSD-3-Clause",
        "BSD-4-clause" => "BSD-4-Clause",
        "CC0" => "CC0-1.0",
        "zlib" | "ZLIB" => "Zlib",
        other => return of_gnu(other).unwrap_or_else(|| other.to_owned()),
    };
    known.to_owned()
}

/// `GPL-2+` is `GPL-2.0-or-later`.
fn of_gnu(name: &str) -> Option<String> {
    let (family, version) =
        name.split_once('-').filter(|(family, _)| ["GPL", "LGPL", "AGPL", "GFDL"].contains(family))?;
    let (version, is_open) = version.strip_suffix('+').map_or((version, false), |version| (version, true));
    let is_number = version.chars().all(|c| c.is_ascii_digit() || c == '.') && !version.is_empty();
    let dot = if version.contains('.') { "" } else { ".0" };
    is_number.then(|| format!("{family}-{version}{dot}-{}", if is_open { "or-later" } else { "only" }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::scanned;

    fn licence(copyright: &str) -> Option<String> {
        let status: &[u8] = b"Package: p\nVersion: 1\nStatus: install ok installed\n";
        let files = [("usr/share/doc/p/copyright", copyright.as_bytes()), ("var/lib/dpkg/status", status)];
        let inventory = scanned(&files);
        let package = inventory.packages.values().next().unwrap();
        package.licence.as_ref().map(|licence| licence.expression().to_owned())
    }

    const FORMAT: &str = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n";

    #[test]
    fn licences_of_all_files_are_told_in_the_words_of_spdx() {
        let of = |names: &[&str]| {
            let stanzas = names.iter().map(|name| format!("Files: *\nLicense: {name}\n Text\n\n"));
            licence(&format!("{FORMAT}{}License: Not-Of-Files\n Text\n", stanzas.collect::<String>()))
        };
        assert_eq!(of(&["GPL-2+"]).as_deref(), Some("GPL-2.0-or-later"));
        assert_eq!(of(&["Expat", "LGPL-2.1+", "Expat"]).as_deref(), Some("LGPL-2.1-or-later AND MIT"));
        assert_eq!(of(&["GPL-2+ or Apache-2", "ISC"]).as_deref(), Some("(GPL-2.0-or-later OR Apache-2.0) AND ISC"));
        for names in [&["public-domain"][..], &["GPL-2+ with OpenSSL exception"], &["GFDL-NIV-1.3+", "Expat"]] {
            assert!(of(names).unwrap().starts_with("LicenseRef-"), "{names:?}");
        }
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn what_is_written_for_people_says_nothing() {
        assert_eq!(licence("This is free software.\n\nLicense: GPL-2+\nFiles: *\n"), None);
    }
}
