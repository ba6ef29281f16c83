//! Which system calls are refused, by number on each ABI.

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

/// The highest number that was looked at for this table (Linux 6.18); what is higher is unknown and answered as by a
/// kernel that lacks it.
pub(super) const HIGHEST_KNOWN: u32 = 470;

/// Calls whose answer depends on their arguments, and `clone3`, whose arguments a filter cannot see.
pub(super) const CLONE: [u32; 4] = [56, 120, 220, 120];
pub(super) const CLONE3: [u32; 4] = [435, 435, 435, 435];
pub(super) const PERSONALITY: [u32; 4] = [135, 136, 92, 136];
pub(super) const SOCKET: [u32; 4] = [41, 359, 198, 281];
pub(super) const IOCTL: [u32; 4] = [16, 54, 29, 54];

/// What a container without CAP_SYS_ADMIN, SYS_MODULE, SYS_BOOT, SYS_TIME, SYS_PACCT, SYS_RAWIO, SYS_TTY_CONFIG, SYS_NICE,
/// SYS_PTRACE, SYSLOG, BPF, PERFMON and DAC_READ_SEARCH is refused by the default profile of container engines
/// (moby's `profiles/seccomp/default.json`), with io_uring and userfaultfd as there. Columns as in [`Abi`].
#[rustfmt::skip]
pub(super) const REFUSED: &[(&str, [u32; 4])] = &[
    ("_sysctl", [156, 149, NONE, 149]),
    ("acct", [163, 51, 89, 51]),
    ("add_key", [248, 286, 217, 309]),
    ("bpf", [321, 357, 280, 386]),
    ("clock_settime", [227, 264, 112, 262]),
    ("clock_settime64", [NONE, 404, NONE, 404]),
    ("delete_module", [176, 129, 106, 129]),
    ("fanotify_init", [300, 338, 262, 367]),
    ("finit_module", [313, 350, 273, 379]),
    ("fsconfig", [431, 431, 431, 431]),
    ("fsmount", [432, 432, 432, 432]),
    ("fsopen", [430, 430, 430, 430]),
    ("fspick", [433, 433, 433, 433]),
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
    ("listns", [470, 470, 470, 470]),
    ("listmount", [458, 458, 458, 458]),
    ("lookup_dcookie", [212, 253, 18, 249]),
    ("lsm_set_self_attr", [460, 460, 460, 460]),
    ("mbind", [237, 274, 235, 319]),
    ("migrate_pages", [256, 294, 238, NONE]),
    ("mount", [165, 21, 40, 21]),
    ("mount_setattr", [442, 442, 442, 442]),
    ("move_mount", [429, 429, 429, 429]),
    ("move_pages", [279, 317, 239, 344]),
    ("nfsservctl", [180, 169, 42, 169]),
    ("open_by_handle_at", [304, 342, 265, 371]),
    ("open_tree", [428, 428, 428, 428]),
    ("open_tree_attr", [467, 467, 467, 467]),
    ("perf_event_open", [298, 336, 241, 364]),
    ("pidfd_getfd", [438, 438, 438, 438]),
    ("pivot_root", [155, 217, 41, 218]),
    ("process_madvise", [440, 440, 440, 440]),
    ("quotactl", [179, 131, 60, 131]),
    ("quotactl_fd", [443, 443, 443, 443]),
    ("reboot", [169, 88, 142, 88]),
    ("request_key", [249, 287, 218, 310]),
    ("set_mempolicy", [238, 276, 237, 321]),
    ("set_mempolicy_home_node", [450, 450, 450, 450]),
    ("setdomainname", [171, 121, 162, 121]),
    ("sethostname", [170, 74, 161, 74]),
    ("setns", [308, 346, 268, 375]),
    ("settimeofday", [164, 79, 170, 79]),
    ("statmount", [457, 457, 457, 457]),
    ("stime", [NONE, 25, NONE, NONE]),
    ("swapoff", [168, 115, 225, 115]),
    ("swapon", [167, 87, 224, 87]),
    ("sysfs", [139, 135, NONE, 135]),
    ("syslog", [103, 103, 116, 103]),
    ("umount", [NONE, 22, NONE, NONE]),
    ("umount2", [166, 52, 39, 52]),
    ("unshare", [272, 310, 97, 337]),
    ("uselib", [134, 86, NONE, 86]),
    ("userfaultfd", [323, 374, 282, 388]),
    ("ustat", [136, 62, NONE, 62]),
    ("vhangup", [153, 111, 58, 111]),
    ("vm86", [NONE, 166, NONE, NONE]),
    ("vm86old", [NONE, 113, NONE, NONE]),
];
