//! Name servers of a step that has a network of its own: it does not reach those on the host's loopback.

use std::net::IpAddr;

/// Where systemd-resolved says which servers it asks itself.
const BEHIND_RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// Returns what stands for the host's `/etc/resolv.conf` in another network. `forwarder` answers there for the first
/// server of the host.
pub(in crate::executor) fn in_another_network(host: &str, forwarder: Option<&str>) -> String {
    reachable(host, || std::fs::read_to_string(BEHIND_RESOLVED).ok(), forwarder)
}

/// Whether a step can ask none of the host's name servers itself.
pub(super) fn needs_forwarder() -> bool {
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let has_server = |text: &str| text.lines().any(|line| server(line).is_some());
    has_server(&host) && !has_server(&in_another_network(&host, None))
}

/// Leaves out servers on the loopback. When they are all there is, the resolver that listens there may tell (`behind`)
/// which ones it asks; else it is asked through the forwarder.
fn reachable(host: &str, behind: impl FnOnce() -> Option<String>, forwarder: Option<&str>) -> String {
    let has_server = |text: &str| text.lines().any(|line| server(line).is_some());
    let text = without_loopback(host);
    if text == host || has_server(&text) {
        return text;
    }
    match (behind().map(|behind| without_loopback(&behind)), forwarder) {
        (Some(behind), _) if has_server(&behind) => behind,
        (_, Some(forwarder)) => format!("nameserver {forwarder}\n{text}"),
        (behind, None) => behind.unwrap_or(text),
    }
}

fn without_loopback(text: &str) -> String {
    let on_loopback = |line: &&str| server(line).is_some_and(|address| address.is_loopback());
    text.split_inclusive('\n').filter(|line| !on_loopback(line)).collect()
}

fn server(line: &str) -> Option<IpAddr> {
    let mut words = line.split_whitespace();
    let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
    address.split('%').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // language 10.6
    #[test]
    fn loopback_servers_are_left_out() {
        let behind = || Some("nameserver 127.0.0.1\nnameserver 192.0.2.53\n".to_owned());
        let told = |host: &str| reachable(host, behind, Some("192.0.2.7"));
        let mixed = "search example\nnameserver 127.0.0.53\nnameserver\t192.0.2.1\nnameserver ::1\noptions rotate";
        assert_eq!(told(mixed), "search example\nnameserver\t192.0.2.1\noptions rotate");
        assert_eq!(told("nameserver 127.0.0.53\noptions edns0\n"), "nameserver 192.0.2.53\n");
        assert_eq!(told("nameserver fe80::1%eth0\n"), "nameserver fe80::1%eth0\n");
        assert_eq!(told("search example\n"), "search example\n");
        let alone = "nameserver ::1\nsearch example\n";
        assert_eq!(reachable(alone, || None, None), "search example\n");
        assert_eq!(reachable(alone, || None, Some("192.0.2.7")), "nameserver 192.0.2.7\nsearch example\n");
        let useless = || Some("nameserver 127.0.0.1\n".to_owned());
        assert_eq!(reachable(alone, useless, Some("192.0.2.7")), "nameserver 192.0.2.7\nsearch example\n");
    }
}
