//! What kiln remembers of a machine, and that it notices when the machine is another.

mod support;

use std::path::Path;
use std::time::Duration;

use support::kiln::{Kiln, output_of};
use support::{machine, tool, write};

const LIMIT: Duration = Duration::from_secs(60);
/// Where a store says that an overlay was seen to work in it.
const TRIED: &str = "snapshots/tried";

fn snapshots_of(doctor: &str) -> &str {
    doctor.lines().find(|line| line.contains(" snapshots ")).unwrap_or_default()
}

/// A device number is given to another file system when the one that had it is gone: a store in its place is another.
#[test]
fn a_store_that_was_copied_to_another_file_system_is_tried_anew() {
    if !support::has_root() {
        return;
    }
    let (kiln, scratch) = (Kiln::new(), support::scratch());
    let own = kiln.command();
    // The second, of memory too, takes no marks of an overlay.
    let script = "mkdir here; mount -t tmpfs one here; mkdir here/store; $KILN doctor; cat here/store/snapshots/tried; \
                  echo; stat -c 'device %d' here; cp -a here/store away; umount here; \
                  mount -t ramfs two here; cp -a away here/store; stat -c 'device %d' here; $KILN doctor";
    let mut command = tool::tool("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", script]).current_dir(scratch.path());
    command.env("KILN", own.get_program()).env("KILN_ROOT", scratch.path().join("here/store"));
    let said = output_of(&mut command, LIMIT);
    let lines: Vec<&str> = said.succeeded().stdout.lines().filter(|line| line.contains(" snapshots ")).collect();
    let [first, second] = lines[..] else { panic!("{}", said.both()) };
    assert!(first.contains("overlay: ") && second.contains("copy: "), "{}", said.both());
    assert!(second.contains("takes no marks of an overlay"), "{}", said.both());
}

#[test]
fn after_another_boot_it_is_tried_anew() {
    if !support::has_root() {
        return;
    }
    let (kiln, directory) = (Kiln::new(), support::scratch());
    std::fs::create_dir(kiln.store()).expect("a new directory for the store");
    let tried = || std::fs::read_to_string(kiln.store().join(TRIED)).unwrap_or_default();
    let first = kiln.run(["doctor"]);
    if !snapshots_of(&first.stdout).contains("overlay: ") {
        return support::skip("needs a file system for the store that overlays can be mounted on");
    }
    let before = tried();
    kiln.run(["doctor"]);
    assert_eq!(tried(), before);
    let boot = "11111111-2222-3333-4444-555555555555";
    write(directory.path(), "boot", format!("{boot}\n"));
    let word = format!("file={}:/proc/sys/kernel/random/boot_id", Path::join(directory.path(), "boot").display());
    let mut command = kiln.command();
    let said = output_of(&mut machine::with(&[&word], command.arg("doctor")), LIMIT);
    assert!(snapshots_of(&said.stdout).contains("overlay: "), "{}", said.both());
    assert!(!before.contains(boot) && tried().contains(boot), "{before:?}, then {:?}", tried());
}
