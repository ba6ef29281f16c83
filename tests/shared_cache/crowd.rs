//! Many builders at once on one cache, some of them killed: nobody gets a wrong result, and no record is lost.

use std::process::{Child, Stdio};
use std::time::Duration;

use super::support::bases::Base;
use super::support::registry::Registry;
use super::support::{self, kiln, registry, write};
use super::{Builder, tags};

/// Builders at once.
const CROWD: usize = 10;

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
    command.arg(context).stderr(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("kiln starts")
}

fn archive_of(builder: &Builder) -> String {
    format!("type=oci,dest={}", builder.kiln.out().join("image.tar").display())
}

#[test]
fn many_builders_at_once_some_killed_make_no_wrong_image() {
    let registry = Registry::start();
    let cache = format!("type=registry,ref={}/crowd", registry.address);
    let contexts = [repeatable(0), repeatable(1), repeatable(2)];
    let builders: Vec<Builder> = (0..CROWD).map(|_| Builder::new()).collect();
    let mut running = Vec::new();
    for (number, builder) in builders.iter().enumerate() {
        let context = contexts[number % contexts.len()].path();
        running.push(start(builder, context, &cache, &archive_of(builder)));
    }
    // The odd ones are killed, at a moment of their own.
    for (number, child) in running.iter_mut().enumerate().filter(|(number, _)| number % 2 == 1) {
        std::thread::sleep(Duration::from_millis(37 * number as u64 % 200));
        child.kill().expect("a signal to a child");
    }
    for (number, mut child) in running.into_iter().enumerate() {
        let status = kiln::wait(&mut child, Duration::from_secs(300)).expect("a build that ends");
        assert!(number % 2 == 1 || status.success(), "builder {number} failed");
    }
    // Whatever was left behind: a new machine gets the image that is made without a cache, and makes nothing.
    let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=1700000000"];
    for context in &contexts {
        let (with, without) = (Builder::new(), Builder::new());
        let cached =
            with.build(context.path(), &[&epoch[..], &["--cache-from", &cache, "-o", &archive_of(&with)]].concat());
        let plain = without.build(context.path(), &[&epoch[..], &["-o", &archive_of(&without)]].concat());
        assert_eq!(cached.digest, plain.digest);
        assert_eq!(cached.ran(), Vec::<&str>::new(), "{}", cached.output.both());
        assert!(cached.warnings().is_empty(), "{}", cached.output.both());
    }
    let steps = tags(&registry, "crowd").iter().filter(|tag| tag.starts_with("step-")).count();
    assert_eq!(steps, 3 + 3 * 3);
}
