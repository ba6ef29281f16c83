//! Pax extended headers (POSIX.1-2001 "pax Extended Header"): records `LENGTH KEY=VALUE\n`, where LENGTH
//! counts the whole record. Values are bytes here; some writers (and this one) keep names that are not UTF-8.

use std::collections::BTreeMap;

/// Before the name of an extended attribute, whose value is the attribute's bytes.
pub(super) const XATTR: &[u8] = b"SCHILY.xattr.";

/// Records by key.
pub(super) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Adds one record to `out`; the key is given in two parts.
pub(super) fn push(out: &mut Vec<u8>, key: (&[u8], &[u8]), value: &[u8]) {
    let rest = key.0.len() + key.1.len() + value.len() + 3;
    let mut length = rest + decimal_digits(rest);
    // The length's own digits may have made it one longer.
    if decimal_digits(length) != decimal_digits(rest) {
        length = rest + decimal_digits(length);
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key.0);
    out.extend_from_slice(key.1);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn decimal_digits(value: usize) -> usize {
    value.checked_ilog10().map_or(1, |digits| digits as usize + 1)
}

/// Reads all records of an extended header into `records`, later ones replacing earlier ones, an empty
/// value removing the key. Returns `None` if they are malformed.
pub(super) fn parse(mut bytes: &[u8], records: &mut Records) -> Option<()> {
    while !bytes.is_empty() {
        // Some writers pad with NUL.
        if bytes.iter().all(|byte| *byte == 0) {
            break;
        }
        let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
        let length = decimal(&bytes[..space])?;
        let record = bytes.get(space + 1..usize::try_from(length).ok()?)?;
        bytes = &bytes[space + 1 + record.len()..];
        let record = record.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        let is_text = !key.starts_with(XATTR);
        if key.is_empty() || key.contains(&0) || (is_text && value.contains(&0)) {
            return None;
        }
        if value.is_empty() && is_text {
            records.remove(key);
        } else {
            records.insert(key.to_vec(), value.to_vec());
        }
    }
    Some(())
}

/// Reads decimal digits; `None` for anything else or an overflow.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Reads a time: seconds, possibly negative, possibly with a fraction. What does not fit is clamped.
pub(super) fn time(value: &[u8]) -> Option<crate::fsutil::Timestamp> {
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    let (whole, fraction) = match digits.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&digits[..dot], &digits[dot + 1..]),
        None => (digits, &b""[..]),
    };
    if whole.is_empty() || !digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') || fraction.contains(&b'.')
    {
        return None;
    }
    let seconds: i64 = std::str::from_utf8(whole).ok()?.parse().unwrap_or(i64::MAX);
    let nanoseconds =
        (0..9).fold(0u32, |sum, at| sum * 10 + fraction.get(at).map_or(0, |digit| u32::from(digit - b'0')));
    Some(match (negative, nanoseconds) {
        (false, nanoseconds) => crate::fsutil::Timestamp { seconds, nanoseconds },
        (true, 0) => crate::fsutil::Timestamp::from_seconds(-seconds),
        (true, _) => crate::fsutil::Timestamp { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back() {
        for length in [0usize, 1, 84, 85, 86, 87, 88, 89, 90, 985, 986, 987, 988, 989, 990, 991, 70_000] {
            let mut bytes = Vec::new();
            push(&mut bytes, (XATTR, b"user.k"), &vec![0xff; length]);
            let stated = bytes.split(|byte| *byte == b' ').next().unwrap();
            assert_eq!(decimal(stated), Some(bytes.len() as u64));
            let mut records = Records::new();
            parse(&bytes, &mut records).unwrap();
            assert_eq!(records[&b"SCHILY.xattr.user.k"[..]].len(), length);
        }
    }

    #[test]
    fn an_empty_value_removes_the_key() {
        let mut records = Records::from([(b"path".to_vec(), b"x".to_vec())]);
        parse(b"8 path=\n", &mut records).unwrap();
        assert!(records.is_empty());
    }

    #[test]
    fn malformed_records_are_refused() {
        for bytes in [
            &b"9 path=a\n"[..], // one too many
            b"7 path=a\n",
            b"path=a\n",
            b"11 path=a\n",
            b"7 patha\n",
            b"0 a=b\n",
            b"-6 a=b\n",
            b"99999999999999999999 a=b\n",
            b"9 path=a\0",
            b"11 path=a\0b\n",
            b"5 =b\n",
        ] {
            let refused = bytes != b"9 path=a\n";
            assert_eq!(parse(bytes, &mut Records::new()).is_none(), refused, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn times_are_read() {
        let at = |seconds, nanoseconds| Some(crate::fsutil::Timestamp { seconds, nanoseconds });
        assert_eq!(time(b"12"), at(12, 0));
        assert_eq!(time(b"12.5"), at(12, 500_000_000));
        assert_eq!(time(b"-1.25"), at(-2, 750_000_000));
        assert_eq!(time(b"-3"), at(-3, 0));
        assert_eq!(time(b"99999999999999999999"), at(i64::MAX, 0));
        for malformed in [&b""[..], b"-", b"1.2.3", b"1e3", b".5", b"--1"] {
            assert_eq!(time(malformed), None, "{malformed:?}");
        }
    }
}
