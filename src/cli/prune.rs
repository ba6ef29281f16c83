//! `kiln prune`.

use super::args::PruneArguments;
use super::environment::Environment;
use super::report::{self, Exit};
use super::{size, terminal};
use crate::images::{self, Pruned};

/// Removes, says how much, and how to exit. The process must have entered its namespaces.
pub(super) fn run(typed: &PruneArguments) -> Exit {
    let root = Environment::read().and_then(|environment| environment.store(typed.store.store.as_deref()));
    let root = match root {
        Ok(root) => root,
        Err(error) => return report::refused(&error),
    };
    match images::prune(&root, typed.all) {
        Ok(pruned) => report::printed(terminal::print(&text(&pruned))),
        Err(error) => report::failed("cannot prune", &error),
    }
}

fn text(pruned: &Pruned) -> String {
    let mut text = String::new();
    let counts = [
        (pruned.tags, "image name"),
        (pruned.nameless, "nameless image"),
        (pruned.records, "step record"),
        (pruned.snapshots, "unpacked layer"),
        (pruned.blobs, "blob"),
        (pruned.cache_mounts, "cache mount"),
    ];
    for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!("removed {count} {what}{}\n", if count == 1 { "" } else { "s" }));
    }
    text.push_str(&format!("Total reclaimed space: {}\n", size::bytes(pruned.bytes)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_went_is_told() {
        let pruned = Pruned { snapshots: 2, blobs: 1, bytes: 4_210_000, ..Pruned::default() };
        assert_eq!(text(&pruned), "removed 2 unpacked layers\nremoved 1 blob\nTotal reclaimed space: 4.21MB\n");
        assert_eq!(text(&Pruned::default()), "Total reclaimed space: 0B\n");
    }
}
