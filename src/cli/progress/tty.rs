//! `--progress=tty`: draws a [`Screen`] on a terminal.

use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use terminal_size::{Height, Width, terminal_size_of};

use super::Printer;
use super::screen::Screen;
use crate::progress::Event;

/// How often the live part is drawn anew.
const FRAME: Duration = Duration::from_millis(100);

/// The printer.
pub(super) struct Tty {
    screen: Screen,
    /// One bar whose message is the live part; what goes above is printed through it.
    bar: ProgressBar,
    drawn: Option<Duration>,
}

impl Tty {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(20));
        let style = ProgressStyle::with_template("{msg}").expect("the template holds one known key");
        bar.set_style(style);
        Self { screen: Screen::default(), bar, drawn: None }
    }

    fn draw(&mut self, at: Duration) {
        let (width, height) = size();
        self.drawn = Some(at);
        // The last line of a terminal stays free: the cursor rests there.
        self.bar.set_message(self.screen.live(at, width, height.saturating_sub(1)).join("\n"));
        self.bar.tick();
    }
}

/// Width and height of the terminal; what old terminals had when it cannot be told.
fn size() -> (usize, usize) {
    let size = terminal_size_of(io::stderr());
    size.map_or((80, 24), |(Width(width), Height(height))| (usize::from(width).max(20), usize::from(height).max(4)))
}

impl Printer for Tty {
    fn event(&mut self, at: Duration, event: Event) -> io::Result<()> {
        let lines = self.screen.event(at, event, size().0);
        if !lines.is_empty() {
            self.bar.println(lines.join("\n"));
        }
        if self.drawn.is_none_or(|drawn| at.saturating_sub(drawn) >= FRAME) {
            self.draw(at);
        }
        Ok(())
    }

    fn tick(&mut self, at: Duration) -> io::Result<()> {
        self.draw(at);
        Ok(())
    }

    fn finish(&mut self, at: Duration) -> io::Result<()> {
        self.bar.finish_and_clear();
        let mut out = io::stderr().lock();
        for line in self.screen.last(at) {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
