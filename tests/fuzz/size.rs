//! Large inputs: time grows with them and not faster, and the stack does not grow at all.

use std::time::Duration;

use super::everything::{read_dockerfile, read_word};

/// What reading, linting and planning may take together, and of how many lines. Release builds are ten times as fast as
/// those of tests; what grows faster than the text takes minutes.
const LIMIT: Duration = if cfg!(debug_assertions) { Duration::from_secs(5) } else { Duration::from_secs(1) };
const LINES: usize = if cfg!(debug_assertions) { 20_000 } else { 100_000 };

/// The time that this thread has had a processor, which does not count how busy a machine is.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts the time of threads");
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

#[track_caller]
fn in_time(name: &str, read: impl FnOnce()) {
    let start = processor_time();
    read();
    let took = processor_time() - start;
    assert!(took < LIMIT, "{name} took {took:?}");
}

#[track_caller]
fn all_in_time(texts: &[(&str, String)]) {
    for (name, text) in texts {
        in_time(name, || read_dockerfile(text.as_bytes()));
    }
}

#[test]
fn long_lines() {
    let many = |part: &str| part.repeat(60_000 / part.len());
    all_in_time(&[
        ("RUN", format!("FROM scratch\nRUN {}\n", many("a"))),
        ("RUN words", format!("FROM scratch\nRUN {}\n", many("a "))),
        ("ENV", format!("FROM scratch\nENV A={}\n", many("b"))),
        ("ENV pairs", format!("FROM scratch\nENV {}\n", many("A=b "))),
        ("ENV variables", format!("FROM scratch\nENV A=x\nENV B={}\n", many("$A"))),
        ("ENV substitutions", format!("FROM scratch\nENV A=x\nENV B={}\n", many("${A:-b}"))),
        ("quotes", format!("FROM scratch\nENV A={}\n", many("'\"'\"\\\"\""))),
        ("quotes of RUN", format!("FROM scratch\nRUN {}\n", many("'\"'\"\\\"\""))),
        ("open quotes", format!("FROM scratch\nRUN <<E {}'\nE\n", many("'a' "))),
        ("escapes", format!("FROM scratch\nENV A={}b\n", many("\\"))),
        ("blanks", format!("FROM scratch\nRUN {}a\n", many(" "))),
        ("a name", many("F")),
        ("flags", format!("FROM scratch\nCOPY {} a b\n", many("--exclude=a "))),
        ("a flag", format!("FROM scratch\nCOPY --{} a b\n", many("a"))),
        ("mounts", format!("FROM scratch\nRUN {} a\n", many("--mount=type=tmpfs,target=/x "))),
        ("fields of a mount", format!("FROM scratch\nRUN --mount={}target=/x a\n", many("type=tmpfs,"))),
        ("paths", format!("FROM scratch\nCOPY {} b/\n", many("a "))),
        ("heredoc words", format!("FROM scratch\nRUN {}\n", many("<<"))),
        ("ports", format!("FROM scratch\nEXPOSE {}\n", many("80 81 "))),
        ("JSON strings", format!("FROM scratch\nCMD [{}\"a\"]\n", many("\"a\","))),
        ("JSON escapes", format!("FROM scratch\nCMD [\"{}\"]\n", many("\\ud800"))),
        ("JSON in JSON", format!("FROM scratch\nCMD {}\n", many("["))),
        ("JSON in JSON, closed", format!("FROM scratch\nCMD {}{}\n", "[".repeat(30_000), "]".repeat(30_000))),
        ("FROM", format!("FROM {}\n", many("a/"))),
        ("a stage name", format!("FROM scratch AS {}\n", many("a"))),
        ("a directive", format!("# check=skip={}\nFROM scratch\n", many("A,"))),
        ("ONBUILD", format!("FROM scratch\n{}\n", many("ONBUILD "))),
        ("WORKDIR", format!("FROM scratch\nWORKDIR {}\n", many("../a/"))),
        ("HEALTHCHECK", format!("FROM scratch\nHEALTHCHECK --interval={} CMD a\n", many("1s"))),
    ]);
}

#[test]
fn many_lines() {
    let many = |line: &str| line.repeat(LINES);
    let numbered = |line: &dyn Fn(usize) -> String| (0..LINES).map(line).collect::<String>();
    all_in_time(&[
        ("RUN", format!("FROM scratch\n{}", many("RUN echo hello world\n"))),
        ("comments", format!("{}FROM scratch\n", many("# comment\n"))),
        ("blank lines", format!("{}FROM scratch\n", many("\n"))),
        ("continued", format!("FROM scratch\nRUN {}b\n", many("a \\\n"))),
        ("comments inside", format!("FROM scratch\nRUN x \\\n{}b\n", many("# comment\n\n"))),
        ("pairs over lines", format!("FROM scratch\nENV {}\n", many("A=\"b c\" \\\n"))),
        ("pairs that differ", format!("FROM scratch\nENV {}\n", numbered(&|n| format!("A{n}=b \\\n")))),
        ("ENV that differ", format!("FROM scratch\n{}", numbered(&|n| format!("ENV A{n}=b\n")))),
        (
            "ENV each of the last",
            format!("FROM scratch\nENV A0=b\n{}", numbered(&|n| format!("ENV A{}=$A{n}\n", n + 1))),
        ),
        ("ARG that differ", format!("FROM scratch\n{}", numbered(&|n| format!("ARG A{n}=b\n")))),
        ("global ARG", format!("{}FROM scratch\n", numbered(&|n| format!("ARG A{n}=b\n")))),
        ("LABEL that differ", format!("FROM scratch\n{}", numbered(&|n| format!("LABEL a{n}=b\n")))),
        ("undefined variables", format!("FROM scratch\n{}", numbered(&|n| format!("LABEL a=$B{n}\n")))),
        ("JSON over lines", format!("FROM scratch\nCMD [\"a\"{}]\n", many(",\"a\" \\\n"))),
        ("open arrays over lines", format!("FROM scratch\nCMD {}\n", many("[ \\\n"))),
        ("COPY --from", format!("FROM scratch AS a\nFROM scratch\n{}", many("COPY --from=a /x /y\n"))),
        ("CMD", format!("FROM scratch\n{}", many("CMD a\n"))),
        ("EXPOSE", format!("FROM scratch\n{}", many("EXPOSE 80\n"))),
        ("mistakes", many("RUNN\n")),
        ("ONBUILD", format!("FROM scratch\n{}", many("ONBUILD RUN a\n"))),
        ("ONBUILD on lines", many("ONBUILD \\\n")),
        ("continuations", many("\\\n")),
        ("triggers", format!("FROM scratch AS a\n{}FROM a\n", many("ONBUILD LABEL a=b\n"))),
    ]);
}

#[test]
fn many_heredocs() {
    let many = |part: &str| part.repeat(10_000);
    all_in_time(&[
        ("RUN", format!("FROM scratch\n{}", many("RUN <<E\nx\nE\n"))),
        ("COPY", format!("FROM scratch\n{}", many("COPY <<E /x\n$A\nE\n"))),
        ("on one line of RUN", format!("FROM scratch\nRUN {}\n{}", many("<<A "), many("x\nA\n"))),
        ("on one line of COPY", format!("FROM scratch\nCOPY {} /x/\n{}", many("<<A "), many("x\nA\n"))),
        (
            "with one large body",
            format!("FROM scratch\nCOPY {} /x/\n{}A\n{}", many("<<A "), many("a long line\n"), many("A\n")),
        ),
        ("without an end", format!("FROM scratch\n{}", many("RUN <<A\nx\n"))),
        ("many without an end", format!("FROM scratch\nRUN {}\n{}", many("<<A "), many("x\n"))),
        ("a long body", format!("FROM scratch\nCOPY <<-A /x\n{}A\n", many("\t$A \\$A ${A:-b} 'c'\n"))),
        ("with #!", format!("FROM scratch\n{}", many("RUN <<E\n#!x\nE\n"))),
        ("ONBUILD", format!("FROM scratch\n{}", many("ONBUILD RUN <<E\nx\nE\n"))),
    ]);
}

#[test]
fn deep_nesting() {
    let deep = |open: &str, close: &str| {
        format!("{}{}", open.repeat(60_000 / open.len() / 2), close.repeat(60_000 / open.len() / 2))
    };
    for (open, close) in [
        ("${a:-", "}"),
        ("${AB:+", "}"),
        ("${AB#", "}"),
        ("${AB/", "/}"),
        ("\"${a-", "}\""),
        ("${a:-", ""),
        ("[", "]"),
        ("{\"a\":", "}"),
        ("(", ")"),
    ] {
        let text = deep(open, close);
        in_time(open, || read_word(&text));
    }
}

/// A few lines may ask for any amount of memory and time.
#[test]
fn values_that_multiply() {
    let long = "a".repeat(60_000);
    all_in_time(&[
        ("doubling", format!("FROM scratch\nENV A=0123456789\n{}", "ENV A=$A$A\n".repeat(100))),
        ("global doubling", format!("ARG A=0123456789\n{}FROM $A\n", "ARG A=$A$A\n".repeat(100))),
        ("copies", format!("FROM scratch\nENV A={long}\n{}", "ENV B=$A\n".repeat(10_000))),
        ("global copies", format!("ARG A={long}\n{}FROM $A\n", "ARG B=$A\n".repeat(10_000))),
        ("environments", format!("FROM scratch\nENV A={long}\n{}", "RUN a\n".repeat(10_000))),
        ("replacements", format!("FROM scratch\nENV A={long}\nENV B=${{A//?/$A}}\n")),
        ("tries", format!("FROM scratch\nENV A={long}\nENV B=${{A//a*b/c}}\n")),
        ("ports", format!("FROM scratch\n{}", "EXPOSE 0-65535\n".repeat(1_000))),
        ("heredocs", format!("FROM scratch\nENV A={long}\n{}", "COPY <<E /\n$A\nE\n".repeat(5_000))),
    ]);
}
