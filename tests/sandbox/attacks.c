/* System calls a step of a build must not get through. Each line printed is a name and the errno the call
 * came back with (0: it worked). Arguments are chosen so that a kernel that allows the call answers something
 * other than EPERM, without harm to a sandbox. As anything but pid 1, outside one, only what harms nobody is tried.
 * "attacks <pid of the host> <name of an abstract socket of the host>". */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* In a child, because some of these change the caller when they work. */
#define TRY(name, call)                                                        \
    do {                                                                       \
        fflush(stdout);                                                        \
        pid_t child = fork();                                                  \
        if (child == 0) {                                                      \
            errno = 0;                                                         \
            long result = (long)(call);                                        \
            _exit(result == -1 ? errno : 0);                                   \
        }                                                                      \
        int status = 0;                                                        \
        waitpid(child, &status, 0);                                            \
        printf("%s %d\n", name, WIFEXITED(status) ? WEXITSTATUS(status) : 999); \
    } while (0)

static long connect_abstract(const char *name) {
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    strcpy(address.sun_path + 1, name);
    return connect(fd, (struct sockaddr *)&address, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
}

static long has_secret_key(void) {
    return syscall(SYS_keyctl, 10 /* SEARCH */, -3 /* session */, "user", "kiln-test-secret", 0);
}

static long write_to(const char *path) { return open(path, O_WRONLY); }

#ifdef __x86_64__
/* The 32-bit calls of the same machine: mount is 21, sethostname 74. */
static long call_i386(long number, long first, long second) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(0), "S"(0), "D"(0) : "memory", "r8", "r9", "r10", "r11");
    if (result < 0 && result > -4096) { errno = (int)-result; return -1; }
    return result;
}
#endif

int main(int count, char **words) {
    pid_t other = count > 1 ? atoi(words[1]) : 1;
    TRY("host-process", kill(other, 0));
    TRY("abstract-socket", connect_abstract(count > 2 ? words[2] : "kiln-test"));
    TRY("secret-key", has_secret_key());
    TRY("own-program", truncate("/proc/self/exe", 0));
    if (getpid() != 1)
        return 0;
    TRY("mount", mount("none", "/dev/shm", "tmpfs", 0, 0));
    TRY("umount", umount2("/dev/mqueue", MNT_DETACH));
    TRY("remount", mount(0, "/dev/shm", 0, MS_REMOUNT | MS_BIND, 0));
    TRY("fsopen", syscall(430, "tmpfs", 0));
    TRY("open_tree", syscall(428, AT_FDCWD, "/", 1));
    TRY("unshare-user", unshare(CLONE_NEWUSER));
    TRY("unshare-mount", unshare(CLONE_NEWNS));
    TRY("setns", setns(-1, 0));
    TRY("clone-user", syscall(SYS_clone, CLONE_NEWUSER | CLONE_FS, 0, 0, 0, 0));
    TRY("clone3", syscall(435, 0, 0));
    TRY("sethostname", sethostname("other", 5));
    TRY("setdomainname", setdomainname("other", 5));
    TRY("syslog", syscall(SYS_syslog, 10, 0, 0));
    TRY("keyctl", syscall(SYS_keyctl, 0, -3, 1));
    TRY("add_key", syscall(SYS_add_key, 0, 0, 0, 0, 0));
    TRY("swapoff", syscall(SYS_swapoff, "/nonexistent"));
    TRY("reboot", syscall(SYS_reboot, 0, 0, 0, 0));
    TRY("settimeofday", ({ struct timeval wrong = { 0, 2000000 }; syscall(SYS_settimeofday, &wrong, 0); }));
    TRY("personality", syscall(SYS_personality, 0x0040000));
    TRY("tiocsti", ioctl(0, TIOCSTI, "x"));
    TRY("bpf", syscall(SYS_bpf, 0, 0, 0));
    TRY("perf_event_open", syscall(SYS_perf_event_open, 0, 0, 0, -1, 0));
    TRY("userfaultfd", syscall(SYS_userfaultfd, ~0));
    TRY("io_uring_setup", syscall(425, 0, 0));
    TRY("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, 0, 0));
    TRY("kexec_load", syscall(SYS_kexec_load, 0, 17, 0, 0xffff));
    TRY("init_module", syscall(SYS_init_module, 0, 0, ""));
    TRY("pidfd_getfd", syscall(438, -1, 0, 0));
    TRY("vsock", socket(40, SOCK_STREAM, 0));
    TRY("core-pattern", write_to("/proc/sys/kernel/core_pattern"));
    TRY("known-device", open("/dev/zero", O_RDONLY));
    TRY("device", ({ mknod("/tmp/zero", S_IFCHR | 0600, makedev(1, 5)) == -1 ? -1 : open("/tmp/zero", O_RDONLY); }));
#ifdef __x86_64__
    TRY("i386-sethostname", call_i386(74, 0, 0));
    TRY("i386-unshare", call_i386(310, CLONE_NEWNS, 0));
#endif
    return 0;
}
