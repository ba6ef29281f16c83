//! An agent that is forwarded to a step, with OpenSSH's own programs: what the step may ask, and what it may not.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::support::kiln::output_of;
use super::support::ssh::{SshAgent, make_key};
use super::support::user::User;
use super::support::{leftovers, scratch, tool, write};
use super::{Builder, command, context_of};

/// Copies a program and the libraries it is linked with.
fn bring(program: &str, to: &Path) {
    let found = tool::find(program).unwrap_or_else(|| panic!("{program} is not installed"));
    let libraries = tool::run(tool::tool("ldd").arg(&found));
    let words = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    std::fs::create_dir_all(to).expect("a directory");
    for file in words.map(Path::new).chain([found.as_path()]) {
        std::fs::copy(file, to.join(file.file_name().expect("a name"))).expect("a copy");
    }
}

fn keys_of(agent: &SshAgent) -> String {
    let listed = Command::new("ssh-add").arg("-l").env("SSH_AUTH_SOCK", agent.socket()).output().expect("ssh-add runs");
    String::from_utf8_lossy(&listed.stdout).into_owned()
}

#[test]
fn a_step_lists_keys_and_signs_and_changes_nothing_of_the_agent() {
    let directory = scratch();
    let (key, other) = (directory.path().join("key"), directory.path().join("other"));
    make_key(&key);
    make_key(&other);
    let context = context_of(
        "FROM DEBIAN\nWORKDIR /work\nCOPY tools /tools\nCOPY key.pub other /work/\nRUN chmod 0600 other\n\
         RUN --mount=type=ssh export LD_LIBRARY_PATH=/tools; ssh=/tools; \
         $ssh/ssh-add -l | grep -q ED25519 && echo it lists; \
         echo text > text; $ssh/ssh-keygen -Y sign -q -f key.pub -n file text && test -s text.sig && echo it signs; \
         $ssh/ssh-add -D || echo removing all is refused; \
         $ssh/ssh-add -d key.pub || echo removing is refused; \
         $ssh/ssh-add other || echo adding is refused; \
         $ssh/ssh-add -l | grep -c ED25519 > count; echo there is still $(cat count) key; \
         perl -e 'use IO::Socket::UNIX; \
         for my $body (pack(\"C\", 1), pack(\"CN/a*\", 22, \"lock\"), pack(\"CN/a*\", 23, \"lock\"), pack(\"C\", 19), pack(\"CN/a*\", 20, \"card\"), \
         pack(\"CN/a*\", 27, \"other\\@example\"), pack(\"C\", 200)) { \
         my $s = IO::Socket::UNIX->new(Peer => $ENV{SSH_AUTH_SOCK}) or die $!; \
         syswrite $s, pack(\"N/a*\", $body); sysread $s, my $answer, 100; print \"answer \", unpack(\"H*\", $answer), \"\\n\"; }'; \
         perl -e 'use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ENV{SSH_AUTH_SOCK}) or die $!; \
         syswrite $s, pack(\"NC\", 262145, 11); print \"too long: \", sysread($s, my $answer, 100) // 0, \" bytes\\n\"'; \
         perl -e 'use IO::Socket::UNIX; my @all = map { IO::Socket::UNIX->new(Peer => $ENV{SSH_AUTH_SOCK}) } 1..60; sleep 1; my $n = 0; \
         $SIG{PIPE} = \"IGNORE\"; for (@all) { next unless $_; syswrite $_, pack(\"NC\", 1, 11); $n++ if sysread($_, my $answer, 100); } print \"$n answer at once\\n\"'\n",
    );
    bring("ssh-add", &context.path().join("tools"));
    bring("ssh-keygen", &context.path().join("tools"));
    std::fs::copy(directory.path().join("key.pub"), context.path().join("key.pub")).expect("a copy");
    write(context.path(), "other", std::fs::read(&other).expect("a key"));
    for builder in Builder::all() {
        let agent = match builder {
            Builder::Caller => SshAgent::start(&key),
            Builder::OrdinaryUser => SshAgent::of(&User::with_ranges(), &key),
        };
        let before = keys_of(&agent);
        assert!(before.contains("ED25519"), "{before}");
        let kiln = builder.kiln();
        let forwarded = format!("--ssh=default={}", agent.socket().display());
        let mut command = command(&kiln, context.path(), &[&forwarded]);
        let output = output_of(&mut command, Duration::from_secs(300));
        output.succeeded();
        let log = output.both();
        for line in ["it lists", "it signs", "removing all is refused", "removing is refused", "adding is refused"] {
            assert!(log.lines().any(|shown| shown.ends_with(&format!(" {line}"))), "{builder:?}: not `{line}`\n{log}");
        }
        assert!(log.contains("there is still 1 key\n"), "{log}");
        assert_eq!(log.matches(" answer 0000000105\n").count(), 7, "{log}");
        assert!(log.contains(" too long: 0 bytes\n"), "{log}");
        assert!(log.contains(" 32 answer at once\n"), "{log}");
        assert_eq!(keys_of(&agent), before);
        // The control: from outside the agent does what the step could not have of it.
        let outside = |arguments: &[&str]| {
            let done = Command::new("ssh-add").args(arguments).env("SSH_AUTH_SOCK", agent.socket()).output();
            done.expect("ssh-add runs").status.success()
        };
        assert!(outside(&["-q", &other.display().to_string()]) && outside(&["-D"]));
        assert!(!keys_of(&agent).contains("ED25519"));
    }
}

/// Nobody writes to the key file, so that reading it takes for ever.
#[test]
fn a_key_that_cannot_be_read_to_its_end_is_given_up() {
    let directory = scratch();
    let key = directory.path().join("key");
    tool::run(tool::tool("mkfifo").args(["-m", "0600"]).arg(&key));
    let context = context_of("FROM BUSYBOX\nRUN --mount=type=ssh true\n");
    let kiln = Builder::Caller.kiln();
    let mut command = command(&kiln, context.path(), &[&format!("--ssh=default={}", key.display())]);
    let output = output_of(&mut command, Duration::from_secs(60));
    output.failed_saying(&["--ssh default", "`ssh-add` has not ended after 10 s", "read to its end"]);
    leftovers::assert_none_of(&key.display().to_string());
}
