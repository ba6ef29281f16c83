#!/usr/bin/env python3
"""Measures images on their way from and to a registry on the loopback: kiln (release) beside buildah, skopeo and umoci.

    python3 benches/transfer.py [--rounds N] [--kiln PATH] [--only WORD]

Every round is in turn, each with a new store; the stores are on file systems as good as new. A figure is the median of its rounds, and what
counts is its ratio to another of the same run. Ends with status 1 when a limit is broken.

| way | what is timed |
| --- | --- |
| pull | an image into an empty store |
| pull and unpack | the same until the first command can run in it: for kiln a build of `RUN true`, for skopeo `umoci unpack` |
| push | an image with one layer of 1 GB, which lies unpacked or as a plain tar in the store, to a registry that has nothing of it |
| push again | the same image once more |
"""

import argparse
import os
import pathlib
import sys
import tempfile

from peers import KILN, Buildah, Disk, Kiln, Registry, measure, median, run

MEMORY_LIMIT_MB = 150


def pull_rounds(scratch, registry, program, rounds):
    name = registry.name("debian")
    results = {}
    for number in range(rounds):
        disk = Disk(scratch, "pull-%d" % number)
        stores = {}
        for store in ["kiln", "kiln-unpacked", "buildah", "skopeo"]:
            stores[store] = disk.place / store
            stores[store].mkdir()
        context = scratch / ("context-%d" % number)
        context.mkdir()
        (context / "Dockerfile").write_text("FROM %s\nRUN true\n" % name)
        ways = {
            "kiln pull": Kiln(program, stores["kiln"]).pull(name),
            "kiln pull and unpack": Kiln(program, stores["kiln-unpacked"]).build(context, "unpacked", False),
            "buildah pull": Buildah(program, stores["buildah"]).pull(name),
            "skopeo copy + umoci unpack": [
                (["skopeo", "copy", "-q", "--src-tls-verify=false", "docker://" + name, "oci:%s/layout:image" % stores["skopeo"]], {}),
                (["umoci", "unpack", "--image", "%s/layout:image" % stores["skopeo"], stores["skopeo"] / "bundle"], {}),
            ],
        }
        for way, commands in ways.items():
            results.setdefault(way, []).append(measure(commands))
        disk.remove()
    return results


def push_rounds(scratch, registry, program, rounds):
    """The layer is 1 GB of real files, as one RUN leaves them."""
    base = registry.name("debian")
    context = scratch / "gigabyte"
    context.mkdir()
    copies = "for i in 1 2 3 4 5 6; do cp -a /usr /copy$i; done"
    results = {}
    disk = Disk(scratch, "push")
    tools = []
    for kind in [Kiln, Buildah]:
        store = disk.place / kind.name
        store.mkdir()
        tools.append(kind(program, store))
        tools[-1].prepare(base)
    for number in range(rounds):
        # A layer of its own for every round: kiln would know the compressed one again.
        (context / "Dockerfile").write_text("FROM %s\nRUN echo %d > /round; %s\n" % (base, number, copies))
        for tool in tools:
            name = "gigabyte-%d" % number
            for command, environment in tool.build(context, name, False):
                run(command, **environment)
            target = registry.name("%s-%d" % (tool.name, number))
            for way in ["%s push" % tool.name, "%s push again" % tool.name]:
                results.setdefault(way, []).append(measure(tool.push(name, target)))
    disk.remove()
    return results


# What is held against what, at most how many times as long; without another way: seconds.
LIMITS = [
    ("kiln pull", "skopeo copy + umoci unpack", 1.0),
    ("kiln pull and unpack", "skopeo copy + umoci unpack", 1.0),
    ("kiln pull", "buildah pull", 0.6),
    ("kiln pull and unpack", "buildah pull", 0.6),
    ("kiln push", "buildah push", 0.35),
    ("kiln push again", None, 0.050),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kiln", default=str(KILN))
    parser.add_argument("--only", choices=["pull", "push"])
    options = parser.parse_args()
    missing = Kiln.missing(options.kiln) or Buildah.missing(options.kiln)
    if missing:
        sys.exit(missing)
    print("%d cores, load %.1f" % (os.cpu_count(), os.getloadavg()[0]))
    with tempfile.TemporaryDirectory(prefix="kiln-bench-") as directory:
        scratch = pathlib.Path(directory)
        registry = Registry(scratch, ["debian"])
        results = {}
        try:
            for only, rounds in [("pull", pull_rounds), ("push", push_rounds)]:
                if options.only in (None, only):
                    results |= rounds(scratch, registry, options.kiln, options.rounds)
        finally:
            registry.stop()
    sys.exit(0 if report(results) else 1)


def report(results):
    kept = True
    for way, rounds in results.items():
        seconds = [measured.seconds for measured in rounds]
        megabytes = max(measured.megabytes for measured in rounds)
        print("%-28s %8.3f s median %8.3f s best %7.1f MB" % (way, median(seconds), min(seconds), megabytes))
        if way.startswith("kiln") and megabytes > MEMORY_LIMIT_MB:
            kept = False
            print("  more memory than %d MB: BROKEN" % MEMORY_LIMIT_MB)
    for way, other, limit in LIMITS:
        if way not in results:
            continue
        figure = median([measured.seconds for measured in results[way]])
        if other:
            figure /= median([measured.seconds for measured in results[other]])
        holds = figure < limit
        kept = kept and holds
        print("%s / %s: %.3f, limit %.3f: %s" % (way, other or "1 s", figure, limit, "kept" if holds else "BROKEN"))
    return kept


if __name__ == "__main__":
    main()
