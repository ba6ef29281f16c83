//! Many builders at once on one cache, some of them killed: nobody gets a wrong result, and no record is lost.

use std::process::{Child, Stdio};
use std::time::Duration;

use super::support::bases::Base;
use super::support::registry::Registry;
use super::support::{self, kiln, registry, write};
use super::{Builder, tags};

/// Builders in all, and at once: a machine of two cores survives that.
const CROWD: usize = 50;
const AT_ONCE: usize = 10;
/// Different Dockerfiles.
const VARIANTS: usize = 5;
/// Who is killed, and when.
const SEED: u64 = 7_040_917;

/// Numbers that are random enough (xorshift64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A context whose steps make the same on every machine; of `variant` are the last ones only.
fn repeatable(variant: usize) -> tempfile::TempDir {
    let directory = support::scratch();
    let base = registry::base(Base::Busybox);
    let mut text = format!("FROM {base}\n");
    for step in 0..6 {
        let same = "touch -d @1000 /made* / /etc";
        let what = if step < 3 { step } else { step + 10 * variant };
        text += &format!("RUN seq {what} 20000 > /made{step} && {same}\n");
    }
    write(directory.path(), "Dockerfile", text);
    directory
}

fn start(builder: &Builder, context: &std::path::Path, cache: &str, archive: &str) -> Child {
    let mut command = builder.kiln.command();
    command.args(["build", "--progress=plain", "--build-arg", "SOURCE_DATE_EPOCH=1700000000"]);
    command.args(["--cache-from", cache, "--cache-to", &format!("{cache},mode=max"), "-o", archive]);
    command.arg("--metadata-file").arg(builder.kiln.out().join("metadata.json"));
    command.arg(context).stderr(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("kiln starts")
}

fn archive_of(builder: &Builder) -> String {
    format!("type=oci,dest={}", builder.kiln.out().join("image.tar").display())
}

/// Builders with stores of their own at once, of which some are killed at some moment. Returns the digests of those that ended, each with
/// the number of its context.
fn run_wave(wave: usize, contexts: &[tempfile::TempDir], cache: &str, random: &mut Random) -> Vec<(usize, String)> {
    let mut running = Vec::new();
    for number in 0..AT_ONCE {
        let (builder, variant) = (Builder::new(), (wave + number) % contexts.len());
        let child = start(&builder, contexts[variant].path(), cache, &archive_of(&builder));
        let killed = (random.below(3) == 0).then(|| random.below(3000));
        running.push((builder, variant, child, killed));
    }
    let began = std::time::Instant::now();
    running.sort_by_key(|(_, _, _, killed)| *killed);
    for (_, _, child, killed) in &mut running {
        if let Some(moment) = killed {
            std::thread::sleep(Duration::from_millis(*moment).saturating_sub(began.elapsed()));
            child.kill().expect("a signal to a child");
        }
    }
    let mut made = Vec::new();
    for (builder, variant, mut child, killed) in running {
        let status = kiln::wait(&mut child, Duration::from_secs(300)).expect("a build that ends");
        assert!(killed.is_some() || status.success(), "a builder of wave {wave} failed");
        if status.success() {
            made.push((variant, digest_of(&builder.kiln.out().join("metadata.json"))));
        }
    }
    made
}

fn digest_of(metadata: &std::path::Path) -> String {
    let text = std::fs::read_to_string(metadata).expect("the metadata file");
    let metadata: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    metadata["containerimage.digest"].as_str().expect("a digest").to_owned()
}

#[test]
fn many_builders_at_once_some_killed_make_no_wrong_image() {
    let registry = Registry::start();
    let cache = format!("type=registry,ref={}/crowd", registry.address);
    let contexts: Vec<_> = (0..VARIANTS).map(repeatable).collect();
    let mut random = Random(SEED);
    let mut made = Vec::new();
    for wave in 0..CROWD / AT_ONCE {
        made.extend(run_wave(wave, &contexts, &cache, &mut random));
    }
    assert!(made.len() > CROWD / 2, "most were killed");
    // Whatever was left behind: a new machine gets the image that is made without a cache, and makes nothing.
    let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=1700000000"];
    for (variant, context) in contexts.iter().enumerate() {
        let (with, without) = (Builder::new(), Builder::new());
        let cached =
            with.build(context.path(), &[&epoch[..], &["--cache-from", &cache, "-o", &archive_of(&with)]].concat());
        let plain = without.build(context.path(), &[&epoch[..], &["-o", &archive_of(&without)]].concat());
        assert_eq!(cached.digest, plain.digest);
        // Nor did anybody who was there at the time get another one.
        for (_, digest) in made.iter().filter(|(which, _)| *which == variant) {
            assert_eq!(*digest, plain.digest);
        }
        assert_eq!(cached.ran(), Vec::<&str>::new(), "{}", cached.output.both());
        assert!(cached.warnings().is_empty(), "{}", cached.output.both());
    }
    let steps = tags(&registry, "crowd").iter().filter(|tag| tag.starts_with("step-")).count();
    assert_eq!(steps, 3 + 3 * VARIANTS);
}
