//! Section 10: what is in a cache mount, for steps one after the other and side by side.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::build::Case;
use super::support::kiln::Kiln;
use super::support::user::User;
use super::support::{has_root, leftovers};

/// Tells each of two steps that asks for it whether the other asks at the same time, which is waited for so long.
fn rendezvous(patience: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        loop {
            let Ok((one, _)) = listener.accept() else { return };
            listener.set_nonblocking(true).expect("a listener");
            let mut waits = patience.as_millis() / 10;
            let other = loop {
                match listener.accept() {
                    Ok((other, _)) => break Some(other),
                    Err(_) if waits == 0 => break None,
                    Err(_) => std::thread::sleep(Duration::from_millis(10)),
                }
                waits -= 1;
            };
            listener.set_nonblocking(false).expect("a listener");
            let text = if other.is_some() { "met" } else { "alone" };
            for stream in [Some(one), other].into_iter().flatten() {
                answer(stream, text);
            }
        }
    });
    format!("wget -qO- http://{address}/")
}

fn answer(mut stream: TcpStream, text: &str) {
    stream.set_nonblocking(false).expect("a stream");
    let _ = stream.read(&mut [0; 1024]);
    let _ = write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
}

const HOST: [&str; 2] = ["--allow", "network.host"];

/// Two stages that are free to run at once; OWN in the command is the name of each.
fn side_by_side(options: &str, command: &str) -> Case {
    let stage = |own: &str| {
        let command = command.replace("OWN", own);
        format!("FROM BUSYBOX AS {own}\nRUN --network=host --mount=type=cache,id=c,target=/c{options} {command}\n")
    };
    let collected = "FROM BUSYBOX\nCOPY --from=a /a /\nCOPY --from=b /b /\n\
                     RUN --mount=type=cache,id=c,target=/c find /c -type f | sort > /after; cat /c/count >> /after || true\n";
    Case::new(&format!("{}{}{collected}", stage("a"), stage("b")))
}

// language m.6
#[test]
fn steps_at_once_neither_wait_for_each_other_nor_see_each_other() {
    let meet = rendezvous(Duration::from_secs(60));
    let command = format!("mkdir -p /c/d && touch /c/OWN /c/d/OWN && {meet} > /OWN && ls /c | xargs >> /OWN");
    let built = side_by_side("", &command).build(&HOST);
    assert_eq!([built.text("/a"), built.text("/b")], ["meta d\n", "metb d\n"]);
    assert_eq!(built.text("/after"), "/c/a\n/c/b\n/c/d/a\n/c/d/b\n");
}

// language m.6
#[test]
fn locked_steps_take_turns_and_each_sees_what_the_other_made() {
    let meet = rendezvous(Duration::from_millis(1500));
    let command = format!("n=$(cat /c/count || echo 0); {meet} > /OWN; echo $((n + 1)) > /c/count");
    let built = side_by_side(",sharing=locked", &command).build(&HOST);
    assert_eq!([built.text("/a"), built.text("/b")], ["alone", "alone"]);
    assert_eq!(built.text("/after"), "/c/count\n2\n");
}

// language m.6
#[test]
fn private_steps_at_once_have_a_mount_each() {
    let meet = rendezvous(Duration::from_secs(60));
    let command = format!("{meet} > /OWN; ls /c >> /OWN; echo OWN > /c/count");
    let case = side_by_side(",sharing=private", &command);
    let built = case.build(&HOST);
    assert_eq!([built.text("/a"), built.text("/b")], ["met", "met"]);
    assert_eq!(built.text("/after").lines().count(), 2, "{}", built.text("/after"));
}

// language m.5
#[test]
fn what_a_failed_step_wrote_is_dropped() {
    let case =
        Case::new("FROM BUSYBOX\nRUN --mount=type=cache,target=/c echo one > /c/kept && mkdir /c/d && touch /c/d/x\n");
    case.build(&[]);
    let failing = "echo two > /c/kept; rm -r /c/d; touch /c/new; exit 7";
    case.dockerfile(&format!("FROM BUSYBOX\nRUN --mount=type=cache,target=/c {failing}\n"));
    case.fails(&["exit code: 7"]);
    leftovers::assert_no_temporary_files(case.kiln.store());
    case.dockerfile("FROM BUSYBOX\nRUN --mount=type=cache,target=/c cat /c/kept > /seen && find /c | sort >> /seen\n");
    assert_eq!(case.build(&[]).text("/seen"), "one\n/c\n/c/d\n/c/d/x\n/c/kept\n");
}

// language m.5
#[test]
fn two_mounts_of_one_directory_in_a_step_are_one() {
    let case = Case::new(
        "FROM BUSYBOX\nRUN --mount=type=cache,id=c,target=/one --mount=type=cache,id=c,target=/two,ro \
         echo x > /one/f && cat /two/f > /seen && ! touch /two/g\n\
         RUN --mount=type=cache,id=c,target=/two,ro cat /two/f >> /seen\n",
    );
    assert_eq!(case.build(&[]).text("/seen"), "x\nx\n");
}

/// The directories of the one cache mount of a store.
fn layers(kiln: &Kiln) -> Vec<PathBuf> {
    let mounts = std::fs::read_dir(kiln.store().join("mounts")).expect("the mounts");
    let mounts: Vec<PathBuf> = mounts.map(|mount| mount.expect("a mount").path()).collect();
    let [mount] = &mounts[..] else { panic!("{mounts:?}") };
    let inside = std::fs::read_dir(mount).expect("the layers").map(|entry| entry.expect("a layer").path());
    inside.filter(|path| path.is_dir()).collect()
}

fn many_layers(case: &Case) {
    let mount = "RUN --mount=type=cache,target=/c";
    // Each a layer; what comes later changes, replaces and deletes what was there.
    let steps: String = (0..26)
        .map(|n| {
            let again = "rm -rf /c/again && mkdir /c/again && echo";
            format!("{mount} echo {n} > /c/{n} && echo {n} >> /c/all && {again} {n} > /c/again/{n} && rm -f /c/$(({n} - 2))\n")
        })
        .collect();
    case.dockerfile(&format!("FROM BUSYBOX\n{mount} mkdir -m 0711 /c/own && chown 3:4 /c/own\n{steps}"));
    case.build(&[]);
    let count = layers(&case.kiln).len();
    assert!(count < 10, "{count} layers");
    // One that changes nothing adds nothing.
    case.dockerfile(&format!(
        "FROM BUSYBOX\n{mount} find /c -type f | sort > /seen && cat /c/again/* >> /seen && wc -l < /c/all >> /seen \
         && stat -c '%a %u %g' /c/own >> /seen\n"
    ));
    assert_eq!(case.build(&[]).text("/seen"), "/c/24\n/c/25\n/c/again/25\n/c/all\n25\n26\n711 3 4\n");
    assert_eq!(layers(&case.kiln).len(), count);
}

// language m.5
#[test]
fn many_layers_become_one() {
    let case = Case::new("FROM BUSYBOX\n");
    many_layers(&case);
    // Where there is no overlayfs all of it is one directory.
    case.dockerfile("FROM BUSYBOX\nRUN --mount=type=cache,target=/c ls /c > /seen\n");
    let archive = case.kiln.out().join("chroot.tar");
    let destination = format!("type=oci,dest={}", archive.display());
    if has_root() {
        case.kiln.build(case.context(), &["--isolation=chroot", "-o", &destination]).succeeded();
        assert_eq!(layers(&case.kiln), [lowest(&case.kiln)]);
        assert!(lowest(&case.kiln).join("all").exists());
    }
}

fn lowest(kiln: &Kiln) -> PathBuf {
    layers(kiln).into_iter().find(|layer| layer.ends_with("fs")).expect("the lowest layer")
}

#[test]
fn many_layers_of_an_ordinary_user_become_one() {
    if !has_root() {
        return;
    }
    for user in [User::with_ranges(), User::without_ranges()] {
        let case = Case::of(Kiln::of(user));
        many_layers(&case);
    }
}

// A store of a version that kept a mount in one directory.
#[test]
fn what_was_there_before_layers_stays() {
    let case = Case::new("FROM BUSYBOX\nRUN --mount=type=cache,target=/c echo old > /c/old\n");
    case.build(&[]);
    let top = layers(&case.kiln).into_iter().find(|layer| !layer.ends_with("fs")).expect("a layer");
    let fs = lowest(&case.kiln);
    std::fs::rename(top.join("old"), fs.join("old")).expect("one directory");
    std::fs::remove_file(fs.parent().expect("the mount").join("stack")).expect("no stack");
    // A layer that nobody knows is one of a killed step.
    std::fs::write(top.join("never"), "").expect("a file");
    case.dockerfile("FROM BUSYBOX\nRUN --mount=type=cache,target=/c ls /c > /seen && touch /c/new\n");
    assert_eq!(case.build(&[]).text("/seen"), "old\n");
    assert!(!is_there(&top), "{top:?}");
    case.kiln.run(["prune", "-af"]).succeeded();
    assert!(std::fs::read_dir(case.kiln.store().join("mounts")).expect("the mounts").next().is_none());
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
