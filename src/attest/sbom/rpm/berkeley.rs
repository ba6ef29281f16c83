//! `Packages` of a Berkeley DB: a hash table, whose pages are read one after the other, since every row is wanted (db 5.3, `dbinc/db_page.h`).
//! Numbers are as on the machine that wrote it; the magic number tells.

use std::io;

use super::{Budget, HEADER_LIMIT, Pages, bad};

const MAGIC: u32 = 0x0006_1561;
const META: usize = 72;
const HEADER: usize = 26;

/// Types of pages: a hash table's, unsorted and sorted.
const HASH: [u8; 2] = [2, 13];
const OVERFLOW: u8 = 7;
/// Types of items: the value itself, and one in pages of its own.
const HERE: u8 = 1;
const ELSEWHERE: u8 = 3;

struct Database<'a> {
    pages: &'a Pages<'a>,
    page_size: usize,
    is_big: bool,
    /// Pages that values in pages of their own may still take.
    left: u64,
    /// The same for values in the pages of the table, which may say that they share their bytes.
    budget: Budget,
}

/// Hands every header to `take`.
pub(super) fn read(pages: &Pages<'_>, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let meta = pages.at(0, META)?;
    let word = |at: usize| [meta[at], meta[at + 1], meta[at + 2], meta[at + 3]];
    let is_big = match (u32::from_le_bytes(word(12)), u32::from_be_bytes(word(12))) {
        (MAGIC, _) => false,
        (_, MAGIC) => true,
        _ => return Err(bad("this is no hash table of Berkeley DB")),
    };
    let mut database = Database { pages, page_size: 0, is_big, left: 0, budget: pages.budget() };
    let page_size = database.long(&meta, 20) as usize;
    if !(512..=65536).contains(&page_size) || !page_size.is_power_of_two() {
        return Err(bad("its pages have an impossible size"));
    }
    database.page_size = page_size;
    database.left = pages.length / page_size as u64;
    for number in 1..=u64::from(database.long(&meta, 32)) {
        let page = database.page(number)?;
        if HASH.contains(&page[25]) {
            database.rows(&page, take)?;
        }
    }
    Ok(())
}

impl Database<'_> {
    /// Items come in pairs, a key and its value; each ends where the one before it begins.
    fn rows(&mut self, page: &[u8], take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let damaged = || bad("a page is damaged");
        let place = |database: &Self, item: usize| {
            let at = HEADER + 2 * item;
            page.get(at..at + 2).map(|bytes| usize::from(database.short(bytes, 0))).ok_or_else(damaged)
        };
        for item in (1..usize::from(self.short(page, 20))).step_by(2) {
            let (start, end) = (place(self, item)?, place(self, item - 1)?);
            let value = page.get(start..end).filter(|value| !value.is_empty()).ok_or_else(damaged)?;
            match value[0] {
                // Other rows hold numbers.
                HERE if value.len() > 1 + 16 => {
                    self.budget.take(value.len())?;
                    take(&value[1..]);
                }
                ELSEWHERE if value.len() >= 12 => {
                    let value = self.elsewhere(self.long(value, 4), self.long(value, 8))?;
                    take(&value);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn elsewhere(&mut self, first: u32, length: u32) -> io::Result<Vec<u8>> {
        if u64::from(length) > HEADER_LIMIT {
            return Err(bad("a value is longer than any package"));
        }
        let (mut value, mut next) = (Vec::new(), first);
        while next != 0 && value.len() < length as usize {
            self.left = self.left.checked_sub(1).ok_or(bad("its pages go round in circles"))?;
            let page = self.page(next.into())?;
            let piece = page.get(HEADER..HEADER + usize::from(self.short(&page, 22)));
            let piece = piece.filter(|_| page[25] == OVERFLOW).ok_or(bad("a page is damaged"))?;
            value.extend_from_slice(piece);
            next = self.long(&page, 16);
        }
        Ok(value)
    }

    fn page(&self, number: u64) -> io::Result<Vec<u8>> {
        self.pages.at(number * self.page_size as u64, self.page_size)
    }

    fn short(&self, bytes: &[u8], at: usize) -> u16 {
        let word = [bytes[at], bytes[at + 1]];
        if self.is_big { u16::from_be_bytes(word) } else { u16::from_le_bytes(word) }
    }

    fn long(&self, bytes: &[u8], at: usize) -> u32 {
        let word = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if self.is_big { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
    }
}
