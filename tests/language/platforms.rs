//! What is resolved and made for a platform: parts of sections 7, 8 and 17.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::build::Case;
use super::support::bases::Base;
use super::support::kiln::{Kiln, Output, output_of};
use super::support::user::User;
use super::support::{self, image, registry, scratch, tool, write};

/// An OCI layout directory.
struct Layout(std::path::PathBuf);

impl Layout {
    /// Builds for `platforms`, which must succeed; returns what kiln said too.
    #[track_caller]
    fn build(case: &Case, arguments: &[&str]) -> (Self, String) {
        let layout = Self(case.kiln.out().join("layout"));
        let output = format!("type=oci,tar=false,dest={}", layout.0.display());
        let mut all = vec!["--progress=plain", "-o", &output];
        all.extend(arguments);
        let output = case.kiln.build(case.context(), &all);
        output.succeeded();
        (layout, output.both())
    }

    fn json(&self, path: impl AsRef<Path>) -> Value {
        let bytes = std::fs::read(self.0.join(path)).expect("a file of the layout");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    fn blob(&self, descriptor: &Value) -> Value {
        let digest = descriptor["digest"].as_str().expect("a digest");
        self.json(format!("blobs/{}", digest.replace(':', "/")))
    }

    /// The index over the images.
    fn index(&self) -> Value {
        let index = self.blob(&self.json("index.json")["manifests"][0]);
        assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
        index
    }

    /// Platform, config and layer digests of each image, in the order of the index.
    fn images(&self) -> Vec<(String, Value, Vec<String>)> {
        let index = self.index();
        let manifests = index["manifests"].as_array().expect("manifests");
        let one = |descriptor: &Value| {
            let manifest = self.blob(descriptor);
            let config = self.blob(&manifest["config"]);
            let layers = manifest["layers"].as_array().expect("layers");
            let layers = layers.iter().map(|layer| layer["digest"].as_str().expect("a digest").to_owned());
            (platform(&descriptor["platform"]), config, layers.collect())
        };
        manifests.iter().map(one).collect()
    }
}

fn platform(of: &Value) -> String {
    let parts = ["os", "architecture", "variant"].map(|name| of[name].as_str().unwrap_or_default().to_owned());
    parts.join("/").trim_end_matches('/').to_owned()
}

// language 17.6
#[test]
fn several_platforms_are_an_index_in_the_order_asked_for() {
    let case = Case::new(
        "FROM --platform=$BUILDPLATFORM BUSYBOX AS build\n\
         RUN cat /proc/sys/kernel/random/uuid > /once\n\
         FROM --platform=$BUILDPLATFORM BUSYBOX AS cross\n\
         ARG TARGETARCH TARGETVARIANT\n\
         RUN echo for $TARGETARCH$TARGETVARIANT > /made\n\
         FROM scratch\n\
         COPY --from=build /once /\n\
         COPY --from=cross /made /\n",
    );
    let platforms = "linux/arm64,linux/amd64,linux/arm64/v8,linux/arm/v6,linux/amd64/v2";
    let (layout, said) = Layout::build(&case, &["--platform", platforms]);
    let images = layout.images();
    let order: Vec<&str> = images.iter().map(|(platform, _, _)| platform.as_str()).collect();
    assert_eq!(order, ["linux/arm64", "linux/amd64", "linux/arm/v6", "linux/amd64/v2"]);
    for (name, config, layers) in &images {
        assert_eq!(&platform(config), name);
        // What depends on no platform was made once.
        assert_eq!(layers[0], images[0].2[0], "{name}");
        assert!(images.iter().all(|(other, _, of_other)| (other == name) == (of_other[1] == layers[1])), "{name}");
    }
    // A vertex is named again when its log goes on.
    let vertices: std::collections::BTreeSet<&str> = said.lines().filter(|line| line.contains("] ")).collect();
    let shown = |what: &str| vertices.iter().filter(|line| line.contains(what)).count();
    assert_eq!(shown(" build 2/2] RUN cat"), 1, "{said}");
    for name in ["[linux/amd64 build 2/2]", "[linux/amd64->arm64 cross 2/2]", "[linux/arm/v6 stage-2 3/3]"] {
        assert_eq!(shown(name), 1, "{name}\n{said}");
    }
}

#[test]
fn one_platform_is_an_index_when_asked() {
    let case = Case::new("FROM scratch\nLABEL a=b\n");
    let (layout, said) = Layout::build(&case, &["--build-arg", "BUILDKIT_MULTI_PLATFORM=1", "--platform=linux/s390x"]);
    let platforms: Vec<String> = layout.images().into_iter().map(|(platform, ..)| platform).collect();
    assert_eq!(platforms, ["linux/s390x"], "{said}");
    let output = case.kiln.build(case.context(), &["--build-arg", "BUILDKIT_MULTI_PLATFORM=si"]);
    output.failed_saying(&["invalid boolean value for BUILDKIT_MULTI_PLATFORM: si", "help:"]);
}

#[test]
fn files_of_several_platforms_are_in_a_directory_each() {
    let case = Case::new("FROM scratch\nARG TARGETARCH\nCOPY f /$TARGETARCH\nCOPY f /d/g\n").file("f", "text");
    let out = case.kiln.out();
    let (local, tar) = (out.join("local"), out.join("files.tar"));
    let outputs = [format!("type=local,dest={}", local.display()), format!("type=tar,dest={}", tar.display())];
    let arguments = ["--platform=linux/arm/v7,linux/amd64", "-o", &outputs[0], "-o", &outputs[1]];
    case.kiln.build(case.context(), &arguments).succeeded();
    for path in ["linux_amd64/amd64", "linux_arm_v7/arm", "linux_arm_v7/d/g"] {
        assert_eq!(std::fs::read_to_string(local.join(path)).expect(path), "text");
    }
    let files = image::flatten(&[std::fs::read(&tar).expect("the archive")]).expect("a tar");
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    let expected = ["", "/amd64", "/d", "/d/g"].map(|name| format!("/linux_amd64{name}"));
    let more = ["", "/arm", "/d", "/d/g"].map(|name| format!("/linux_arm_v7{name}"));
    assert_eq!(names, [expected, more].concat());
}

#[test]
fn a_docker_archive_holds_one_platform() {
    let case = Case::new("FROM scratch\nLABEL a=b\n");
    let output = format!("type=docker,dest={}", case.kiln.out().join("x.tar").display());
    let said = case.kiln.build(case.context(), &["--platform=linux/arm64,linux/amd64", "-o", &output]);
    said.failed_saying(&["docker exporter does not currently support exporting manifest lists", "type=oci"]);
    // Nothing was begun.
    assert!(!case.kiln.out().join("x.tar").exists());
    let single = case.kiln.build(case.context(), &["--platform=linux/arm64,linux/arm64/v8", "-o", &output]);
    single.succeeded();
    assert_eq!(image::read(&case.kiln.out().join("x.tar")).expect("an archive").config["architecture"], "arm64");
}

#[test]
fn failures_name_the_platform() {
    let case = Case::new("FROM scratch\nARG TARGETVARIANT\nCOPY f /${TARGETVARIANT:?needed}\n").file("f", "");
    let build =
        |case: &Case| case.kiln.build(case.context(), &["--progress=plain", "--platform=linux/arm/v6,linux/amd64"]);
    build(&case).failed_saying(&["linux/amd64: ", "needed", "--> Dockerfile:3"]);
    case.dockerfile("FROM --platform=$BUILDPLATFORM BUSYBOX\nARG TARGETARCH\nRUN sleep 0.1; [ $TARGETARCH = amd64 ]\n");
    build(&case).failed_saying(&["linux/amd64->arm: process", "did not complete successfully: exit code: 1"]);
}

#[test]
fn platforms_are_read_as_everywhere() {
    let case = Case::new("FROM scratch\nARG TARGETPLATFORM\nLABEL p=$TARGETPLATFORM\n");
    let label = |typed: &str| case.build(&["--platform", typed]).config["config"]["Labels"]["p"].clone();
    let host = case.build(&[]).config["config"]["Labels"]["p"].clone();
    assert_eq!(label("local"), host);
    for (typed, normal) in
        [("linux/aarch64", "linux/arm64"), ("linux/arm", "linux/arm/v7"), ("Linux/AMD64/v1", "linux/amd64")]
    {
        assert_eq!(label(typed), normal);
    }
    for typed in ["plan9x", "linux/arm64/v8/x", "linux/a b", "/"] {
        let said = case.kiln.build(case.context(), &["--platform", typed]);
        said.failed_saying(&[&format!("invalid platform `{typed}`"), "linux/arm/v7"]);
    }
}

/// Whether kiln can run programs of another machine here; says so when it cannot.
fn can_emulate() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's release");
    let mut numbers =
        release.split(|character: char| !character.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (6, 7) {
        support::skip("emulation without registration needs Linux 6.7");
    }
    version >= (6, 7) && support::has_root()
}

/// What a RUN for arm64 sees, and that what it makes is for arm64.
fn runs_for_arm64(kiln: &Kiln) {
    let context = scratch();
    let dockerfile = format!(
        "FROM {} AS build\n\
         RUN [\"busybox\", \"mkdir\", \"/made\"]\n\
         RUN busybox uname -m > /made/machine && echo $$ > /made/pid\n\
         RUN printf '#!/bin/sh\\necho from a script' > /script && busybox chmod 755 /script && busybox chown 7:8 /script\n\
         USER 1000:100\n\
         RUN [\"/script\"]\n\
         RUN --mount=type=tmpfs,target=/tmp --network=none busybox id > /tmp/id && read id < /tmp/id && echo $id\n\
         FROM scratch\n\
         COPY --from=build /made /script /\n",
        registry::base(Base::Arm64)
    );
    write(context.path(), "Dockerfile", dockerfile);
    let archive = kiln.out().join("image.tar");
    let output = format!("type=oci,dest={}", archive.display());
    let output = kiln.build(context.path(), &["--progress=plain", "--platform=linux/arm64", "-o", &output]);
    output.succeeded();
    for seen in ["from a script", "uid=1000 gid=100"] {
        assert!(output.both().contains(seen), "{seen}\n{}", output.both());
    }
    let image = image::read(&archive).expect("an OCI archive");
    assert_eq!(image.config["architecture"], "arm64");
    let files = image::flatten(&image.layers).expect("whole layers");
    assert_eq!((files["/machine"].data.as_slice(), files["/pid"].data.as_slice()), (&b"aarch64\n"[..], &b"1\n"[..]));
    assert_eq!((files["/script"].uid, files["/script"].gid), (7, 8));
}

#[test]
fn programs_of_another_machine_run_in_an_emulator_of_the_build_alone() {
    if !can_emulate() {
        return;
    }
    let registered = || {
        // Mounted for a moment in a namespace of its own: what the machine has.
        let script = "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc 2>/dev/null; ls /proc/sys/fs/binfmt_misc";
        let mut command = tool::tool("unshare");
        output_of(command.args(["--mount", "sh", "-c", script]), Duration::from_secs(10)).stdout
    };
    let before = registered();
    runs_for_arm64(&Kiln::new());
    assert_eq!(registered(), before);
}

#[test]
fn programs_of_another_machine_run_for_an_ordinary_user() {
    if can_emulate() {
        runs_for_arm64(&Kiln::of(User::with_ranges()));
    }
}

#[test]
fn programs_of_another_machine_run_in_an_emulator_that_the_machine_has() {
    if !can_emulate() {
        return;
    }
    let case = Case::new(&format!("FROM {}\nRUN echo on $(busybox uname -m)\n", registry::base(Base::Arm64)));
    // kiln itself finds none to register.
    let register = "cat /usr/lib/binfmt.d/qemu-aarch64.conf > /mnt/register && mount -t tmpfs none /usr/lib/binfmt.d";
    let said = build_unregistered(&case, register);
    said.succeeded();
    assert!(said.both().contains(" on aarch64\n"), "{}", said.both());
}

/// Builds where nothing is registered, whatever the machine has: in a user namespace with a `binfmt_misc` of its own, at
/// `/mnt`. `prepare` is a shell command for that namespace.
fn build_unregistered(case: &Case, prepare: &str) -> Output {
    let script = "unshare --user --mount sleep 100 & keeper=$!\n\
                  while [ $(readlink /proc/$keeper/ns/user) = $(readlink /proc/$$/ns/user) ]; do sleep 0.01; done\n\
                  for map in uid_map gid_map; do echo 0 0 65536 > /proc/$keeper/$map; done\n\
                  nsenter --target $keeper --user --mount \"$@\"; code=$?\n\
                  kill $keeper; exit $code";
    let inside = format!("mount -t binfmt_misc none /mnt && {prepare} && exec \"$@\"");
    let kiln = case.kiln.command();
    let mut command = tool::tool("sh");
    command.args(["-c", script, "sh", "sh", "-c", &inside, "sh"]).arg(kiln.get_program());
    command.args(["build", "--progress=plain", "--platform=linux/arm64", "-o", "type=cacheonly"]).arg(case.context());
    command.envs(kiln.get_envs().filter_map(|(name, value)| Some((name, value?))));
    output_of(&mut command, Duration::from_secs(60))
}

#[test]
fn a_command_has_its_set_user_id_bits_and_cannot_write_its_emulator() {
    if !can_emulate() {
        return;
    }
    // The first process is emulated; a program of this machine is not shown another /proc by the emulator.
    let case = Case::new(&format!(
        "FROM --platform=$BUILDPLATFORM BUSYBOX AS native\n\
         FROM {}\n\
         COPY --from=native /bin/busybox /native/\n\
         RUN /native/busybox cp /proc/1/exe /copy && /native/busybox sh -c ': >/proc/1/exe' 2>&1 && echo WRITTEN; true\n\
         RUN busybox cp /bin/dash /raise && busybox chmod 4755 /raise\n\
         USER 1000\n\
         RUN /raise -p -c 'while read name _ id _; do [ $name != Uid: ] || echo effective $id; done < /proc/self/status'\n",
        registry::base(Base::Arm64)
    ));
    let said = build_unregistered(&case, "true");
    said.succeeded();
    for line in ["/proc/1/exe: Read-only file system", " effective 0\n"] {
        assert!(said.both().contains(line), "{line}\n{}", said.both());
    }
}

#[test]
fn a_machine_without_emulators_is_told_what_to_install() {
    if !can_emulate() {
        return;
    }
    let case = Case::new(&format!("FROM {}\nRUN true\n", registry::base(Base::Arm64)));
    build_unregistered(&case, "mount -t tmpfs none /usr/lib/binfmt.d").failed_saying(&[
        "exec format error: `/bin/sh` is a program for arm64, which this machine cannot run: no emulator is installed",
        "--> Dockerfile:2",
        "help: install the package `qemu-user-static`",
    ]);
}

#[test]
fn a_program_that_nothing_can_run_is_said_to_be_one() {
    let case = Case::new("FROM scratch\nCOPY alien script alien-script /\nRUN [\"/alien\"]\n");
    // An ELF header for a machine that there is not.
    let alien = [&b"\x7fELF\x02\x01\x01"[..], &[0; 9], &[2, 0, 0xed, 0xfe], &[0; 44]].concat();
    let case = case.file("alien", alien).file("script", "echo\n").file("alien-script", "#!/alien -x\necho\n");
    for name in ["alien", "script", "alien-script"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(case.context().join(name), mode).expect("a mode");
    }
    let foreign = ["exec format error", "an unknown machine", "which this machine cannot run", "qemu-user-static"];
    case.fails(&foreign);
    case.dockerfile("FROM scratch\nCOPY alien alien-script /\nRUN [\"/alien-script\"]\n");
    case.fails(&foreign);
    // A script without a first line is something else.
    case.dockerfile("FROM scratch\nCOPY script /\nRUN [\"/script\"]\n");
    let said = case.fails(&["exec format error", "`#!/bin/sh`"]).both();
    assert!(!said.contains("emulator"), "{said}");
}

/// The index `multi` in the registry: an image for each of several machines, which says in `/for` whose it is.
fn multi() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let case = Case::new("FROM scratch\nARG TARGETPLATFORM\nCOPY <<E /for\n$TARGETPLATFORM\nE\n");
        let name = format!("{}/multi:1", registry::shared().address);
        let platforms = "--platform=linux/amd64,linux/arm64,linux/arm/v6,linux/386";
        case.kiln.build(case.context(), &[platforms, "-t", &name, "--push"]).succeeded();
        name
    })
}

// language 7.10
#[test]
fn the_platform_of_a_stage_chooses_its_image() {
    let case = Case::new("");
    let chosen = |line: &str, arguments: &[&str]| {
        case.dockerfile(&format!("ARG WANTED\n{}\nLABEL a=b\n", line.replace("MULTI", multi())));
        let built = case.build(arguments);
        let said = platform(&built.config);
        (built.text("/for").trim().to_owned(), said)
    };
    let host = kiln::oci::Platform::host().to_string();
    let same = |text: &str| (text.to_owned(), text.to_owned());
    // That of the build, of this machine, one that is written, the best of an index.
    assert_eq!(chosen("FROM MULTI", &["--platform=linux/arm64"]), same("linux/arm64"));
    assert_eq!(chosen("FROM MULTI", &[]), same(&host));
    let crossing = chosen("FROM --platform=$BUILDPLATFORM MULTI", &["--platform=linux/arm64"]);
    assert_eq!(crossing, (host.clone(), "linux/arm64".to_owned()));
    assert_eq!(chosen("FROM --platform=$WANTED MULTI", &["--build-arg=WANTED=linux/aarch64/v8"]).0, "linux/arm64");
    assert_eq!(
        chosen("FROM MULTI", &["--platform=linux/arm/v7"]),
        ("linux/arm/v6".to_owned(), "linux/arm/v7".to_owned())
    );
    assert_eq!(chosen("FROM MULTI", &["--platform=linux/amd64/v3"]).0, "linux/amd64");
    // When no platform is asked for, the image is what its base is.
    assert_eq!(chosen("FROM --platform=linux/arm64 MULTI", &[]), same("linux/arm64"));
    // A stage is what it is.
    let line = "FROM --platform=linux/arm64 MULTI AS arm\nFROM --platform=linux/amd64 arm";
    assert_eq!(chosen(line, &["--platform=linux/arm64"]), same("linux/arm64"));
    // Of `--from` the platform built for counts.
    let line = "FROM --platform=linux/386 scratch\nCOPY --from=MULTI /for /";
    assert_eq!(chosen(line, &["--platform=linux/arm64"]), same("linux/arm64"));
}

// language 7.10
#[test]
fn an_image_of_another_machine_is_taken_if_it_is_all_there_is() {
    let case = Case::new("FROM BUSYBOX\nRUN uname -m > /machine\n");
    let built = case.build(&["--platform=linux/s390x"]);
    assert_eq!(platform(&built.config), "linux/s390x");
    let host = kiln::oci::Platform::host();
    let warning =
        format!("busybox:latest was pulled with platform \"{host}\", expected \"linux/s390x\" for current build");
    assert!(built.output.both().contains(&warning), "{}", built.output.both());
    // Its programs are run as what they are.
    assert_eq!(built.text("/machine").trim(), std::env::consts::ARCH);
    // An index has to have something that suits.
    case.dockerfile(&format!("FROM {}\nLABEL a=b\n", multi()));
    let said = case.kiln.build(case.context(), &["--platform=linux/s390x"]);
    said.failed_saying(&["failed to resolve source metadata", "linux/s390x", "linux/amd64", "--> Dockerfile:1"]);
    case.dockerfile("FROM --platform=linux/what/is/this scratch\nLABEL a=b\n");
    case.fails(&["failed to parse platform linux/what/is/this", "--> Dockerfile:1:17"]);
    case.dockerfile("FROM --platform=$NOPE scratch\nLABEL a=b\n");
    case.fails(&["empty platform value from expression $NOPE"]);
}

// language 8.10
#[test]
fn platforms_are_arguments() {
    let names = "TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT TARGETOSVERSION BUILDPLATFORM BUILDOS BUILDARCH \
                 BUILDVARIANT BUILDOSVERSION TARGETSTAGE";
    let shown = names.split_whitespace().map(|name| format!("{name}=${{{name}-unset}}")).collect::<Vec<_>>().join(" ");
    let case = Case::new(&format!(
        "FROM --platform=$BUILDOS/$BUILDARCH BUSYBOX AS first\n\
         RUN echo {shown} > /before\n\
         ARG {names}\n\
         RUN echo {shown} > /after\n\
         FROM $TARGETSTAGE\n"
    ));
    let seen = |arguments: &[&str]| {
        let built = case.build(&[&["--target=first"], arguments].concat());
        assert!(
            built.text("/before").split_whitespace().all(|word| word.ends_with("=unset")),
            "{}",
            built.text("/before")
        );
        let after = built.text("/after");
        after.split_whitespace().map(|word| word.split_once('=').expect("=").1.to_owned()).collect::<Vec<_>>()
    };
    let host = kiln::oci::Platform::host();
    let build = [host.to_string(), host.os.clone(), host.architecture.clone(), String::new(), String::new()];
    let with = |target: [&str; 5], stage: &str| [&target.map(str::to_owned)[..], &build, &[stage.to_owned()]].concat();
    assert_eq!(seen(&["--platform=linux/arm/v6"]), with(["linux/arm/v6", "linux", "arm", "v6", ""], "first"));
    assert_eq!(seen(&["--platform=linux/aarch64"]), with(["linux/arm64", "linux", "arm64", "", ""], "first"));
    let over = ["--platform=linux/arm64", "--build-arg=TARGETARCH=mine", "--build-arg=TARGETSTAGE=other"];
    assert_eq!(seen(&over), with(["linux/arm64", "linux", "mine", "", ""], "other"));
    // The last stage's name, or `default`.
    for (last, name) in [("FROM scratch AS Last", "last"), ("FROM scratch", "default")] {
        case.dockerfile(&format!("{last}\nARG TARGETSTAGE\nLABEL stage=$TARGETSTAGE\n"));
        assert_eq!(case.build(&[]).config["config"]["Labels"]["stage"], name);
    }
}

#[test]
fn an_image_of_the_store_serves_the_platforms_it_is_for() {
    let case = Case::new("FROM scratch\nARG TARGETARCH\nCOPY <<E /for\n$TARGETARCH\nE\n");
    case.kiln.build(case.context(), &["--platform=linux/arm64,linux/arm/v7", "-t", "registry.example/a/b"]).succeeded();
    case.dockerfile("FROM registry.example/a/b\nLABEL a=b\n");
    assert_eq!(case.build(&["--platform=linux/arm/v7"]).text("/for"), "arm\n");
    assert_eq!(case.build(&["--platform=linux/arm64"]).text("/for"), "arm64\n");
    let said = case.kiln.build(case.context(), &["--platform=linux/riscv64"]);
    said.failed_saying(&["the store has registry.example/a/b for linux/arm64, linux/arm/v7 only"]);
}
