//! Which system calls are refused, by number on each ABI.
//!
//! The verdicts are those of the profile that container engines use by default (`seccomp/default.json` of
//! `github.com/moby/profiles`, version `seccomp/v0.2.3` of May 2026, Linux 6.13), for a process with the capabilities that
//! a confined step has. That profile lists what is allowed; this table lists the rest, which is shorter and faster.
//! `testdata/sandbox/system_calls.txt` has the verdict of each call, and a test compares.
//!
//! Where this filter differs:
//!
//! - x32 calls are answered as not built in, as by most kernels. The profile allows them.
//! - `ioctl` may not type into a terminal (`TIOCSTI`, `TIOCLINUX`). The profile leaves that to the runtime, which gives
//!   a container a terminal of its own; a step has none at all.
//! - Arguments are compared in the 32 bits that the kernel looks at; the profile compares 64, so it lets
//!   `socket(1 << 32 | AF_VSOCK, ..)` pass and refuses `personality(1 << 32)`.
//! - Refused private calls of 32-bit ARM are answered with `ENOSYS`, not `EPERM`.
//!
//! As in the profile, `socketcall` of 32-bit x86 is allowed, though its arguments lie in memory where no filter sees the
//! address family.

/// The call does not exist there.
pub(super) const NONE: u32 = u32::MAX;

/// One column each of [`REFUSED`]. A machine has two of them.
#[allow(dead_code)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Abi {
    X86_64,
    I386,
    Aarch64,
    Arm,
}

/// The highest number of the profile; what is higher is answered as by a kernel that lacks it.
pub(super) const HIGHEST_KNOWN: u32 = 466;

/// Calls whose answer depends on their arguments, and `clone3`, whose arguments a filter cannot see.
pub(super) const CLONE: [u32; 4] = [56, 120, 220, 120];
pub(super) const CLONE3: [u32; 4] = [435, 435, 435, 435];
pub(super) const PERSONALITY: [u32; 4] = [135, 136, 92, 136];
pub(super) const SOCKET: [u32; 4] = [41, 359, 198, 281];
pub(super) const IOCTL: [u32; 4] = [16, 54, 29, 54];

/// The private calls of 32-bit ARM that are allowed: `breakpoint`, `cacheflush`, `set_tls`. They are numbered far above
/// all others.
pub(super) const ARM_PRIVATE: [u32; 3] = [0xf_0001, 0xf_0002, 0xf_0005];

/// What the profile does not allow to a process with the capabilities of a container, calls that kernels have no more
/// included. Columns as in [`Abi`].
#[rustfmt::skip]
pub(super) const REFUSED: &[(&str, [u32; 4])] = &[
    ("_sysctl", [156, 149, NONE, 149]),
    ("acct", [163, 51, 89, 51]),
    ("add_key", [248, 286, 217, 309]),
    ("afs_syscall", [183, 137, NONE, NONE]),
    ("bdflush", [NONE, 134, NONE, 134]),
    ("bpf", [321, 357, 280, 386]),
    ("break", [NONE, 17, NONE, NONE]),
    ("clock_settime", [227, 264, 112, 262]),
    ("clock_settime64", [NONE, 404, NONE, 404]),
    ("create_module", [174, 127, NONE, NONE]),
    ("delete_module", [176, 129, 106, 129]),
    ("fanotify_init", [300, 338, 262, 367]),
    ("finit_module", [313, 350, 273, 379]),
    ("fsconfig", [431, 431, 431, 431]),
    ("fsmount", [432, 432, 432, 432]),
    ("fsopen", [430, 430, 430, 430]),
    ("fspick", [433, 433, 433, 433]),
    ("ftime", [NONE, 35, NONE, NONE]),
    ("get_kernel_syms", [177, 130, NONE, NONE]),
    ("get_mempolicy", [239, 275, 236, 320]),
    ("getpmsg", [181, 188, NONE, NONE]),
    ("gtty", [NONE, 32, NONE, NONE]),
    ("idle", [NONE, 112, NONE, NONE]),
    ("init_module", [175, 128, 105, 128]),
    ("io_uring_enter", [426, 426, 426, 426]),
    ("io_uring_register", [427, 427, 427, 427]),
    ("io_uring_setup", [425, 425, 425, 425]),
    ("ioperm", [173, 101, NONE, NONE]),
    ("iopl", [172, 110, NONE, NONE]),
    ("kcmp", [312, 349, 272, 378]),
    ("kexec_file_load", [320, NONE, 294, 401]),
    ("kexec_load", [246, 283, 104, 347]),
    ("keyctl", [250, 288, 219, 311]),
    ("lock", [NONE, 53, NONE, NONE]),
    ("lookup_dcookie", [212, 253, 18, 249]),
    ("lsm_get_self_attr", [459, 459, 459, 459]),
    ("lsm_list_modules", [461, 461, 461, 461]),
    ("lsm_set_self_attr", [460, 460, 460, 460]),
    ("mbind", [237, 274, 235, 319]),
    ("migrate_pages", [256, 294, 238, 400]),
    ("mount", [165, 21, 40, 21]),
    ("mount_setattr", [442, 442, 442, 442]),
    ("move_mount", [429, 429, 429, 429]),
    ("move_pages", [279, 317, 239, 344]),
    ("mpx", [NONE, 56, NONE, NONE]),
    ("nfsservctl", [180, 169, 42, 169]),
    ("nice", [NONE, 34, NONE, 34]),
    ("oldfstat", [NONE, 28, NONE, NONE]),
    ("oldlstat", [NONE, 84, NONE, NONE]),
    ("oldolduname", [NONE, 59, NONE, NONE]),
    ("oldstat", [NONE, 18, NONE, NONE]),
    ("olduname", [NONE, 109, NONE, NONE]),
    ("open_by_handle_at", [304, 342, 265, 371]),
    ("open_tree", [428, 428, 428, 428]),
    ("pciconfig_iobase", [NONE, NONE, NONE, 271]),
    ("pciconfig_read", [NONE, NONE, NONE, 272]),
    ("pciconfig_write", [NONE, NONE, NONE, 273]),
    ("perf_event_open", [298, 336, 241, 364]),
    ("pidfd_getfd", [438, 438, 438, 438]),
    ("pivot_root", [155, 217, 41, 218]),
    ("process_madvise", [440, 440, 440, 440]),
    ("prof", [NONE, 44, NONE, NONE]),
    ("profil", [NONE, 98, NONE, NONE]),
    ("putpmsg", [182, 189, NONE, NONE]),
    ("query_module", [178, 167, NONE, NONE]),
    ("quotactl", [179, 131, 60, 131]),
    ("quotactl_fd", [443, 443, 443, 443]),
    ("readdir", [NONE, 89, NONE, NONE]),
    ("reboot", [169, 88, 142, 88]),
    ("request_key", [249, 287, 218, 310]),
    ("security", [185, NONE, NONE, NONE]),
    ("set_mempolicy", [238, 276, 237, 321]),
    ("set_mempolicy_home_node", [450, 450, 450, 450]),
    ("setdomainname", [171, 121, 162, 121]),
    ("sethostname", [170, 74, 161, 74]),
    ("setns", [308, 346, 268, 375]),
    ("settimeofday", [164, 79, 170, 79]),
    ("sgetmask", [NONE, 68, NONE, NONE]),
    ("sigaction", [NONE, 67, NONE, 67]),
    ("signal", [NONE, 48, NONE, NONE]),
    ("sigpending", [NONE, 73, NONE, 73]),
    ("sigsuspend", [NONE, 72, NONE, 72]),
    ("ssetmask", [NONE, 69, NONE, NONE]),
    ("stime", [NONE, 25, NONE, NONE]),
    ("stty", [NONE, 31, NONE, NONE]),
    ("swapoff", [168, 115, 225, 115]),
    ("swapon", [167, 87, 224, 87]),
    ("sysfs", [139, 135, NONE, 135]),
    ("syslog", [103, 103, 116, 103]),
    ("tuxcall", [184, NONE, NONE, NONE]),
    ("ulimit", [NONE, 58, NONE, NONE]),
    ("umount", [NONE, 22, NONE, NONE]),
    ("umount2", [166, 52, 39, 52]),
    ("unshare", [272, 310, 97, 337]),
    ("uprobe", [336, NONE, NONE, NONE]),
    ("uselib", [134, 86, NONE, 86]),
    ("userfaultfd", [323, 374, 282, 388]),
    ("ustat", [136, 62, NONE, 62]),
    ("vhangup", [153, 111, 58, 111]),
    ("vm86", [NONE, 166, NONE, NONE]),
    ("vm86old", [NONE, 113, NONE, NONE]),
    ("vserver", [236, 273, NONE, 313]),
];
