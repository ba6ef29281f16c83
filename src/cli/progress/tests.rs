//! Recorded streams of events in, exact text out.

use std::sync::{Arc, Mutex};

use super::*;
use crate::progress::{Outcome, Stream, VertexId};

/// Bytes that outlive the printer that wrote them.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A recorded stream: milliseconds since the start, and what happened.
type Recording = Vec<(u64, Event)>;

fn added(id: u32, name: &str) -> Event {
    Event::Added { id: VertexId(id), name: name.to_owned(), inputs: (1..id).map(VertexId).collect() }
}

fn started(id: u32) -> Event {
    Event::Started(VertexId(id))
}

fn log(id: u32, text: &str) -> Event {
    Event::Log { id: VertexId(id), stream: Stream::Stdout, data: text.as_bytes().to_vec() }
}

fn part(id: u32, part: &str, current: u64, total: u64, done: bool) -> Event {
    Event::Status { id: VertexId(id), part: part.to_owned(), current, total, done }
}

fn ended(id: u32, outcome: Outcome) -> Event {
    Event::Ended { id: VertexId(id), outcome }
}

fn printed(make: impl FnOnce(Writer) -> Box<dyn Printer>, recording: Recording) -> String {
    let out = Shared::default();
    let mut printer = make(Box::new(out.clone()));
    let mut last = Duration::ZERO;
    for (at, event) in recording {
        last = Duration::from_millis(at);
        printer.tick(last).expect("a tick");
        printer.event(last, event).expect("an event");
    }
    printer.finish(last).expect("the end");
    let bytes = out.0.lock().expect("no writer panicked").clone();
    String::from_utf8(bytes).expect("text")
}

fn plain(recording: Recording) -> String {
    printed(|out| Box::new(plain::Plain::new(out)), recording)
}

#[test]
fn plain_shows_one_step_after_the_other() {
    let text = plain(vec![
        (0, added(1, "[1/3] FROM busybox")),
        (0, added(2, "[2/3] COPY . /src")),
        (0, added(3, "[3/3] RUN make")),
        (1, started(1)),
        (2, part(1, "sha256:aa", 0, 4_200_000, false)),
        (1002, part(1, "sha256:aa", 4_200_000, 4_200_000, true)),
        (1010, ended(1, Outcome::Done)),
        (1011, ended(2, Outcome::Cached)),
        (1012, started(3)),
        (1112, log(3, "one\ntw")),
        (1212, log(3, "o\n\x1b[31mred\x1b[0m\nrest")),
        (2012, ended(3, Outcome::Failed("exit code: 2".to_owned()))),
    ]);
    let want = "\
#1 [1/3] FROM busybox
#1 sha256:aa 0B / 4.20MB
#1 sha256:aa 4.20MB / 4.20MB 1.0s done
#1 DONE 1.0s

#2 [2/3] COPY . /src
#2 CACHED

#3 [3/3] RUN make
#3 0.100 one
#3 0.200 two
#3 0.200 red
#3 1.000 rest
#3 ERROR: exit code: 2
------
 > [3/3] RUN make:
0.100 one
0.200 two
0.200 red
1.000 rest
------

";
    assert_eq!(text, want);
}

fn warning(id: u32) -> Event {
    let file = crate::source::SourceFile::new("Dockerfile", "FROM a\nWORKDIR x\n");
    let span = crate::source::Span::new(crate::source::SourceId(0), 15..16);
    let diagnostic = Box::new(Diagnostic::warning("WorkdirRelativePath", span, "relative workdir 'x'"));
    let place = Some(Box::new(Place { file, first_line: 2, last_line: 2 }));
    Event::Warning { id: VertexId(id), diagnostic, place }
}

#[test]
fn plain_shows_warnings_under_what_read_the_file() {
    let text = plain(vec![
        (0, added(1, "[internal] load build definition from Dockerfile")),
        (1, started(1)),
        (2, part(1, "transferring dockerfile:", 17, 0, true)),
        (3, ended(1, Outcome::Done)),
        (9, warning(1)),
    ]);
    let want = "\
#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 17B done
#1 DONE 0.0s

#1 [internal] load build definition from Dockerfile
#1 WARN: WorkdirRelativePath: relative workdir 'x' (line 2)
#1 DONE 0.0s

";
    assert_eq!(text, want);
}

#[test]
fn quiet_shows_what_a_failed_command_wrote_and_nothing_else() {
    let text = printed(
        |out| Box::new(quiet::Quiet::new(out)),
        vec![
            (0, added(1, "[1/2] RUN good")),
            (0, added(2, "[2/2] RUN bad")),
            (1, started(1)),
            (2, log(1, "fine\n")),
            (3, ended(1, Outcome::Done)),
            (4, started(2)),
            (104, log(2, "one\ntwo")),
            (204, ended(2, Outcome::Failed("exit code: 1".to_owned()))),
        ],
    );
    assert_eq!(text, "------\n > [2/2] RUN bad:\n0.100 one\n0.200 two\n------\n");
}

#[test]
fn plain_lets_one_step_speak_at_a_time() {
    let text = plain(vec![
        (0, added(1, "[a 1/1] RUN slow")),
        (0, added(2, "[b 1/1] RUN fast")),
        (0, started(1)),
        (0, started(2)),
        (10, log(1, "a1\n")),
        (20, log(2, "b1\n")),
        (30, log(1, "a2\n")),
        // The first is silent for long enough: the other one speaks.
        (700, log(2, "b2\n")),
        // An end is shown at once.
        (800, ended(1, Outcome::Done)),
        (900, log(2, "b3\n")),
        (1000, ended(2, Outcome::Canceled)),
    ]);
    let want = "\
#1 [a 1/1] RUN slow
#1 0.010 a1
#1 0.030 a2
#1 ...

#2 [b 1/1] RUN fast
#2 0.020 b1
#2 0.700 b2
#2 ...

#1 [a 1/1] RUN slow
#1 DONE 0.8s

#2 [b 1/1] RUN fast
#2 0.900 b3
#2 CANCELED

";
    assert_eq!(text, want);
}

#[test]
fn plain_says_nothing_of_steps_that_never_ran() {
    let text = plain(vec![
        (0, Event::Isolation("root isolation".to_owned())),
        (0, added(1, "a")),
        (0, added(2, "b")),
        (0, Event::Notice("using the host's network".to_owned())),
        (1, started(1)),
        (2, ended(1, Outcome::Done)),
        (3, ended(2, Outcome::Canceled)),
    ]);
    assert_eq!(text, "#0 building with root isolation\nusing the host's network\n\n#1 a\n#1 DONE 0.0s\n\n");
}

#[test]
fn raw_json_is_buildkits_status() {
    let start = Timestamp { seconds: 1_700_000_000, nanoseconds: 999_000_000 };
    let text = printed(
        |out| Box::new(rawjson::RawJson::new(out, start)),
        vec![
            (0, Event::Isolation("root isolation".to_owned())),
            (0, added(1, "[1/2] FROM busybox")),
            (0, added(2, "[2/2] RUN x")),
            (1, ended(1, Outcome::Cached)),
            (2, started(2)),
            (3, log(2, "hello\n")),
            (4, part(2, "extract", 1, 2, true)),
            (5, ended(2, Outcome::Failed("exit code: 1".to_owned()))),
            (6, warning(1)),
        ],
    );
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let first = &lines[0]["vertexes"][0];
    assert_eq!(first["name"], "[1/2] FROM busybox");
    assert_eq!(lines[1]["vertexes"][0]["inputs"][0], first["digest"]);
    assert_eq!(lines[2]["vertexes"][0]["cached"], true);
    assert_eq!(lines[2]["vertexes"][0]["completed"], "2023-11-14T22:13:21Z");
    assert_eq!(lines[3]["vertexes"][0]["started"], "2023-11-14T22:13:21.001Z");
    let line = &lines[4]["logs"][0];
    assert_eq!((line["stream"].as_u64(), line["data"].as_str()), (Some(1), Some("aGVsbG8K")));
    assert_eq!(lines[5]["statuses"][0]["completed"], lines[5]["statuses"][0]["timestamp"]);
    assert_eq!(lines[6]["vertexes"][0]["error"], "exit code: 1");
    let warning = &lines[7]["warnings"][0];
    assert_eq!((&warning["vertex"], warning["level"].as_u64()), (&first["digest"], Some(1)));
    let short = "V29ya2RpclJlbGF0aXZlUGF0aDogcmVsYXRpdmUgd29ya2RpciAneCcgKGxpbmUgMik=";
    assert_eq!(warning["short"], short);
    assert_eq!(warning["url"], "https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/");
    assert_eq!(warning["sourceInfo"]["data"], "RlJPTSBhCldPUktESVIgeAo=");
    assert_eq!(warning["range"][0]["end"]["line"], 2);
    assert!(lines.iter().all(|line| line.as_object().expect("an object").len() == 1));
}

#[test]
fn the_screen_keeps_what_ended_and_draws_what_runs() {
    let mut screen = screen::Screen::default();
    let mut above = Vec::new();
    let log_lines: String = (1..=9).map(|number| format!("line {number}\n")).collect();
    for (at, event) in [
        (0, added(1, "[1/3] FROM busybox")),
        (0, added(2, "[2/3] RUN make")),
        (0, added(3, "[3/3] FROM other")),
        (5, ended(1, Outcome::Cached)),
        (10, started(2)),
        (10, started(3)),
        (20, part(3, "sha256:bb", 1_000_000, 2_000_000, false)),
        (110, log(2, &log_lines)),
    ] {
        above.extend(screen.event(Duration::from_millis(at), event, 44));
    }
    assert_eq!(above, [" => CACHED [1/3] FROM busybox           0.0s"]);
    let now = Duration::from_millis(1210);
    let want = [
        "[+] Building 1.2s (1/3)",
        " => [2/3] RUN make                      1.2s",
        " => => # 0.100 line 4",
        " => => # 0.100 line 5",
        " => => # 0.100 line 6",
        " => => # 0.100 line 7",
        " => => # 0.100 line 8",
        " => => # 0.100 line 9",
        " => [3/3] FROM other                    1.2s",
        " => => sha256:bb 1.00MB / 2.00MB        1.2s",
    ];
    assert_eq!(screen.live(now, 44, 24), want);
    // A small terminal shows less of each.
    assert_eq!(screen.live(now, 44, 5).len(), 5);

    let failed = screen.event(now, ended(2, Outcome::Failed("exit code: 1".to_owned())), 30);
    assert_eq!(failed, [" => ERROR [2/3] RUN make  1.2s"]);
    let last = screen.last(now);
    assert_eq!(last[..4], ["[+] Building 1.2s (2/3) FINISHED", "------", " > [2/3] RUN make:", "0.100 line 1"]);
}

#[test]
fn the_mode_follows_flags_environment_and_terminal() {
    let environment = |terminal, word: Option<&str>| Environment {
        stderr_is_terminal: terminal,
        variables: word.map(|word| ("BUILDKIT_PROGRESS".to_owned(), word.to_owned())).into_iter().collect(),
        ..Environment::default()
    };
    let chosen = |typed, quiet, terminal, word| match Mode::choose(typed, quiet, &environment(terminal, word)) {
        Ok(mode) => format!("{mode:?}"),
        Err(error) => error.to_string(),
    };
    for (typed, quiet, terminal, word, want) in [
        (None, false, true, None, "Tty"),
        (None, false, false, None, "Plain"),
        (Some("tty"), false, false, None, "Plain"),
        (Some("plain"), false, true, Some("rawjson"), "Plain"),
        (None, false, true, Some("rawjson"), "RawJson"),
        (None, true, true, Some("plain"), "Quiet"),
        (Some("quiet"), true, true, None, "Quiet"),
        (Some("none"), false, true, None, "Quiet"),
        (Some("plain"), true, true, None, "--progress and --quiet cannot be used together"),
        (
            Some("plan"),
            false,
            true,
            None,
            "invalid value `plan` for --progress: \
             expected auto, plain, tty, rawjson or quiet: did you mean `plain`?",
        ),
    ] {
        assert_eq!(chosen(typed, quiet, terminal, word), want);
    }
}

#[test]
fn plain_holds_little_of_a_step_that_floods() {
    let flood = "\n".repeat(32 << 10);
    let mut recording =
        vec![(0, added(1, "one")), (0, added(2, "two")), (0, started(1)), (0, started(2)), (1, log(1, "first\n"))];
    recording.push((2, log(2, &flood)));
    let text = plain(recording);
    // It spoke before its turn: the first one is told to wait.
    assert!(text.contains("#1 ...\n\n#2 two\n#2 0.002 \n"), "{}", &text[..200]);
}

#[test]
fn raw_json_of_a_step_is_bounded() {
    let chunk = "x".repeat(1 << 20);
    let mut recording = vec![(0, added(1, "one")), (0, started(1))];
    recording.extend((0..100).map(|_| (1, log(1, &chunk))));
    let now = Timestamp { seconds: 0, nanoseconds: 0 };
    let text = printed(|out| Box::new(rawjson::RawJson::new(out, now)), recording);
    assert_eq!(text.matches("\"logs\"").count(), 65);
}
