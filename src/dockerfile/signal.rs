//! Signal names of STOPSIGNAL.
//!
//! The image stores what was written; this only says whether it is a signal on Linux.

/// STOPSIGNAL names no signal.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid signal: {0}")]
pub struct SignalError(pub String);

/// Names of signal(7) and their older synonyms, without `SIG`.
const NAMES: &[&str] = &[
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// Checks an expanded STOPSIGNAL: any integer but 0, or a name in any case, with or without `SIG`.
pub fn check(text: &str) -> Result<(), SignalError> {
    let valid = match text.parse::<i64>() {
        Ok(number) => number != 0,
        Err(_) => is_name(&text.to_ascii_uppercase()),
    };
    if valid { Ok(()) } else { Err(SignalError(text.to_owned())) }
}

fn is_name(name: &str) -> bool {
    let name = name.strip_prefix("SIG").unwrap_or(name);
    let real_time = |prefix: &str, most: u32| {
        let digits = name.strip_prefix(prefix).filter(|digits| !digits.starts_with(['0', '+']));
        digits.and_then(|digits| digits.parse::<u32>().ok()).is_some_and(|number| number <= most)
    };
    NAMES.contains(&name) || real_time("RTMIN+", 15) || real_time("RTMAX-", 14)
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn numbers_and_names() {
        for text in ["9", "65", "-1", "term", "SIGTERM", "sigRtMin+3", "RTMIN", "RTMAX-14"] {
            assert!(check(text).is_ok(), "{text}");
        }
        for text in ["0", "", "NOPE", "SIG", "RTMIN+16", "RTMIN+0", "RTMAX-15", "RTMIN+"] {
            assert!(check(text).is_err(), "{text}");
        }
    }
}
