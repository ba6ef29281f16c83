//! What is said of the images of a build beside the images: see [`crate::attest`].

use std::sync::Arc;

use super::assemble::Built;
use super::failure::environment;
use super::outputs;
use super::provenance::Told;
use super::remote::blocking;
use super::store::Open;
use super::vertices::Vertices;
use super::{BuildFailure, Output};
use crate::attest::{self, Predicate, sbom};
use crate::fsutil::Timestamp;
use crate::oci::parse_rfc3339;
use crate::ops::Worker;
use crate::progress::Event;

/// What there is to say, for each platform in turn. Nothing when no output is an image: it would have no subject.
pub(super) async fn said(
    open: &Open,
    worker: &Arc<Worker>,
    vertices: &Vertices,
    built: &[Built],
    told: &Told<'_>,
) -> Result<Vec<Vec<Predicate>>, BuildFailure> {
    let request = told.request;
    let mut all = vec![Vec::new(); built.len()];
    if !request.outputs.is_empty() && !request.outputs.iter().any(is_image) {
        if request.attestations != super::Attestations::default() {
            worker.sink.event(Event::Notice(NO_IMAGE.to_owned()));
        }
        return Ok(all);
    }
    if request.attestations.sbom {
        for (said, built) in all.iter_mut().zip(built) {
            said.push(bill_of_materials(open, worker, vertices, built).await?);
        }
    }
    for (said, built) in all.iter_mut().zip(built) {
        said.extend(told.provenance(&built.steps));
    }
    Ok(all)
}

/// Nothing is attached to files.
const NO_IMAGE: &str = "--sbom and --provenance say something of an image, and no output of this build is one that they could be attached to";

fn is_image(output: &Output) -> bool {
    matches!(output, Output::Image { .. } | Output::Oci { .. })
}

/// Looks for packages in the files of an image.
async fn bill_of_materials(
    open: &Open,
    worker: &Arc<Worker>,
    vertices: &Vertices,
    built: &Built,
) -> Result<Predicate, BuildFailure> {
    let image = &built.image;
    let about = attest::About {
        id: image.config.digest,
        created: image.created.as_deref().and_then(parse_rfc3339).unwrap_or(Timestamp::from_seconds(0)),
    };
    let scan = async |id| {
        let view = outputs::view(open, worker, &built.layers, id).await?;
        blocking(move || {
            let found = sbom::scan(&view).map_err(|error| environment("cannot read the files of the image", &error))?;
            Ok((attest::document(&about, &found), found.remarks))
        })
        .await
    };
    let (document, remarks) = vertices.show(format!("[{}] generating sbom", image.platform), scan).await?;
    for remark in remarks {
        worker.sink.event(Event::Notice(format!("sbom: {remark}")));
    }
    Ok(document)
}
