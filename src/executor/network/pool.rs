//! Network namespaces, connected or about to be, that no step uses just now.
//!
//! Connecting one takes longer than all the rest of a small step, so the first is begun before there is a step, which is then set
//! up meanwhile; and each is kept for later steps. What ran in one is dead before it comes back here, and had no right to change it.

use std::fs::File;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Connected, NoNetwork, Ports, TOOLS, Tool, pasta};
use crate::executor::{CancelFlag, Program};

/// How long a step waits for the one that is begun ahead.
const PATIENCE: Duration = Duration::from_secs(12);

/// The namespaces of one executor.
#[derive(Default)]
pub(in crate::executor) struct Networks {
    state: Mutex<State>,
    /// The one being begun ahead is there, or will not be.
    made: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Connected>,
    /// One is being begun that no step waits for yet.
    is_making: bool,
    /// Tools that failed once: they would again, and each time that takes a while.
    failed: Vec<&'static str>,
}

impl Networks {
    /// Whether one should be made ahead: then [`Networks::take`] waits for [`Networks::make_ahead`].
    pub(in crate::executor) fn begin_ahead(&self) -> bool {
        let mut state = self.state();
        let wanted = !state.is_making && state.idle.is_empty();
        state.is_making |= wanted;
        wanted
    }

    /// Begins one for the next step that needs one.
    pub(in crate::executor) fn make_ahead(&self, starter: &Program) {
        let made = self.start(starter);
        let mut state = self.state();
        state.is_making = false;
        state.idle.extend(made.ok());
        self.made.notify_all();
    }

    /// Takes one whose tool still runs, or begins one. The error says why there is none.
    pub(in crate::executor) fn take(&self, starter: &Program) -> Result<Connected, NoNetwork> {
        let is_coming = |state: &mut State| state.is_making && state.idle.is_empty();
        let waited = self.made.wait_timeout_while(self.state(), PATIENCE, is_coming);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        while let Some(connected) = state.idle.pop() {
            if connected.is_running() {
                return Ok(connected);
            }
        }
        drop(state);
        self.start(starter)
    }

    /// Like [`Networks::take`], of one that is connected.
    pub(in crate::executor) fn take_connected(
        &self,
        starter: &Program,
        cancel: &CancelFlag,
    ) -> Result<Connected, NoNetwork> {
        loop {
            let taken = self.take(starter)?;
            if taken.is_connected(cancel) {
                return Ok(taken);
            }
            self.give_up(&taken);
        }
    }

    /// Says that one did not come to be connected: its tool is not tried again.
    pub(in crate::executor) fn give_up(&self, failed: &Connected) {
        self.state().failed.push(failed.tool());
    }

    /// Makes one that ports of this machine lead into, for one command alone.
    pub(in crate::executor) fn make_forwarding(
        &self,
        starter: &Program,
        ports: &Ports,
        cancel: &CancelFlag,
    ) -> Result<Connected, String> {
        if !can_open_tun() {
            return Err("/dev/net/tun cannot be opened".to_owned());
        }
        let tool = &pasta::TOOL;
        if tool.path().is_none() {
            return Err("it takes the program `pasta` (package `passt`), which is not installed".to_owned());
        }
        let started = Connected::start_with(starter, tool, pasta::arguments(ports));
        started
            .filter(|started| started.is_connected(cancel))
            .ok_or_else(|| "`pasta` did not start: a port may be taken, or need a right that is not here".to_owned())
    }

    /// Gives one back.
    pub(in crate::executor) fn give(&self, connected: Connected) {
        if connected.is_free() {
            self.state().idle.push(connected);
        }
    }

    /// Ends all that no step uses.
    pub(in crate::executor) fn forget(&self) {
        self.state().idle.clear();
    }

    fn start(&self, starter: &Program) -> Result<Connected, NoNetwork> {
        if !can_open_tun() {
            return Err(NoNetwork::NoDevice);
        }
        let installed: Vec<_> = TOOLS.into_iter().filter(|tool| tool.path().is_some()).collect();
        if installed.is_empty() {
            return Err(NoNetwork::NoTool);
        }
        let sound = |tool: &&'static Tool| !self.state().failed.contains(&tool.name);
        let started = installed.into_iter().filter(sound).find_map(|tool| Connected::start(starter, tool));
        started.ok_or(NoNetwork::NotConnected)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn can_open_tun() -> bool {
    File::options().read(true).write(true).open("/dev/net/tun").is_ok()
}
