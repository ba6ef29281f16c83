//! Times as people read them.

use crate::fsutil::Timestamp;
use crate::oci::rfc3339;

/// How long ago, in the largest unit that fits: `3 hours ago`.
pub(super) fn age(created: Option<i64>, now: Timestamp) -> String {
    const UNITS: [(i64, &str); 6] = [
        (365 * 86_400, "year"),
        (30 * 86_400, "month"),
        (7 * 86_400, "week"),
        (86_400, "day"),
        (3600, "hour"),
        (60, "minute"),
    ];
    let Some(created) = created else { return "unknown".to_owned() };
    let seconds = now.seconds.saturating_sub(created);
    match UNITS.iter().find(|(length, _)| seconds >= *length) {
        None => "less than a minute ago".to_owned(),
        Some((length, unit)) => {
            let count = seconds / length;
            format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
        }
    }
}

/// The time as docker's lists show it: `2024-02-29 12:00:00 +0000 UTC`.
pub(super) fn created_at(created: Option<i64>) -> String {
    let Some(seconds) = created else { return "N/A".to_owned() };
    let text = rfc3339(Timestamp::from_seconds(seconds));
    format!("{} +0000 UTC", text.trim_end_matches('Z').replacen('T', " ", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_rounded_down() {
        let now = Timestamp { seconds: 1_700_000_000, nanoseconds: 0 };
        let ago = |seconds: i64| age(Some(now.seconds - seconds), now);
        assert_eq!(ago(59), "less than a minute ago");
        assert_eq!(ago(60), "1 minute ago");
        assert_eq!(ago(86_400 * 13), "1 week ago");
        assert_eq!(ago(-100), "less than a minute ago");
        assert_eq!(age(None, now), "unknown");
    }

    #[test]
    fn dates_are_dockers() {
        assert_eq!(created_at(Some(1_709_208_000)), "2024-02-29 12:00:00 +0000 UTC");
        assert_eq!(created_at(None), "N/A");
    }
}
