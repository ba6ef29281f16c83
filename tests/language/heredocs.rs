//! Section 3: heredocs.

use kiln::dockerfile::InstructionKind;

use super::build::Case;
use super::reading::{commands, mistakes, pairs, paths, read};

/// The heredocs of all instructions: name, body, and whether it is expanded.
#[track_caller]
fn heredocs(text: &str) -> Vec<(String, String, bool)> {
    let all = read(text).instructions.into_iter().flat_map(|instruction| match instruction.kind {
        InstructionKind::Run(run) => run.heredocs,
        InstructionKind::Copy(copy) => copy.transfer.heredocs,
        InstructionKind::Add(add) => add.transfer.heredocs,
        _ => Vec::new(),
    });
    all.map(|heredoc| (heredoc.name.text, heredoc.body, heredoc.expand)).collect()
}

/// Their names only.
#[track_caller]
fn names(text: &str) -> Vec<String> {
    heredocs(text).into_iter().map(|(name, ..)| name).collect()
}

// language 1.4
#[test]
fn bodies_keep_their_line_endings() {
    let text = "FROM a\r\nCOPY <<E <<-F /\r\n1\r\n\r\n2\rE\n\nE\r\n\tx\r\n\tF\r\nRUN b\r\n";
    let bodies: Vec<String> = heredocs(text).into_iter().map(|(_, body, _)| body).collect();
    assert_eq!(bodies, ["1\r\n\r\n2\rE\n\n", "x\r\n"]);
    assert_eq!(commands(text), ["b"]);
}

// language 3.1
#[test]
fn run_copy_and_add_have_heredocs_in_shell_form() {
    assert_eq!(names("FROM a\nRUN <<E\nE\nCOPY <<E /\nE\nADD <<E /\nE\nrun <<E\nE\n"), ["E"; 4]);
    for trigger in ["RUN", "copy", "ADD --chmod=1"] {
        read(&format!("FROM a\nONBUILD {trigger} <<E /\nRUNN\nE\n"));
    }
    for other in ["CMD <<E", "ENTRYPOINT <<E", "ENV A=<<E", "USER <<E", "RUN [\"<<E\"]", "ONBUILD CMD <<E"] {
        assert_eq!(mistakes(&format!("FROM a\n{other}\nRUNN\n")), ["3: unknown instruction: RUNN (did you mean RUN?)"]);
    }
    assert_eq!(commands("FROM a\nCMD <<E\n"), ["<<E"]);
    assert_eq!(pairs("FROM a\nLABEL A <<E\n"), ["A=<<E"]);
}

// language 3.2
#[test]
fn the_word_of_a_heredoc() {
    let of_run = |line: &str, ends: &str| names(&format!("FROM a\nRUN {line}\n{ends}"));
    assert_eq!(of_run("cat <<A 3<<B 04<<-C << D <<\t\tE>f;", "A\nB\nC\nD\nE>f;\n"), ["A", "B", "C", "D", "E>f;"]);
    assert_eq!(of_run("a \\\n <<E\\\nF", "EF\n"), ["EF"]);
    for none in [
        "'a <<E b'",
        "\"a <<E\"",
        "$((1<<3))",
        "cat <<<E",
        "a<<E",
        "x3<<E",
        "<<",
        "<<-",
        "<<- E",
        "<<E<",
        "<<\\<E",
        "it's <<E",
    ] {
        assert_eq!(of_run(none, ""), Vec::<String>::new(), "{none}");
    }
}

// language 3.3
#[test]
fn names_may_be_quoted() {
    let line = r#"RUN <<E.-_1 <<'A b' <<"c\"\d$" <<E'O'F <<\F <<$G <<"H'" <<-'I'"#;
    let ends = "E.-_1\nA b\nc\"\\d$\nEOF\nF\n$G\nH'\nI\n";
    let found = heredocs(&format!("FROM a\n{line}\n{ends}"));
    let found: Vec<(&str, bool)> = found.iter().map(|(name, _, expand)| (name.as_str(), *expand)).collect();
    let quoted = [("A b", false), ("c\"\\d$", false), ("EOF", false)];
    let wants = [&[("E.-_1", true)], &quoted[..], &[("F", true), ("$G", true), ("H'", false), ("I", false)]].concat();
    assert_eq!(found, wants);
}

// language 3.4
#[test]
fn bodies_follow_in_order_each_to_its_last_line() {
    let text = "FROM a\nRUN <<A \\\n  <<B\n1\n A\nA \nB\nA\n2\nB\nRUN c\n";
    let found: Vec<String> = heredocs(text).into_iter().map(|(_, body, _)| body).collect();
    assert_eq!(found, ["1\n A\nA \nB\n", "2\n"]);
    assert_eq!(commands(text)[1], "c");
    for body in ["", "E x\n", " E\n", "E ", "e"] {
        assert_eq!(mistakes(&format!("FROM a\nRUN <<E\n{body}")), ["2: unterminated heredoc"], "{body:?}");
    }
    // The end of the file ends a line.
    assert_eq!(names("FROM a\nRUN <<E\nE"), ["E"]);
}

// language 3.5
#[test]
fn a_dash_removes_tabs() {
    let found = heredocs("FROM a\nCOPY <<-E <<F /\n\t\ta\n \tb\n\t c\t\n\tE\n\td\nF\n");
    assert_eq!([&*found[0].1, &*found[1].1], ["a\n \tb\n c\t\n", "\td\n"]);
    assert_eq!(mistakes("FROM a\nRUN <<E\n\tE\nF\n"), ["2: unterminated heredoc"]);
    assert_eq!(mistakes("FROM a\nRUN <<-E\n\t E\nF\n"), ["2: unterminated heredoc"]);
}

// language 3.6
#[test]
fn bodies_know_no_comments_continuations_and_directives() {
    let body = "# escape=`\n#\n\n  a \\\n# b `\n";
    assert_eq!(heredocs(&format!("FROM a\nCOPY <<'E' /\n{body}E\n"))[0].1, body);
}

// language 3.7, 3.8, 3.10, 3.16
#[test]
fn a_heredoc_alone_is_the_script() {
    let built = Case::new(
        "FROM BUSYBOX\nENV X=x\n\
         RUN <<'E'\nfalse\necho \"$X\" >> /out\nE\n\
         SHELL [\"/bin/sed\", \"-n\", \"-e\"]\nRUN <<E\nw /seen\nE\n\
         SHELL [\"/bin/sh\", \"-ec\"]\nRUN <<-E\n\t#!/bin/busybox sh\n\techo \"$0 $X\" >> /out\n\tstat -c %a%u%g $0 >> /out\n\tfalse\n\ttrue\n\tE\n\
         COPY <<F /f\ny\nF\n",
    )
    .build(&[]);
    assert_eq!(built.text("/out"), "x\n/dev/pipes/E x\n75500\n");
    assert_eq!(built.text("/seen"), "");
    assert!(!built.files.keys().any(|path| path.starts_with("/dev/pipes")), "{:?}", built.files.keys());
    let want = [
        "RUN /bin/sh -c false\necho \"$X\" >> /out\n # buildkit",
        "SHELL [/bin/sed -n -e]",
        "RUN /bin/sed -n -e w /seen\n # buildkit",
        "SHELL [/bin/sh -ec]",
        "RUN /bin/sh -ec /dev/pipes/E # buildkit",
        "COPY <<F /f # buildkit",
    ];
    let history = built.history();
    assert_eq!(history[history.len() - want.len()..], want);
}

// language 3.9, 3.10
#[test]
fn any_other_run_leaves_heredocs_to_the_shell() {
    let built = Case::new(
        "FROM BUSYBOX\nENV X=x\n\
         RUN cat <<A > /a && cat <<'B' >> /a; 3<<-C cat <&3 >> /a\n$X\nA\n$X\nB\n\tc\n\tC\n\
         RUN sh <<A\necho $X > /b\nA\n\
         RUN <<A > /empty\necho hi\nA\n\
         RUN <<A <<B\ntouch /never\nA\ntouch /never\nB\n",
    )
    .build(&[]);
    assert_eq!([built.text("/a"), built.text("/b"), built.text("/empty")], ["x\n$X\nc\n", "x\n", ""]);
    assert!(!built.files.contains_key("/never"));
    let history = built.history();
    assert!(history.contains(&"RUN /bin/sh -c sh <<A\necho $X > /b\nA # buildkit".to_owned()), "{history:?}");
    // A shell that knows no heredocs is given them all the same.
    let case = Case::new("FROM BUSYBOX\nSHELL [\"/bin/echo\"]\nRUN cat <<A\nx\nA\n");
    assert!(case.build(&["--no-cache"]).output.stderr.contains("cat <<A"));
}

// language 3.11
#[test]
fn heredocs_of_copy_and_add_are_files() {
    let body = "$X ${NO}|\"$X\" '$X' \\$X \\\\ \\q ${NO:-`d`}\n";
    let text = format!(
        "FROM BUSYBOX\nARG X=x\nCOPY <<f a <<'g' /d/\n{body}f\n{body}g\nCOPY a <<a /e/\nheredoc\na\n\
         USER 7\nADD --chmod=640 --chown=3:4 <<h /h\n\th\nh\n"
    );
    let built = Case::new(&text).file("a", "path").build(&[]);
    assert_eq!(built.text("/d/f"), "x |\"x\" 'x' $X \\ q `d`\n");
    assert_eq!(built.text("/d/g"), body);
    assert_eq!(built.text("/e/a"), "heredoc\n");
    assert_eq!(built.text("/h"), "\th\n");
    let owned = |path: &str| (built.files[path].mode & 0o7777, built.files[path].uid, built.files[path].gid);
    assert_eq!([owned("/d/f"), owned("/e/a"), owned("/h")], [(0o644, 0, 0), (0o644, 0, 0), (0o640, 3, 4)]);
}

// language 3.12
#[test]
fn copy_splits_at_blanks_before_it_sees_heredocs() {
    assert_eq!(paths("FROM a\nCOPY << E /x\nE\n"), ["<<", "E", "/x"]);
    assert_eq!(paths("FROM a\nCOPY <<'a b' /x\na b\n"), ["<<'a", "b'", "/x"]);
    Case::new("FROM scratch\nCOPY << E /x/\nE\n").fails(&["\"/<<\": not found"]);
    Case::new("FROM scratch\nCOPY <<'a b' /x/\na b\n").fails(&["looking for matching single-quote"]);
    assert_eq!(names("FROM a\nRUN cat << E <<'a b'\nE\na b\n"), ["E", "a b"]);
}

// language 3.13
#[test]
fn names_of_files_that_cannot_be_or_are_there_twice() {
    Case::new("FROM scratch\nCOPY <<dir/file /x/\nhi\ndir/file\n").fails(&["dir/file", "Dockerfile:2:1"]);
    let built = Case::new("FROM scratch\nCOPY <<E <<'E' /x/\n1\nE\n2\nE\n").build(&[]);
    assert_eq!(built.text("/x/E"), "2\n");
    assert_eq!(built.history(), ["COPY <<E <<E /x/ # buildkit"]);
}

// language 3.14
#[test]
fn a_heredoc_is_no_destination() {
    for name in ["COPY", "ADD"] {
        let want = format!("2: {name} cannot accept a heredoc as a destination");
        assert_eq!(mistakes(&format!("FROM a\n{name} a <<E\nx\nE\n")), [want]);
    }
}

// language 3.15
#[test]
fn a_heredoc_in_json_form_is_a_mistake() {
    assert_eq!(mistakes("FROM a\nCOPY [\"<<E\", \"/x/\"]\n"), ["2: a heredoc cannot stand in JSON form"]);
}

// language 3.17
#[test]
fn onbuild_keeps_bodies_for_the_child() {
    let text = "FROM BUSYBOX AS base\nONBUILD COPY  <<-'E' /x \n\t$y\n\tE\nONBUILD RUN <<F cat > /z\n$HOME\nF\nFROM base AS child\nENV HOME=/h\n";
    let case = Case::new(text);
    let base = case.build(&["--target=base"]);
    let stored = serde_json::json!(["COPY  <<-'E' /x \n\t$y\nE", "RUN <<F cat > /z\n$HOME\nF"]);
    assert_eq!(base.config["config"]["OnBuild"], stored);
    let child = case.build(&[]);
    assert_eq!([child.text("/x"), child.text("/z")], ["$y\n", "/root\n"]);
}
