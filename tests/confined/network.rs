//! The network of a step, by what comes out of it: a service that answers with a word, not a connection.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::support::kiln::{Kiln, Output, output_of};
use super::support::{has_root, machine, scratch, tool, write};
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

fn build(kiln: &Kiln, words: &[&str], context: &Path, arguments: &[&str]) -> Output {
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

/// A `pasta` that notes each start in the file it returns. The words put it in place of the real one.
fn counted_pasta(directory: &Path) -> (PathBuf, String) {
    let (real, log) = (directory.join("pasta"), directory.join("started"));
    let found = std::fs::canonicalize(tool::find("pasta").expect("pasta is installed: passt")).expect("a path");
    std::fs::copy(&found, &real).expect("a copy of pasta");
    write(directory, "started", "");
    std::os::unix::fs::symlink(&real, directory.join("link")).expect("a link");
    let script = format!("#!/bin/sh\necho started >> {}\nexec {} \"$@\"\n", log.display(), real.display());
    write(directory, "counting", script);
    tool::run(tool::tool("chmod").args(["0755"]).arg(directory.join("counting")));
    let word = format!("file={}:{}", directory.join("counting").display(), found.display());
    (log, word)
}

#[test]
fn a_helper_is_started_for_a_step_that_runs_and_for_no_other() {
    if !has_root() {
        return;
    }
    let directory = scratch();
    let (log, word) = counted_pasta(directory.path());
    let started = || std::fs::read_to_string(&log).expect("the log").lines().count();
    let kiln = Kiln::new();
    let context = context_of("FROM BUSYBOX\nCOPY f /\nRUN echo one\nRUN echo two\nCOPY g /\n");
    write(context.path(), "f", "1");
    write(context.path(), "g", "1");
    build(&kiln, &[&word], context.path(), &[]);
    assert_eq!(started(), 1, "two steps share one");
    build(&kiln, &[&word], context.path(), &[]);
    assert_eq!(started(), 1, "everything is cached");
    write(context.path(), "g", "2");
    build(&kiln, &[&word], context.path(), &[]);
    assert_eq!(started(), 1, "no RUN comes after what changed");
    write(context.path(), "f", "2");
    build(&kiln, &[&word], context.path(), &[]);
    assert_eq!(started(), 2, "the RUN after what changed");
    build(&kiln, &[&word], context.path(), &["--no-cache", "--network=none"]);
    build(&kiln, &[&word], context.path(), &["--no-cache", "--network=host"]);
    assert_eq!(started(), 2, "no step has a network of its own");
}

/// Process, parent and program of all processes.
fn processes() -> Vec<(u32, u32, String)> {
    let listed = tool::run(tool::tool("ps").args(["-eo", "pid=,ppid=,comm="]));
    let process = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.to_owned()))
    };
    listed.lines().filter_map(process).collect()
}

fn descendants(ancestor: u32) -> Vec<(u32, String)> {
    let all = processes();
    let mut found = vec![(ancestor, String::new())];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next].0;
        found.extend(all.iter().filter(|(_, of, _)| *of == parent).map(|(id, _, name)| (*id, name.clone())));
        next += 1;
    }
    found.remove(0);
    found
}

#[test]
fn a_killed_kiln_takes_its_helpers_along() {
    if !has_root() {
        return;
    }
    let context = context_of("FROM BUSYBOX\nRUN echo now sleeping; sleep 300\n");
    for (other, helper) in [("slirp4netns", "pas"), ("pasta", "slirp4netns")] {
        for builder in Builder::all() {
            let kiln = builder.kiln();
            let log = kiln.out().join("log");
            let command = super::command(&kiln, context.path(), &[]);
            let mut command = machine::with(&["tun", &format!("without={other}")], &command);
            command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).expect("a log"));
            let mut child = command.spawn().expect("kiln starts");
            let start = Instant::now();
            while !std::fs::read_to_string(&log).expect("the log").contains("now sleeping\n") {
                assert!(start.elapsed() < LIMIT, "the step does not start");
                std::thread::sleep(Duration::from_millis(10));
            }
            let below = descendants(child.id());
            assert!(below.iter().any(|(_, name)| name.starts_with(helper)), "no {helper}: {below:?}");
            child.kill().expect("a signal");
            child.wait().expect("the end of kiln");
            let killed = Instant::now();
            loop {
                let left: Vec<_> =
                    processes().into_iter().filter(|(id, _, name)| below.contains(&(*id, name.clone()))).collect();
                if left.is_empty() {
                    break;
                }
                assert!(killed.elapsed() < Duration::from_secs(3), "{builder:?}: {left:?} are left");
                std::thread::sleep(Duration::from_millis(20));
            }
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
