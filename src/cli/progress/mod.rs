//! Printers: the stream of [`Event`]s made visible.
//!
//! A [`Printer`] is a function of events and times, so a recorded stream gives the same text each time; the
//! clock, the thread and the terminal are here. Events cross a channel of bounded length to one printing thread, and what
//! commands wrote waits there in bounded room: a build that logs faster than the terminal takes is slowed down, not buffered.
//!
//! Progress goes to standard error in every form.

mod plain;
mod quiet;
mod rawjson;
mod room;
mod screen;
mod tails;
mod text;
mod tty;
mod vertices;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use room::Room;

use super::environment::Environment;
use super::usage::UsageError;
use crate::diag::Diagnostic;
use crate::fsutil::Timestamp;
use crate::progress::{Event, Place, SharedSink, Silent, Sink};

/// How progress looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// Lines, never taken back.
    Plain,
    /// A live display.
    Tty,
    /// BuildKit's status objects, one JSON text per line.
    RawJson,
    /// Nothing but what failed commands wrote last.
    Quiet,
}

impl Mode {
    /// Chooses by `--progress`, `--quiet`, `$BUILDKIT_PROGRESS`, and whether standard error is a terminal.
    pub(super) fn choose(typed: Option<&str>, quiet: bool, environment: &Environment) -> Result<Self, UsageError> {
        if quiet && typed.is_some_and(|word| word != "auto" && word != "quiet") {
            return Err(UsageError::Conflict { one: "--progress", other: "--quiet" });
        }
        if quiet {
            return Ok(Self::Quiet);
        }
        let word = typed.or_else(|| environment.variable("BUILDKIT_PROGRESS")).unwrap_or("auto");
        match word {
            "auto" | "tty" if environment.stderr_is_terminal => Ok(Self::Tty),
            // Without a terminal there is nothing live to draw on.
            "auto" | "tty" | "plain" => Ok(Self::Plain),
            "rawjson" => Ok(Self::RawJson),
            "quiet" | "none" => Ok(Self::Quiet),
            other => {
                Err(UsageError::unknown("--progress", other, other, &["auto", "plain", "tty", "rawjson", "quiet"]))
            }
        }
    }
}

/// Shows events. Times are counted from the start of the build.
trait Printer: Send {
    /// Takes an event that happened `at`.
    fn event(&mut self, at: Duration, event: Event) -> io::Result<()>;
    /// Time has passed; called about ten times a second.
    fn tick(&mut self, at: Duration) -> io::Result<()>;
    /// The build ended; what is shown now stays.
    fn finish(&mut self, at: Duration) -> io::Result<()>;
    /// Writes out what is held back to be written with what comes next; called before waiting for that.
    fn flush(&mut self) -> io::Result<()>;
}

/// How often a printer is told that time passes.
const TICK: Duration = Duration::from_millis(100);
/// How many events may wait for the printer before the build waits.
const QUEUE: usize = 1024;
/// How many bytes that commands wrote may wait for it.
const MOST_LOGGED: usize = 1 << 20;

/// The progress of one build, from its start to [`Progress::finish`].
pub(super) struct Progress {
    sink: SharedSink,
    printing: Option<(SyncSender<Message>, JoinHandle<()>)>,
}

/// What goes to the printing thread.
enum Message {
    /// Something happened then.
    Event(Duration, Event),
    /// Nothing more will. Not left to the end of the channel, because a sink may outlive its build.
    Finish,
}

impl Progress {
    /// Starts showing; `now` is the time of day at which the build began.
    pub(super) fn start(mode: Mode, now: Timestamp) -> Self {
        let printer: Box<dyn Printer> = match mode {
            Mode::Quiet => Box::new(quiet::Quiet::new(stderr())),
            Mode::Plain => Box::new(plain::Plain::new(stderr())),
            Mode::RawJson => Box::new(rawjson::RawJson::new(stderr(), now)),
            Mode::Tty => Box::new(tty::Tty::new()),
        };
        let start = Instant::now();
        let (sender, receiver) = sync_channel(QUEUE);
        let room = Arc::new(Room::new(MOST_LOGGED));
        let thread = std::thread::Builder::new().name("progress".to_owned());
        let freed = Arc::clone(&room);
        let thread = thread.spawn(move || print(printer, &receiver, start, &freed));
        match thread {
            Ok(thread) => {
                let sink = Channel { sender: sender.clone(), room, start };
                Self { sink: Arc::new(sink), printing: Some((sender, thread)) }
            }
            // A machine without a thread to spare can build, unseen.
            Err(_) => Self { sink: Arc::new(Silent), printing: None },
        }
    }

    /// Returns where the build reports to.
    pub(super) fn sink(&self) -> SharedSink {
        Arc::clone(&self.sink)
    }

    /// Shows the last state and waits until it is shown.
    pub(super) fn finish(self) {
        if let Some((sender, thread)) = self.printing {
            let _ = sender.send(Message::Finish);
            let _ = thread.join();
        }
    }
}

struct Channel {
    sender: SyncSender<Message>,
    room: Arc<Room>,
    start: Instant,
}

impl Sink for Channel {
    fn event(&self, event: Event) {
        self.room.enter(logged(&event));
        // The receiver is gone only when nothing can be shown any more; the build goes on unseen.
        let _ = self.sender.send(Message::Event(self.start.elapsed(), event));
    }
}

/// How many bytes of a command an event carries.
fn logged(event: &Event) -> usize {
    if let Event::Log { data, .. } = event { data.len() } else { 0 }
}

fn print(mut printer: Box<dyn Printer>, messages: &Receiver<Message>, start: Instant, room: &Room) {
    // When it fails, standard error is closed: the build goes on unseen, its messages go nowhere.
    let _ = print_all(printer.as_mut(), messages, start, room);
    room.open();
}

fn print_all(printer: &mut dyn Printer, messages: &Receiver<Message>, start: Instant, room: &Room) -> io::Result<()> {
    loop {
        let message = match messages.try_recv() {
            Ok(message) => Ok(message),
            Err(_) => {
                printer.flush()?;
                messages.recv_timeout(TICK)
            }
        };
        match message {
            Ok(Message::Event(at, event)) => {
                let bytes = logged(&event);
                printer.event(at, event)?;
                room.leave(bytes);
            }
            Err(RecvTimeoutError::Timeout) => printer.tick(start.elapsed())?,
            Ok(Message::Finish) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    printer.finish(start.elapsed())?;
    printer.flush()
}

/// A warning in one line, as docker writes it: `Rule: message (line 3)`.
fn summary(diagnostic: &Diagnostic, place: Option<&Place>) -> String {
    let line = place.map(|place| format!(" (line {})", place.first_line)).unwrap_or_default();
    format!("{}: {}{line}", diagnostic.code, diagnostic.message)
}

/// Where a printer writes.
type Writer = Box<dyn Write + Send>;

/// Standard error, written in as few pieces as its readers allow: each piece costs a call, and a build has a line for everything.
fn stderr() -> Writer {
    Box::new(io::BufWriter::new(io::stderr()))
}

#[cfg(test)]
mod tests;
