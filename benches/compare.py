#!/usr/bin/env python3
"""Measures whole builds: kiln (release) beside BuildKit and buildah, where these are installed.

    python3 benches/compare.py [--rounds N] [--kiln PATH] [--only WORKLOAD]

Every build pushes its image to a registry on the loopback. Builders take turns within a round, and each has its store on a file system
as good as new. A round is three builds:

| cell | what is built |
| --- | --- |
| cold | all of it, with `--no-cache` and files that no round before had; the base is in the store |
| no-op | the same again |
| edit | the same after one file was written anew |

and, without a registry, the whole process of a build in which everything is cached (`cached`). A figure is the median of the rounds. Each
begins when the machine has come to rest from the one before.

What kiln must keep is a ratio to BuildKit. Where BuildKit is not installed, its figure is the one that was once measured (REFERENCE), on a
machine with two cores; then the limit says something about machines as fast as that one only. Ends with status 1 when a limit is broken.
"""

import argparse
import os
import pathlib
import sys
import tempfile

from peers import KILN, BuildKit, Buildah, Disk, Failed, Kiln, Registry, measure, median, settle

CELLS = ["cold", "no-op", "edit"]
# Seconds of BuildKit, and how many times as fast kiln must be.
REFERENCE = {
    "hello": ([0.19, 0.07, 0.11], [6, 10, 6]),
    "steps": ([2.1, 0.10, 2.1], [10, 12, 10]),
    "diamond": ([1.43, 0.07, 1.30], [1.35, 8, 1.25]),
    "files": ([3.6, 0.45, 0.71], [12, 15, 10]),
    "big": ([16.0, 0.07, 0.5], [2.2, 8, 8]),
}
# What comes after the last command of `big`, in seconds of BuildKit.
EXPORT = (12.0, 6)
# Without a registry: seconds of a whole process in which everything is cached.
CACHED = {"hello": 0.006, "files": 0.040, "many": 0.120}
MEMORY = {"big": 64}
USUAL_MEMORY = 48


def files(directory, count):
    for number in range(count):
        folder = directory / ("d%03d" % (number % (count // 100)))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ("file%06d.txt" % number)).write_text("file number %d\n" % number * 8)


def hello(context, base):
    return ["FROM " + base, "RUN echo hello > /hello", "COPY edited /edited"], "busybox"


def steps(context, base):
    return ["FROM " + base, "COPY edited /edited", *("RUN echo %d > /step-%d" % (n, n) for n in range(30))], "busybox"


def diamond(context, base):
    stages = [line for n in range(8) for line in ("FROM %s AS s%d" % (base, n), "COPY edited /edited", "RUN sleep 1; echo %d > /out%d" % (n, n))]
    return [*stages, "FROM " + base, *("COPY --from=s%d /out%d /" % (n, n) for n in range(8))], "busybox"


def twenty_thousand(context, base):
    files(context / "src", 20_000)
    return ["FROM " + base, "COPY . /src", "RUN ls /src > /list"], "busybox"


def hundred_thousand(context, base):
    files(context / "src", 100_000)
    return ["FROM " + base, "COPY . /src"], "busybox"


def big(context, base):
    # The layer of the command is another one in every round: kiln would know the compressed one again.
    copy = "RUN for i in 1 2 3 4 5 6; do cp -a /usr /copy$i; done; cat /round | tee /round-copied; date +' ended-%s.%N'"
    return ["FROM " + base, "COPY round /round", copy, "COPY edited /edited"], "debian"


WORKLOADS = {"hello": hello, "steps": steps, "diamond": diamond, "files": twenty_thousand, "many": hundred_thousand, "big": big}
BASES = {"big": "debian"}


class Workload:
    """A context, and the ways to change it."""

    def __init__(self, name, scratch, registry):
        self.name = name
        self.base = registry.name(BASES.get(name, "busybox"))
        self.context = scratch / "context"
        self.context.mkdir()
        lines, _ = WORKLOADS[name](self.context, self.base)
        (self.context / "Dockerfile").write_text("\n".join(lines) + "\n")
        self.edit("first")
        (self.context / "round").write_text("first")

    def edit(self, text):
        (self.context / "edited").write_text(text)

    def new_round(self, text):
        (self.context / "round").write_text(text)
        self.edit("cold " + text)


def rounds_of(workload, builders, registry, rounds):
    """Returns {builder: {cell: [Measured]}}."""
    results = {builder.name: {} for builder in builders}

    def note(builder, cell, commands):
        settle()
        try:
            results[builder.name].setdefault(cell, []).append(measure(commands))
        except Failed as failed:
            if builder.name == "kiln":
                sys.exit(str(failed))
            print("  %s: a round is left out: %s" % (builder.name, str(failed).splitlines()[-1]))

    for number in range(rounds):
        for builder in builders:
            name = registry.name("bench/" + builder.name)
            workload.new_round("%s %d" % (builder.name, number))
            if workload.name in REFERENCE:
                note(builder, "cold", builder.build(workload.context, name, True, cache=False))
                note(builder, "no-op", builder.build(workload.context, name, True))
                workload.edit("edited %s %d" % (builder.name, number))
                note(builder, "edit", builder.build(workload.context, name, True))
            if workload.name in CACHED:
                measure(builder.build(workload.context, "local", False))
                note(builder, "cached", builder.build(workload.context, "local", False))
    return results


def export_seconds(measured):
    """From the moment the last command of `big` printed to the end."""
    stamps = [word for word in measured.text.split() if word.startswith("ended-1")]
    return measured.ended - float(stamps[-1].removeprefix("ended-"))


def figures(cells):
    all = {cell: (median([m.seconds for m in rounds]), max(m.megabytes for m in rounds)) for cell, rounds in cells.items()}
    cold = cells.get("cold", [])
    if cold and "ended-1" in cold[0].text:
        all["export"] = (median([export_seconds(measured) for measured in cold]), 0)
    return all


def limit_of(name, cell, peers):
    """Returns seconds that kiln may take, and of whom they are a part."""
    if cell == "cached":
        return CACHED[name], "a limit of its own"
    seconds, factor = EXPORT if cell == "export" else (dict(zip(CELLS, part))[cell] for part in REFERENCE[name])
    beside = peers.get("buildkit", {}).get(cell)
    return (beside[0] if beside else seconds) / factor, "%gx BuildKit%s" % (factor, "" if beside else "'s reference")


def report(name, results):
    peers = {builder: figures(cells) for builder, cells in results.items()}
    kept = True
    memory = MEMORY.get(name, USUAL_MEMORY)
    for cell, (seconds, megabytes) in peers["kiln"].items():
        limit, whose = limit_of(name, cell, peers)
        holds = seconds <= limit and megabytes <= memory
        kept = kept and holds
        beside = ", ".join(
            "%s %.3f s (%.1fx)" % (other, cells[cell][0], cells[cell][0] / seconds)
            for other, cells in peers.items()
            if other != "kiln" and cell in cells
        )
        print("%-8s %-7s %8.4f s %6.1f MB  at most %.4f s (%s): %s  %s"
              % (name, cell, seconds, megabytes, limit, whose, "kept" if holds else "BROKEN", beside), flush=True)
    return kept


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kiln", default=str(KILN))
    parser.add_argument("--only", choices=WORKLOADS, action="append")
    parser.add_argument("--alone", action="store_true", help="kiln without the others")
    options = parser.parse_args()
    if Kiln.missing(options.kiln):
        sys.exit(Kiln.missing(options.kiln))
    kinds = [Kiln]
    for kind in [] if options.alone else [BuildKit, Buildah]:
        missing = kind.missing(options.kiln)
        print("not measured: " + missing) if missing else kinds.append(kind)
    print("%d cores, load %.1f" % (os.cpu_count(), os.getloadavg()[0]), flush=True)

    kept = True
    with tempfile.TemporaryDirectory(prefix="kiln-bench-") as directory:
        for name in options.only or WORKLOADS:
            scratch = pathlib.Path(directory) / name
            scratch.mkdir()
            registry = Registry(scratch, [BASES.get(name, "busybox")])
            disks, builders = [], []
            try:
                workload = Workload(name, scratch, registry)
                for kind in kinds:
                    disks.append(Disk(scratch, kind.name))
                    builders.append(kind(options.kiln, disks[-1].place))
                    builders[-1].prepare(workload.base)
                kept = report(name, rounds_of(workload, builders, registry, options.rounds)) and kept
            finally:
                for builder in builders:
                    builder.stop()
                for disk in disks:
                    disk.remove()
                registry.stop()
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
