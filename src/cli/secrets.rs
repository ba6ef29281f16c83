//! `--secret` and `--ssh`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::environment::{self, Environment, PathKind};
use super::fields;
use super::usage::{UsageError, did_you_mean};
use crate::builder::{Secret, SecretBytes, SecretSource, SshAgent, SshSource};

const SECRET: &str = "--secret";
const SSH: &str = "--ssh";

/// The longest secret, in bytes (BuildKit's limit).
const SECRET_LIMIT: u64 = 500 * 1024;

/// Reads all `--secret`.
pub(super) fn secrets(typed: &[String], environment: &Environment) -> Result<Vec<Secret>, UsageError> {
    let all: Vec<Secret> = typed.iter().map(|text| secret(text, environment)).collect::<Result<_, _>>()?;
    unique(SECRET, all.iter().map(|secret| secret.id.as_str()))?;
    Ok(all)
}

fn secret(text: &str, environment: &Environment) -> Result<Secret, UsageError> {
    let malformed = |expected: String| UsageError::malformed(SECRET, text, expected);
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in fields::parse(SECRET, text)? {
        let value = Some(field.required(SECRET)?.to_owned());
        match field.key.as_str() {
            "id" => id = value,
            "src" | "source" => file = value,
            "env" => variable = value,
            "type" => kind = value,
            other => {
                let near = did_you_mean(other, &["id", "src", "source", "env", "type"]);
                return Err(malformed(format!("unexpected key `{other}`{near}")));
            }
        }
    }
    match kind.as_deref() {
        None | Some("file") => {}
        // With this type, `src` names a variable.
        Some("env") => variable = variable.or(file.take()),
        Some(other) => {
            let near = did_you_mean(other, &["file", "env"]);
            return Err(malformed(format!("unsupported secret type `{other}`{near}")));
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| malformed("id is required".to_owned()))?;
    let source = match (file, variable) {
        (Some(_), Some(_)) => return Err(malformed("src and env cannot be used together".to_owned())),
        (None, Some(name)) => value_of(environment, &name),
        (None, None) if kind.as_deref() != Some("file") && environment.variables.contains_key(&id) => {
            value_of(environment, &id)
        }
        (file, None) => from_file(environment.absolute(file.as_deref().unwrap_or(&id)), text)?,
    };
    Ok(Secret { id, source })
}

/// A variable that is not set is an empty secret, as with BuildKit.
fn value_of(environment: &Environment, name: &str) -> SecretSource {
    let value = environment.variables.get(name).cloned().unwrap_or_default();
    SecretSource::Value(SecretBytes(value.into_bytes()))
}

fn from_file(path: PathBuf, text: &str) -> Result<SecretSource, UsageError> {
    match environment::length_of(&path) {
        Err(source) => Err(UsageError::Unreadable { flag: SECRET, path, source }),
        Ok(length) if length > SECRET_LIMIT => {
            Err(UsageError::malformed(SECRET, text, "secret too big: max size 500KB"))
        }
        Ok(_) => Ok(SecretSource::File(path)),
    }
}

/// Reads all `--ssh`.
pub(super) fn ssh(typed: &[String], environment: &Environment) -> Result<Vec<SshAgent>, UsageError> {
    let all: Vec<SshAgent> = typed.iter().map(|text| agent(text, environment)).collect::<Result<_, _>>()?;
    unique(SSH, all.iter().map(|agent| agent.id.as_str()))?;
    Ok(all)
}

fn agent(text: &str, environment: &Environment) -> Result<SshAgent, UsageError> {
    let malformed = |expected: &str| UsageError::malformed(SSH, text, expected);
    let (id, paths) = text.split_once('=').unwrap_or((text, ""));
    let id = if id.is_empty() { "default" } else { id }.to_owned();
    let paths: Vec<PathBuf> =
        paths.split(',').filter(|path| !path.is_empty()).map(|p| environment.absolute(p)).collect();
    if paths.is_empty() {
        let socket = environment.variable("SSH_AUTH_SOCK");
        let complain = || malformed("no ssh agent: make sure SSH_AUTH_SOCK is set");
        return Ok(SshAgent { id, source: SshSource::Socket(socket.map(PathBuf::from).ok_or_else(complain)?) });
    }
    let mut sockets = 0;
    for path in &paths {
        match environment::kind_of(path) {
            Ok(PathKind::Socket) => sockets += 1,
            Ok(PathKind::File) => {}
            Ok(PathKind::Directory) => return Err(malformed("a directory is neither a socket nor a key")),
            Err(source) => return Err(UsageError::Unreadable { flag: SSH, path: path.clone(), source }),
        }
    }
    match (sockets, paths.len()) {
        (0, _) => Ok(SshAgent { id, source: SshSource::Keys(paths) }),
        (1, 1) => Ok(SshAgent { id, source: SshSource::Socket(paths.into_iter().collect()) }),
        _ => Err(malformed("expected one socket, or keys only")),
    }
}

fn unique<'a>(flag: &'static str, ids: impl Iterator<Item = &'a str>) -> Result<(), UsageError> {
    let mut seen = BTreeSet::new();
    for id in ids {
        if !seen.insert(id) {
            return Err(UsageError::malformed(flag, id, "this id is given twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_from_files_and_variables() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("f"), "x").unwrap();
        std::fs::write(scratch.path().join("big"), vec![0; 600 * 1024]).unwrap();
        let variables = [("V".to_owned(), "value".to_owned())].into();
        let environment = Environment { directory: scratch.path().to_owned(), variables, ..Environment::default() };
        let base = scratch.path().display().to_string();
        let shown = |text: &str| match secret(text, &environment) {
            Ok(secret) => format!("{} {:?}", secret.id, secret.source).replace(&base, "."),
            Err(error) => error.to_string().replace(&base, "."),
        };
        for (text, want) in [
            ("id=a,src=f", "a File(\"./f\")"),
            ("id=f", "f File(\"./f\")"),
            ("id=V", "V Value((5 secret bytes))"),
            ("id=a,env=V", "a Value((5 secret bytes))"),
            ("id=a,type=env,src=V", "a Value((5 secret bytes))"),
            ("id=a,env=UNSET", "a Value((0 secret bytes))"),
            ("id=a", "cannot read `./a` for --secret"),
            ("id=V,type=file", "cannot read `./V` for --secret"),
            ("src=f", "invalid value `src=f` for --secret: id is required"),
            ("id=a,src=big", "invalid value `id=a,src=big` for --secret: secret too big: max size 500KB"),
            ("id=a,foo=b", "invalid value `id=a,foo=b` for --secret: unexpected key `foo`"),
            ("a", "invalid value `a` for --secret: must be a key=value pair"),
            ("id=a,src=f,env=V", "invalid value `id=a,src=f,env=V` for --secret: src and env cannot be used together"),
        ] {
            assert_eq!(shown(text), want, "{text}");
        }
        assert!(secrets(&["id=f".into(), "id=f".into()], &environment).is_err());
    }

    #[test]
    fn agents_are_sockets_or_keys() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("key"), "x").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(scratch.path().join("sock")).unwrap();
        let variables = [("SSH_AUTH_SOCK".to_owned(), "/agent".to_owned())].into();
        let environment = Environment { directory: scratch.path().to_owned(), variables, ..Environment::default() };
        let base = scratch.path().display().to_string();
        let shown = |text: &str| match agent(text, &environment) {
            Ok(agent) => format!("{} {:?}", agent.id, agent.source).replace(&base, "."),
            Err(error) => error.to_string().replace(&base, "."),
        };
        assert_eq!(shown("default"), "default Socket(\"/agent\")");
        assert_eq!(shown("x=sock"), "x Socket(\"./sock\")");
        assert_eq!(shown("x=key,key"), "x Keys([\"./key\", \"./key\"])");
        assert_eq!(shown("x=key,sock"), "invalid value `x=key,sock` for --ssh: expected one socket, or keys only");
        assert_eq!(shown("x=none"), "cannot read `./none` for --ssh");
    }
}
