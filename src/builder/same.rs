//! Which builds are the same one, at another time.

use super::{BuildRequest, ContextSource, DockerfileSource};
use crate::cache::{Key, KeyHasher, KeySink};
use crate::context::without_credentials;

/// Names what a build builds: two with one name are the same, at another time.
pub(super) fn of_same(request: &BuildRequest) -> Key {
    let mut key = KeyHasher::default();
    key.field("op", "last build/1");
    match &request.context {
        ContextSource::Directory(path) => key.field("directory", &path.to_string_lossy()),
        ContextSource::Git(address) | ContextSource::Http(address) => {
            key.field("address", &without_credentials(address));
        }
        ContextSource::Tar(_) | ContextSource::Empty => key.field("input", "standard"),
    }
    match &request.dockerfile {
        DockerfileSource::InContext(path) => key.field("dockerfile", &path.to_string_lossy()),
        DockerfileSource::File(path) => key.field("file", &path.to_string_lossy()),
        DockerfileSource::Http(address) => key.field("address", &without_credentials(address)),
        DockerfileSource::Text { name, .. } => key.field("text", name),
    }
    key.field("target", request.target.as_deref().unwrap_or(""));
    for platform in &request.platforms {
        key.field("platform", &platform.to_string());
    }
    key.finish()
}
