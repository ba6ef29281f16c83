//! Sections of ELF files (elf(5)), by name.
//!
//! A library would read every table that a file says it has, however long; a hostile file may say what it likes. Here three bounded pieces
//! are read: the header, the table of sections, and their names.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Most sections of a file. Programs have some forty; those of many functions, some thousand.
const SECTIONS: u64 = 20_000;
/// Longest table of names, and longest section that is read.
const LIMIT: u64 = 32 << 20;

const CODE: [u8; 4] = *b"\x7fELF";

/// A program or library.
pub(super) struct Elf<'a> {
    file: &'a File,
    is_wide: bool,
    is_big: bool,
    /// Entries of the table of sections, one after the other.
    sections: Vec<u8>,
    entry: usize,
    names: Vec<u8>,
}

impl<'a> Elf<'a> {
    /// Reads what it takes to find sections; `None` if the file is no such file, or has none.
    pub(super) fn read(file: &'a File) -> io::Result<Option<Self>> {
        let mut header = [0; 64];
        if file.read_exact_at(&mut header[..52], 0).is_err() || header[..4] != CODE {
            return Ok(None);
        }
        let (is_wide, is_big) = (header[4] == 2, header[5] == 2);
        if is_wide && file.read_exact_at(&mut header, 0).is_err() {
            return Ok(None);
        }
        let mut elf = Self { file, is_wide, is_big, sections: Vec::new(), entry: 0, names: Vec::new() };
        let (table, entry, count, names) = match is_wide {
            true => (elf.number(&header, 40, 8), 58, 60, 62),
            false => (elf.number(&header, 32, 4), 46, 48, 50),
        };
        let [entry, count, names] = [entry, count, names].map(|at| elf.number(&header, at, 2));
        let least = if is_wide { 64 } else { 40 };
        if table == 0 || count == 0 || count > SECTIONS || !(least..=256).contains(&entry) || names >= count {
            return Ok(None);
        }
        elf.entry = usize::try_from(entry).unwrap_or_default();
        elf.sections = elf.piece(table, entry * count)?;
        let names = elf.sections.chunks_exact(elf.entry).nth(usize::try_from(names).unwrap_or_default());
        let (at, length) = names.map(|section| elf.place(section)).unwrap_or_default();
        elf.names = elf.piece(at, length)?;
        Ok(Some(elf))
    }

    /// Returns what a section holds; `None` if there is no such section.
    pub(super) fn section(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let is_it = |section: &&[u8]| {
            let at = usize::try_from(self.number(section, 0, 4)).unwrap_or(usize::MAX);
            let rest = self.names.get(at..).and_then(|names| names.strip_prefix(name.as_bytes()));
            rest.is_some_and(|rest| rest.first() == Some(&0))
        };
        let Some(section) = self.sections.chunks_exact(self.entry).find(is_it) else { return Ok(None) };
        let (at, length) = self.place(section);
        self.piece(at, length).map(Some)
    }

    /// Where a section is in the file, and how long it is.
    fn place(&self, section: &[u8]) -> (u64, u64) {
        match self.is_wide {
            true => (self.number(section, 24, 8), self.number(section, 32, 8)),
            false => (self.number(section, 16, 4), self.number(section, 20, 4)),
        }
    }

    fn piece(&self, at: u64, length: u64) -> io::Result<Vec<u8>> {
        let is_inside = at.checked_add(length).is_some_and(|end| self.file.metadata().is_ok_and(|m| end <= m.len()));
        let length = usize::try_from(length).ok().filter(|_| is_inside && length <= LIMIT);
        let damaged =
            || io::Error::new(io::ErrorKind::InvalidData, "it is a program whose sections are not where it says");
        let mut bytes = vec![0; length.ok_or_else(damaged)?];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    fn number(&self, bytes: &[u8], at: usize, length: usize) -> u64 {
        let digits = bytes[at..at + length].iter();
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        if self.is_big { digits.fold(0, add) } else { digits.rev().fold(0, add) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A program with one section beside that of the names.
    pub(crate) fn program(name: &str, content: &[u8], is_wide: bool, is_big: bool) -> Vec<u8> {
        let names = [b"\0.shstrtab\0", name.as_bytes(), b"\0"].concat();
        let (head, entry) = if is_wide { (64usize, 64usize) } else { (52, 40) };
        let put = |out: &mut Vec<u8>, value: usize, length: usize| {
            let bytes = (value as u64).to_be_bytes();
            let digits = &bytes[8 - length..];
            if is_big { out.extend(digits) } else { out.extend(digits.iter().rev()) }
        };
        let word = if is_wide { 8 } else { 4 };
        let table = head + content.len() + names.len();
        let mut out = vec![0x7f, b'E', b'L', b'F', if is_wide { 2 } else { 1 }, if is_big { 2 } else { 1 }, 1];
        out.resize(16, 0);
        out.resize(if is_wide { 40 } else { 32 }, 0);
        put(&mut out, table, word);
        out.resize(if is_wide { 58 } else { 46 }, 0);
        [entry, 3, 1].into_iter().for_each(|value| put(&mut out, value, 2));
        out.resize(head, 0);
        out.extend(content);
        out.extend(&names);
        let sections = [(0, 0, 0), (1, head + content.len(), names.len()), (11, head, content.len())];
        for (name, at, length) in sections {
            let start = out.len();
            put(&mut out, name, 4);
            out.resize(start + if is_wide { 24 } else { 16 }, 0);
            put(&mut out, at, word);
            put(&mut out, length, word);
            out.resize(start + entry, 0);
        }
        out
    }

    fn section(bytes: &[u8], name: &str) -> Option<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        Elf::read(&file).ok()??.section(name).ok()?
    }

    #[test]
    fn sections_are_found_in_every_form() {
        for (is_wide, is_big) in [(true, false), (true, true), (false, false), (false, true)] {
            let bytes = program(".x", b"content", is_wide, is_big);
            assert_eq!(section(&bytes, ".x").as_deref(), Some(&b"content"[..]), "{is_wide} {is_big}");
            assert_eq!(section(&bytes, ".y"), None);
            for length in 0..bytes.len() {
                section(&bytes[..length], ".x");
            }
        }
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(section(&own, ".text").is_some() || own.len() as u64 > LIMIT);
    }

    proptest::proptest! {
        #[test]
        fn damaged_programs_do_no_harm(at in 0usize..300, value: u8, is_wide: bool, is_big: bool) {
            let mut bytes = program(".x", b"content", is_wide, is_big);
            let at = at % bytes.len();
            bytes[at] = value;
            section(&bytes, ".x");
        }
    }
}
