#!/usr/bin/env python3
"""Measures whole builds: kiln (release) beside buildah where that is installed.

    python3 benches/compare.py [--rounds N] [--kiln PATH] [--only WORD]

Needs docker-registry, skopeo and umoci (`bash tests/packages.sh test` installs them) and nothing beside Python's own library.
Each workload has a limit that kiln must keep: time (median of the rounds) and memory (the largest process of the build).
Ends with status 1 when a limit is broken.

Cold means: the base image is in the store and nothing else is. The files of a context were written before the clock starts.
"""

import argparse
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MEMORY_LIMIT_MB = 100


class Registry:
    """Debian's docker-registry on a free loopback port, with busybox in it."""

    def __init__(self, scratch):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % probe.getsockname()[1]
        config = scratch / "registry.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\n"
            'http: {addr: "%s"}\n' % (scratch / "registry", self.address)
        )
        self.process = subprocess.Popen(
            ["docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(200):
            try:
                socket.create_connection(self.address.split(":")).close()
                break
            except OSError:
                time.sleep(0.02)
        bases = pathlib.Path(os.environ.get("KILN_TEST_CACHE", ROOT / "target/tmp/kiln-test-bases"))
        run(["bash", str(ROOT / "tests/support/base-images.sh"), str(bases), "busybox"])
        self.base = self.address + "/busybox:latest"
        run(["skopeo", "copy", "-q", "--dest-tls-verify=false", "oci:%s:busybox" % (bases / "layout"), "docker://" + self.base])

    def stop(self):
        self.process.kill()
        self.process.wait()


class Kiln:
    name = "kiln"

    def __init__(self, program):
        self.program = program

    def version(self):
        return subprocess.run([self.program, "--version"], capture_output=True, text=True, check=True).stdout.strip()

    def prepare(self, store, base):
        context = store.parent / "base-context"
        context.mkdir(exist_ok=True)
        (context / "Dockerfile").write_text("FROM %s\n" % base)
        run([self.program, "build", "-t", "base", str(context)], KILN_ROOT=str(store))

    def build(self, store, context, push=None):
        command = [self.program, "build", "--progress=plain", "-t", push or "bench", str(context)]
        if push:
            command.insert(2, "--push")
        return [(command, {"KILN_ROOT": str(store)})]


class Buildah:
    name = "buildah"

    def version(self):
        return subprocess.run(["buildah", "--version"], capture_output=True, text=True, check=True).stdout.split(" (")[0]

    def command(self, store, *arguments):
        return ["buildah", "--root", str(store / "root"), "--runroot", str(store / "run"), *arguments]

    def prepare(self, store, base):
        run(self.command(store, "pull", "-q", "--tls-verify=false", base))

    def build(self, store, context, push=None):
        tag = push or "bench"
        # Its default isolation wants network plug-ins that Debian does not install with it.
        build = ["bud", "--layers", "--tls-verify=false", "--isolation=chroot", "-t", tag, str(context)]
        commands = [(self.command(store, *build), {})]
        if push:
            commands.append((self.command(store, "push", "-q", "--tls-verify=false", tag, "docker://" + push), {}))
        return commands


def run(command, **environment):
    """Runs a command that must succeed."""
    done = subprocess.run(
        command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode != 0:
        sys.exit("%s failed:\n%s" % (" ".join(command), done.stdout.decode(errors="replace")))


def unmount_below(directory):
    """buildah leaves overlays mounted; a directory with mounts in it cannot be removed."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        mount_point = line.split()[4]
        if mount_point.startswith(str(directory) + "/"):
            subprocess.run(["umount", "--lazy", mount_point], check=False)


def measure(commands):
    """Runs commands one after the other; returns seconds and the largest resident set in MB."""
    start = time.monotonic()
    largest = 0
    for command, environment in commands:
        with tempfile.TemporaryFile() as log:
            child = subprocess.Popen(
                command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            # wait4 counts the child and what it waited for itself.
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode != 0:
                log.seek(0)
                sys.exit("%s failed:\n%s" % (" ".join(command), log.read().decode(errors="replace")))
            largest = max(largest, usage.ru_maxrss / 1000)
    return time.monotonic() - start, largest


def files(directory, count):
    for number in range(count):
        folder = directory / ("d%02d" % (number % 100))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ("file%05d.txt" % number)).write_text("file number %d\n" % number * 8)


def small(context, base):
    (context / "file").write_text("small\n")
    (context / "Dockerfile").write_text("FROM %s\nCOPY file /file\nRUN cat /file > /copy\n" % base)


def large(context, base):
    files(context / "src", 20_000)
    (context / "Dockerfile").write_text("FROM %s\nCOPY src /src\n" % base)


def steps(context, base):
    lines = ["FROM " + base] + ["RUN echo %d > /step-%d" % (number, number) for number in range(30)]
    (context / "Dockerfile").write_text("\n".join(lines) + "\n")


# (what, makes the context, is all of it cached, is the image pushed, limit in seconds)
WORKLOADS = [
    ("small context, all cached", small, True, False, 0.030),
    ("20,000 files, all cached", large, True, False, 0.15),
    ("30 RUN steps, cold", steps, False, False, 1.0),
    ("20,000 files in one COPY, cold, pushed", large, False, True, 3.0),
]


def round_times(builder, registry, scratch, context, cached, pushed, rounds):
    """Returns (seconds, MB) of each round. Every cold round has a store and a repository of its own."""
    results = []
    number = 0
    while len(results) < rounds:
        store = scratch / ("store-%s" % builder.name if cached else "store-%s-%d" % (builder.name, number))
        if not store.exists():
            store.mkdir()
            builder.prepare(store, registry.base)
            if cached:
                measure(builder.build(store, context))
        push = "%s/bench/%s-%d:latest" % (registry.address, builder.name, number) if pushed else None
        results.append(measure(builder.build(store, context, push)))
        number += 1
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kiln", default=str(ROOT / "target/release/kiln"))
    parser.add_argument("--only", default="", help="workloads whose name has this word")
    options = parser.parse_args()
    if not os.path.exists(options.kiln):
        sys.exit("%s is not there: cargo build --release" % options.kiln)

    builders = [Kiln(options.kiln)]
    if shutil.which("buildah"):
        builders.append(Buildah())
    else:
        print("buildah is not installed (apt-get install buildah): kiln alone")
    print(", ".join(builder.version() for builder in builders), "on", os.cpu_count(), "cores, load %.1f" % os.getloadavg()[0])

    broken = False
    print("%-42s %-8s %9s %9s %7s  %s" % ("workload", "builder", "median s", "best s", "MB", "limit"))
    with tempfile.TemporaryDirectory(prefix="kiln-bench-") as directory:
        scratch = pathlib.Path(directory)
        registry = Registry(scratch)
        try:
            for index, (name, make, cached, pushed, limit) in enumerate(WORKLOADS):
                if options.only not in name:
                    continue
                work = scratch / str(index)
                context = work / "context"
                context.mkdir(parents=True)
                make(context, registry.base)
                for builder in builders:
                    results = round_times(builder, registry, work, context, cached, pushed, options.rounds)
                    times = [seconds for seconds, _ in results]
                    median, memory = statistics.median(times), max(memory for _, memory in results)
                    verdict = ""
                    if builder.name == "kiln":
                        kept = median < limit and memory < MEMORY_LIMIT_MB
                        broken = broken or not kept
                        verdict = "< %.3f s, < %d MB: %s" % (limit, MEMORY_LIMIT_MB, "kept" if kept else "BROKEN")
                    print("%-42s %-8s %9.3f %9.3f %7.1f  %s" % (name, builder.name, median, min(times), memory, verdict), flush=True)
        finally:
            registry.stop()
            unmount_below(scratch)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
