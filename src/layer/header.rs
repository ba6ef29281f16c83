//! The 512-byte ustar header (POSIX.1-1988 "tar Interchange Format"), encoded and decoded.

/// Size of a header, and what data is padded to.
pub(super) const BLOCK: usize = 512;

/// Type flags that mean something here.
pub(super) mod flag {
    pub(crate) const FILE: u8 = b'0';
    pub(crate) const HARDLINK: u8 = b'1';
    pub(crate) const SYMLINK: u8 = b'2';
    pub(crate) const CHAR_DEVICE: u8 = b'3';
    pub(crate) const BLOCK_DEVICE: u8 = b'4';
    pub(crate) const DIRECTORY: u8 = b'5';
    pub(crate) const FIFO: u8 = b'6';
    pub(crate) const PAX: u8 = b'x';
    pub(crate) const PAX_GLOBAL: u8 = b'g';
    pub(crate) const GNU_LONG_NAME: u8 = b'L';
    pub(crate) const GNU_LONG_LINK: u8 = b'K';
    pub(crate) const GNU_SPARSE: u8 = b'S';
    /// Before POSIX; and "contiguous", which is a plain file everywhere.
    pub(crate) const OLD_FILE: u8 = 0;
    pub(crate) const CONTIGUOUS: u8 = b'7';
}

/// Where a field stands.
pub(super) type Field = std::ops::Range<usize>;
pub(super) const NAME: Field = 0..100;
pub(super) const MODE: Field = 100..108;
pub(super) const UID: Field = 108..116;
pub(super) const GID: Field = 116..124;
pub(super) const SIZE: Field = 124..136;
pub(super) const MTIME: Field = 136..148;
const CHECKSUM: Field = 148..156;
pub(super) const TYPE: usize = 156;
pub(super) const LINK: Field = 157..257;
const MAGIC: Field = 257..265;
pub(super) const MAJOR: Field = 329..337;
pub(super) const MINOR: Field = 337..345;
pub(super) const PREFIX: Field = 345..500;

const USTAR: &[u8] = b"ustar\x0000";

/// A header being written or just read.
pub(super) struct Header(pub [u8; BLOCK]);

impl Header {
    /// Makes a ustar header of that type, all numbers 0, owner's and group's name empty.
    pub(super) fn new(type_flag: u8) -> Self {
        let mut header = Self([0; BLOCK]);
        header.0[MAGIC].copy_from_slice(USTAR);
        header.0[TYPE] = type_flag;
        for field in [MODE, UID, GID, SIZE, MTIME, MAJOR, MINOR] {
            header.set_number(field, 0);
        }
        header
    }

    /// Writes octal digits, as many as fit before the closing NUL. Returns false, and leaves 0, if the
    /// number needs more.
    pub(super) fn set_number(&mut self, field: Field, value: u64) -> bool {
        let digits = field.len() - 1;
        let fits = value >> (3 * digits) == 0;
        let mut rest = if fits { value } else { 0 };
        for byte in self.0[field].iter_mut().take(digits).rev() {
            *byte = b'0' + (rest & 7) as u8;
            rest >>= 3;
        }
        fits
    }

    /// Writes bytes, cut to the field. Returns false if they were.
    pub(super) fn set_bytes(&mut self, field: Field, bytes: &[u8]) -> bool {
        let room = field.len().min(bytes.len());
        self.0[field.start..field.start + room].copy_from_slice(&bytes[..room]);
        room == bytes.len()
    }

    /// Writes a name, divided at a slash between the prefix and the name field if need be. Returns false,
    /// and leaves the cut name, if it does not fit.
    pub(super) fn set_name(&mut self, name: &[u8]) -> bool {
        if name.len() <= NAME.len() {
            return self.set_bytes(NAME, name);
        }
        // The last slash that leaves a name short enough, so not that of a directory's end.
        let from = (name.len() - 1).saturating_sub(NAME.len());
        let slash = (from..name.len() - 1).find(|at| name[*at] == b'/');
        match slash.filter(|at| (1..=PREFIX.len()).contains(at)) {
            Some(at) => self.set_bytes(PREFIX, &name[..at]) && self.set_bytes(NAME, &name[at + 1..]),
            None => self.set_bytes(NAME, name),
        }
    }

    /// Writes the checksum and returns the finished block.
    pub(super) fn finish(mut self) -> [u8; BLOCK] {
        let mut rest = self.checksum(|byte| byte.into()) as u32;
        for at in (CHECKSUM.start..CHECKSUM.start + 6).rev() {
            self.0[at] = b'0' + (rest & 7) as u8;
            rest >>= 3;
        }
        self.0[CHECKSUM.start + 6] = 0;
        self.0[CHECKSUM.start + 7] = b' ';
        self.0
    }

    /// Returns whether the block is all zeros: the end of an archive.
    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// Returns whether the checksum is that of the block. Some old writers summed signed bytes.
    pub(super) fn is_intact(&self) -> bool {
        let Some(stated) = number(&self.0[CHECKSUM]) else { return false };
        stated == self.checksum(|byte| byte.into()).into() || stated == self.checksum(|byte| (byte as i8).into()).into()
    }

    fn checksum(&self, value: impl Fn(u8) -> i32) -> i32 {
        let sum = |bytes: &[u8]| -> i32 { bytes.iter().map(|byte| value(*byte)).sum() };
        // The checksum itself counts as blanks.
        sum(&self.0) - sum(&self.0[CHECKSUM]) + i32::from(b' ') * CHECKSUM.len() as i32
    }

    /// Returns the type flag.
    pub(super) fn type_flag(&self) -> u8 {
        self.0[TYPE]
    }

    /// Returns a text field up to its first NUL.
    pub(super) fn bytes(&self, field: Field) -> &[u8] {
        until_nul(&self.0[field])
    }

    /// Returns the name, with the prefix if this is a ustar header (GNU keeps times there).
    pub(super) fn name(&self) -> Vec<u8> {
        let prefix = if self.0[MAGIC.start..MAGIC.start + 6] == USTAR[..6] { self.bytes(PREFIX) } else { b"" };
        super::entry::join(prefix, self.bytes(NAME))
    }

    /// Returns a number; `None` if it is malformed.
    pub(super) fn number(&self, field: Field) -> Option<i128> {
        number(&self.0[field])
    }
}

/// Returns the bytes before the first NUL.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Reads octal digits, possibly between blanks (an empty field is 0), or GNU's base 256: first bit set, then
/// a big-endian two's complement number.
pub(super) fn number(field: &[u8]) -> Option<i128> {
    if field.first().is_some_and(|first| first & 0x80 != 0) {
        return base_256(field);
    }
    let is_blank = |byte: &u8| *byte == b' ' || *byte == 0;
    let start = field.iter().position(|byte| !is_blank(byte)).unwrap_or(field.len());
    let field = &field[start..];
    let end = field.iter().position(is_blank).unwrap_or(field.len());
    if !field[end..].iter().all(is_blank) {
        return None;
    }
    field[..end].iter().try_fold(0i128, |value, byte| match byte {
        b'0'..=b'7' => Some(value << 3 | i128::from(byte - b'0')),
        _ => None,
    })
}

fn base_256(field: &[u8]) -> Option<i128> {
    let (first, rest) = field.split_first()?;
    // Seven bits of the first byte are the number's; the highest of them is the sign.
    let mut value = i128::from(((first << 1) as i8) >> 1);
    for byte in rest {
        value = value << 8 | i128::from(*byte);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_every_form() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"77777777"), Some(0o77777777));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"\x80\0\0\x01\0"), Some(256));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
        assert_eq!(number(b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), Some((1i128 << 94) - 1));
        for malformed in [&b"0000648\0"[..], b"-1\0", b"12 34\0", b"0x10\0"] {
            assert_eq!(number(malformed), None, "{malformed:?}");
        }
    }

    #[test]
    fn long_names_are_divided_at_a_slash_or_cut() {
        let cases = [
            ("a".repeat(100), true),
            (format!("{}/{}", "a".repeat(155), "b".repeat(100)), true),
            (format!("{}/{}/", "a".repeat(155), "b".repeat(99)), true),
            (format!("{}/{}", "a".repeat(156), "b".repeat(100)), false),
            (format!("{}/{}/", "a".repeat(20), "b".repeat(100)), false),
            ("a".repeat(101), false),
            (format!("/{}", "b".repeat(100)), false),
        ];
        for (name, fits) in cases {
            let mut header = Header::new(flag::FILE);
            assert_eq!(header.set_name(name.as_bytes()), fits, "{name}");
            assert!(!fits || header.name() == name.as_bytes(), "{name}");
        }
    }

    #[test]
    fn a_header_has_its_checksum() {
        let mut header = Header(Header::new(flag::DIRECTORY).finish());
        assert!(header.is_intact());
        header.0[0] = b'x';
        assert!(!header.is_intact());
    }
}
