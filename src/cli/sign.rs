//! `kiln sign`, `kiln verify` and `kiln generate-key-pair`: signatures with a key, as cosign's.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::Value;

use super::environment::{Environment, ask_for};
use super::image_args::RegistryArguments;
use super::report::{self, Exit};
use super::transfer::{block_on, settings};
use super::usage::UsageError;
use super::{names, terminal};
use crate::images::{self, ImagesError, SignRequest};
use crate::oci::Reference;
use crate::progress::Silent;
use crate::signature::{self, KeyError, PrivateKey, PublicKey};

/// The variable that has the password of the private key, as with cosign.
const PASSWORD: &str = "COSIGN_PASSWORD";

/// `kiln sign`.
#[derive(Args, Debug)]
pub(super) struct SignArguments {
    /// Image in its registry; a digest says which one is meant even if its tag moves
    #[arg(value_name = "NAME[:TAG|@DIGEST]", required = true)]
    names: Vec<String>,
    /// Private key: a file, or env://VARIABLE; $COSIGN_PASSWORD opens it, or a question
    #[arg(long, value_name = "FILE")]
    key: String,
    /// What the signature says besides
    #[arg(short, long, value_name = "NAME=VALUE")]
    annotations: Vec<String>,
    /// Sign the images of an index, too
    #[arg(short, long)]
    recursive: bool,
    /// Which registries.
    #[command(flatten)]
    registries: RegistryArguments,
}

/// `kiln verify`.
#[derive(Args, Debug)]
pub(super) struct VerifyArguments {
    /// Image in its registry
    #[arg(value_name = "NAME[:TAG|@DIGEST]", required = true)]
    names: Vec<String>,
    /// Public key: a file, or env://VARIABLE
    #[arg(long, value_name = "FILE")]
    key: String,
    /// What the signature must say besides
    #[arg(short, long, value_name = "NAME=VALUE")]
    annotations: Vec<String>,
    /// Which registries.
    #[command(flatten)]
    registries: RegistryArguments,
}

/// `kiln generate-key-pair`.
#[derive(Args, Debug)]
pub(super) struct KeyPairArguments {
    /// The files are PREFIX.key and PREFIX.pub
    #[arg(long, value_name = "PREFIX", default_value = "cosign")]
    output_key_prefix: PathBuf,
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
enum SignError {
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error(transparent)]
    Images(#[from] ImagesError),
    #[error("cannot use the key `{key}`")]
    Key { key: String, source: KeyError },
    #[error("cannot write `{}`", path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

impl SignError {
    fn told(&self) -> Exit {
        match self {
            Self::Usage(error) => report::refused(error),
            Self::Images(error) => report::of_images(error),
            Self::Key { source, .. } => report::unusable_key(self, source),
            Self::Write { .. } => report::failed("cannot make a key pair", self),
        }
    }
}

fn told(done: Result<String, SignError>) -> Exit {
    match done {
        Ok(text) => report::printed(terminal::print(&text)),
        Err(error) => error.told(),
    }
}

/// `kiln sign`.
pub(super) fn sign(typed: &SignArguments) -> Exit {
    told(sign_all(typed))
}

fn sign_all(typed: &SignArguments) -> Result<String, SignError> {
    let environment = Environment::read()?;
    let annotations = annotations(&typed.annotations)?;
    let images = references(&typed.names)?;
    let key = private_key(&typed.key, &environment)?;
    let client = settings(&typed.registries, &environment).client(Arc::new(Silent));
    let mut text = String::new();
    for image in &images {
        let request = SignRequest { image, key: &key, annotations: &annotations, recursive: typed.recursive };
        for (digest, tag) in block_on(images::sign(&client, &request))? {
            text += &format!("{}@{digest} {tag}\n", image.familiar_name());
        }
    }
    Ok(text)
}

fn references(typed: &[String]) -> Result<Vec<Reference>, UsageError> {
    typed.iter().map(|name| names::reference("NAME", name)).collect()
}

/// `kiln verify`: prints what the signatures say, as one list.
pub(super) fn verify(typed: &VerifyArguments) -> Exit {
    told(verify_all(typed))
}

fn verify_all(typed: &VerifyArguments) -> Result<String, SignError> {
    let environment = Environment::read()?;
    let annotations = annotations(&typed.annotations)?;
    let images = references(&typed.names)?;
    let key = PublicKey::read(&key_bytes(&typed.key, &environment)?);
    let key = key.map_err(|source| SignError::Key { key: typed.key.clone(), source })?;
    let client = settings(&typed.registries, &environment).client(Arc::new(Silent));
    let mut all = Vec::new();
    for image in &images {
        let verified = block_on(images::verify(&client, image, &key, &annotations))?;
        let count = verified.payloads.len();
        let are = if count == 1 { "1 signature is".to_owned() } else { format!("{count} signatures are") };
        terminal::print_error(&format!("{}@{}: {are} by this key\n", image.familiar_name(), verified.digest));
        all.extend(verified.payloads);
    }
    let all = serde_json::to_value(&all).unwrap_or(Value::Null);
    Ok(format!("{all}\n"))
}

/// `kiln generate-key-pair`.
pub(super) fn generate_key_pair(typed: &KeyPairArguments) -> Exit {
    told(make_key_pair(typed))
}

fn make_key_pair(typed: &KeyPairArguments) -> Result<String, SignError> {
    let environment = Environment::read()?;
    let path = |ending: &str| {
        let mut name = typed.output_key_prefix.clone().into_os_string();
        name.push(ending);
        environment.absolute(name)
    };
    let (private, public) = (path(".key"), path(".pub"));
    let password = match environment.variables.get(PASSWORD) {
        Some(password) => password.clone(),
        None => new_password(&environment)?,
    };
    let pair = signature::generate(password.as_bytes())
        .map_err(|source| SignError::Key { key: private.display().to_string(), source })?;
    write_new(&private, &pair.private, 0o600)?;
    if let Err(error) = write_new(&public, &pair.public, 0o644) {
        // One without the other is of no use, and would stand in the way of the next try.
        let _ = std::fs::remove_file(&private);
        return Err(error);
    }
    Ok(format!("private key: {}\npublic key: {}\n", private.display(), public.display()))
}

/// A password that is typed blindly is typed twice.
fn new_password(environment: &Environment) -> Result<String, UsageError> {
    let first = ask_for("Password for the private key: ", false, environment)?;
    match ask_for("Again: ", false, environment)? == first {
        true => Ok(first),
        false => Err(UsageError::malformed("the password", "", "it was not the same the second time")),
    }
}

/// Never replaces a key, which may be the only one.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), SignError> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| SignError::Write { path: path.to_owned(), source })
}

fn private_key(named: &str, environment: &Environment) -> Result<PrivateKey, SignError> {
    let bytes = key_bytes(named, environment)?;
    let password = match (PrivateKey::is_encrypted(&bytes), environment.variables.get(PASSWORD)) {
        (false, _) => None,
        (true, Some(password)) => Some(password.clone()),
        // Without a terminal the key itself says that it wants one.
        (true, None) if !std::io::stdin().is_terminal() => None,
        (true, None) => Some(ask_for("Password for the private key: ", false, environment)?),
    };
    let key = PrivateKey::read(&bytes, password.as_deref().map(str::as_bytes));
    key.map_err(|source| SignError::Key { key: named.to_owned(), source })
}

/// A file, or `env://VARIABLE`.
fn key_bytes(named: &str, environment: &Environment) -> Result<Vec<u8>, UsageError> {
    if let Some(name) = named.strip_prefix("env://") {
        let missing = || UsageError::malformed("--key", named, "this variable is not set");
        return environment.variables.get(name).map(|value| value.clone().into_bytes()).ok_or_else(missing);
    }
    if let Some((scheme, _)) = named.split_once("://") {
        let expected = format!("keys of `{scheme}` cannot be used: expected a file or env://VARIABLE");
        return Err(UsageError::malformed("--key", named, expected));
    }
    let path = environment.absolute(named);
    std::fs::read(&path).map_err(|source| UsageError::Unreadable { flag: "--key", path, source })
}

fn annotations(typed: &[String]) -> Result<BTreeMap<String, String>, UsageError> {
    let one = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(UsageError::malformed("--annotations", text, "expected NAME=VALUE")),
    };
    typed.iter().map(one).collect()
}
