//! Programs of other machines: whose they are, and the namespace in which they can run.

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Helper, Program};
use crate::sandbox::emulator::{EMULATOR, REGISTERED, UNSHARED};

/// Usually a few milliseconds.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A user namespace in which the installed emulators are registered, and the process that keeps it.
pub(super) struct Emulation {
    _helper: Helper,
    namespace: File,
}

impl Emulation {
    /// Makes one, or says why it cannot be had.
    pub(super) fn start(program: &Program) -> Result<Self, String> {
        let failed = |error: io::Error| format!("cannot start the helper: {error}");
        let mut command = Command::new(program.path());
        command.arg(EMULATOR).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut helper = Helper::start(&mut command).map_err(failed)?;
        let namespace = prepare(&mut helper)?;
        Ok(Self { _helper: helper, namespace })
    }

    /// The namespace, for a sandbox to enter.
    pub(super) fn namespace(&self) -> &File {
        &self.namespace
    }
}

/// Maps the ids of the namespace to themselves, waits until the emulators are registered, and returns the namespace.
fn prepare(helper: &mut Helper) -> Result<File, String> {
    expect(helper, UNSHARED)?;
    let failed = |doing: &str| {
        let doing = doing.to_owned();
        move |error: io::Error| format!("cannot {doing}: {error}")
    };
    let process = format!("/proc/{}", helper.process.id());
    for map in ["uid_map", "gid_map"] {
        let own = std::fs::read_to_string(format!("/proc/self/{map}")).map_err(failed("read the ids"))?;
        std::fs::write(format!("{process}/{map}"), same_ids(&own)).map_err(failed("map the ids"))?;
    }
    let namespace = File::open(format!("{process}/ns/user")).map_err(failed("open the namespace"))?;
    let input = helper.process.stdin.as_mut().ok_or("it has no input")?;
    input.write_all(b"g").map_err(failed("speak to the helper"))?;
    expect(helper, REGISTERED)?;
    Ok(namespace)
}

/// Reads the wanted byte; anything else is the reason why it does not come.
fn expect(helper: &mut Helper, wanted: u8) -> Result<(), String> {
    if !helper.speaks_within(TIMEOUT) {
        return Err("the helper ended, or says nothing".to_owned());
    }
    let output = helper.process.stdout.as_mut().ok_or("it has no output")?;
    let mut byte = [0];
    if output.read(&mut byte).map_err(|error| error.to_string())? == 0 {
        return Err("the helper ended".to_owned());
    }
    if byte == [wanted] {
        return Ok(());
    }
    let mut why = byte.to_vec();
    let _ = output.take(1000).read_to_end(&mut why);
    Err(String::from_utf8_lossy(&why).into_owned())
}

/// From the map of this namespace (inside, outside, count) to one in which each id of it has its own number.
fn same_ids(own: &str) -> String {
    let lines = own.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (inside, count) = (fields.next()?, fields.nth(1)?);
        Some(format!("{inside} {inside} {count}\n"))
    });
    lines.collect()
}

/// The machine a program was made for, as its header says (`e_machine`), in the words of platforms; `None` for what is no
/// program.
pub(super) fn machine(head: &[u8]) -> Option<&'static str> {
    let little_endian = match head {
        [0x7f, b'E', b'L', b'F', _, 1, ..] => true,
        [0x7f, b'E', b'L', b'F', _, 2, ..] => false,
        _ => return None,
    };
    let bytes = [*head.get(18)?, *head.get(19)?];
    let number = if little_endian { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) };
    Some(match (number, little_endian) {
        (3, _) => "386",
        (8, true) => "mips64le",
        (8, false) => "mips64",
        (21, true) => "ppc64le",
        (21, false) => "ppc64",
        (22, _) => "s390x",
        (40, _) => "arm",
        (62, _) => "amd64",
        (183, _) => "arm64",
        (243, _) => "riscv64",
        (258, _) => "loong64",
        _ => "an unknown machine",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_their_machine() {
        let program = std::fs::read("/proc/self/exe").unwrap();
        if cfg!(target_arch = "x86_64") {
            assert_eq!(machine(&program), Some("amd64"));
        }
        let head = |data: u8, machine: [u8; 2]| [&[0x7f, b'E', b'L', b'F', 2, data], &[0; 12][..], &machine].concat();
        assert_eq!(machine(&head(1, [183, 0])), Some("arm64"));
        assert_eq!(machine(&head(2, [0, 22])), Some("s390x"));
        assert_eq!(machine(&head(1, [183, 0])[..19]), None);
        assert_eq!(machine(b"#!/bin/sh\n"), None);
        assert_eq!(machine(b"echo a script\n"), None);
    }

    #[test]
    fn ids_are_mapped_to_themselves() {
        assert_eq!(same_ids("         0          0 4294967295\n"), "0 0 4294967295\n");
        assert_eq!(same_ids("0 1000 1\n1 100000 65536\n"), "0 0 1\n1 1 65536\n");
    }
}
