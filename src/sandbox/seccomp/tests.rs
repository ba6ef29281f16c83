use super::*;

/// Runs a program as the kernel would.
fn run(program: &[sock_filter], audit_number: u32, number: u32, arguments: &[u32]) -> u32 {
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
                k if k % 8 != 0 => 0,
                k => arguments[(k - FIRST_ARGUMENT) as usize / 8],
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

fn verdict(audit_number: u32, number: u32, arguments: [u32; 2]) -> u32 {
    run(&filter(CONFINED), audit_number, number, &arguments)
}

const CONFINED: Purpose = Purpose { confined: true, single_id: false };

const EPERM: u32 = libc::SECCOMP_RET_ERRNO | 1;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | 38;
const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const ALL: [Abi; 4] = [Abi::X86_64, Abi::I386, Abi::Aarch64, Abi::Arm];

/// Name, verdict and number on each ABI, of a list that was made from the profile itself.
fn profile() -> Vec<(&'static str, &'static str, [Option<u32>; 4])> {
    let list = include_str!("../../../testdata/sandbox/system_calls.txt");
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    let call = |line: &'static str| {
        let words: Vec<_> = line.split(' ').collect();
        (words[0], words[1], [2, 3, 4, 5].map(|column| words[column].parse().ok()))
    };
    lines.map(call).collect()
}

#[test]
fn the_verdict_of_every_call_is_that_of_the_profile() {
    let calls = profile();
    assert!(calls.len() > 400);
    for abi in ALL {
        let program = section(abi, CONFINED);
        for (name, wanted, numbers) in &calls {
            let Some(number) = numbers[abi as usize] else { continue };
            // The arguments are none that decide.
            let got = run(&program, 0, number, &[2, 0]);
            match *wanted {
                "allow" => assert_eq!(got, ALLOW, "{abi:?} {name}"),
                "refuse" => assert_eq!(got, EPERM, "{abi:?} {name}"),
                "absent" => assert_eq!(got, ENOSYS, "{abi:?} {name}"),
                _ => assert!([CLONE, SOCKET, PERSONALITY].iter().any(|call| call[abi as usize] == number), "{name}"),
            }
        }
    }
}

#[test]
fn the_table_names_calls_by_the_numbers_they_have() {
    let calls = profile();
    for (name, numbers) in REFUSED {
        let known =
            calls.iter().find(|(known, ..)| known == name).map(|(.., numbers)| numbers.map(|n| n.unwrap_or(NONE)));
        assert_eq!(known, Some(*numbers), "{name}");
    }
}

#[test]
fn arguments_decide() {
    for abi in ALL {
        let program = section(abi, CONFINED);
        let ask = |numbers: [u32; 4], arguments: [u32; 2]| run(&program, 0, numbers[abi as usize], &arguments);
        for flag in [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
            assert_eq!(ask(CLONE, [flag, 0]), EPERM, "{flag:x}");
        }
        assert_eq!(ask(CLONE, [0x0100_0011, 0]), ALLOW);
        for family in 0..64 {
            let wanted = if [38, 40].contains(&family) { EPERM } else { ALLOW };
            assert_eq!(ask(SOCKET, [family, 0]), wanted, "{family}");
        }
        for persona in [0, 8, 0x2_0000, 0x2_0008, u32::MAX] {
            assert_eq!(ask(PERSONALITY, [persona, 0]), ALLOW);
        }
        assert_eq!(ask(PERSONALITY, [0x40000, 0]), EPERM);
        assert_eq!(ask(IOCTL, [0, 0x5412]), EPERM);
        assert_eq!(ask(IOCTL, [0, 0x541c]), EPERM);
        assert_eq!(ask(IOCTL, [0, 0x5401]), ALLOW);
    }
}

#[test]
fn ids_are_asked_about_and_nothing_else_changes() {
    let (abi, audit_number) = ABIS[0];
    let both = Purpose { confined: true, single_id: true };
    let lone = Purpose { confined: false, single_id: true };
    let ask = |purpose, number: libc::c_long, arguments: [u32; 3]| {
        run(&filter(purpose), audit_number, u32::try_from(number).unwrap(), &arguments)
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
    assert_eq!(run(&filter(both), ABIS[1].1, 1, &[0; 3]), libc::SECCOMP_RET_KILL_PROCESS);
}

#[test]
fn strangers_are_told_there_is_no_such_call() {
    assert_eq!(verdict(0x1234, 0, [0, 0]), ENOSYS);
    for (abi, audit_number) in ABIS {
        assert_eq!(verdict(audit_number, CLONE3[abi as usize], [0, 0]), ENOSYS);
        for number in [HIGHEST_KNOWN + 1, 0xf_0000, 0x3fff_ffff] {
            assert_eq!(verdict(audit_number, number, [0, 0]), ENOSYS);
        }
    }
    #[cfg(target_arch = "x86_64")]
    assert_eq!(verdict(ABIS[0].1, X32 + 1, [0, 0]), ENOSYS);
}
