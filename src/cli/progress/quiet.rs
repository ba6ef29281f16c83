//! `--quiet`: nothing, unless a command fails; then what it wrote last.

use std::io;
use std::time::Duration;

use super::screen::Screen;
use super::{Printer, Writer};
use crate::progress::Event;

/// The printer.
pub(super) struct Quiet {
    out: Writer,
    screen: Screen,
}

impl Quiet {
    pub(super) fn new(out: Writer) -> Self {
        Self { out, screen: Screen::default() }
    }
}

impl Printer for Quiet {
    fn event(&mut self, at: Duration, event: Event) -> io::Result<()> {
        self.screen.event(at, event, 0);
        Ok(())
    }

    fn tick(&mut self, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: Duration) -> io::Result<()> {
        for line in self.screen.failed() {
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
