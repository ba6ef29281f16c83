# Numbers of x86_64.
use strict;
my ($SETXATTR, $GETXATTR, $SETUID, $PRLIMIT) = (188, 191, 105, 302);
my ($attack, $victim) = @ARGV;
my $note = "user.containers.override_stat";
# Arguments of system calls are variables.
my ($forged, $owned) = ("/forged", "/owned");

if ($attack eq "notes") {
    open(my $file, ">", $forged) or die;
    my $value = "7:8:0777:char-1-3";
    syscall($SETXATTR, $forged, $note, $value, length $value, 0) == 0 or die "setxattr: $!";
    my $buffer = "\0" x 100;
    syscall($GETXATTR, $forged, $note, $buffer, 100) == -1 or die "the note is seen";
    open(my $other, ">", $owned) or die;
    chown(5, 6, $owned) == 1 or die "chown: $!";
    syscall($GETXATTR, $owned, $note, $buffer, 100) == -1 or die "the note is seen";
    (stat $owned)[4] == 5 && (stat $forged)[4] == 0 or die "owners";
}

# Nothing outside the root file system is there, by whatever name.
if ($attack eq "outside") {
    my $up = "../" x 40;
    for my $path ("/$up$victim", "/proc/1/root/$up$victim", "/proc/1/cwd/$up$victim", "/proc/self/root/$up$victim") {
        chown(7, 7, $path) == 0 or die "$path was given away";
    }
    symlink("/proc/1/root/$up$victim", "/link") or die;
    chown(7, 7, "/link") == 0 or die "the link was followed out";
    mkdir "/jail" or die;
    my $child = fork // die;
    if (!$child) {
        chdir("/jail") && chroot("/jail") or die;
        exit(chown(7, 7, "/$up$victim", "$up$victim", "/etc/passwd"));
    }
    waitpid($child, 0);
    $? == 0 or die "a jail was left";
    # In a jail, `/` is the jail.
    mkdir "/jail/etc" or die;
    open(my $file, ">", "/jail/etc/passwd") or die;
    $child = fork // die;
    if (!$child) {
        chroot("/jail") or die;
        exit(chown(7, 7, "/etc/passwd") == 1 ? 0 : 1);
    }
    waitpid($child, 0);
    $? == 0 && (stat "/jail/etc/passwd")[4] == 7 && (stat "/etc/passwd")[4] == 0 or die "the wrong file";
}

# A path that changes between the question and the answer.
if ($attack eq "race") {
    mkdir "/inside" or die;
    symlink("/inside", "/door") or die;
    my $child = fork // die;
    if (!$child) {
        my $up = "../" x 40;
        while (1) {
            symlink("/proc/1/root/$up$victim", "/other"); rename("/other", "/door");
            symlink("/inside", "/other"); rename("/other", "/door");
        }
    }
    for (1 .. 2000) { chown(7, 7, "/door"); lstat("/door"); }
    kill 9, $child;
    (stat "/inside")[4] == 7 or die "not even what is inside";
}

# The number that says who a process is cannot be set by the process.
if ($attack eq "marks") {
    my $child = fork // die;
    if (!$child) {
        syscall($SETUID, 33) == 0 or die;
        my $limit = pack("QQ", (1 << 40), -1);
        syscall($PRLIMIT, 0, 15, $limit, 0);
        exit($> == 33 && syscall($SETUID, 0) == -1 ? 0 : 1);
    }
    waitpid($child, 0);
    $? == 0 or die "a user became root";
}
