//! Large inputs: time grows with them and not faster, and the stack does not grow at all.

use std::time::Duration;

use super::everything::{read_dockerfile, read_word};

/// What reading, linting and planning one text may take together. Release builds are ten times as fast as those of
/// tests; what grows faster than the text takes minutes.
const LIMIT: Duration = if cfg!(debug_assertions) { Duration::from_secs(5) } else { Duration::from_secs(1) };

/// How much longer the longer of two texts is, and how much longer it may take: the square would be 16 times. Below
/// `UNMEASURED` a clock says little.
const LONGER: usize = 4;
const SLOWER: u32 = 10;
const UNMEASURED: Duration = Duration::from_millis(50);
/// One measurement may be disturbed; not all of them.
const TRIES: usize = 3;

/// How many lines, heredocs and stages the shorter text has.
const LINES: usize = if cfg!(debug_assertions) { 5_000 } else { 25_000 };
const HEREDOCS: usize = 2_500;
const STAGES: usize = if cfg!(debug_assertions) { 500 } else { 2_500 };

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

fn time_of(text: &str) -> Duration {
    let start = processor_time();
    read_dockerfile(text.as_bytes());
    processor_time() - start
}

/// Texts of `size` lines, and of more: time grows as they do.
#[track_caller]
fn all_grow_evenly(size: usize, texts: impl Fn(usize) -> Vec<(&'static str, String)>) {
    for ((name, short), (_, long)) in texts(size).iter().zip(&texts(size * LONGER)) {
        let tries: Vec<_> = (0..TRIES).map(|_| (time_of(short), time_of(long))).collect();
        let is_even = |(short, long): &(Duration, Duration)| *long < *short * SLOWER + UNMEASURED;
        assert!(tries.iter().any(is_even), "{name}: a text {LONGER} times as long took {tries:?}");
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
    all_grow_evenly(LINES, |size| {
        let many = |line: &str| line.repeat(size);
        let numbered = |line: &dyn Fn(usize) -> String| (0..size).map(line).collect::<String>();
        vec![
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
            ("ARG before RUN", format!("FROM scratch\n{}", numbered(&|n| format!("ARG A{n}=b\nUSER a\n")))),
            ("ENV before RUN", format!("FROM scratch\n{}{}", numbered(&|n| format!("ENV A{n}=b\n")), many("RUN a\n"))),
            ("ENV and RUN", format!("FROM scratch\n{}", numbered(&|n| format!("ENV A{n}=b\nRUN a\n")))),
            ("COPY", format!("FROM scratch\n{}", many("COPY a b\n"))),
            (
                "references to later stages",
                format!("FROM scratch\n{}FROM scratch AS a\n", many("COPY --from=a /x /y\n")),
            ),
            ("triggers", format!("FROM scratch AS a\n{}FROM a\n", many("ONBUILD LABEL a=b\n"))),
        ]
    });
}

#[test]
fn many_heredocs() {
    all_grow_evenly(HEREDOCS, |size| {
        let many = |part: &str| part.repeat(size);
        vec![
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
        ]
    });
}

#[test]
fn many_stages() {
    all_grow_evenly(STAGES, |size| {
        let stages = |stage: &dyn Fn(usize) -> String| (0..size).map(stage).collect::<String>();
        let copies = stages(&|n| format!("COPY --from=s{n} /x /y{n}\n"));
        vec![
            ("apart", format!("{}FROM scratch\n{copies}", stages(&|n| format!("FROM scratch AS s{n}\nRUN a\n")))),
            ("of many images", format!("{}FROM scratch\n{copies}", stages(&|n| format!("FROM i{n} AS s{n}\n")))),
            (
                "each on the last",
                format!(
                    "FROM scratch AS s0\n{}",
                    stages(&|n| format!("FROM s{n} AS s{}\nRUN a\nENV A{n}=b\nLABEL a{n}=b\nEXPOSE {n}\n", n + 1))
                ),
            ),
            (
                "all on a long one",
                format!(
                    "FROM scratch AS a\n{}{}FROM scratch\n{copies}",
                    stages(&|n| format!("ENV A{n}=b\nLABEL a{n}=b\nEXPOSE {n}\nVOLUME /v{n}\n")),
                    stages(&|n| format!("FROM a AS s{n}\nENV B=c\nLABEL b=c\nEXPOSE 1\nVOLUME /\nRUN a\n"))
                ),
            ),
            (
                "each copies from the last",
                format!("FROM a AS s0\n{}", stages(&|n| format!("FROM a AS s{}\nCOPY --from=s{n} /x /y\n", n + 1))),
            ),
            ("in a circle", stages(&|n| format!("FROM a AS s{n}\nCOPY --from=s{} /x /y\n", (n + 1) % size))),
            ("with mistakes", stages(&|n| format!("FROM a AS s{n}\nCOPY --from=S!{n} /x /y\n"))),
            ("not read", stages(&|n| format!("FRM a AS s{n}\nCOPY --from={n} /x /y\n"))),
            (
                "of arguments",
                stages(&|n| format!("ARG A{}=$A{n}\n", n + 1))
                    + &stages(&|n| format!("FROM a$A{n} AS s{n}\nARG A{n}\n")),
            ),
        ]
    });
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
