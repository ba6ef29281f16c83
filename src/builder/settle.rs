//! Layers of shared caches that stay as they are, and those that must become what a build without a cache would have made.
//!
//! An output that writes layers as the cache has them takes them so, and may need no byte of them. Any other gets plain tars of the
//! store, as of steps that were done here: whether there was a cache does not show in the result.

use std::sync::Arc;

use super::annotations::Annotations;
use super::assemble::Built;
use super::failure::environment;
use super::vertices::Vertices;
use super::{BuildFailure, BuildRequest, outputs};
use crate::export::MediaTypes;
use crate::oci::Layer;
use crate::ops::Worker;

/// Returns `built` with such layers only as every output of the request takes.
pub(super) async fn settled(
    request: &BuildRequest,
    worker: &Arc<Worker>,
    vertices: &Vertices,
    built: Vec<Built>,
) -> Result<Vec<Built>, BuildFailure> {
    let must_settle = |layer: &Layer| {
        let shared = layer.digest().ok().and_then(|digest| worker.caches.layer(&digest));
        shared.is_some_and(|shared| request.reproducible || !outputs::take_layers_of(request, &shared.codec))
    };
    if !built.iter().any(|built| built.layers.iter().any(must_settle)) {
        return Ok(built);
    }
    let settle = async |id| {
        let mut settled = Vec::with_capacity(built.len());
        for one in built {
            let layers = worker.settle(&one.layers, id).await.map_err(|error| super::failure::op(&error))?;
            let config = serde_json::from_slice(&one.image.config.bytes)
                .map_err(|error| environment("cannot read the config just written", &error))?;
            let image = Annotations(&request.annotations).assemble(config, &layers, MediaTypes::Oci);
            settled.push(Built { image, layers, ..one });
        }
        Ok(settled)
    };
    vertices.show("unpacking layers of the cache".to_owned(), settle).await
}
