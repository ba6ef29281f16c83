#!/usr/bin/env python3
"""Measures what a shared cache in a registry on the loopback costs who writes it, and saves who reads it: kiln (release).

    python3 benches/shared_cache.py [--rounds N] [--kiln PATH]

Every round has a context of its own, which no cache knows; builds in turn, each with a new store. A figure is the median of its rounds.
Ends with status 1 when a limit is broken.

| build | what is timed |
| --- | --- |
| cold | thirty steps that each work for a while and leave some files; the image is pushed |
| cold, written | the same with `--cache-to`, all steps |
| read | the same Dockerfile on a new machine with `--cache-from`, pushed to another repository of the registry |
"""

import argparse
import os
import pathlib
import shutil
import sys
import tempfile

from peers import KILN, Registry, measure, median

STEPS = 30
# What writing the cache may add to a cold build, and how long a build takes that is cached as a whole.
WRITTEN_LIMIT, READ_LIMIT_SECONDS = 1.05, 0.5


def context(scratch, number, base):
    """Each step works on a core for a while, as a compiler does, and leaves a megabyte."""
    directory = scratch / ("context-%d" % number)
    directory.mkdir()
    work = "seq 1 300000 | sort -rn | md5sum > /sum%d && head -c 1000000 /dev/urandom > /made%d"
    lines = ["RUN : %d; %s" % (number, work % (step, step)) for step in range(STEPS)]
    (directory / "Dockerfile").write_text("\n".join(["FROM " + base, *lines]) + "\n")
    return directory


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kiln", default=KILN)
    options = parser.parse_args()
    print("%d cores, load %.1f" % (os.cpu_count(), os.getloadavg()[0]))
    results = {}
    with tempfile.TemporaryDirectory(prefix="kiln-bench-") as directory:
        scratch = pathlib.Path(directory)
        registry = Registry(scratch, ["busybox"])
        try:
            for number in range(options.rounds):
                made = context(scratch, number, registry.name("busybox"))
                cache = "type=registry,ref=%s/cache:%d" % (registry.address, number)
                ways = {"cold": [], "cold, written": ["--cache-to", cache + ",mode=max"], "read": ["--cache-from", cache]}
                for place, (way, flags) in enumerate(ways.items()):
                    store = registry.disk.place / "store"
                    name = "%s/image-%d-%d:1" % (registry.address, number, place)
                    command = [options.kiln, "build", "-q", "--push", "-t", name, *flags, made]
                    results.setdefault(way, []).append(measure([(command, {"KILN_ROOT": str(store)})]))
                    shutil.rmtree(store)
        finally:
            registry.stop()
    figures = {way: median([one.seconds for one in rounds]) for way, rounds in results.items()}
    for way, seconds in figures.items():
        print("%-16s %7.3f s, %5.1f MB" % (way, seconds, max(one.megabytes for one in results[way])))
    written = figures["cold, written"] / figures["cold"]
    print("written / cold: %.3f, limit %.2f; read: %.3f s, limit %.1f s" % (written, WRITTEN_LIMIT, figures["read"], READ_LIMIT_SECONDS))
    sys.exit(0 if written <= WRITTEN_LIMIT and figures["read"] <= READ_LIMIT_SECONDS else 1)


if __name__ == "__main__":
    main()
