//! containerd: `ctr`, which is packaged with it, takes an OCI archive. `CONTAINERD_ADDRESS` and `CONTAINERD_NAMESPACE` are its
//! own to read.

use std::io::Write;
use std::process::Stdio;

use tokio::process::Command;

use super::program::{failed, run};
use super::{EngineError, Taken};
use crate::content::Store;
use crate::export::image::ImageSet;
use crate::export::oci_layout::write_oci_tar;
use crate::export::parts::{ArchiveError, BUFFER};
use crate::export::report::Report;
use crate::oci::Reference;

const CTR: &str = "ctr";

pub(super) async fn answers() -> Result<(), EngineError> {
    run(CTR, Command::new(CTR).args(["--connect-timeout", "1s", "version"])).await.map(drop)
}

pub(super) async fn load(
    set: &ImageSet,
    names: &[Reference],
    store: &Store,
    report: &Report,
) -> Result<Taken, EngineError> {
    let mut command = Command::new(CTR);
    command.args(["images", "import"]);
    if set.images.len() > 1 {
        command.arg("--all-platforms");
    }
    if names.is_empty() {
        command.arg("--digests");
    }
    command.arg("-").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let no_program = |source| EngineError::NoProgram { program: CTR, source };
    let mut child = command.spawn().map_err(no_program)?;
    let pipe = child.stdin.take().and_then(|pipe| pipe.into_owned_fd().ok());
    let (set, names, store, report) = (set.clone(), names.to_vec(), store.clone(), report.clone());
    let write = tokio::task::spawn_blocking(move || {
        let Some(pipe) = pipe else { return Ok(()) };
        let out = std::io::BufWriter::with_capacity(BUFFER, std::fs::File::from(pipe));
        let mut out = write_oci_tar(&set, &names, &store, out, &report)?;
        out.flush().map_err(|source| ArchiveError::Tar { part: "end".to_owned(), source })
    });
    let (output, written) = tokio::join!(child.wait_with_output(), write);
    let output = output.map_err(no_program)?;
    // One that ends early has its reason on standard error, and the pipe is broken.
    if !output.status.success() {
        return Err(failed(CTR, &command, &output.stderr, output.status));
    }
    written.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
    Ok(Taken { known: 0 })
}
