//! The system call filter: refuses what [`table`] lists, asks the supervisor about what [`ids`] emulates, allows the rest.
//!
//! A BPF program with a binary search per ABI, so that a call costs some ten instructions. A process may also
//! use the 32-bit calls of its machine, which have numbers of their own; x32 is answered as not built in.
//! Where ids are emulated, they are for the native calls only, and a program that uses the 32-bit ones is killed.
//! `clone3` is answered with `ENOSYS`, and C libraries fall back to `clone`, whose flags a filter can see.

mod table;

use libc::{BPF_ABS, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

use super::ids::{self, Watch};
use table::{Abi, CLONE, CLONE3, HIGHEST_KNOWN, IOCTL, NONE, PERSONALITY, REFUSED, SOCKET};

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
    // The private calls of 32-bit ARM are numbered far above all others.
    if abi != Abi::Arm && purpose.confined {
        program.extend([jump(BPF_JGE, HIGHEST_KNOWN + 1, 0, 1), refuse(libc::ENOSYS)]);
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
    program.extend(search(&cases));
    program
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

/// What to do about each number that a container is not simply allowed.
fn refused(abi: Abi) -> Vec<(u32, Program)> {
    let column = abi as usize;
    let refused = REFUSED.iter().map(|(_, numbers)| (numbers[column], vec![refuse(libc::EPERM)]));
    let mut clone = vec![load(FIRST_ARGUMENT), jump(BPF_JSET, NEW_NAMESPACES, 0, 1)];
    clone.extend([refuse(libc::EPERM), allow()]);
    let mut personality = vec![load(FIRST_ARGUMENT)];
    personality.extend(PERSONALITIES.iter().flat_map(|value| [jump(BPF_JEQ, *value, 0, 1), allow()]));
    personality.push(refuse(libc::EPERM));
    let mut socket = vec![load(FIRST_ARGUMENT), jump(BPF_JEQ, libc::AF_VSOCK.cast_unsigned(), 0, 1)];
    socket.extend([refuse(libc::EPERM), allow()]);
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

/// A binary search for the number that was loaded. Every way through it returns.
fn search(cases: &[(u32, Program)]) -> Program {
    match cases {
        [] => vec![allow()],
        [(number, then)] => {
            let mut program = vec![jump(BPF_JEQ, *number, 1, 0), allow()];
            program.extend_from_slice(then);
            program
        }
        _ => {
            let (low, high) = cases.split_at(cases.len() / 2);
            let (below, above) = (search(low), search(high));
            let mut program = vec![jump(BPF_JGE, high[0].0, 0, 1), skip(below.len())];
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
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn verdict(audit_number: u32, number: u32, arguments: [u32; 2]) -> u32 {
        let confined = Purpose { confined: true, single_id: false };
        verdict_of(confined, audit_number, number, [arguments[0], arguments[1], 0])
    }

    fn verdict_of(purpose: Purpose, audit_number: u32, number: u32, arguments: [u32; 3]) -> u32 {
        let program = filter(purpose);
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let code = u32::from(code);
            if code == BPF_LD | BPF_W | BPF_ABS {
                accumulator = match k {
                    NUMBER => number,
                    ARCHITECTURE => audit_number,
                    // The high words are 0.
                    k => {
                        if k % 8 == 0 {
                            arguments[(k - FIRST_ARGUMENT) as usize / 8]
                        } else {
                            0
                        }
                    }
                };
            } else if code == BPF_RET | BPF_K {
                return k;
            } else if code == BPF_JMP | BPF_JA {
                at += k as usize;
            } else {
                let yes = match code & 0xf0 {
                    BPF_JEQ => accumulator == k,
                    BPF_JGE => accumulator >= k,
                    _ => accumulator & k != 0,
                };
                at += usize::from(if yes { jt } else { jf });
            }
        }
    }

    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | 1;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | 38;
    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

    #[test]
    fn every_listed_number_is_refused_and_no_other() {
        for (abi, audit_number) in ABIS {
            let listed: Vec<u32> = REFUSED.iter().map(|(_, numbers)| numbers[abi as usize]).collect();
            for number in 0..=HIGHEST_KNOWN {
                let expected = match number {
                    _ if listed.contains(&number) => EPERM,
                    _ if number == CLONE3[abi as usize] => ENOSYS,
                    _ if number == PERSONALITY[abi as usize] => continue,
                    _ => ALLOW,
                };
                assert_eq!(verdict(audit_number, number, [2, 0]), expected, "{abi:?} {number}");
            }
        }
    }

    #[test]
    fn arguments_decide() {
        let (abi, audit_number) = ABIS[0];
        let ask = |numbers: [u32; 4], arguments| verdict(audit_number, numbers[abi as usize], arguments);
        assert_eq!(ask(CLONE, [0x1000_0000, 0]), EPERM);
        assert_eq!(ask(CLONE, [0x0100_0011, 0]), ALLOW);
        assert_eq!(ask(SOCKET, [libc::AF_VSOCK as u32, 0]), EPERM);
        assert_eq!(ask(PERSONALITY, [u32::MAX, 0]), ALLOW);
        assert_eq!(ask(PERSONALITY, [0x40000, 0]), EPERM);
        assert_eq!(ask(IOCTL, [0, 0x5412]), EPERM);
        assert_eq!(ask(IOCTL, [0, 0x5401]), ALLOW);
    }

    #[test]
    fn ids_are_asked_about_and_nothing_else_changes() {
        let (abi, audit_number) = ABIS[0];
        let both = Purpose { confined: true, single_id: true };
        let lone = Purpose { confined: false, single_id: true };
        let ask = |purpose, number: libc::c_long, arguments| {
            verdict_of(purpose, audit_number, u32::try_from(number).unwrap(), arguments)
        };
        for (number, watch) in ids::WATCHED.iter().filter(|(number, _)| *number >= 0) {
            assert!(REFUSED.iter().all(|(_, numbers)| i64::from(numbers[abi as usize]) != *number), "{number}");
            let expected = if *watch == Watch::Always { libc::SECCOMP_RET_USER_NOTIF } else { ALLOW };
            for purpose in [both, lone] {
                if *watch != Watch::Absent {
                    assert_eq!(ask(purpose, *number, [0; 3]), expected, "{number}");
                }
            }
        }
        let create = libc::O_CREAT.cast_unsigned();
        assert_eq!(ask(both, libc::SYS_openat, [0, 0, create]), libc::SECCOMP_RET_USER_NOTIF);
        assert_eq!(ask(both, libc::SYS_openat, [create, create, libc::O_DIRECTORY.cast_unsigned()]), ALLOW);
        let limit = libc::RLIMIT_RTTIME;
        assert_eq!(ask(both, libc::SYS_prlimit64, [0, limit, 8]), libc::SECCOMP_RET_ERRNO);
        assert_eq!(ask(both, libc::SYS_prlimit64, [0, limit, 0]), ALLOW);
        assert_eq!(ask(both, libc::SYS_prlimit64, [0, 7, 8]), ALLOW);
        assert_eq!(ask(both, libc::SYS_ptrace, [0; 3]), ALLOW);
        assert_eq!(ask(both, libc::SYS_mount, [0; 3]), EPERM);
        assert_eq!(ask(lone, libc::SYS_mount, [0; 3]), ALLOW);
        assert_eq!(verdict_of(both, ABIS[1].1, 1, [0; 3]), libc::SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn strangers_are_told_there_is_no_such_call() {
        assert_eq!(verdict(0x1234, 0, [0, 0]), ENOSYS);
        assert_eq!(verdict(ABIS[0].1, HIGHEST_KNOWN + 1, [0, 0]), ENOSYS);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(verdict(ABIS[0].1, X32 + 1, [0, 0]), ENOSYS);
    }
}
