"""What the comparisons share: a real registry, file systems as good as new, the builders, and how a command is measured.

Nothing beside Python's own library; `bash tests/packages.sh test` installs the programs.
"""

import contextlib
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
KILN = ROOT / "target/release/kiln"


def run(command, **environment):
    """Runs a command that must succeed; returns what it printed."""
    command = [str(word) for word in command]
    done = subprocess.run(
        command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    text = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        sys.exit("%s failed:\n%s" % (" ".join(command), text))
    return text


class Measured:
    """Seconds from start to exit, the largest resident set of any process in MB, and what was printed."""

    def __init__(self, seconds, megabytes, ended, text):
        self.seconds = seconds
        self.megabytes = megabytes
        self.ended = ended
        self.text = text


def measure(commands):
    """Runs (command, environment) pairs one after the other as one thing."""
    start = time.monotonic()
    largest, text = 0, ""
    for command, environment in commands:
        command = [str(word) for word in command]
        with tempfile.TemporaryFile() as log:
            child = subprocess.Popen(
                command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            # wait4 counts the child and what it waited for itself.
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            log.seek(0)
            text += log.read().decode(errors="replace")
            if child.returncode != 0:
                raise Failed("%s failed:\n%s" % (" ".join(command), text[-3000:]))
            largest = max(largest, usage.ru_maxrss / 1000)
    return Measured(time.monotonic() - start, largest, time.time(), text)


def settle():
    """Waits until the machine is quiet, at most some seconds: what a builder leaves to be written, or a daemon does after its answer, is not
    the next one's. Both are counted by the kernel in hundredths of a second of all processors."""
    os.sync()
    for _ in range(50):
        before = idle_of_all()
        time.sleep(0.1)
        passed, idle = (after - was for after, was in zip(idle_of_all(), before))
        if idle >= 0.9 * passed:
            return


def idle_of_all():
    """Returns (all, idle) time of all processors since the start."""
    fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields), fields[3] + fields[4]


class Failed(Exception):
    """A measured command did not succeed."""


class Disk:
    """A new ext4 with a journal in a sparse file: what a file system has been through changes how fast it is."""

    def __init__(self, scratch, name, gigabytes=48, inodes=1_000_000):
        self.image = scratch / (name + ".ext4")
        self.place = scratch / name
        self.place.mkdir()
        with open(self.image, "wb") as file:
            file.truncate(gigabytes << 30)
        # Without lazy tables the kernel would go on making the file system while something is measured.
        options = "lazy_itable_init=0,lazy_journal_init=0"
        run(["mkfs.ext4", "-q", "-F", "-N", str(inodes), "-E", options, self.image])
        run(["mount", "-o", "loop", self.image, self.place])

    def remove(self):
        unmount_below(self.place)
        subprocess.run(["umount", "--lazy", str(self.place)], check=False)
        self.image.unlink()


class Registry:
    """Debian's docker-registry on a free loopback port and a file system of its own, with the asked bases in it."""

    def __init__(self, scratch, bases):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % probe.getsockname()[1]
        self.disk = Disk(scratch, "registry")
        config = scratch / "registry.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\n"
            'http: {addr: "%s"}\n' % (self.disk.place / "registry", self.address)
        )
        self.process = subprocess.Popen(
            ["docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(200):
            with contextlib.suppress(OSError):
                socket.create_connection(self.address.split(":")).close()
                break
            time.sleep(0.02)
        self.add(bases)

    def add(self, bases):
        made = pathlib.Path(os.environ.get("KILN_TEST_CACHE", ROOT / "target/tmp/kiln-test-bases"))
        run(["bash", ROOT / "tests/support/base-images.sh", made, *bases])
        for base in bases:
            source = "oci:%s:%s" % (made / "layout", base)
            run(["skopeo", "copy", "-q", "--dest-tls-verify=false", source, "docker://" + self.name(base)])

    def name(self, repository):
        return "%s/%s:latest" % (self.address, repository)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.disk.remove()


def unmount_below(directory):
    """buildah leaves overlays mounted; a directory with mounts in it cannot be removed."""
    for line in reversed(pathlib.Path("/proc/self/mountinfo").read_text().splitlines()):
        mount_point = line.split()[4]
        if mount_point.startswith(str(directory) + "/"):
            subprocess.run(["umount", "--lazy", mount_point], check=False)


class Kiln:
    name = "kiln"

    def __init__(self, program, store):
        self.program = program
        self.environment = {"KILN_ROOT": str(store)}

    @staticmethod
    def missing(program):
        return None if os.path.exists(program) else "%s is not there: cargo build --release" % program

    def command(self, *arguments):
        return [(([self.program, *arguments]), self.environment)]

    def prepare(self, base):
        run(self.command("pull", "-q", base)[0][0], **self.environment)
        # The base is unpacked, as it is in the stores of the others.
        with tempfile.TemporaryDirectory() as context:
            pathlib.Path(context, "Dockerfile").write_text("FROM %s\nRUN true\n" % base)
            run(self.command("build", "-q", context)[0][0], **self.environment)

    def build(self, context, name, push, cache=True):
        options = ([] if cache else ["--no-cache"]) + (["--push"] if push else [])
        return self.command("build", "--progress=plain", *options, "-t", name, context)

    def pull(self, name):
        return self.command("pull", name)

    def push(self, name, target):
        return [*self.command("tag", name, target), *self.command("push", target)]

    def stop(self):
        pass


class Buildah:
    name = "buildah"

    def __init__(self, program, store):
        self.program = program
        self.store = store

    @staticmethod
    def missing(_):
        return None if shutil.which("buildah") else "buildah is not installed"

    def command(self, *arguments):
        return [(["buildah", "--root", self.store / "root", "--runroot", self.store / "run", *arguments], {})]

    def prepare(self, base):
        run(self.command("pull", "-q", "--tls-verify=false", base)[0][0])

    def build(self, context, name, push, cache=True):
        # Its default isolation wants network plug-ins that Debian does not install with it.
        options = ["--layers", "--tls-verify=false", "--isolation=chroot"] + ([] if cache else ["--no-cache"])
        commands = self.command("bud", *options, "-t", name, context)
        return commands + (self.push(name, name) if push else [])

    def pull(self, name):
        return self.command("pull", "-q", "--tls-verify=false", name)

    def push(self, name, target):
        return self.command("push", "-q", "--tls-verify=false", name, "docker://" + target)

    def stop(self):
        pass


class BuildKit:
    """`buildctl` and a `buildkitd` of its own, which no distribution has as packages: `go build -mod=vendor ./cmd/buildctl ./cmd/buildkitd`
    in its sources makes them. It runs its steps with runc."""

    name = "buildkit"

    def __init__(self, program, store):
        self.address = "unix://%s/socket" % store
        config = store / "buildkitd.toml"
        config.write_text('[registry."127.0.0.1"]\nhttp = true\n')
        self.process = subprocess.Popen(
            ["buildkitd", "--root", store / "root", "--addr", self.address, "--config", config],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        run(["buildctl", "--addr", self.address, "--wait", "debug", "workers"])

    @staticmethod
    def missing(_):
        return None if shutil.which("buildctl") and shutil.which("buildkitd") else "buildctl and buildkitd are not installed"

    def prepare(self, base):
        with tempfile.TemporaryDirectory() as context:
            pathlib.Path(context, "Dockerfile").write_text("FROM %s\nRUN true\n" % base)
            for command, _ in self.build(context, "prepare", False):
                run(command)

    def build(self, context, name, push, cache=True):
        output = "type=image,name=%s,push=%s,registry.insecure=true" % (name, "true" if push else "false")
        options = [] if cache else ["--no-cache"]
        local = ["--local", "context=%s" % context, "--local", "dockerfile=%s" % context]
        frontend = ["--progress=plain", "--frontend", "dockerfile.v0", *local, *options, "--output", output]
        return [(["buildctl", "--addr", self.address, "build", *frontend], {})]

    def stop(self):
        self.process.terminate()
        self.process.wait()


def median(values):
    return statistics.median(values)
