//! The header of a package as databases keep it: two lengths, an index of tags, and their values (rpm's "Header Structure"). All numbers are
//! big-endian.

use super::super::FIELD_LIMIT;

pub(super) const NAME: u32 = 1000;
pub(super) const VERSION: u32 = 1001;
pub(super) const RELEASE: u32 = 1002;
pub(super) const EPOCH: u32 = 1003;
pub(super) const VENDOR: u32 = 1011;
pub(super) const LICENCE: u32 = 1014;
pub(super) const PACKAGER: u32 = 1015;
pub(super) const ARCHITECTURE: u32 = 1022;
pub(super) const SOURCE: u32 = 1044;

const INT32: u32 = 4;
/// A string, and lists of strings whose first is meant: plain, and in several languages.
const STRINGS: [u32; 3] = [6, 8, 9];
const ENTRY: usize = 16;

/// A header whose lengths were checked.
pub(super) struct Header<'a> {
    index: &'a [u8],
    values: &'a [u8],
}

impl<'a> Header<'a> {
    /// `None` if it is none.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (entries, length) = (number(bytes, 0)? as usize, number(bytes, 4)? as usize);
        let (index, rest) = bytes.get(8..)?.split_at_checked(entries.checked_mul(ENTRY)?)?;
        Some(Self { index, values: rest.get(..length)? })
    }

    /// Returns the text under a tag.
    pub(super) fn text(&self, tag: u32) -> Option<String> {
        let (kind, offset) = self.find(tag)?;
        let value = self.values.get(offset..).filter(|_| STRINGS.contains(&kind))?;
        let end = value.iter().take(FIELD_LIMIT + 1).position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&value[..end]).into_owned())
    }

    /// Returns the number under a tag.
    pub(super) fn number(&self, tag: u32) -> Option<u32> {
        let (kind, offset) = self.find(tag)?;
        number(self.values, offset).filter(|_| kind == INT32)
    }

    fn find(&self, tag: u32) -> Option<(u32, usize)> {
        let entry = self.index.chunks_exact(ENTRY).find(|entry| number(entry, 0) == Some(tag))?;
        Some((number(entry, 4)?, number(entry, 8)? as usize))
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A header of these texts.
    pub(crate) fn blob(texts: &[(u32, &str)]) -> Vec<u8> {
        let (mut index, mut values) = (Vec::new(), Vec::new());
        for (tag, text) in texts {
            for number in [*tag, 6, values.len() as u32, 1] {
                index.extend(number.to_be_bytes());
            }
            values.extend(text.as_bytes());
            values.push(0);
        }
        let lengths = [texts.len() as u32, values.len() as u32].map(u32::to_be_bytes).concat();
        [lengths, index, values].concat()
    }

    #[test]
    fn values_are_found_by_their_tags() {
        let bytes = blob(&[(NAME, "a"), (VERSION, "1")]);
        let header = Header::read(&bytes).unwrap();
        assert_eq!((header.text(NAME).as_deref(), header.text(VERSION).as_deref()), (Some("a"), Some("1")));
        assert_eq!((header.text(RELEASE), header.number(NAME)), (None, None));
        for length in 0..bytes.len() {
            assert!(Header::read(&bytes[..length]).is_none(), "{length}");
        }
        assert!(Header::read(&[0xff; 40]).is_none());
    }
}
