//! The variables of a stage, folded through its instructions. Copies share what they have in common.
//!
//! ARG and ENV share one environment in which the last writer wins (language rules 6.13, 8.7); what ENV says to the
//! image is kept apart, in the config.

/// ARGs that speak to the builder alone: declared, and seen in the history, but no variables (rule 8.11).
pub(super) const NEVER_SET: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

use super::graph::Variables;
use super::names::Names;

/// The build environment of a stage and the ARGs it has seen. A child stage starts from its parent's (8.6).
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    variables: Names<String>,
    args: Names<Option<String>>,
}

impl Scope {
    /// Starts from the `Env` list (`NAME=value`) of a base image.
    pub(super) fn from_image_env(env: &[String]) -> Self {
        let mut scope = Self::default();
        for entry in env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            scope.variables.set(name, value.to_owned());
        }
        scope
    }

    /// Returns the value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// `ENV name=value`.
    pub(super) fn set_env(&mut self, name: &str, value: String) {
        self.variables.set(name, value);
    }

    /// `ARG name` with its effective value; without one the environment stays.
    pub(super) fn set_arg(&mut self, name: &str, value: Option<String>) {
        self.args.set(name, value.clone());
        if let Some(value) = value.filter(|_| !NEVER_SET.contains(&name)) {
            self.variables.set(name, value);
        }
    }

    /// Whether an ARG of that name was declared.
    pub(super) fn declares(&self, name: &str) -> bool {
        self.args.get(name).is_some()
    }

    /// Returns all variables in order of first definition.
    pub(super) fn variables(&self) -> &Variables {
        self.variables.all()
    }

    /// Returns `|N a=1 b=2 `, which a RUN's history entry begins with (10.12); empty without ARGs.
    pub(super) fn history_prefix(&self) -> String {
        if self.args.all().is_empty() {
            return String::new();
        }
        let mut prefix = format!("|{}", self.args.all().len());
        for (name, value) in self.args.all().iter() {
            let value = self.get(name).or(value.as_deref()).unwrap_or("");
            prefix.push_str(&format!(" {name}={value}"));
        }
        prefix.push(' ');
        prefix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_arg_and_env_wins() {
        let mut scope = Scope::from_image_env(&["A=base".to_owned()]);
        scope.set_arg("A", Some("arg".to_owned()));
        assert_eq!(scope.get("A"), Some("arg"));
        let before = scope.clone();
        scope.set_env("A", "env".to_owned());
        assert_eq!((before.get("A"), scope.get("A")), (Some("arg"), Some("env")));
    }

    #[test]
    fn an_unset_arg_is_declared_but_not_a_variable() {
        let mut scope = Scope::default();
        scope.set_arg("X", None);
        assert!(scope.declares("X"));
        assert_eq!(scope.get("X"), None);
        assert_eq!(scope.history_prefix(), "|1 X= ");
    }

    #[test]
    fn the_order_is_that_of_first_definition() {
        let mut scope = Scope::default();
        for (name, value) in [("B", "1"), ("A", "2"), ("B", "3")] {
            scope.set_env(name, value.to_owned());
        }
        let names: Vec<_> = scope.variables().iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(names, ["B=3", "A=2"]);
    }
}
