//! Every form of an image in every compression, read by skopeo, umoci and podman. (`oras` is in no registry that this machine
//! reaches.) One build writes them all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln::export::validate_layout;

use super::support::{self, Kiln, registry, tool, write};

const COMPRESSIONS: [&str; 4] = ["uncompressed", "gzip", "zstd", "estargz"];

/// What one build wrote: by compression and form, the source as skopeo names it.
struct Written {
    kiln: Kiln,
    sources: BTreeMap<(&'static str, &'static str), String>,
}

impl Written {
    fn new() -> Self {
        let kiln = Kiln::new();
        let context = support::scratch();
        write(context.path(), "Dockerfile", "FROM scratch\nCOPY a /dir/a\nCOPY --chown=3:4 b /b\nCMD [\"/b\"]\n");
        write(context.path(), "a", "a\n".repeat(50_000));
        write(context.path(), "b", "b");
        let (mut sources, mut arguments) = (BTreeMap::new(), Vec::new());
        let out = kiln.out();
        for compression in COMPRESSIONS {
            let at = |form: &str| out.join(format!("{form}-{compression}")).display().to_string();
            let pushed = format!("{}/readers:{compression}", registry::shared().address);
            let outputs = [
                ("tar", format!("type=oci,dest={}", at("tar")), format!("oci-archive:{}", at("tar"))),
                (
                    "directory",
                    format!("type=oci,tar=false,dest={}", at("directory")),
                    format!("oci:{}", at("directory")),
                ),
                ("docker", format!("type=docker,dest={}", at("docker")), format!("docker-archive:{}", at("docker"))),
                ("registry", format!("type=image,push=true,name={pushed}"), format!("docker://{pushed}")),
            ];
            for (form, output, source) in outputs {
                arguments.extend(["-o".to_owned(), format!("{output},compression={compression}")]);
                sources.insert((compression, form), source);
            }
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        kiln.build(context.path(), &arguments).succeeded();
        Self { kiln, sources }
    }

    fn path(&self, compression: &str, form: &str) -> PathBuf {
        self.kiln.out().join(format!("{form}-{compression}"))
    }
}

fn skopeo() -> Command {
    let mut command = tool::tool("skopeo");
    command.arg("--insecure-policy");
    command
}

fn has_the_files(root: &Path) {
    assert_eq!(std::fs::read_to_string(root.join("dir/a")).unwrap(), "a\n".repeat(50_000), "{}", root.display());
    assert_eq!(std::fs::read_to_string(root.join("b")).unwrap(), "b");
}

#[test]
fn every_form_in_every_compression_is_read_by_strangers() {
    if !support::has_root() {
        return;
    }
    let written = Written::new();
    let scratch = support::scratch();
    for ((compression, form), source) in &written.sources {
        let copied = scratch.path().join(format!("{form}-{compression}"));
        let mut copy = skopeo();
        copy.args(["copy", "-q", "--src-tls-verify=false", source, &format!("oci:{}:v", copied.display())]);
        tool::run(&mut copy);
        assert_eq!(validate_layout(&copied), [], "{form} {compression}");
    }
    for compression in COMPRESSIONS {
        umoci_unpacks(&written, compression, scratch.path());
        podman_loads(&written, compression, scratch.path());
    }
}

/// umoci of Debian 12 (0.4.7) knows no zstd.
fn umoci_unpacks(written: &Written, compression: &str, scratch: &Path) {
    let layout = written.path(compression, "directory");
    assert_eq!(validate_layout(&layout), [], "{compression}");
    let named = scratch.join(format!("umoci-{compression}"));
    let (from, to) = (format!("oci:{}", layout.display()), format!("oci:{}:v", named.display()));
    tool::run(skopeo().args(["copy", "-q", &from, &to]));
    let bundle = scratch.join(format!("bundle-{compression}"));
    let mut umoci = tool::tool("umoci");
    let output = umoci.args(["unpack", "--image", &format!("{}:v", named.display())]).arg(&bundle).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => has_the_files(&bundle.join("rootfs")),
        false => assert!(compression == "zstd" && said.contains("zstd"), "{compression}: {said}"),
    }
}

fn podman_loads(written: &Written, compression: &str, scratch: &Path) {
    for form in ["tar", "docker", "directory", "registry"] {
        let root = scratch.join(format!("podman-{form}-{compression}"));
        // Podman takes no more than 50 characters.
        let run = support::scratch();
        let podman = || {
            let mut command = tool::tool("podman");
            command.arg("--root").arg(root.join("root")).arg("--runroot").arg(run.path());
            command.args(["--storage-driver", "vfs"]);
            command
        };
        let path = written.path(compression, form);
        match form {
            "registry" => tool::run(podman().args([
                "pull",
                "-q",
                "--tls-verify=false",
                &written.sources[&(compression_of(compression), form)],
            ])),
            // It names the image by the path, and takes no capital letters in a name.
            "directory" => {
                let source = format!("oci:{}", path.file_name().unwrap().to_string_lossy());
                tool::run(podman().args(["pull", "-q", &source]).current_dir(path.parent().unwrap()))
            }
            _ => tool::run(podman().args(["load", "-q", "-i"]).arg(&path)),
        };
        let id = tool::run(podman().args(["images", "-q", "--no-trunc"]));
        let mounted = tool::run(podman().args(["image", "mount", id.trim()]));
        has_the_files(Path::new(mounted.trim()));
        tool::run(podman().args(["image", "unmount", id.trim()]));
    }
}

fn compression_of(text: &str) -> &'static str {
    COMPRESSIONS.into_iter().find(|known| *known == text).unwrap()
}

#[test]
fn what_kiln_saves_and_pushes_is_read_whatever_its_layers_are() {
    let kiln = Kiln::new();
    let context = support::scratch();
    write(context.path(), "Dockerfile", "FROM scratch\nCOPY a /a\n");
    write(context.path(), "a", "a");
    let scratch = support::scratch();
    for compression in COMPRESSIONS {
        let name = format!("{}/saved:{compression}", registry::shared().address);
        let output = format!("type=image,compression={compression}");
        kiln.build(context.path(), &["-t", &name, "-o", &output]).succeeded();
        let archive = scratch.path().join(compression);
        kiln.run(["save", "-o", archive.to_str().unwrap(), &name]).succeeded();
        kiln.run(["push", &name]).succeeded();
        let sources = [
            format!("oci-archive:{}", archive.display()),
            format!("docker-archive:{}", archive.display()),
            format!("docker://{name}"),
        ];
        for (at, source) in sources.iter().enumerate() {
            let copied = scratch.path().join(format!("copied-{compression}-{at}"));
            let mut copy = skopeo();
            copy.args(["copy", "-q", "--src-tls-verify=false", source, &format!("oci:{}:v", copied.display())]);
            tool::run(&mut copy);
            assert_eq!(validate_layout(&copied), [], "{source}");
        }
    }
}
