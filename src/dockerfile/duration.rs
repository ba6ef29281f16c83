//! Durations as HEALTHCHECK writes them: Go's syntax, `1h30m`, `1.5s`, `100ms`.

use std::time::Duration;

/// Why a duration cannot be read; the messages are those of Go's `time` package.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DurationError {
    /// Not a number where one should be, or too long.
    #[error("time: invalid duration \"{0}\"")]
    Invalid(String),
    /// A number without a unit.
    #[error("time: missing unit in duration \"{0}\"")]
    MissingUnit(String),
    /// A unit that is not one of ns us ms s m h.
    #[error("time: unknown unit \"{unit}\" in duration \"{text}\"")]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// Below zero, which no use here allows.
    #[error("negative duration \"{0}\"")]
    Negative(String),
}

/// Reads a duration.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let number = take(&mut rest, |byte| byte.is_ascii_digit() || byte == b'.');
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let unit = take(&mut rest, |byte| !byte.is_ascii_digit() && byte != b'.');
        let scale = match unit {
            "" => return Err(DurationError::MissingUnit(text.to_owned())),
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() }),
        };
        let part = nanoseconds(whole, fraction, scale).and_then(|part| total.checked_add(part));
        total = part.filter(|total| *total <= i64::MAX as u64).ok_or_else(invalid)?;
    }
    if negative && total > 0 {
        return Err(DurationError::Negative(text.to_owned()));
    }
    Ok(Duration::from_nanos(total))
}

/// Takes the longest prefix of bytes that `matches`; digits and dots are ASCII, so the cut is between characters.
fn take<'a>(rest: &mut &'a str, matches: impl Fn(u8) -> bool) -> &'a str {
    let end = rest.bytes().position(|byte| !matches(byte)).unwrap_or(rest.len());
    let (taken, left) = rest.split_at(end);
    *rest = left;
    taken
}

fn nanoseconds(whole: &str, fraction: &str, scale: u64) -> Option<u64> {
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Beyond 18 digits nothing changes: the largest scale has 13.
    let digits = &fraction[..fraction.len().min(18)];
    let numerator: u128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let part = numerator * u128::from(scale) / 10_u128.pow(u32::try_from(digits.len()).ok()?);
    whole.checked_mul(scale)?.checked_add(u64::try_from(part).ok()?)
}

/// Writes a duration as Go prints it, for example `1m30s`, `1.5s`, `0s` (history of HEALTHCHECK).
pub fn format(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    match nanoseconds {
        0 => return "0s".to_owned(),
        1..=999 => return format!("{nanoseconds}ns"),
        1_000..=999_999 => return format!("{}\u{b5}s", decimal(nanoseconds, 1_000)),
        1_000_000..=999_999_999 => return format!("{}ms", decimal(nanoseconds, 1_000_000)),
        _ => {}
    }
    let minutes = nanoseconds / 60_000_000_000;
    let seconds = decimal(nanoseconds % 60_000_000_000, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

fn decimal(value: u128, unit: u128) -> String {
    let width = unit.ilog10() as usize;
    let text = format!("{}.{:0width$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, nanoseconds: u64, printed: &str) {
        let duration = parse(text).expect("valid");
        assert_eq!(duration, Duration::from_nanos(nanoseconds), "{text}");
        assert_eq!(format(duration), printed);
    }

    #[test]
    fn forms() {
        check("0", 0, "0s");
        check("30s", 30_000_000_000, "30s");
        check("1m30s", 90_000_000_000, "1m30s");
        check("1.5h", 5_400_000_000_000, "1h30m0s");
        check("100ms", 100_000_000, "100ms");
        check(".5s", 500_000_000, "500ms");
        check("1\u{b5}s", 1_000, "1\u{b5}s");
        check("1.000000001s", 1_000_000_001, "1.000000001s");
        check("2500us", 2_500_000, "2.5ms");
    }

    #[test]
    fn mistakes() {
        assert_eq!(parse("10"), Err(DurationError::MissingUnit("10".into())));
        assert!(matches!(parse("10x"), Err(DurationError::UnknownUnit { .. })));
        assert!(matches!(parse("-1s"), Err(DurationError::Negative(_))));
        for text in ["", "s", "1.2.3s", "99999999999h", ".s", "-"] {
            assert!(matches!(parse(text), Err(DurationError::Invalid(_))), "{text}");
        }
    }
}
