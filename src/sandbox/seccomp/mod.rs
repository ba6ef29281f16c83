//! The system call filter: refuses what [`table`] lists, asks the supervisor about what [`ids`] emulates, allows the rest.
//!
//! A BPF program with a binary search per ABI, so that a call costs some ten instructions. A process may also
//! use the 32-bit calls of its machine, which have numbers of their own; x32 is answered as not built in.
//! Where ids are emulated, they are for the native calls only, and a program that uses the 32-bit ones is killed.
//! `clone3` is answered with `ENOSYS`, and C libraries fall back to `clone`, whose flags a filter can see.

mod table;

use libc::{BPF_ABS, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

use super::ids::{self, Watch};
use table::{ARM_PRIVATE, Abi, CLONE, CLONE3, HIGHEST_KNOWN, IOCTL, NONE, PERSONALITY, REFUSED, SOCKET};

/// Offsets in `struct seccomp_data`; the low words of the arguments, as all these machines are little-endian.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const SECOND_ARGUMENT: u32 = 24;
const fn argument(number: u32) -> u32 {
    FIRST_ARGUMENT + 8 * number
}

/// Numbers of x32 calls start here.
const X32: u32 = 0x4000_0000;

/// CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// PER_LINUX, PER_LINUX32, both with UNAME26, and the question what it is.
const PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, u32::MAX];
/// Reach out of a network namespace: the kernel's ciphers, whose faults have been ways to become root, and the machine's
/// hypervisor.
const FAMILIES: [i32; 2] = [libc::AF_ALG, libc::AF_VSOCK];
/// Types into a terminal: TIOCSTI, TIOCLINUX.
const TYPING: [u32; 2] = [0x5412, 0x541c];

/// Native and 32-bit ABI of this machine, with the audit number the kernel calls them by.
#[cfg(target_arch = "x86_64")]
const ABIS: [(Abi, u32); 2] = [(Abi::X86_64, 0xc000_003e), (Abi::I386, 0x4000_0003)];
#[cfg(target_arch = "aarch64")]
const ABIS: [(Abi, u32); 2] = [(Abi::Aarch64, 0xc000_00b7), (Abi::Arm, 0x4000_0028)];

type Program = Vec<sock_filter>;

/// What a filter is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Purpose {
    /// Refuse what containers may not do.
    pub(super) confined: bool,
    /// Ask the supervisor about ids.
    pub(super) single_id: bool,
}

/// Builds the filter.
pub(super) fn filter(purpose: Purpose) -> Program {
    let mut program = vec![load(ARCHITECTURE)];
    for (abi, audit_number) in ABIS {
        let section = section(abi, purpose);
        program.push(jump(BPF_JEQ, audit_number, 1, 0));
        program.push(skip(section.len()));
        program.extend(section);
    }
    program.push(refuse(libc::ENOSYS));
    program
}

fn section(abi: Abi, purpose: Purpose) -> Program {
    if purpose.single_id && abi != ABIS[0].0 {
        return vec![kill()];
    }
    let mut program = vec![load(NUMBER)];
    if abi == Abi::X86_64 {
        program.extend([jump(BPF_JGE, X32, 0, 1), refuse(libc::ENOSYS)]);
    }
    if purpose.confined {
        let unknown = unknown(abi);
        program.extend([jump(BPF_JGE, HIGHEST_KNOWN + 1, 1, 0), skip(unknown.len())]);
        program.extend(unknown);
    }
    let mut cases = Vec::new();
    if purpose.confined {
        cases.extend(refused(abi));
    }
    if purpose.single_id {
        cases.extend(
            ids::WATCHED.iter().filter_map(|(number, watch)| Some((u32::try_from(*number).ok()?, watched(*watch)))),
        );
    }
    cases.sort_unstable_by_key(|(number, _)| *number);
    program.extend(search(&runs(cases)));
    program
}

/// The first number of each run of numbers about which the same is to be done, and what. What is no case is allowed.
fn runs(cases: Vec<(u32, Program)>) -> Vec<(u32, Program)> {
    let mut runs = vec![(0, vec![allow()])];
    let mut add = |first: u32, then: Program| {
        if runs.last().is_some_and(|(last, _)| *last == first) {
            runs.pop();
        }
        if runs.last().is_none_or(|(_, before)| *before != then) {
            runs.push((first, then));
        }
    };
    for (number, then) in cases {
        add(number, then);
        add(number + 1, vec![allow()]);
    }
    runs
}

/// What to do about a call that has to do with ids.
fn watched(watch: Watch) -> Program {
    match watch {
        Watch::Always => vec![ask()],
        Watch::Creating(flags) => {
            let creating =
                libc::O_CREAT.cast_unsigned() | libc::O_TMPFILE.cast_unsigned() & !libc::O_DIRECTORY.cast_unsigned();
            vec![load(argument(flags)), jump(BPF_JSET, creating, 0, 1), ask(), allow()]
        }
        Watch::Absent => vec![refuse(libc::ENOSYS)],
        Watch::Limit(resource, new) => vec![
            load(argument(resource)),
            jump(BPF_JEQ, libc::RLIMIT_RTTIME, 1, 0),
            allow(),
            // A pointer, low and high word.
            load(argument(new)),
            jump(BPF_JEQ, 0, 0, 3),
            load(argument(new) + 4),
            jump(BPF_JEQ, 0, 0, 1),
            allow(),
            refuse(0),
        ],
    }
}

/// What to do about numbers that are higher than all known ones.
fn unknown(abi: Abi) -> Program {
    let private: &[u32] = if abi == Abi::Arm { &ARM_PRIVATE } else { &[] };
    let mut program: Program = private.iter().flat_map(|number| [jump(BPF_JEQ, *number, 0, 1), allow()]).collect();
    program.push(refuse(libc::ENOSYS));
    program
}

/// What to do about each number that a container is not simply allowed.
fn refused(abi: Abi) -> Vec<(u32, Program)> {
    let column = abi as usize;
    let refused = REFUSED.iter().map(|(_, numbers)| (numbers[column], vec![refuse(libc::EPERM)]));
    let mut clone = vec![load(FIRST_ARGUMENT), jump(BPF_JSET, NEW_NAMESPACES, 0, 1)];
    clone.extend([refuse(libc::EPERM), allow()]);
    let mut personality = vec![load(FIRST_ARGUMENT)];
    personality.extend(PERSONALITIES.iter().flat_map(|value| [jump(BPF_JEQ, *value, 0, 1), allow()]));
    personality.push(refuse(libc::EPERM));
    let mut socket = vec![load(FIRST_ARGUMENT)];
    let refused_families = FAMILIES.map(|family| [jump(BPF_JEQ, family.cast_unsigned(), 0, 1), refuse(libc::EPERM)]);
    socket.extend(refused_families.into_iter().flatten());
    socket.push(allow());
    let mut ioctl = vec![load(SECOND_ARGUMENT)];
    ioctl.extend(TYPING.iter().flat_map(|value| [jump(BPF_JEQ, *value, 0, 1), refuse(libc::EPERM)]));
    ioctl.push(allow());
    let special = [
        (CLONE[column], clone),
        (CLONE3[column], vec![refuse(libc::ENOSYS)]),
        (PERSONALITY[column], personality),
        (SOCKET[column], socket),
        (IOCTL[column], ioctl),
    ];
    refused.chain(special).filter(|(number, _)| *number != NONE).collect()
}

/// A binary search for the run of the number that was loaded. Every way through it returns.
fn search(runs: &[(u32, Program)]) -> Program {
    match runs {
        [] => vec![allow()],
        [(_, then)] => then.clone(),
        _ => {
            let (low, high) = runs.split_at(runs.len() / 2);
            let (below, above) = (search(low), search(high));
            let mut program = match u8::try_from(below.len()) {
                Ok(distance) => vec![jump(BPF_JGE, high[0].0, distance, 0)],
                Err(_) => vec![jump(BPF_JGE, high[0].0, 0, 1), skip(below.len())],
            };
            program.extend(below);
            program.extend(above);
            program
        }
    }
}

fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, offset, 0, 0)
}

/// Compares with `value`; skips `yes` or `no` instructions.
fn jump(comparison: u32, value: u32, yes: u8, no: u8) -> sock_filter {
    instruction(BPF_JMP | comparison | BPF_K, value, yes, no)
}

fn skip(count: usize) -> sock_filter {
    instruction(BPF_JMP | BPF_JA, count as u32, 0, 0)
}

fn allow() -> sock_filter {
    instruction(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0)
}

fn ask() -> sock_filter {
    instruction(BPF_RET | BPF_K, libc::SECCOMP_RET_USER_NOTIF, 0, 0)
}

fn kill() -> sock_filter {
    instruction(BPF_RET | BPF_K, libc::SECCOMP_RET_KILL_PROCESS, 0, 0)
}

fn refuse(errno: i32) -> sock_filter {
    instruction(BPF_RET | BPF_K, libc::SECCOMP_RET_ERRNO | errno.cast_unsigned(), 0, 0)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests;
