//! `type=docker` without a destination, and `--load`: the image goes where the engine of this machine looks for images.
//!
//! | engine       | how                                                    | what is not sent again                              |
//! |--------------|--------------------------------------------------------|-----------------------------------------------------|
//! | `docker`     | its daemon (`POST /images/load`)                       | layers that one of its images begins with           |
//! | `podman`     | `podman pull oci:` of the store itself                 | layers that it has                                  |
//! | `containerd` | `ctr images import -`                                  | nothing is left out                                 |
//!
//! Layers go as they are, plain: all is on one machine. Docker's own store asks an archive for a layer only when it does not
//! know the stack up to it (moby, `tarexport/load.go`), so what it knows is left out; should it have removed one meanwhile, the
//! archive is sent again, whole. With containerd's store behind it (`driver-type` in `GET /info`) the archive is always whole;
//! that one has not been tried here, nor have daemons at `tcp://` addresses. Daemons behind TLS or ssh are refused by name.

mod containerd;
mod docker;
mod podman;
mod program;

use crate::content::{ContentError, Store};
use crate::oci::Reference;

use super::image::ImageSet;
use super::parts::ArchiveError;
use super::report::Report;
use docker::Daemon;

/// A program that runs images on this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EngineKind {
    /// Docker, by its daemon.
    Docker,
    /// Podman, by its program.
    Podman,
    /// containerd, by `ctr`.
    Containerd,
}

impl std::fmt::Display for EngineKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
        })
    }
}

/// An engine that answers.
#[derive(Debug)]
pub struct Engine {
    kind: EngineKind,
    daemon: Option<Daemon>,
}

/// Why an image could not be given to an engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The daemon's address is of a kind that is not spoken.
    #[error("docker's daemon is at `{address}`, and only unix:// and tcp:// without TLS are spoken")]
    Address {
        /// As `DOCKER_HOST` or the context has it.
        address: String,
    },
    /// Nobody answers there.
    #[error("docker's daemon does not answer at `{address}`")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The daemon said no.
    #[error("docker's daemon did not take the image: {said}")]
    Refused {
        /// What it said.
        said: String,
    },
    /// The connection to the daemon broke.
    #[error("cannot talk to docker's daemon")]
    Daemon(#[source] reqwest::Error),
    /// The program of an engine is not there.
    #[error("`{program}` cannot be started")]
    NoProgram {
        /// Its name.
        program: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The program failed.
    #[error("`{command}` failed: {said}")]
    Failed {
        /// The program and what it was to do.
        command: String,
        /// What it said.
        said: String,
    },
    /// Docker's own store holds images of one platform.
    #[error("docker's store holds images of one platform, and none of {count} is this machine's")]
    Platforms {
        /// How many platforms there are.
        count: usize,
    },
    /// The image could not be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The store could not lend it.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// What an engine took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// Layers that were not sent because it has them, where that is known.
    pub known: usize,
}

impl Engine {
    /// Returns the engine that is asked for, or else the first that answers; `None` when there is none. `docker_host` is the
    /// address of docker's daemon, as `DOCKER_HOST` has it.
    pub async fn find(asked: Option<EngineKind>, docker_host: &str) -> Result<Option<Self>, EngineError> {
        let docker = async || {
            let daemon = Daemon::at(docker_host).await?;
            Ok(Self { kind: EngineKind::Docker, daemon: Some(daemon) })
        };
        let other = |kind| Self { kind, daemon: None };
        match asked {
            Some(EngineKind::Docker) => docker().await.map(Some),
            Some(EngineKind::Podman) => podman::answers().await.map(|()| Some(other(EngineKind::Podman))),
            Some(EngineKind::Containerd) => containerd::answers().await.map(|()| Some(other(EngineKind::Containerd))),
            None => {
                if let Ok(found) = docker().await {
                    return Ok(Some(found));
                }
                if podman::answers().await.is_ok() {
                    return Ok(Some(other(EngineKind::Podman)));
                }
                Ok(containerd::answers().await.is_ok().then(|| other(EngineKind::Containerd)))
            }
        }
    }

    /// Which it is.
    pub fn kind(&self) -> EngineKind {
        self.kind
    }

    /// Gives it `set`, all of which is in `store`, under those of `names` that have a tag. May be dropped at any point.
    pub async fn load(
        &self,
        set: &ImageSet,
        names: &[Reference],
        store: &Store,
        report: &Report,
    ) -> Result<Taken, EngineError> {
        let names: Vec<Reference> = names.iter().filter(|name| name.tag.is_some()).cloned().collect();
        match (self.kind, &self.daemon) {
            (EngineKind::Docker, Some(daemon)) => daemon.load(set, &names, store, report).await,
            (EngineKind::Containerd, _) => containerd::load(set, &names, store, report).await,
            _ => podman::load(set, &names, store).await,
        }
    }
}
