//! The distribution client against a real registry, and against servers that misbehave.

// Tests are the edge.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod auth;
mod config;
mod fault;
mod hostile;
mod login;
mod real;
mod referrers;
mod server;
mod tls;
mod upload;

use std::time::Duration;

use kiln::content::Store;
use kiln::oci::{Platform, Reference};
use kiln::registry::{Client, Retry, Settings};

/// Settings whose waits are short.
fn settings() -> Settings {
    let retry =
        Retry { attempts: 3, base: Duration::from_millis(1), longest: Duration::from_millis(20), ..Retry::default() };
    Settings { retry, ..Settings::default() }
}

fn client() -> Client {
    Client::new(settings())
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

fn store() -> (tempfile::TempDir, Store) {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path()).unwrap();
    (temp, store)
}

/// No blob, and no unfinished one.
#[track_caller]
fn assert_empty(store: &(tempfile::TempDir, Store)) {
    assert_eq!(store.1.blobs().unwrap(), []);
    assert_eq!(
        std::fs::read_dir(store.0.path().join("tmp"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name() != "index.json")
            .count(),
        0
    );
}
