//! Layers on their way to a registry while they are still being compressed.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::support::bases::Base;
use super::support::{self, Kiln, registry, tool, write};

/// A relay to the real registry that looks at what passes.
struct Relay {
    address: String,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Blobs of the store at the time of each PATCH.
    blobs_at_patch: Mutex<Vec<usize>>,
    /// Bytes to the registry.
    sent: AtomicUsize,
    /// The next PATCH is cut off in the middle.
    cuts: AtomicBool,
    /// First lines of requests.
    requests: Mutex<Vec<String>>,
}

impl Relay {
    fn start(store: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Seen::default());
        let shared = seen.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (seen, store) = (shared.clone(), store.clone());
                let server = TcpStream::connect(&registry::shared().address).unwrap();
                let (mut back_from, mut back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut back_from, &mut back_to);
                    let _ = back_to.shutdown(Shutdown::Write);
                });
                std::thread::spawn(move || forward(client, server, &seen, &store));
            }
        });
        Self { address, seen }
    }
}

fn forward(mut client: TcpStream, mut server: TcpStream, seen: &Seen, store: &Path) {
    let mut buffer = vec![0; 64 << 10];
    let mut left_of_cut = None;
    while let Ok(n @ 1..) = client.read(&mut buffer) {
        if ["GET ", "HEAD ", "POST ", "PUT ", "PATCH "].iter().any(|method| buffer[..n].starts_with(method.as_bytes()))
        {
            let line = buffer[..n].split(|byte| *byte == b'\r').next().unwrap();
            seen.requests.lock().unwrap().push(String::from_utf8_lossy(line).into_owned());
        }
        if buffer[..n].starts_with(b"PATCH ") {
            let blobs = std::fs::read_dir(store.join("content/blobs/sha256")).map_or(0, Iterator::count);
            seen.blobs_at_patch.lock().unwrap().push(blobs);
            if seen.cuts.swap(false, Ordering::Relaxed) {
                left_of_cut = Some(1 << 20);
            }
        }
        if let Some(left) = &mut left_of_cut {
            if *left < n {
                let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
                return;
            }
            *left -= n;
        }
        seen.sent.fetch_add(n, Ordering::Relaxed);
        if server.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Write);
}

/// A context of two long layers that hardly compress, and one that is short.
fn context() -> tempfile::TempDir {
    let context = support::scratch();
    write(context.path(), "Dockerfile", "FROM scratch\nCOPY one /one\nCOPY two /two\nCOPY short /short\n");
    for (name, seed) in [("one", 1), ("two", 2u64)] {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        write(context.path(), name, (0..24 << 20).map(|_| next()).collect::<Vec<u8>>());
    }
    write(context.path(), "short", "short");
    context
}

/// Pushes through the relay under `name`; returns how many bytes passed.
fn push(kiln: &Kiln, relay: &Relay, name: &str, compression: &str) -> usize {
    let (context, before) = (context(), relay.seen.sent.load(Ordering::Relaxed));
    let output = format!("type=image,push=true,name={}/{name},compression={compression}", relay.address);
    kiln.build(context.path(), &["-o", &output]).succeeded();
    // What the registry has, it has whole.
    let (copied, image) = (kiln.out().join("copied"), format!("docker://{}/{name}", registry::shared().address));
    let _ = std::fs::remove_dir_all(&copied);
    let mut copy = tool::tool("skopeo");
    copy.args(["--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--preserve-digests", &image]);
    tool::run(copy.arg(format!("oci:{}:v", copied.display())));
    assert_eq!(kiln::export::validate_layout(&copied), []);
    relay.seen.sent.load(Ordering::Relaxed) - before
}

#[test]
fn an_upload_begins_before_the_layer_is_compressed_and_sends_nothing_twice() {
    for compression in ["gzip", "zstd", "estargz"] {
        let kiln = Kiln::new();
        let relay = Relay::start(kiln.store().to_owned());
        let sent = push(&kiln, &relay, &format!("early-{compression}:1"), compression);
        let blobs = relay.seen.blobs_at_patch.lock().unwrap().clone();
        assert!(blobs.len() >= 2, "{compression}: two layers go out by PATCH: {blobs:?}");
        // Three plain layers, perhaps the short one compressed, and nothing of what is sent.
        assert!(blobs[0] <= 4, "{compression}: there are {} blobs when the first upload begins", blobs[0]);
        assert!(sent < 52 << 20, "{compression}: {sent} bytes for two layers of 24 MiB");
        let again = push(&kiln, &relay, &format!("early-{compression}:2"), compression);
        assert!(again < 1 << 20, "{compression}: {again} bytes for what is there");
    }
}

/// Builds and pushes the same as [`context`], and a command after it that makes one more long layer.
#[test]
fn the_layer_of_the_last_command_goes_out_while_it_is_written() {
    let (kiln, context) = (Kiln::new(), context());
    let relay = Relay::start(kiln.store().to_owned());
    let base = format!("FROM {}\nCOPY one /one\nCOPY two /two\n", registry::base(Base::Busybox));
    write(context.path(), "Dockerfile", &base);
    kiln.build(context.path(), &["-t", "base"]).succeeded();
    let count = || std::fs::read_dir(kiln.store().join("content/blobs/sha256")).unwrap().count();
    let before = count();
    let command = "RUN for i in 1 2 3; do cat /one /two > /copy$i; done\nCOPY short /short\n";
    write(context.path(), "Dockerfile", base + command);
    let name = |name: &str| format!("{}/last/{name}:1", relay.address);
    kiln.build(context.path(), &["-t", &name("build"), "--push"]).succeeded();
    let blobs = relay.seen.blobs_at_patch.lock().unwrap().clone();
    assert_eq!(blobs[0], before, "the first upload begins before the layer is in the store: {blobs:?}");
    // The same again from the tar that was kept: the same image, of blobs that are there.
    let sent = relay.seen.sent.load(Ordering::Relaxed);
    std::fs::remove_dir_all(kiln.store().join("cache/compressed")).unwrap();
    kiln.run(["tag", &name("build"), &name("push")]).succeeded();
    let blobs = count();
    kiln.run(["push", &name("push")]).succeeded();
    assert_eq!(count(), blobs, "compressed anew it is the same blob");
    assert!(sent > 24 << 20, "{sent}");
}

/// The build fails after its last long layer went out.
#[test]
fn a_build_that_fails_late_pushes_no_image() {
    let (kiln, context) = (Kiln::new(), context());
    let relay = Relay::start(kiln.store().to_owned());
    let command = "RUN cat /one /two > /copy\nCOPY --from=copies /absent /absent\n";
    let text = format!("FROM scratch AS copies\nFROM {}\nCOPY one two /\n{command}", registry::base(Base::Busybox));
    write(context.path(), "Dockerfile", text);
    let name = format!("{}/failed:1", relay.address);
    kiln.build(context.path(), &["-t", &name, "--push"]).failed_saying(&["absent"]);
    kiln.run(["pull", &name]).failed_saying(&["failed"]);
    support::leftovers::assert_no_temporary_files(kiln.store());
}

#[test]
fn a_tag_that_names_the_image_already_takes_one_question() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    let relay = Relay::start(kiln.store().to_owned());
    write(context.path(), "Dockerfile", "FROM scratch\nCOPY Dockerfile /a\nCOPY Dockerfile /b\n");
    let build = |tag: &str| {
        kiln.build(context.path(), &["-t", &format!("{}/same:{tag}", relay.address), "--push"]).succeeded();
        std::mem::take(&mut *relay.seen.requests.lock().unwrap())
    };
    let first = build("1");
    assert!(first.iter().any(|request| request.starts_with("PUT /v2/same/manifests/1")), "{first:?}");
    assert_eq!(build("1"), ["HEAD /v2/same/manifests/1 HTTP/1.1"]);
    // Another tag is another answer.
    let other = build("2");
    assert!(other.iter().any(|request| request.starts_with("PUT /v2/same/manifests/2")), "{other:?}");
    assert!(!other.iter().any(|request| request.starts_with("POST ")), "{other:?}");
}

#[test]
fn short_layers_leave_while_later_steps_run() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    let relay = Relay::start(kiln.store().to_owned());
    let base = registry::base(Base::Busybox);
    let text = format!("FROM {base}\nRUN echo short > /short\nRUN sleep 5\n");
    write(context.path(), "Dockerfile", text);
    std::thread::scope(|scope| {
        let build = scope.spawn(|| {
            kiln.build(context.path(), &["-t", &format!("{}/short:1", relay.address), "--push"]).succeeded();
        });
        let uploaded = |request: &String| request.starts_with("PUT /v2/short/blobs/uploads/");
        while !relay.seen.requests.lock().unwrap().iter().any(uploaded) {
            assert!(!build.is_finished(), "no layer leaves early");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        // All that was left was the second command: the config, which lists its layer, cannot have been sent yet.
        assert!(!build.is_finished());
    });
}

#[test]
fn what_the_store_has_goes_out_the_same_way() {
    let (kiln, context) = (Kiln::new(), context());
    let relay = Relay::start(kiln.store().to_owned());
    let name = format!("{}/stored:1", relay.address);
    kiln.build(context.path(), &["-t", &name]).succeeded();
    let before = relay.seen.sent.load(Ordering::Relaxed);
    kiln.run(["push", &name]).succeeded();
    let blobs = relay.seen.blobs_at_patch.lock().unwrap().clone();
    assert!(blobs.len() >= 2 && blobs[0] <= 6, "blobs of the store when each upload begins: {blobs:?}");
    let sent = relay.seen.sent.load(Ordering::Relaxed) - before;
    assert!(sent < 52 << 20, "{sent} bytes for two layers of 24 MiB");
}

#[test]
fn an_upload_that_breaks_is_made_up_for_by_the_push() {
    let kiln = Kiln::new();
    let relay = Relay::start(kiln.store().to_owned());
    relay.seen.cuts.store(true, Ordering::Relaxed);
    push(&kiln, &relay, "cut:1", "gzip");
    assert!(!relay.seen.cuts.load(Ordering::Relaxed), "an upload was cut");
}

#[test]
fn a_registry_that_is_not_there_costs_no_more_than_before() {
    let kiln = Kiln::new();
    let name = format!("{}/nobody:1", registry::free_address());
    let context = context();
    kiln.build(context.path(), &["-o", &format!("type=registry,name={name}")]).failed_saying(&["nobody"]);
    support::leftovers::assert_no_temporary_files(kiln.store());
}
