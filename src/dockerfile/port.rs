//! The words of EXPOSE, after expansion: `[ip:][host port:]port[-end][/protocol]`.
//!
//! Only the container's port and protocol are kept; the parts before are checked and dropped.

use std::net::IpAddr;
use std::ops::RangeInclusive;

/// One word of EXPOSE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortSpec {
    /// The container's ports.
    pub ports: RangeInclusive<u16>,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
    /// False when the protocol was written with capitals (lint rule ExposeProtoCasing).
    pub protocol_is_lower_case: bool,
    /// True when an address or host port was given (lint rule ExposeInvalidFormat).
    pub has_host_part: bool,
}

/// Why a word of EXPOSE cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid port: \"{word}\": {reason}")]
pub struct PortError {
    /// The word.
    pub word: String,
    /// What is wrong with it.
    pub reason: PortReason,
}

/// See [`PortError`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PortReason {
    /// Not `tcp`, `udp` or `sctp`.
    #[error("invalid proto: {0}")]
    Protocol(String),
    /// The part before the ports is not an address.
    #[error("invalid IP address: {0}")]
    Address(String),
    /// Nothing stands where the port should.
    #[error("no port specified")]
    NoPort,
    /// Not a port or a rising range of ports.
    #[error("invalid containerPort: {0}")]
    ContainerPort(String),
    /// The same, before the colon.
    #[error("invalid hostPort: {0}")]
    HostPort(String),
    /// Two ranges of different length.
    #[error("invalid ranges specified for container and host Ports: {0} and {1}")]
    Lengths(String, String),
}

impl PortSpec {
    /// Reads one word.
    pub fn parse(word: &str) -> Result<Self, PortError> {
        parse(word).map_err(|reason| PortError { word: word.to_owned(), reason })
    }

    /// Returns the keys of the image's config, for example `80/tcp`, one per port.
    pub fn keys(&self) -> impl Iterator<Item = String> {
        let protocol = self.protocol;
        self.ports.clone().map(move |port| format!("{port}/{protocol}"))
    }
}

fn parse(word: &str) -> Result<PortSpec, PortReason> {
    let (before, container) = word.rsplit_once(':').unwrap_or(("", word));
    let (address, host) = before.rsplit_once(':').unwrap_or(("", before));
    let (container, protocol) = container.split_once('/').unwrap_or((container, ""));
    let written = if protocol.is_empty() { "tcp" } else { protocol };
    let protocol = ["tcp", "udp", "sctp"].into_iter().find(|known| written.eq_ignore_ascii_case(known));
    let protocol = protocol.ok_or_else(|| PortReason::Protocol(written.to_lowercase()))?;
    if !address.is_empty() {
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        bare.parse::<IpAddr>().map_err(|_| PortReason::Address(address.to_owned()))?;
    }
    if container.is_empty() {
        return Err(PortReason::NoPort);
    }
    let ports = range(container).ok_or_else(|| PortReason::ContainerPort(container.to_owned()))?;
    if !host.is_empty() {
        let hosts = range(host).ok_or_else(|| PortReason::HostPort(host.to_owned()))?;
        if ports.len() != 1 && ports.len() != hosts.len() {
            return Err(PortReason::Lengths(container.to_owned(), host.to_owned()));
        }
    }
    Ok(PortSpec { ports, protocol, protocol_is_lower_case: written == protocol, has_host_part: word.contains(':') })
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    let (start, end) = (number(start)?, number(end)?);
    (start <= end).then_some(start..=end)
}

/// Digits only: `str::parse` would take a sign.
fn number(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, want: &[&str]) {
        let got: Vec<String> = PortSpec::parse(word).expect("valid").keys().collect();
        assert_eq!(got, want, "{word}");
    }

    #[track_caller]
    fn fails(word: &str, want: &str) {
        let message = PortSpec::parse(word).expect_err("invalid").to_string();
        assert!(message.ends_with(want), "{message}");
    }

    #[test]
    fn forms() {
        check("80", &["80/tcp"]);
        check("53/UDP", &["53/udp"]);
        check("8080-8081/sctp", &["8080/sctp", "8081/sctp"]);
        check("127.0.0.1:80:90", &["90/tcp"]);
        check("[::1]:80:90/tcp", &["90/tcp"]);
        check("1:2", &["2/tcp"]);
        check("80/", &["80/tcp"]);
        assert!(PortSpec::parse("1:2").expect("valid").has_host_part);
        assert!(!PortSpec::parse("2/TCP").expect("valid").protocol_is_lower_case);
    }

    #[test]
    fn mistakes() {
        fails("80a", "invalid containerPort: 80a");
        fails("90-80", "invalid containerPort: 90-80");
        fails("65536", "invalid containerPort: 65536");
        fails("+8", "invalid containerPort: +8");
        fails("80/icmp", "invalid port: \"80/icmp\": invalid proto: icmp");
        fails("x:80", "invalid hostPort: x");
        fails("a.b:80:80", "invalid IP address: a.b");
        fails("80-81:90-99", "invalid ranges specified for container and host Ports: 90-99 and 80-81");
        fails("/tcp", "no port specified");
    }
}
