//! `Packages.db` of rpm's own database (rpm, `lib/backend/ndb`): slots that say where each header is. All numbers are little-endian.

use std::io;

use super::{HEADER_LIMIT, Pages, bad};

const PAGE: u64 = 4096;
const BLOCK: u64 = 16;
const SLOT: usize = 16;
/// The header of the file takes the place of the first slots.
const FIRST_SLOT: usize = 32;

/// Hands every header to `take`.
pub(super) fn read(pages: &Pages<'_>, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let header = pages.at(0, FIRST_SLOT)?;
    if !header.starts_with(b"RpmP") || number(&header, 4) != 0 {
        return Err(bad("this is no database of this form"));
    }
    let slots = u64::from(number(&header, 12));
    let mut budget = pages.budget();
    for page in 0..slots {
        let bytes = pages.at(page * PAGE, PAGE as usize)?;
        let skipped = if page == 0 { FIRST_SLOT } else { 0 };
        for slot in bytes[skipped..].chunks_exact(SLOT) {
            if !slot.starts_with(b"Slot") {
                return Err(bad("a slot is damaged"));
            }
            let (package, block) = (number(slot, 4), number(slot, 8));
            if package != 0 && block != 0 {
                let blob = blob(pages, package, u64::from(block) * BLOCK)?;
                budget.take(blob.len())?;
                take(&blob);
            }
        }
    }
    Ok(())
}

fn blob(pages: &Pages<'_>, package: u32, at: u64) -> io::Result<Vec<u8>> {
    let head = pages.at(at, SLOT)?;
    if !head.starts_with(b"BlbS") || number(&head, 4) != package {
        return Err(bad("a header is not where it should be"));
    }
    let length = number(&head, 12);
    if u64::from(length) > HEADER_LIMIT {
        return Err(bad("a header is longer than any package"));
    }
    pages.at(at + SLOT as u64, length as usize)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
