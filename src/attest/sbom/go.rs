//! Modules that a Go program was built of: what the linker writes into it (Go, `debug/buildinfo`), from Go 1.18 on.

use super::{Inventory, Package};
use crate::attest::purl::purl;

/// The section that has it.
pub(super) const SECTION: &str = ".go.buildinfo";

const MAGIC: &[u8] = b"\xff Go buildinf:";
const HEADER: usize = 32;
/// In the byte of flags: the texts stand here, and not elsewhere in memory.
const INLINE: u8 = 2;
/// What stands around the list of modules.
const MARKER: usize = 16;

/// Reads the section of the program at `path`.
pub(super) fn read(path: &str, section: &[u8], inventory: &mut Inventory) {
    let Some(rest) = section.get(HEADER..).filter(|_| section.starts_with(MAGIC)) else {
        return inventory.remark(path, "what a Go program says of itself makes no sense");
    };
    if section[15] & INLINE == 0 {
        return inventory.remark(path, "a program of a Go older than 1.18 is not looked into");
    }
    let Some((version, modules)) = texts(rest) else {
        return inventory.remark(path, "what a Go program says of itself is cut short");
    };
    if let Some(version) = version.strip_prefix("go") {
        // What stands after a space are experiments.
        inventory.add(path, package("stdlib", version.split(' ').next().unwrap_or(version)));
    }
    for (name, version) in modules_of(modules) {
        inventory.add(path, package(name, version));
    }
}

/// Lines `dep NAME VERSION SUM`; a line `=> NAME VERSION SUM` says what stands in for the one before it.
fn modules_of(text: &str) -> Vec<(&str, &str)> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    for line in text.lines() {
        let mut words = line.split('\t');
        let (Some(kind), Some(name)) = (words.next(), words.next()) else { continue };
        // The program itself mostly has no version but this.
        let version = words.next().filter(|version| *version != "(devel)").unwrap_or_default();
        match kind {
            "mod" | "dep" => found.push((name, version)),
            // A directory has no name of its own.
            "=>" if name.starts_with(['.', '/']) => {}
            "=>" => {
                found.pop();
                found.push((name, version));
            }
            _ => {}
        }
    }
    found
}

fn package(name: &str, version: &str) -> Package {
    // Package URLs of Go are in small letters (purl-spec, `golang`).
    let small = name.to_lowercase();
    let path: Vec<&str> = small.split('/').collect();
    Package {
        kind: "golang",
        purl: purl("golang", &path, version, &[]),
        name: name.to_owned(),
        version: version.to_owned(),
        licence: None,
        supplier: None,
        source: None,
        found: Vec::new(),
    }
}

/// The version of Go, and the list of modules without the markers around it, which are no text.
fn texts(bytes: &[u8]) -> Option<(&str, &str)> {
    let (version, rest) = piece(bytes)?;
    let (modules, _) = piece(rest)?;
    let modules = match modules.len().checked_sub(MARKER) {
        Some(end) => modules.get(MARKER..end)?,
        None => modules,
    };
    Some((std::str::from_utf8(version).ok()?, std::str::from_utf8(modules).ok()?))
}

/// A length of seven bits to a byte, the least first, and so many bytes.
fn piece(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().take(5).position(|byte| *byte < 0x80)?;
    let length = bytes[..=end].iter().rev().fold(0usize, |length, byte| length << 7 | usize::from(byte & 0x7f));
    bytes[end + 1..].split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::super::elf::tests::program;
    use super::super::tests::{scanned_programs, urls};
    use super::*;

    fn info(version: &str, modules: &str) -> Vec<u8> {
        let modules = [&[0xb0; MARKER], modules.as_bytes(), &[0xf2; MARKER]].concat();
        let mut bytes = [MAGIC, &[8, INLINE]].concat();
        bytes.resize(HEADER, 0);
        for text in [version.as_bytes(), &modules] {
            let mut length = text.len();
            while length >= 0x80 {
                bytes.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            bytes.push(length as u8);
            bytes.extend(text);
        }
        bytes
    }

    #[test]
    fn modules_are_listed() {
        let modules = "path\tx.example/app\nmod\tx.example/app\t(devel)\t\ndep\tgithub.com/a/b\tv1.2.3\th1:x\n\
            dep\tgithub.com/c/d\tv2.0.0\n=>\tx.example/fork\tv2.0.1\th1:y\ndep\tx.example/e\tv3.0.0\n=>\t./e\t(devel)\t\nbuild\tGOOS=linux\n";
        let bytes = program(SECTION, &info("go1.22.1 X:boringcrypto", modules), true, false);
        let inventory = scanned_programs(&[("usr/bin/app", &bytes)]);
        assert_eq!(
            urls(&inventory),
            [
                "pkg:golang/github.com/a/b@v1.2.3",
                "pkg:golang/stdlib@1.22.1",
                "pkg:golang/x.example/app",
                "pkg:golang/x.example/e@v3.0.0",
                "pkg:golang/x.example/fork@v2.0.1",
            ]
        );
        assert!(inventory.remarks.is_empty(), "{:?}", inventory.remarks);
    }

    #[test]
    fn the_first_and_the_last_line_are_whole_and_urls_in_small_letters() {
        let modules = "mod\tapp\tv1.0.0\ndep\tgithub.com/Masterminds/semver\tv1.2.3";
        let inventory = scanned_programs(&[("app", &program(SECTION, &info("go1.22.1", modules), true, false))]);
        let semver = "pkg:golang/github.com/masterminds/semver@v1.2.3";
        assert_eq!(urls(&inventory), ["pkg:golang/app@v1.0.0", semver, "pkg:golang/stdlib@1.22.1"]);
        assert_eq!(inventory.packages[semver].name, "github.com/Masterminds/semver");
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let whole = info("go1.22.1", "dep\ta.example/b\tv1\n");
        for length in 0..whole.len() {
            let inventory = scanned_programs(&[("app", &program(SECTION, &whole[..length], true, false))]);
            assert_eq!(inventory.remarks.len(), 1, "{length}");
        }
        let mut old = whole;
        old[15] = 0;
        let inventory = scanned_programs(&[("app", &program(SECTION, &old, true, false))]);
        assert_eq!(inventory.remarks, ["/app: a program of a Go older than 1.18 is not looked into"]);
    }
}
