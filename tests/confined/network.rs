//! The network of a step, by what comes out of it: a service that answers with a word, not a connection.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::Duration;

use super::support::kiln::{Kiln, Output, output_of};
use super::support::{has_root, machine, scratch, write};
use super::{Builder, command, context_of};

const LIMIT: Duration = Duration::from_secs(120);
const WORD: &str = "kiln-canary-of-the-loopback";

/// A service of this machine that says the word to everybody, on IPv4 and, where there is one, on IPv6 loopback.
fn serve() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback");
    let port = listener.local_addr().expect("its address").port();
    let also = TcpListener::bind(SocketAddr::new("::1".parse().expect("an address"), port));
    for listener in [Ok(listener), also].into_iter().flatten() {
        std::thread::spawn(move || {
            for mut connection in listener.incoming().flatten() {
                let _ = connection.write_all(WORD.as_bytes());
            }
        });
    }
    port
}

/// The address of this machine on its way out.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let way_out = socket.connect("198.51.100.1:9").and_then(|()| socket.local_addr());
    way_out.map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

/// Asks the service at each address that might be the host, from inside and by name.
fn ask(port: u16) -> tempfile::TempDir {
    let own = own_address();
    context_of(&format!(
        "FROM BUSYBOX\nRUN echo devices $(ls /sys/class/net); \
         for host in 127.0.0.1 127.1.2.3 0.0.0.0 ::1 ::ffff:127.0.0.1 localhost {own} 10.0.2.2 10.0.2.3 10.0.2.100 169.254.1.1 \
         $(ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p') $(ip addr | sed -n 's/.*inet6* \\([0-9a-f.:]*\\).*/\\1/p'); do \
         echo \"at $host: $(timeout 4 nc -w 3 $host {port} </dev/null 2>/dev/null)\"; done\n"
    ))
}

/// Where the word was heard.
fn heard(output: &Output) -> Vec<String> {
    let lines = output.stderr.lines().filter(|line| line.contains(WORD));
    lines.filter_map(|line| Some(line.split_once(" at ")?.1.split_once(": ")?.0.to_owned())).collect()
}

/// Builds on a machine with these differences.
pub(super) fn build(kiln: &Kiln, words: &[&str], context: &Path, arguments: &[&str]) -> Output {
    let command = super::command(kiln, context, arguments);
    let output = output_of(&mut machine::with(words, &command), LIMIT);
    output.succeeded();
    output
}

/// With either helper, as root and as a user who may open /dev/net/tun.
fn check_loopback(helper: &str, other: &str, device: fn(&str) -> bool) {
    if !has_root() {
        return;
    }
    let context = ask(serve());
    for builder in Builder::all() {
        let kiln = builder.kiln();
        let words = ["tun", &format!("without={other}")];
        let output = build(&kiln, &words, context.path(), &["--no-cache"]);
        assert_eq!(heard(&output), Vec::<String>::new(), "{builder:?} with {helper}\n{}", output.both());
        assert!(!output.stderr.contains("host's network"), "{}", output.both());
        let devices = output.stderr.lines().rev().find_map(|line| line.split_once(" devices ")).expect("devices").1;
        assert!(devices.split(' ').any(device), "not connected by {helper}: {devices}");
        // The control: with the host's network the word is heard.
        let output = build(&kiln, &words, context.path(), &["--no-cache", "--network=host"]);
        for address in ["127.0.0.1", "127.1.2.3", "0.0.0.0", "::ffff:127.0.0.1"] {
            let expected = address != "127.1.2.3";
            assert_eq!(heard(&output).contains(&address.to_owned()), expected, "{address}\n{}", output.both());
        }
    }
}

#[test]
fn from_behind_pasta_the_loopback_of_the_host_is_silent() {
    check_loopback("pasta", "slirp4netns", |device| !["lo", "tap0"].contains(&device));
}

#[test]
fn from_behind_slirp4netns_the_loopback_of_the_host_is_silent() {
    check_loopback("slirp4netns", "pasta", |device| device == "tap0");
}

#[test]
fn without_a_helper_a_step_has_the_network_of_the_host_and_kiln_says_so() {
    if !has_root() {
        return;
    }
    let context = ask(serve());
    for (words, why) in [
        (&["no-tun"][..], "/dev/net/tun cannot be opened"),
        (&["tun", "without=pasta", "without=slirp4netns"], "no network helper connected"),
    ] {
        for builder in Builder::all() {
            let output = build(&builder.kiln(), words, context.path(), &[]);
            assert!(output.stderr.contains(&format!("RUN steps use the host's network: {why}")), "{}", output.both());
            assert!(!heard(&output).is_empty(), "{}", output.both());
        }
    }
}

#[test]
fn none_is_the_loopback_alone() {
    let context =
        context_of("FROM BUSYBOX\nRUN --network=none echo devices $(ls /sys/class/net), $(ip route | wc -l) routes\n");
    for builder in Builder::all() {
        let output = output_of(&mut command(&builder.kiln(), context.path(), &[]), LIMIT);
        output.succeeded();
        assert!(output.stderr.contains("devices lo, 0 routes"), "{}", output.both());
    }
}

/// A name server that knows one answer, where only the host's loopback reaches it.
fn serve_names() -> Option<String> {
    let socket = UdpSocket::bind("127.0.0.53:53").ok()?;
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let question = &query[12..length];
            // An answer with the question, and for an A record one address: 192.0.2.77.
            let name = question.iter().position(|byte| *byte == 0).unwrap_or(0) + 1;
            let is_a = question.get(name..name + 2) == Some(&[0, 1]);
            let head = [query[0], query[1], 0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0];
            let address = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 77];
            let address = if is_a { &address[..] } else { &[] };
            let answer = [&head[..], &question[..(name + 4).min(question.len())], address].concat();
            let _ = socket.send_to(&answer, from);
        }
    });
    Some("nameserver 127.0.0.53\n".to_owned())
}

// A resolver on the loopback of the host answers through the helper, at an address of the helper's.
#[test]
fn a_resolver_on_the_loopback_is_asked_through_the_helper() {
    if !has_root() {
        return;
    }
    let Some(resolver) = serve_names() else { return super::support::skip("127.0.0.53:53 is taken") };
    let directory = scratch();
    write(directory.path(), "resolv.conf", resolver);
    let resolver = format!("file={}:/etc/resolv.conf", directory.path().join("resolv.conf").display());
    let context = context_of("FROM BUSYBOX\nRUN cat /etc/resolv.conf; nslookup canary.test\n");
    for other in ["slirp4netns", "pasta"] {
        for builder in Builder::all() {
            let words = ["tun", &format!("without={other}"), &resolver];
            let output = build(&builder.kiln(), &words, context.path(), &["--no-cache"]);
            assert!(output.stderr.contains("192.0.2.77"), "{builder:?} without {other}\n{}", output.both());
        }
    }
}

// language 10.6
#[test]
fn hosts_are_added_and_the_gateway_of_the_host_is_refused_by_name() {
    let context = context_of(
        "FROM BUSYBOX\nRUN grep -q '^192.0.2.5.added$' /etc/hosts && grep -q '^2001:db8::5.six$' /etc/hosts\n",
    );
    let kiln = Kiln::new();
    let hosts = ["--add-host=added:192.0.2.5", "--add-host=six=[2001:db8::5]"];
    output_of(&mut command(&kiln, context.path(), &hosts), LIMIT).succeeded();
    let gateway = ["--add-host=me:host-gateway"];
    output_of(&mut command(&kiln, context.path(), &gateway), LIMIT).failed_saying(&["host-gateway"]);
}

/// The kernel keeps the port of a connection that a server has ended for a minute.
#[test]
fn a_port_that_one_step_served_is_free_for_the_next() {
    let served = "perl -MIO::Socket::INET -e 'my $l = IO::Socket::INET->new(Listen => 1, LocalAddr => \"127.0.0.1:8080\") or die $@; \
                  my $c = IO::Socket::INET->new(\"127.0.0.1:8080\") or die $@; my $s = $l->accept; close $s; close $c;'";
    // The control: in one network the port is taken.
    let once = format!("RUN {served} && grep -q :1F90 /proc/net/tcp\n");
    let context = context_of(&format!("FROM DEBIAN\n{once}{once}RUN ! {{ {served} && {served}; }}\n"));
    let output = output_of(&mut command(&Kiln::new(), context.path(), &[]), LIMIT);
    if output.stderr.contains("host's network") {
        println!("skipped: steps have no network of their own here");
        return;
    }
    output.succeeded();
}
