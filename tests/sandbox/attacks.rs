//! What a step must not be able to do to its host. Every refusal has a control: the same act somewhere it is
//! allowed, so that no refusal comes from the act being impossible anyway.
//!
//! The attacks by number (1-12, 15 and 22-25 also as `ATTACKS` in the file above):
//!
//! ```text
//!  1-3 8 9 11 12 19 22 23 25  system_calls_are_refused           13 14     system_calls_are_refused (root only)
//!  4-7 10 15 21               refusals_that_look_like_absence,   16        a_child_left_behind_neither_lives_on..
//!                             only_its_own_processes_..          17        identity_and_confinement
//!  18  abstract_sockets_of_the_host_are_out_of_reach             20        the_default_network_reaches_out_but_..
//!  19  the_session_keyring_is_not_inherited                      24        processes_of_the_host_have_no_number
//!  26  an_image_that_runs_in_place_of_the_builder_..             27        a_working_directory_by_descriptor_..
//!  28  links_of_the_image_lead_nowhere_else                      29 30     the tests of `ops::copy`
//!  31  a_mount_point_swapped_for_a_link_is_not_followed          32 33     the tests of `floods`
//!  34  a_full_disk, a_step_that_fills_the_disk (hostile.rs)      35        very_many_files_.. (hostile.rs)
//!  36  much_output_arrives_whole
//!  37  mounts_of_each_kind (the layer holds no secret)           38        set_id_files_of_the_store_are_out_of_reach
//!  39  the tests of `context`                                    40        cancelling_kills_at_once
//! ```
//!
//! Not tried. 34: nothing limits the disk but the file system of the store. 35 with a million inodes, for the time it takes: a
//! hundred thousand stand for them. 4 where the kernel has no sysrq; a real disk in 14 where the machine refuses its disks even to root: zero (1:5) stands in for it. x32 calls in
//! 23 where the kernel does not have them: the filter's own tests answer for it. In a user namespace the kernel
//! refuses some acts to everyone: `REFUSED_TO_ROOT_OF_A_USER_NAMESPACE`.

use std::collections::BTreeMap;
use std::os::linux::net::SocketAddrExt;
use std::process::Command;

use super::*;

/// Acts whose control is refused too when the controller is root of a user namespace only.
const REFUSED_TO_ROOT_OF_A_USER_NAMESPACE: &[&str] =
    &["syslog", "swapoff", "bpf", "open_by_handle_at", "kexec_load", "init_module", "core-pattern", "device"];

/// Compiles a program of `tests/sandbox` to stand alone in an image.
fn compile(source: &str, target: &Path, options: &[&str]) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sandbox").join(source);
    let done = Command::new("cc").args(["-static", "-O1"]).args(options).arg("-o").arg(target).arg(source).status();
    assert!(done.expect("cc is installed, as Rust links with it").success());
}

fn armed() -> Bench {
    let bench = Bench::new();
    compile("attacks.c", &bench.path("lower/bin/attacks"), &[]);
    bench
}

/// The errno of each act.
fn acts(stdout: &str) -> BTreeMap<String, i32> {
    let lines = stdout.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(name, errno)| (name.to_owned(), errno.parse().unwrap())).collect()
}

fn spec_of_attacks(bench: &Bench, socket: &str) -> SandboxSpec {
    let mut spec = bench.spec("");
    spec.argv = ["/bin/attacks", &std::process::id().to_string(), socket].map(str::to_owned).to_vec();
    spec
}

fn outside(bench: &Bench, socket: &str) -> BTreeMap<String, i32> {
    let program = bench.path("lower/bin/attacks");
    let output = Command::new(program).arg(std::process::id().to_string()).arg(socket).output().unwrap();
    acts(&String::from_utf8(output.stdout).unwrap())
}

#[test]
fn system_calls_are_refused() {
    if !possible() {
        return;
    }
    let bench = armed();
    let confined = acts(&run(&spec_of_attacks(&bench, "none")).stdout);
    let mut spec = spec_of_attacks(&bench, "none");
    spec.security = Security::Insecure;
    let allowed = acts(&run(&spec).stdout);
    let others = ["host-process", "abstract-socket", "secret-key", "own-program", "known-device", "device"];
    assert!(confined.len() > 30, "{confined:?}");
    for (name, errno) in confined.iter().filter(|(name, _)| !others.contains(&name.as_str())) {
        let expected: &[i32] = match name.as_str() {
            "core-pattern" if in_user_namespace() => &[libc::EROFS, libc::EACCES],
            "core-pattern" => &[libc::EROFS],
            "clone3" => &[libc::ENOSYS],
            _ => &[libc::EPERM],
        };
        assert!(expected.contains(errno), "{name}: {errno}");
        let vacuous = in_user_namespace() && REFUSED_TO_ROOT_OF_A_USER_NAMESPACE.contains(&name.as_str());
        assert!(vacuous || allowed[name] != *errno, "{name} is refused anyway: {errno}");
    }
    // A device node can be made but not opened, though the device can.
    let refusal = if in_user_namespace() { libc::EPERM } else { libc::EACCES };
    assert_eq!((confined["known-device"], confined["device"]), (0, refusal));
}

#[test]
fn processes_of_the_host_have_no_number() {
    if !possible() {
        return;
    }
    let bench = armed();
    assert_eq!(acts(&run(&spec_of_attacks(&bench, "none")).stdout)["host-process"], libc::ESRCH);
    assert_eq!(outside(&bench, "none")["host-process"], 0);
}

#[test]
fn abstract_sockets_of_the_host_are_out_of_reach() {
    if !possible() {
        return;
    }
    let bench = armed();
    let name = format!("kiln-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let mut spec = spec_of_attacks(&bench, &name);
    assert_eq!(acts(&run(&spec).stdout)["abstract-socket"], libc::ECONNREFUSED);
    // With the host's network they are in reach: that is what it means.
    (spec, spec.network) = (spec_of_attacks(&bench, &name), Network::Host);
    assert_eq!(acts(&run(&spec).stdout)["abstract-socket"], 0);
}

#[test]
#[allow(unsafe_code)]
fn the_session_keyring_is_not_inherited() {
    if !possible() {
        return;
    }
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    const SESSION_KEYRING: libc::c_long = -3;
    // SAFETY: a null name asks for a new keyring; the strings are static and the value's length is given.
    let key = unsafe {
        libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<u8>());
        let (kind, name) = (c"user".as_ptr(), c"kiln-test-secret".as_ptr());
        libc::syscall(libc::SYS_add_key, kind, name, c"hush".as_ptr(), 4, SESSION_KEYRING)
    };
    if key < 0 {
        println!("skipped: the kernel keeps no keys: {}", std::io::Error::last_os_error());
        return;
    }
    let bench = armed();
    assert_eq!(outside(&bench, "none")["secret-key"], 0, "children of this thread have the key");
    // Unconfined, because the filter refuses to ask.
    let mut spec = spec_of_attacks(&bench, "none");
    spec.security = Security::Insecure;
    assert_eq!(acts(&run(&spec).stdout)["secret-key"], libc::ENOKEY);
}

/// CVE-2019-5736: an interpreter line leads back to the builder's program, whose loader comes from the image and truncates
/// that program. On a writable mount it would be told that the program is busy, as the image's own is.
#[test]
#[cfg(target_arch = "x86_64")]
fn an_image_that_runs_in_place_of_the_builder_cannot_write_it() {
    if !possible() {
        return;
    }
    let bench = armed();
    assert_eq!(acts(&run(&spec_of_attacks(&bench, "none")).stdout)["own-program"], libc::ETXTBSY);
    std::fs::create_dir(bench.path("lower/lib64")).unwrap();
    let loader = bench.path("lower/lib64/ld-linux-x86-64.so.2");
    compile("interpreter.c", &loader, &["-nostdlib", "-fno-stack-protector"]);
    let script = bench.path("lower/bin/trap");
    std::fs::write(&script, "#!/proc/self/exe\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut spec = bench.spec("");
    spec.argv = vec!["/bin/trap".to_owned()];
    // A copy, which belongs to who runs this test: only the mount is in the way.
    let builder = bench.path("builder");
    support::tool::copy_program(env!("CARGO_BIN_EXE_kiln"), &builder);
    let executor = Executor::with(Program::at(&builder));
    let ran = executor.run(&spec, &mut |_, _| (), &CancelFlag::new().unwrap()).unwrap();
    assert_eq!(ran.status, ExitStatus::Code(libc::EROFS));
}

/// CVE-2024-21626: a descriptor of the builder's as a way to the host's directories.
#[test]
fn a_working_directory_by_descriptor_leads_nowhere_else() {
    if !possible() {
        return;
    }
    let bench = Bench::new();
    std::fs::write(bench.path("marker"), "").unwrap();
    for number in 0..24 {
        // Upper directory, work directory and layers are what is open; the marker lies beside them.
        for tail in ["", "/..", "/../.."] {
            let mut spec = bench.spec("test ! -e marker && ls / | grep -c '^marker$'; pwd -P >/dev/null || echo lost");
            spec.cwd = format!("/proc/self/fd/{number}{tail}").into();
            match try_run(&spec) {
                Ok(ran) => assert_eq!(ran.stdout, "0\n", "{}", spec.cwd.display()),
                Err(ExecError::Setup { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
    }
}

/// CVE-2024-23652: what was made to mount on is removed afterwards, but not what a step has put in its way.
#[test]
fn a_mount_point_swapped_for_a_link_is_not_followed() {
    if !possible() {
        return;
    }
    let bench = Bench::new();
    let (outside, swap) = (bench.path("outside"), |spec: &mut SandboxSpec| {
        spec.mounts = vec![Mount::Tmpfs { target: "/deep/er".into(), size: None, mode: 0o755, readonly: false }];
    });
    std::fs::create_dir_all(outside.join("er")).unwrap();
    let mut spec = bench.spec(&format!("mv /deep /moved && ln -s {} /deep", outside.display()));
    swap(&mut spec);
    let ran = run(&spec);
    assert!(ran.outcome.status.success(), "{}", ran.stderr);
    assert!(outside.join("er").is_dir());
    assert!(ran.upper.join("deep").is_symlink());
    let mut spec = bench.spec("true");
    swap(&mut spec);
    assert!(!run(&spec).upper.join("deep").exists(), "it would have been removed");
}

#[test]
fn set_id_files_of_the_store_are_out_of_reach() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    // A directory that was there before, open to everybody.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let snapshots = kiln::snapshot::Snapshots::open(dir.path(), kiln::snapshot::Snapshotter::Copy, false).unwrap();
    let scratch = snapshots.scratch().unwrap();
    let program = scratch.fs().join("program");
    support::tool::copy_program("/bin/busybox", &program);
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o4755)).unwrap();
    if !rustix::process::geteuid().is_root() || in_user_namespace() {
        println!("skipped: needs a second user");
        return;
    }
    let as_another = |program: &Path| {
        use std::os::unix::process::CommandExt;
        Command::new(program).arg("true").uid(65534).gid(65534).status()
    };
    assert!(as_another(&program).is_err());
    let control = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let copy = control.path().join("busybox");
    support::tool::copy_program(&program, &copy);
    assert!(as_another(&copy).unwrap().success());
}
