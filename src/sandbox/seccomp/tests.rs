use super::*;

/// Runs a program as the kernel would. The high words of arguments are 0.
fn run(program: &[sock_filter], audit_number: u32, number: u32, arguments: &[u32]) -> u32 {
    run_with(program, audit_number, number, arguments, 0)
}

fn run_with(program: &[sock_filter], audit_number: u32, number: u32, arguments: &[u32], high: u32) -> u32 {
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let sock_filter { code, jt, jf, k } = program[at];
        at += 1;
        let code = u32::from(code);
        if code == BPF_LD | BPF_W | BPF_ABS {
            accumulator = match k {
                NUMBER => number,
                ARCHITECTURE => audit_number,
                // The high words of arguments.
                k if k % 8 != 0 => high,
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

/// What a confined step is answered, straight from the table: no runs, no search.
fn plainly(abi: Abi, number: u32, arguments: [u32; 2]) -> u32 {
    let is = |numbers: &[u32; 4]| numbers[abi as usize] == number;
    let [first, second] = arguments;
    let refuse_if = |refused| if refused { EPERM } else { ALLOW };
    match number {
        NONE => ENOSYS,
        X32.. if abi == Abi::X86_64 => ENOSYS,
        _ if abi == Abi::Arm && ARM_PRIVATE.contains(&number) => ALLOW,
        _ if number > HIGHEST_KNOWN || is(&CLONE3) => ENOSYS,
        _ if REFUSED.iter().any(|(_, numbers)| is(numbers)) => EPERM,
        _ if is(&CLONE) => refuse_if(first & NEW_NAMESPACES != 0),
        _ if is(&PERSONALITY) => refuse_if(!PERSONALITIES.contains(&first)),
        _ if is(&SOCKET) => refuse_if(FAMILIES.iter().any(|family| family.cast_unsigned() == first)),
        _ if is(&IOCTL) => refuse_if(TYPING.contains(&second)),
        _ => ALLOW,
    }
}

/// Arguments that decide somewhere, and their neighbours.
fn telling() -> Vec<u32> {
    let bits = (0..32).map(|bit| 1 << bit);
    let families = FAMILIES.iter().map(|family| family.cast_unsigned());
    let edges = PERSONALITIES.into_iter().chain(TYPING).chain(families).chain([NEW_NAMESPACES, !NEW_NAMESPACES]);
    let around = edges.flat_map(|value| [value.wrapping_sub(1), value, value.wrapping_add(1)]);
    bits.chain(around).collect()
}

#[test]
fn the_filter_answers_every_number_as_the_table_does() {
    let numbers = (0..=1200).chain(0xf_0000 - 2..=0xf_0010).chain(X32 - 2..=X32 + 700).chain([u32::MAX - 1, u32::MAX]);
    let special = |abi: Abi| [CLONE, PERSONALITY, SOCKET, IOCTL].map(|numbers| numbers[abi as usize]);
    for abi in ALL {
        let program = section(abi, CONFINED);
        for number in numbers.clone() {
            let all = if special(abi).contains(&number) { telling() } else { vec![0, 2, u32::MAX] };
            for (first, second) in all.iter().flat_map(|first| all.iter().map(|second| (*first, *second))) {
                for high in [0, 1, u32::MAX] {
                    let arguments = [first, second, 0, 0, 0, 0];
                    let got = run_with(&program, 0, number, &arguments, high);
                    assert_eq!(
                        got,
                        plainly(abi, number, [first, second]),
                        "{abi:?} {number:x} {first:x} {second:x} {high}"
                    );
                }
            }
        }
    }
}

/// The kernel refuses a longer one, and one whose jumps lead out of it.
#[test]
fn filters_are_short_and_every_jump_stays_inside() {
    for (confined, single_id) in [(true, false), (true, true), (false, true)] {
        let program = filter(Purpose { confined, single_id });
        assert!(program.len() < 4096);
        for (at, instruction) in program.iter().enumerate() {
            let furthest = match u32::from(instruction.code) {
                code if code == BPF_JMP | BPF_JA => instruction.k as usize,
                code if code & 7 == BPF_JMP => usize::from(instruction.jt.max(instruction.jf)),
                code if code == BPF_RET | BPF_K => continue,
                _ => 0,
            };
            assert!(at + 1 + furthest < program.len(), "{at}");
        }
    }
}

/// Each call that is emulated, whatever else the filter says; and no other.
#[test]
fn every_number_is_asked_about_or_not_as_the_list_says() {
    let (abi, audit_number) = ABIS[0];
    let watched: Vec<u32> = ids::WATCHED.iter().filter_map(|(number, _)| u32::try_from(*number).ok()).collect();
    for confined in [true, false] {
        let program = filter(Purpose { confined, single_id: true });
        for number in (0..=1200).filter(|number| !watched.contains(number)) {
            let got = run(&program, audit_number, number, &[2, 0, 0, 0, 0, 0]);
            assert_eq!(got, if confined { plainly(abi, number, [2, 0]) } else { ALLOW }, "{number}");
        }
    }
}
