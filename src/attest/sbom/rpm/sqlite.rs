//! The table `Packages` of an SQLite database (<https://www.sqlite.org/fileformat2.html>): a number, and a header, in each row.

use std::io;

use super::{Budget, HEADER_LIMIT, Pages, bad};

/// A tree is never deeper, however large the file (section 1.6: 2^32 pages, at least two to a page).
const DEPTH: usize = 32;
const HEADER: usize = 100;

struct Database<'a> {
    pages: &'a Pages<'a>,
    page_size: usize,
    /// Bytes of a page that hold content.
    usable: usize,
    /// Pages that may still be looked at; no page is part of two things.
    left: u64,
    /// The same for rows: several may say that they stand in the same place of a page.
    budget: Budget,
}

/// Hands every header to `take`.
pub(super) fn read(pages: &Pages<'_>, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let header = pages.at(0, HEADER)?;
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(bad("this is no SQLite database"));
    }
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65536,
        size => usize::from(size),
    };
    let usable = page_size.checked_sub(header[20].into()).filter(|usable| *usable >= 480);
    let usable = usable.ok_or(bad("its pages have an impossible size"))?;
    let left = pages.length / page_size as u64 + 1;
    let mut database = Database { pages, page_size, usable, left, budget: pages.budget() };
    let mut root = None;
    database.rows(1, 0, &mut |record| {
        let columns = columns(record);
        // type, name, table, root page, text
        if let Some([kind, name, _, page, ..]) = columns.as_deref()
            && (*kind, *name) == (b"table".as_slice(), b"Packages".as_slice())
        {
            root = page.iter().try_fold(0u32, |number, byte| number.checked_mul(256)?.checked_add((*byte).into()));
        }
    })?;
    let root = root.ok_or(bad("it has no table `Packages`"))?;
    database.rows(root, 0, &mut |record| {
        if let Some([_, header, ..]) = columns(record).as_deref() {
            take(header);
        }
    })
}

impl Database<'_> {
    /// Walks the tree below a page, and hands over the record of each row.
    fn rows(&mut self, page: u32, depth: usize, row: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        if depth > DEPTH {
            return Err(bad("its trees are too deep"));
        }
        let bytes = self.page(page)?;
        // The first page begins with the header of the file.
        let start = if page == 1 { HEADER } else { 0 };
        let kind = bytes[start];
        let count = short(&bytes, start + 3).ok_or(bad("a page is damaged"))?;
        let cells = start + if kind == INTERIOR { 12 } else { 8 };
        for at in 0..usize::from(count) {
            let cell = short(&bytes, cells + 2 * at).map(usize::from).ok_or(bad("a page is damaged"))?;
            match kind {
                INTERIOR => {
                    let child = long(&bytes, cell).ok_or(bad("a page is damaged"))?;
                    self.rows(child, depth + 1, row)?;
                }
                LEAF => {
                    let record = self.record(&bytes, cell)?;
                    self.budget.take(record.len())?;
                    row(&record);
                }
                _ => return Err(bad("a page is of another kind")),
            }
        }
        match (kind, long(&bytes, start + 8)) {
            (INTERIOR, Some(last)) => self.rows(last, depth + 1, row),
            _ => Ok(()),
        }
    }

    fn page(&mut self, number: u32) -> io::Result<Vec<u8>> {
        self.left = self.left.checked_sub(1).ok_or(bad("its pages go round in circles"))?;
        let at = u64::from(number).checked_sub(1).ok_or(bad("a page is damaged"))?;
        self.pages.at(at * self.page_size as u64, self.page_size)
    }

    /// The record of a row, which goes on in other pages if it is long (section 1.6, "the amount of payload that spills").
    fn record(&mut self, page: &[u8], cell: usize) -> io::Result<Vec<u8>> {
        let damaged = || bad("a row is damaged");
        let (length, after) = varint(page, cell).ok_or_else(damaged)?;
        let (_, after) = varint(page, after).ok_or_else(damaged)?;
        if length > HEADER_LIMIT {
            return Err(bad("a row is longer than any package"));
        }
        let (length, usable) = (length as usize, self.usable);
        let (most, least) = (usable - 35, (usable - 12) * 32 / 255 - 23);
        let here = match length {
            _ if length <= most => length,
            _ => Some(least + (length - least) % (usable - 4)).filter(|here| *here <= most).unwrap_or(least),
        };
        let mut record = page.get(after..after + here).ok_or_else(damaged)?.to_vec();
        let mut next = if here < length { long(page, after + here).ok_or_else(damaged)? } else { 0 };
        while record.len() < length {
            let page = self.page(next)?;
            next = long(&page, 0).ok_or_else(damaged)?;
            let piece = (length - record.len()).min(usable - 4);
            record.extend_from_slice(page.get(4..4 + piece).ok_or_else(damaged)?);
        }
        Ok(record)
    }
}

const INTERIOR: u8 = 0x05;
const LEAF: u8 = 0x0d;

/// No table that is looked at has more.
const COLUMNS: usize = 5;

/// The first columns of a record as they are stored (section 2.1).
fn columns(record: &[u8]) -> Option<Vec<&[u8]>> {
    let (header, mut at) = varint(record, 0)?;
    let header = usize::try_from(header).ok()?;
    let (mut columns, mut value) = (Vec::new(), header);
    while at < header && columns.len() < COLUMNS {
        let (kind, after) = varint(record, at)?;
        at = after;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            _ => kind.checked_sub(12)? / 2,
        };
        let end = value.checked_add(usize::try_from(length).ok()?)?;
        columns.push(record.get(value..end)?);
        value = end;
    }
    Some(columns)
}

/// A number of one to nine bytes, and where it ends.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut number = 0u64;
    for place in 0..8 {
        let byte = *bytes.get(at.checked_add(place)?)?;
        number = number << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((number, at + place + 1));
        }
    }
    Some((number << 8 | u64::from(*bytes.get(at.checked_add(8)?)?), at + 9))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_to_nine_bytes() {
        assert_eq!(varint(&[0x7f], 0), Some((127, 1)));
        assert_eq!(varint(&[0, 0x81, 0x00], 1), Some((128, 3)));
        assert_eq!(varint(&[0xff; 9], 0), Some((u64::MAX, 9)));
        assert_eq!(varint(&[0xff; 8], 0), None);
    }
}
