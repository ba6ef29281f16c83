//! The mounts of a step and those of its machine.

use super::support::{has_root, kiln::output_of, machine};
use super::{Builder, command, context_of};

/// On most machines mounts are shared: what is mounted later arrives in every copy that was not told otherwise.
#[test]
fn no_mount_of_the_machine_arrives_in_a_step() {
    if !has_root() {
        return;
    }
    let context = context_of(
        "FROM BUSYBOX\nRUN --mount=type=bind,target=/b --mount=type=cache,target=/c --mount=type=secret,id=none \
         sed 's/^/seen /' /proc/self/mountinfo\n",
    );
    for builder in Builder::all() {
        let kiln = builder.kiln();
        let command = command(&kiln, context.path(), &[]);
        let output = output_of(&mut machine::with(&["shared"], &command), std::time::Duration::from_secs(60));
        output.succeeded();
        let seen: Vec<&str> = output.stderr.lines().filter(|line| line.contains(" seen ")).collect();
        assert!(seen.len() > 12, "{}", output.both());
        for line in seen {
            assert!(!line.contains(" master:") && !line.contains(" shared:"), "{builder:?}: {line}");
        }
    }
    // The control.
    let mut outside = std::process::Command::new("cat");
    let output = output_of(
        &mut machine::with(&["shared"], outside.arg("/proc/self/mountinfo")),
        std::time::Duration::from_secs(60),
    );
    assert!(output.stdout.contains(" shared:"), "{}", output.both());
}
