//! Points in time as image documents write them.

use crate::fsutil::Timestamp;

const SECONDS_PER_DAY: i64 = 86_400;
/// 0000-03-01 to 1970-01-01, in days of the Gregorian calendar.
const DAYS_TO_1970: i64 = 719_468;
/// Days in 400 years, after which the calendar repeats.
const DAYS_PER_ERA: i64 = 146_097;

/// Writes a time by RFC 3339 in UTC, for example `2024-02-29T12:00:00.5Z`. Zeros at the end of the fraction are left
/// out, and the whole fraction when it is zero, as Go's `RFC3339Nano` does.
pub fn rfc3339(time: Timestamp) -> String {
    let (days, second) = (time.seconds.div_euclid(SECONDS_PER_DAY), time.seconds.rem_euclid(SECONDS_PER_DAY));
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = match time.nanoseconds {
        0 => String::new(),
        nanoseconds => format!(".{nanoseconds:09}").trim_end_matches('0').to_owned(),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Returns an RFC 3339 time as Go writes it after reading it: no zeros at the end of the fraction, `Z` for no offset.
pub(super) fn as_go_writes_it(text: &str) -> String {
    let Some(zone) = text.rfind(['Z', '+', '-']).filter(|_| parse_rfc3339(text).is_some()) else {
        return text.to_owned();
    };
    let (clock, zone) = text.split_at(zone);
    let clock = match clock.contains('.') {
        true => clock.trim_end_matches('0').trim_end_matches('.'),
        false => clock,
    };
    let zone = if zone == "+00:00" { "Z" } else { zone };
    format!("{clock}{zone}")
}

/// Reads a time as [`rfc3339`] and other tools write it, with `Z` or an offset; `None` when it is none.
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let (date, time) = (text.get(..10)?, text.get(11..)?);
    let zone = time.rfind(['Z', 'z', '+', '-'])?;
    let (clock, fraction) = time[..zone].split_once('.').unwrap_or((&time[..zone], ""));
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(clock, ':')?;
    let offset = match time[zone..].split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign @ ("+" | "-"), offset) => {
            let [hours, minutes] = numbers(offset, ':')?;
            (hours * 3600 + minutes * 60) * if sign == "-" { -1 } else { 1 }
        }
        _ => return None,
    };
    let nanoseconds = match fraction.get(..9.min(fraction.len()))? {
        "" => 0,
        digits => digits.parse::<u32>().ok()? * 10u32.pow(9 - u32::try_from(digits.len()).ok()?),
    };
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    let seconds = days_since_1970(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second - offset;
    in_range.then_some(Timestamp { seconds, nanoseconds })
}

/// Reads `COUNT` numbers without signs, separated by `separator`.
fn numbers<const COUNT: usize>(text: &str, separator: char) -> Option<[i64; COUNT]> {
    let mut all = [0; COUNT];
    let mut parts = text.split(separator);
    for number in &mut all {
        let part = parts.next().filter(|part| part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(all)
}

/// The reverse of [`civil_date`].
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let month_from_march = (month + 9) % 12;
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day = (153 * month_from_march + 2) / 5 + day - 1;
    era * DAYS_PER_ERA + 365 * year + year / 4 - year / 100 + day - DAYS_TO_1970
}

/// Year, month and day of a count of days since 1970-01-01. Years are counted from March, so that the leap day is the
/// last one of its year and months have lengths of a fixed pattern (153 days per five).
fn civil_date(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_1970;
    let (era, day) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seconds: i64, nanoseconds: u32, expected: &str) {
        assert_eq!(rfc3339(Timestamp { seconds, nanoseconds }), expected);
    }

    #[test]
    fn times_print_as_rfc3339() {
        check(0, 0, "1970-01-01T00:00:00Z");
        check(-1, 999_999_999, "1969-12-31T23:59:59.999999999Z");
        check(951_782_400, 0, "2000-02-29T00:00:00Z");
        check(4_107_542_399, 0, "2100-02-28T23:59:59Z");
        check(4_107_542_400, 0, "2100-03-01T00:00:00Z");
        check(1_709_208_000, 500_000_000, "2024-02-29T12:00:00.5Z");
        check(1_700_000_000, 1, "2023-11-14T22:13:20.000000001Z");
        check(-62_135_596_800, 0, "0001-01-01T00:00:00Z");
    }
    #[test]
    fn what_is_printed_is_read_back() {
        for seconds in (-62_135_596_800..253_402_300_799).step_by(86_400 * 97 + 12_345) {
            for nanoseconds in [0, 1, 500_000_000] {
                let time = Timestamp { seconds, nanoseconds };
                assert_eq!(parse_rfc3339(&rfc3339(time)), Some(time));
            }
        }
    }

    #[test]
    fn times_of_others_come_out_as_go_writes_them() {
        for (given, written) in [
            ("2024-01-01T02:00:00.500+02:00", "2024-01-01T02:00:00.5+02:00"),
            ("2024-01-01T02:00:00.000000000Z", "2024-01-01T02:00:00Z"),
            ("2024-01-01T02:00:00+00:00", "2024-01-01T02:00:00Z"),
            ("2024-01-01T02:00:10Z", "2024-01-01T02:00:10Z"),
            ("yesterday", "yesterday"),
        ] {
            assert_eq!(as_go_writes_it(given), written);
        }
    }

    #[test]
    fn offsets_are_taken_off() {
        let seconds = |text| parse_rfc3339(text).map(|time| time.seconds);
        assert_eq!(seconds("2023-11-14T23:13:20.5+01:00"), Some(1_700_000_000));
        assert_eq!(seconds("2023-11-14 21:43:20-00:30"), Some(1_700_000_000));
        for wrong in
            ["", "2023-11-14", "2023-13-14T00:00:00Z", "2023-11-14T22:13Z", "2023-11-14T22:13:20", "éééééééééééé"]
        {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
