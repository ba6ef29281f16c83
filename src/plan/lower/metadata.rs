//! Instructions that change the config or the scope, and WORKDIR.

use std::time::Duration;

use super::super::graph::{Op, WorkdirOp};
use super::super::{history, path};
use super::{Lowering, Place, StageState};
use crate::diag::Diagnostic;
use crate::dockerfile::expand::expand_words;
use crate::dockerfile::instruction::{ArgDeclaration, Healthcheck, KeyValues, OnBuild};
use crate::dockerfile::port::PortSpec;
use crate::dockerfile::{CommandForm, Instruction, Text, duration, signal};
use crate::oci;

impl Lowering<'_> {
    /// Left to right, each name seeing its left neighbours (rules 6.14, 8.2, 8.12).
    pub(super) fn arg(
        &mut self,
        mut state: StageState,
        declarations: &[ArgDeclaration],
        instruction: &Instruction,
        place: &Place<'_>,
    ) -> Result<StageState, Diagnostic> {
        let mut shown = vec!["ARG".to_owned()];
        for declaration in declarations {
            let name = declaration.name.text.as_str();
            self.check_secret("ARG", name, declaration.name.span);
            let value = match (self.options.build_args.get(name), &declaration.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.expand(&state.scope, default)?),
                (None, None) => self.stages.globals.get(name).cloned(),
            };
            shown.push(match &value {
                Some(value) => format!("{name}={value}"),
                None => name.to_owned(),
            });
            let is_own = self.options.build_args.contains_key(name) || declaration.default.is_some() || value.is_none();
            let given = self.given.entry(place.stage_index).or_default();
            given.arg(declaration, is_own.then_some(value.as_deref()), instruction, place.lines);
            state.set_arg(name, value);
        }
        Ok(state.with_history(shown.join(" ")))
    }

    pub(super) fn env(
        &mut self,
        state: StageState,
        written: &KeyValues,
        instruction: &Instruction,
    ) -> Result<StageState, Diagnostic> {
        let mut keys = Vec::new();
        let state = self.assign(state, "ENV", written, instruction, |state, key, value| {
            state.set_env(&key, value);
            keys.push(key);
        })?;
        for (key, pair) in keys.iter().zip(&written.pairs) {
            self.check_secret("ENV", key, pair.key.span);
        }
        Ok(state)
    }

    pub(super) fn label(
        &mut self,
        state: StageState,
        written: &KeyValues,
        instruction: &Instruction,
    ) -> Result<StageState, Diagnostic> {
        self.assign(state, "LABEL", written, instruction, |state, key, value| {
            state.labels.insert_mut(key, value);
        })
    }

    /// ENV and LABEL: all keys and values see the environment before the line (rule 6.14); `set` takes each.
    fn assign(
        &mut self,
        mut state: StageState,
        keyword: &str,
        written: &KeyValues,
        instruction: &Instruction,
        mut set: impl FnMut(&mut StageState, String, String),
    ) -> Result<StageState, Diagnostic> {
        let mut pairs = Vec::with_capacity(written.pairs.len());
        for pair in &written.pairs {
            let key = self.expand(&state.scope, &pair.key)?;
            pairs.push((key, self.expand(&state.scope, &pair.value)?));
        }
        self.check_form(written, instruction);
        let mut shown = keyword.to_owned();
        for (key, value) in pairs {
            shown.push_str(&format!(" {key}={value}"));
            set(&mut state, key, value);
        }
        Ok(state.with_history(shown))
    }

    /// Rules 13.1 and 13.2.
    pub(super) fn workdir(
        &mut self,
        mut state: StageState,
        written: &Text,
        instruction: &Instruction,
        place: &mut Place<'_>,
    ) -> Result<StageState, Diagnostic> {
        let expanded = self.expand(&state.scope, written)?;
        self.check_workdir(&state, &expanded, written);
        state.workdir_set = true;
        let path =
            if expanded.is_empty() { state.workdir().to_owned() } else { path::workdir(state.workdir(), &expanded) };
        state.image_mut().working_dir.clone_from(&path);
        let created_by = format!("WORKDIR {path}");
        if path::clean(&path) == "/" {
            place.next += 1;
            return Ok(state.with_history(created_by));
        }
        let op = WorkdirOp {
            parent: state.root,
            path,
            user: state.image().user.clone(),
            mtime_seconds: self.options.source_date_epoch,
        };
        let step = self.step(place, instruction, Op::Workdir(op));
        Ok(state.with_layer(created_by, step))
    }

    pub(super) fn user(&mut self, mut state: StageState, user: &Text) -> Result<StageState, Diagnostic> {
        let user = self.expand(&state.scope, user)?;
        let created_by = format!("USER {user}");
        state.image_mut().user = user;
        Ok(state.with_history(created_by))
    }

    /// Sorted as they are written (rule 13.6), then expanded, then split (rule 6.9). UndefinedVar is silent here: ports are
    /// often left to whoever builds.
    pub(super) fn expose(&mut self, mut state: StageState, words: &[Text]) -> Result<StageState, Diagnostic> {
        let escape = self.escape;
        let mut words: Vec<&Text> = words.iter().collect();
        words.sort_by(|one, other| one.text.cmp(&other.text));
        let mut ports = Vec::new();
        for word in words {
            let expanded = self.expand_with(&state.scope, word, |env| expand_words(&word.text, escape, env))?;
            ports.extend(expanded.into_iter().map(|port| (port, word.span)));
        }
        let mut shown = Vec::new();
        for (port, span) in ports {
            let spec =
                PortSpec::parse(&port).map_err(|error| Diagnostic::error("invalid-port", span, error.to_string()))?;
            self.check_port(&spec, &port, span);
            let keys: Vec<String> = spec.keys().collect();
            shown.extend(keys.iter().cloned());
            keys.into_iter().for_each(|key| state.ports.insert_mut(key));
        }
        Ok(state.with_history(format!("EXPOSE {}", history::plain_list(&shown))))
    }

    pub(super) fn volume(&mut self, mut state: StageState, words: &[Text]) -> Result<StageState, Diagnostic> {
        let mut shown = Vec::new();
        for word in words {
            let path = self.expand(&state.scope, word)?;
            if path.is_empty() {
                let message = "VOLUME specified can not be an empty string";
                return Err(Diagnostic::error("blank-volume", word.span, message));
            }
            state.volumes.insert_mut(path.clone());
            shown.push(path);
        }
        Ok(state.with_history(format!("VOLUME {}", history::plain_list(&shown))))
    }

    pub(super) fn stop_signal(&mut self, mut state: StageState, text: &Text) -> Result<StageState, Diagnostic> {
        let written = self.expand(&state.scope, text)?;
        signal::check(&written).map_err(|error| Diagnostic::error("invalid-signal", text.span, error.to_string()))?;
        let created_by = format!("STOPSIGNAL {written}");
        state.image_mut().stop_signal = written;
        Ok(state.with_history(created_by))
    }
}

/// Rule 4.6: a shell form becomes the last argument of SHELL.
pub(super) fn arguments(state: &StageState, form: &CommandForm) -> Vec<String> {
    match form {
        CommandForm::Exec(arguments) => arguments.clone(),
        CommandForm::Shell(text) => {
            let mut arguments = state.shell();
            arguments.push(text.clone());
            arguments
        }
    }
}

/// Rule 13.10.
pub(super) fn cmd(mut state: StageState, form: &CommandForm) -> StageState {
    let arguments = arguments(&state, form);
    let created_by = format!("CMD {}", history::quoted_list(&arguments));
    state.image_mut().cmd = arguments;
    state.image_mut().args_escaped = true;
    state.cmd_set = true;
    state.with_history(created_by)
}

/// Clears a CMD that was inherited (rule 13.11).
pub(super) fn entrypoint(mut state: StageState, form: &CommandForm) -> StageState {
    let arguments = arguments(&state, form);
    let created_by = format!("ENTRYPOINT {}", history::quoted_list(&arguments));
    state.image_mut().entrypoint = arguments;
    if !state.cmd_set {
        state.image_mut().cmd.clear();
    }
    state.with_history(created_by)
}

pub(super) fn shell(mut state: StageState, shell: &[String]) -> StageState {
    state.image_mut().shell = shell.to_vec();
    state.with_history(format!("SHELL {}", history::plain_list(shell)))
}

pub(super) fn on_build(mut state: StageState, trigger: &OnBuild) -> StageState {
    state.on_build.push_back_mut(trigger.text.clone());
    state
}

pub(super) fn maintainer(mut state: StageState, name: &Text) -> StageState {
    state.config_mut().author.clone_from(&name.text);
    state.with_history(format!("MAINTAINER {}", name.text))
}

/// Rule 13.9.
pub(super) fn healthcheck(mut state: StageState, check: &Healthcheck) -> StageState {
    let nanoseconds = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    let config = match check {
        Healthcheck::None => oci::Healthcheck { test: vec!["NONE".to_owned()], ..oci::Healthcheck::default() },
        Healthcheck::Command(command) => {
            let test = match &command.command {
                CommandForm::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
                CommandForm::Exec(arguments) => {
                    std::iter::once("CMD".to_owned()).chain(arguments.iter().cloned()).collect()
                }
            };
            oci::Healthcheck {
                test,
                interval: nanoseconds(command.interval),
                timeout: nanoseconds(command.timeout),
                start_period: nanoseconds(command.start_period),
                start_interval: nanoseconds(command.start_interval),
                retries: i64::from(command.retries),
            }
        }
    };
    let shown = |time: i64| duration::format(Duration::from_nanos(time.unsigned_abs()));
    let created_by = format!(
        "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        history::plain_list(&config.test),
        shown(config.interval),
        shown(config.timeout),
        shown(config.start_period),
        shown(config.start_interval),
        config.retries,
    );
    state.image_mut().healthcheck = Some(config);
    state.with_history(created_by)
}
