#!/usr/bin/env python3
"""Measures how the cost of a build grows with the work: kiln (release) alone.

    python3 benches/scale.py [--kiln PATH] [--only SERIES] [--small]

| series | what grows |
| --- | --- |
| context | files that are copied, cold |
| unchanged | files that were copied before: nothing to do |
| layers | layers below one RUN |
| steps | RUN steps, 50 in a stage |
| stages | stages that the last one copies from |
| layer | bytes of one file, which is sparse |
| records | step records in the store while nothing is to be done |

For each the seconds and the largest resident set are printed, and the exponent: the slope of seconds over size, both as logarithms, where
a doubling counts, that is from the first size that takes 50 ms. 1.0 is linear. Ends with status 1 when an exponent is above its limit
(1.15), or when memory grows beyond 64 MB where it must be flat. `--small` leaves the largest size of each series out.
"""

import argparse
import math
import os
import pathlib
import shutil
import sys
import tempfile

from compare import files
from peers import KILN, Disk, Kiln, Registry, measure, run

EXPONENT_LIMIT = 1.15
MEMORY_LIMIT_MB = 64
# Shorter times say more of starting a program than of its work.
WORTH_FITTING = 0.05


class Place:
    """A new store, and contexts beside it, on a file system as good as new."""

    def __init__(self, scratch, name, program, files):
        self.disk = Disk(scratch, name, inodes=max(1_000_000, 3 * files))
        self.store = self.disk.place / "store"
        self.store.mkdir()
        self.kiln = Kiln(program, self.store)
        self.number = 0

    def context(self, lines):
        self.number += 1
        context = self.disk.place / ("context-%d" % self.number)
        context.mkdir()
        (context / "Dockerfile").write_text("\n".join(lines) + "\n")
        return context

    def build(self, context, *options):
        return measure(self.kiln.command("build", "-q", "--network=none", *options, "-t", "scale", context))

    def prepare(self, base):
        self.kiln.prepare(base)


def copied(place, size, _):
    context = place.context(["FROM scratch", "COPY src /src"])
    files(context / "src", size)
    return place, context


def context(place, size, base):
    place, made = copied(place, size, base)
    cold = place.build(made)
    shutil.rmtree(made)
    return cold


def unchanged(place, size, base):
    place, made = copied(place, size, base)
    place.build(made)
    again = min((place.build(made) for _ in range(3)), key=lambda measured: measured.seconds)
    shutil.rmtree(made)
    return again


def layers(place, size, base):
    below = ["FROM " + base, *("COPY Dockerfile /file-%d" % number for number in range(size))]
    place.build(place.context(below))
    return place.build(place.context([*below, "RUN true"]))


def steps(place, size, base):
    lines = []
    for number in range(size):
        if number % 50 == 0:
            lines.append("FROM %s AS s%d" % (base, number // 50))
        lines.append("RUN echo %d > /step" % number)
    last = ["FROM " + base, *("COPY --from=s%d /step /%d" % (stage, stage) for stage in range((size + 49) // 50))]
    return place.build(place.context(lines + last))


def stages(place, size, base):
    first = [line for n in range(size) for line in ("FROM %s AS s%d" % (base, n), "COPY Dockerfile /file-%d" % n)]
    last = ["FROM scratch", *("COPY --from=s%d /file-%d /" % (n, n) for n in range(size))]
    return place.build(place.context(first + last))


def layer(place, size, _):
    context = place.context(["FROM scratch", "COPY large /large"])
    with open(context / "large", "wb") as file:
        file.truncate(size << 20)
    measured = place.build(context)
    (context / "large").unlink()
    run(place.kiln.command("rmi", "scale")[0][0], **place.kiln.environment)
    run(place.kiln.command("prune", "--all", "--force")[0][0], **place.kiln.environment)
    return measured


def records(place, size, base):
    context = place.context(["FROM " + base, "RUN true"])
    place.build(context)
    known = place.store / "cache" / "steps"
    record = next(known.iterdir()).read_bytes()
    for number in range(size):
        (known / ("%064x" % number)).write_bytes(record)
    return min((place.build(context) for _ in range(3)), key=lambda measured: measured.seconds)


# The sizes; whether memory must be flat.
SERIES = {
    "context": (context, [1_000, 10_000, 100_000, 1_000_000], False),
    "unchanged": (unchanged, [1_000, 10_000, 100_000, 1_000_000], False),
    "layers": (layers, [1, 10, 100, 400], True),
    "steps": (steps, [1, 50, 500, 5_000], True),
    "stages": (stages, [1, 10, 100, 500], True),
    "layer": (layer, [1, 32, 1_024, 20_480], True),
    "records": (records, [10, 1_000, 100_000], True),
}
UNITS = {"layer": "MB"}


def exponent(points):
    """Slope of the line that fits best, both sides as logarithms; None where too little took long enough."""
    points = [(math.log(size), math.log(seconds)) for size, seconds in points if seconds >= WORTH_FITTING]
    if len(points) < 2:
        return None
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def grow(name, scratch, program, base, small):
    """Measures one series; returns whether its limits are kept."""
    one, sizes, flat = SERIES[name]
    points, kept = [], True
    for size in sizes[: -1 if small else None]:
        place = Place(scratch, "%s-%d" % (name, size), program, size)
        try:
            place.prepare(base)
            measured = one(place, size, base)
        finally:
            place.disk.remove()
        points.append((size, measured.seconds))
        remark = ""
        if flat and measured.megabytes > MEMORY_LIMIT_MB:
            remark, kept = "  above %d MB" % MEMORY_LIMIT_MB, False
        print("%-10s %9d %-2s %8.3f s %5.0f MB%s" % (name, size, UNITS.get(name, ""), measured.seconds, measured.megabytes, remark), flush=True)
    slope = exponent(points)
    if slope is None:
        print("%-10s no size takes long enough to have an exponent" % name)
        return kept
    broken = slope > EXPONENT_LIMIT
    print("%-10s exponent %.2f%s" % (name, slope, "  above %.2f" % EXPONENT_LIMIT if broken else ""))
    return kept and not broken


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kiln", type=pathlib.Path, default=KILN)
    parser.add_argument("--only", choices=SERIES)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    if missing := Kiln.missing(options.kiln):
        sys.exit(missing)
    if os.geteuid() != 0:
        sys.exit("it mounts file systems: run it as root")
    kept = True
    with tempfile.TemporaryDirectory() as directory:
        scratch = pathlib.Path(directory)
        registry = Registry(scratch, ["busybox"])
        try:
            for name in [options.only] if options.only else SERIES:
                kept = grow(name, scratch, options.kiln, registry.name("busybox"), options.small) and kept
        finally:
            registry.stop()
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
