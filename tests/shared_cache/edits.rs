//! Random edits of a Dockerfile and its files: what is built with a shared cache is what is built without any.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::crowd::Random;
use super::support::{bases::Base, registry, scratch, write};
use super::{Builder, Built};

/// The same edits each time; `KILN_TEST_SEED` is another one.
const SEED: u64 = 20_261_129;
/// Takes some 15 seconds.
const ROUNDS: usize = 40;

fn line(random: &mut Random) -> String {
    let number = random.below(4);
    match random.below(10) {
        0 => format!("COPY a /a{number}"),
        1 => "COPY dir /dir/".to_owned(),
        2 => format!("COPY --chmod=6{number}0 b /b"),
        3 => format!("RUN echo {number} > /number && cat /number >> /log"),
        4 => format!("WORKDIR /work{number}"),
        5 => format!("ENV VALUE={number}"),
        6 => format!("ARG GIVEN={number}\nRUN echo $GIVEN $VALUE >> given"),
        // In two commands: the file that a pipeline writes to is there before or after `ls` looks, as it comes.
        7 => "RUN rm -rf /b /dir && count=$(ls -l / | wc -l) && echo $count > /count".to_owned(),
        8 => "RUN rm -rf /moved && mkdir -p /dir && mv /dir /moved && mkdir /dir".to_owned(),
        _ => format!("COPY --from=made /made /made{number}"),
    }
}

fn edit(lines: &mut Vec<String>, context: &Path, random: &mut Random) {
    let at = random.below(lines.len() as u64) as usize;
    match random.below(6) {
        0 => lines.insert(at, line(random)),
        1 if lines.len() > 3 => drop(lines.remove(at)),
        2 => lines.swap(0, at),
        3 => write(context, "a", format!("{}\n", random.below(3))),
        4 => write(context, &format!("dir/{}", random.below(3)), format!("{}\n", random.below(3))),
        _ => {
            let mode = [0o600, 0o644, 0o755][random.below(3) as usize];
            std::fs::set_permissions(context.join("b"), std::fs::Permissions::from_mode(mode)).expect("a mode");
        }
    }
}

/// Builds an image that shows no time.
#[track_caller]
fn build(builder: &Builder, context: &Path, caches: &[&str]) -> Built {
    let archive = builder.kiln.out().join("image.tar").display().to_string();
    let output = format!("type=oci,dest={archive},rewrite-timestamp=true");
    let common = ["--build-arg", "SOURCE_DATE_EPOCH=1700000000", "-o", &output];
    builder.build(context, &[&common[..], caches].concat())
}

#[test]
fn after_any_edit_a_cached_build_makes_what_a_build_without_cache_makes() {
    let seed = std::env::var("KILN_TEST_SEED").map_or(SEED, |seed| seed.parse().expect("a number"));
    let (context, cache, mut random) = (scratch(), scratch(), Random(seed));
    let (base, path) = (registry::base(Base::Busybox), cache.path().display().to_string());
    for name in ["a", "b", "dir/0"] {
        write(context.path(), name, "0\n");
    }
    let mut lines: Vec<String> = (0..5).map(|_| line(&mut random)).collect();
    let (kept, plain) = (Builder::new(), Builder::new());
    let (from, to) = (format!("type=local,src={path}"), format!("type=local,dest={path},mode=max"));
    let mut hits = 0;
    for round in 0..ROUNDS {
        let mut text = format!("FROM {base} AS made\nCOPY a /made\nRUN wc -c /made >> /made\nFROM {base}\n");
        lines.iter().for_each(|line| writeln!(text, "{line}").expect("a text takes it"));
        write(context.path(), "Dockerfile", &text);
        let new = Builder::new();
        let builder = if random.below(3) == 0 { &kept } else { &new };
        let cached = build(builder, context.path(), &["--cache-from", &from, "--cache-to", &to]);
        let without = build(&plain, context.path(), &["--no-cache"]);
        assert_eq!(cached.digest, without.digest, "seed {seed}, round {round}:\n{text}{}", cached.output.both());
        assert!(cached.warnings().is_empty(), "{}", cached.output.both());
        hits += usize::from(cached.ran().len() < without.ran().len());
        edit(&mut lines, context.path(), &mut random);
    }
    assert!(hits > 0, "no step of {ROUNDS} builds was cached");
}

/// What is written again as it was is in the layer, also when it was first written in the same second.
#[test]
fn the_second_in_which_a_step_runs_decides_nothing() {
    let (context, parted, at_once) = (scratch(), Builder::new(), Builder::new());
    let once = format!("FROM {}\nRUN echo same > /same\n", registry::base(Base::Busybox));
    write(context.path(), "Dockerfile", &once);
    build(&parted, context.path(), &[]);
    std::thread::sleep(Duration::from_millis(1100));
    write(context.path(), "Dockerfile", format!("{once}RUN echo same > /same && true\n"));
    let (parted, at_once) = (build(&parted, context.path(), &[]), build(&at_once, context.path(), &[]));
    assert_eq!((parted.ran().len(), at_once.ran().len()), (1, 2));
    assert_eq!(parted.digest, at_once.digest);
}
