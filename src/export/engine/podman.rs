//! Podman: its own program pulls from a layout that is the store, so layers that it has are not copied.

use std::ffi::OsString;
use std::path::Path;

use tokio::process::Command;

use super::program::run;
use super::{EngineError, Taken};
use crate::content::Store;
use crate::export::image::ImageSet;
use crate::oci::Reference;

const PODMAN: &str = "podman";

pub(super) async fn answers() -> Result<(), EngineError> {
    run(PODMAN, podman(Path::new("/")).arg("--version")).await.map(drop)
}

pub(super) async fn load(set: &ImageSet, names: &[Reference], store: &Store) -> Result<Taken, EngineError> {
    let layout = store.single(set.root())?;
    let (parent, name) =
        (layout.path().parent().unwrap_or(Path::new("/")), layout.path().file_name().unwrap_or_default());
    // A path of the store could be no name, and podman names images by the path.
    let mut source = OsString::from("oci:");
    source.push(name);
    let id = run(PODMAN, podman(parent).args(["pull", "-q"]).arg(source)).await?;
    if !names.is_empty() {
        run(PODMAN, podman(parent).arg("tag").arg(&id).args(names.iter().map(Reference::to_string))).await?;
    }
    // Which name it gave by itself depends on its version; there may be none.
    let own = format!("localhost/{}:latest", name.to_string_lossy());
    let _ = run(PODMAN, podman(parent).arg("untag").arg(&id).arg(own)).await;
    Ok(Taken { known: 0 })
}

/// An ordinary user is root of a user namespace by now, whose ids are those that podman would have made for itself. This is
/// how its tools are told so (containers/storage, `pkg/unshare`).
fn podman(directory: &Path) -> Command {
    let mut command = Command::new(PODMAN);
    // Accounts are of no use here, and a file of them that is not there is an error to podman.
    command.current_dir(directory).env_remove("DOCKER_CONFIG").env_remove("REGISTRY_AUTH_FILE");
    let outside = |map: &str| {
        let map = std::fs::read_to_string(map).ok()?;
        let mut first = map.split_whitespace();
        let [inside, outside] = [first.next()?, first.next()?];
        (inside == "0" && outside != "0").then(|| outside.to_owned())
    };
    if let (Some(uid), Some(gid)) = (outside("/proc/self/uid_map"), outside("/proc/self/gid_map")) {
        command.env("_CONTAINERS_USERNS_CONFIGURED", "done");
        command.env("_CONTAINERS_ROOTLESS_UID", uid).env("_CONTAINERS_ROOTLESS_GID", gid);
    }
    command
}
