//! `type=docker` without a destination, and `--load`: the image is kept in the store, and given to the engine of this machine.

use super::failure::failure;
use super::outputs::Delivery;
use super::{BuildFailure, EngineChoice, FailureKind, ImageAttributes, LoadInto};
use crate::export::{Engine, EngineError, EngineKind, ImageSet};
use crate::oci::Reference;
use crate::progress::Event;

impl Delivery<'_> {
    /// Gives `set`, which the store has, to the engine. Where none answers and none was asked for, that is said, and no more.
    pub(super) async fn load(
        &self,
        into: &LoadInto,
        attributes: &ImageAttributes,
        set: &ImageSet,
        names: &[Reference],
    ) -> Result<(), BuildFailure> {
        let asked = match into.engine {
            EngineChoice::Store => return Ok(()),
            EngineChoice::Any => None,
            EngineChoice::Docker => Some(EngineKind::Docker),
            EngineChoice::Podman => Some(EngineKind::Podman),
            EngineChoice::Containerd => Some(EngineKind::Containerd),
        };
        let found = Engine::find(asked, &into.docker_host).await.map_err(|error| engine_failure(&error))?;
        let Some(engine) = found else {
            let text = "the image is in kiln's store only: neither docker's daemon nor podman nor containerd answers \
                        (`--load=kiln` asks for no more; `--load=docker` says why it does not answer)";
            self.worker.sink.event(Event::Notice(text.to_owned()));
            return Ok(());
        };
        let set = match attributes.attestations {
            _ if set.attestations.is_empty() => set.clone(),
            // No engine has a place for what is said of an image.
            _ => self.silent().as_built(attributes),
        };
        let load = async |id| {
            let report = self.report(id);
            tokio::select! {
                taken = engine.load(&set, names, &self.open.content, &report) => {
                    taken.map_err(|error| engine_failure(&error))
                }
                () = self.worker.canceled() => Err(BuildFailure::new(FailureKind::Canceled, "the build was canceled")),
            }
        };
        let taken = self.vertices.show(format!("importing to {}", engine.kind()), load).await?;
        if taken.known > 0 {
            let text = format!("{} has {} of the layers already: they were not sent", engine.kind(), taken.known);
            self.worker.sink.event(Event::Notice(text));
        }
        Ok(())
    }
}

fn engine_failure(error: &EngineError) -> BuildFailure {
    let mut failure = failure(FailureKind::Environment, error);
    let help = match error {
        EngineError::Unreachable { .. } => {
            "start it, or say where it is (`DOCKER_HOST`, docker's contexts); who may use it is in the group `docker`"
        }
        EngineError::Address { .. } => "write an archive and hand it over: `-o type=docker,dest=- | docker load`",
        EngineError::Platforms { .. } => "build for this machine, or write an archive: `-o type=oci,dest=FILE`",
        _ => "`--load=kiln` keeps the image in kiln's store only, where it is now",
    };
    failure.help.push(help.to_owned());
    failure
}
