//! Section 5: flags.

use kiln::dockerfile::InstructionKind;

use super::build::Case;
use super::reading::{commands, mistakes, paths, read};

/// The value of `--chown` of the only COPY.
#[track_caller]
fn chown(text: &str) -> Option<String> {
    let owner = read(text).instructions.into_iter().find_map(|instruction| match instruction.kind {
        InstructionKind::Copy(copy) => Some(copy.transfer.chown),
        _ => None,
    });
    owner.expect("a COPY").map(|text| text.text)
}

// language 5.1
#[test]
fn flags_end_at_the_first_other_word() {
    assert_eq!(paths("FROM a\nCOPY --link  --chown=1 a --chmod=2 --c\n"), ["a", "--chmod=2", "--c"]);
    assert_eq!(paths("FROM a\nCOPY --link -- --chmod=2 b\n"), ["--chmod=2", "b"]);
    assert_eq!(paths("FROM a\nCOPY -x --link b\n"), ["-x", "--link", "b"]);
    assert_eq!(
        commands("FROM a\nRUN \\\n --network=none \\\n# c\n --mount=target=/x,type=tmpfs a --b\nCMD -- --a\nRUN --\n"),
        ["a --b", "--a", ""]
    );
    assert_eq!(mistakes("FROM a\nRUN --- a\n"), ["2: unknown flag: ---"]);
}

// language 5.2
#[test]
fn quotes_and_escapes_in_flags() {
    for (written, value) in [
        ("'a b'c", "a bc"),
        ("\"a 'b\"", "a 'b"),
        (r"a\ b\'\\", r"a b'\"),
        (r#""a\"b""#, "a\"b"),
        (r"'a\'b'", "a'b"),
        ("$A${B:-c}", "$A${B:-c}"),
        ("é=:", "é=:"),
    ] {
        assert_eq!(chown(&format!("FROM a\nCOPY --chown={written} a b\n")).as_deref(), Some(value), "{written}");
    }
    assert_eq!(chown("FROM a\nCOPY \"--chown=1\" b\n"), None);
    assert_eq!(chown("FROM a\nCOPY --ch'own=1' a b\n").as_deref(), Some("1"));
}

// language 5.3
#[test]
fn mistakes_in_flags() {
    for (line, want) in [
        ("COPY --form=x a b", "unknown flag: --form (did you mean from?)"),
        ("COPY --xyzzy a b", "unknown flag: --xyzzy"),
        ("COPY --LINK a b", "unknown flag: --LINK (did you mean link?)"),
        ("COPY --chown=1 --chown=2 a b", "duplicate flag specified: --chown"),
        ("COPY --link --link a b", "duplicate flag specified: --link"),
        ("COPY --chown a b", "missing a value on flag: --chown"),
        ("COPY --exclude a b", "missing a value on flag: --exclude"),
        ("RUN --mount a", "missing a value on flag: --mount"),
        ("COPY --link= a b", "missing a value on flag: --link"),
        ("COPY --link=maybe a b", "expecting boolean value for flag --link, not: maybe"),
        ("COPY --link=1 a b", "expecting boolean value for flag --link, not: 1"),
    ] {
        assert_eq!(mistakes(&format!("FROM a\n{line}\n")), [format!("2: {want}")]);
    }
    for fine in [
        "COPY --exclude=a --exclude=b --link=TRUE --parents=False --chown= a b",
        "RUN --mount=target=/a --mount=target=/b x",
    ] {
        read(&format!("FROM a\n{fine}\n"));
    }
}

// language 5.4
#[test]
fn each_instruction_has_its_flags() {
    let all = [
        "platform",
        "mount",
        "network",
        "security",
        "device",
        "from",
        "chown",
        "chmod",
        "link",
        "parents",
        "exclude",
        "checksum",
        "keep-git-dir",
        "unpack",
        "interval",
        "timeout",
        "start-period",
        "start-interval",
        "retries",
    ];
    for (name, rest, own) in [
        ("FROM", "a", "platform"),
        ("RUN", "a", "mount network security device"),
        ("COPY", "a b", "from chown chmod link parents exclude"),
        ("ADD", "a b", "chown chmod link checksum keep-git-dir unpack exclude"),
        ("HEALTHCHECK", "CMD a", "interval timeout start-period start-interval retries"),
        ("ENV", "A=b", ""),
        ("LABEL", "A=b", ""),
        ("CMD", "a", ""),
        ("ENTRYPOINT", "a", ""),
        ("EXPOSE", "1", ""),
        ("VOLUME", "a", ""),
        ("USER", "a", ""),
        ("WORKDIR", "a", ""),
        ("SHELL", "[\"a\"]", ""),
        ("MAINTAINER", "a", ""),
        ("ONBUILD", "RUN a", ""),
    ] {
        for flag in all {
            let unknown = format!("2: unknown flag: --{flag}");
            let is_unknown =
                mistakes(&format!("FROM a\n{name} --{flag}=x {rest}\n")).iter().any(|one| one.starts_with(&unknown));
            assert_eq!(is_unknown, !own.split(' ').any(|known| known == flag), "{name} --{flag}");
        }
    }
    for line in ["ARG --x A=b", "STOPSIGNAL --x=y TERM", "HEALTHCHECK --x NONE"] {
        read(&format!("FROM a\n{line}\n"));
    }
    // Needs a frontend of another channel, as with BuildKit.
    Case::new("FROM scratch\nRUN --device=x a\n").fails(&["Dockerfile:2", "device feature is only supported"]);
}

// language 5.5
#[test]
fn which_values_are_expanded() {
    let case = Case::new(
        "ARG P=linux\nFROM --platform=${P}/amd64 BUSYBOX\nARG O=3 M=60 T=/t\n\
         COPY --chown=$O:4 --chmod=${M}0 --exclude=$O a /a\nCOPY --exclude=$O d /d\n\
         ADD --checksum=$NONE --chown=$O a /b\n\
         RUN --mount=type=${NO:-tmpfs},target=$T,size=1m df -m $T | tail -n 1 > /df\n",
    );
    let built = case.file("a", "").file("d/$O", "").file("d/3", "").build(&[]);
    let owned = |path: &str| (built.files[path].mode & 0o777, built.files[path].uid, built.files[path].gid);
    assert_eq!([owned("/a"), owned("/b")], [(0o600, 3, 4), (0o644, 3, 3)]);
    assert!(built.files.contains_key("/d/3") && !built.files.contains_key("/d/$O"), "{:?}", built.files.keys());
    assert!(built.text("/df").contains("/t"), "{}", built.text("/df"));
    let none = "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround";
    assert_eq!(mistakes("FROM a\nCOPY --from=$X a b\n"), [format!("2: {none}")]);
    let none = "'from' doesn't support variable expansion, define alias stage instead";
    assert_eq!(mistakes("FROM a\nRUN --mount=from=$X,target=/y a\n"), [format!("2: {none}")]);
    assert_eq!(mistakes("FROM a\nRUN --network=$X a\n"), ["2: invalid network mode \"$X\""]);
    assert_eq!(mistakes("FROM a\nRUN --security=$X a\n"), ["2: security \"$X\" is not valid"]);
    assert_eq!(mistakes("FROM a\nCOPY --link=$X a b\n"), ["2: expecting boolean value for flag --link, not: $X"]);
}

// language 5.6
#[test]
fn flags_of_run_come_before_the_json_form() {
    assert_eq!(commands("FROM a\nRUN --network=none [\"a\", \"b\"]\n"), [r#"["a", "b"]"#]);
    assert_eq!(commands("FROM a\nRUN [\"a\"] --network=none\n"), [r#"["a"] --network=none"#]);
}
