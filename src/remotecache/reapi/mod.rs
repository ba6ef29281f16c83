//! A cache in a service that speaks the Remote Execution API, version 2: its action cache and its store of blobs. Nothing is executed there.
//!
//! ```text
//! Command { arguments: ["kiln", "step", <key>], output_paths: ["layer", "record.json"] }       the action of a step
//! Command { arguments: ["kiln", "trail", <hash>], output_paths: ["keys"] }                     that of a list of keys
//! Command { arguments: ["kiln", "mount", <key>], output_paths: ["record.json"] }               that of a cache mount
//! ActionResult { output_files: [layer, record.json] }      both are blobs; the record is in the result too, where it is short
//! ```
//!
//! Keys are kiln's own; digests of actions are derived from them, and mean nothing elsewhere. Layer and record are outputs, so that a
//! service which looks after its results keeps both or says that there is no result. One that does not loses layers, which are made again.
//! What was there last counts: results cannot be written on a condition. A blob that is there is not sent again; one that the service damaged
//! is for the service to find.
//!
//! This was run against `buildbox-casd`, and against no other service: what the others do is as the API has it.

mod messages;

use prost::Message;
use tokio::sync::OnceCell;

use self::messages::{
    Action, ActionResult, BATCH_UPDATE_BLOBS, BatchUpdateBlobsRequest, BatchUpdateBlobsResponse, BlobUpdate,
    CacheCapabilities, Command, Digest, FIND_MISSING_BLOBS, FindMissingBlobsRequest, FindMissingBlobsResponse,
    GET_ACTION_RESULT, GET_CAPABILITIES, GetActionResultRequest, GetCapabilitiesRequest, OutputFile, SHA256,
    ServerCapabilities, UPDATE_ACTION_RESULT, UpdateActionResultRequest,
};
use super::mount::MOUNT_LIMIT;
use super::record::{RECORD_LIMIT, RecordError, SharedRecord};
use super::store::{Blob, Moved, StoreError, Use};
use super::trail;
use crate::cache::{Key, ReapiPlace};
use crate::content::Store as Content;
use crate::digest::{Digest as Hash, to_hex};
use crate::oci::{Descriptor, digest_of};
use crate::registry::{Access, BlobSource, Cause, Client, Method, Resource, Service};

const LAYER: &str = "layer";
const RECORD: &str = "record.json";
const KEYS: &str = "keys";

/// Longer documents are blobs alone, in bytes: results are read often, and bounded.
const EMBEDDED_LIMIT: usize = 64 << 10;
/// What goes into one batch at most, in bytes: messages of 4 MiB are what services take unless they were told otherwise.
const BATCH_LIMIT: u64 = 3 << 20;

pub(super) struct ReapiStore {
    place: ReapiPlace,
    service: Service,
    client: Client,
    done: Use,
    capabilities: OnceCell<CacheCapabilities>,
}

/// Something that goes into the store of blobs.
struct Upload {
    digest: Digest,
    size: u64,
    source: BlobSource,
}

impl Upload {
    fn of(bytes: Vec<u8>) -> Self {
        Self { digest: Digest::of(&bytes), size: bytes.len() as u64, source: BlobSource::Bytes(bytes) }
    }

    fn of_blob(blob: &Blob<'_>) -> Result<Self, StoreError> {
        let digest = digest_of(blob.descriptor).map_err(|_| RecordError::Senseless("layer"))?;
        let (size, source) = (blob.descriptor.size(), blob.source.clone());
        Ok(Self { digest: Digest::new(&digest, size), size, source })
    }
}

/// What a result is kept under.
struct Question {
    action: Upload,
    command: Upload,
    /// The directory in which nothing is executed.
    root: Upload,
}

impl Question {
    fn new(kind: &str, hex: &str, outputs: &[&str]) -> Self {
        let owned = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
        let command = Command { arguments: owned(&["kiln", kind, hex]), output_paths: owned(outputs) };
        let (command, root) = (Upload::of(command.encode_to_vec()), Upload::of(Vec::new()));
        let (command_digest, input_root_digest) = (Some(command.digest.clone()), Some(root.digest.clone()));
        let action = Action { command_digest, input_root_digest };
        Self { action: Upload::of(action.encode_to_vec()), command, root }
    }

    fn step(key: &Key) -> Self {
        Self::new("step", &key.hex(), &[LAYER, RECORD])
    }

    fn trail(name: &str) -> Self {
        Self::new("trail", name, &[KEYS])
    }

    /// Its chunks are not outputs: there may be more than fit into a result.
    fn mount(key: &Key) -> Self {
        Self::new("mount", &key.hex(), &[RECORD])
    }
}

impl ReapiStore {
    pub(super) fn new(place: &ReapiPlace, access: Access, done: Use, client: &Client) -> Self {
        let service = Service::new(place.address(), place.is_protected(), access);
        let (place, client, capabilities) = (place.clone(), client.clone(), OnceCell::new());
        Self { place, service, client, done, capabilities }
    }

    pub(super) async fn record(&self, key: &Key) -> Result<Option<SharedRecord>, StoreError> {
        let bytes = self.document(&Question::step(key), RECORD, RECORD_LIMIT).await?;
        Ok(bytes.map(|bytes| SharedRecord::parse(&bytes)).transpose()?)
    }

    /// Whether there is a record, and all that it names. To the service that is a sign that somebody uses it.
    pub(super) async fn has(&self, key: &Key) -> Result<bool, StoreError> {
        let Some(result) = self.result(&Question::step(key), RECORD).await? else { return Ok(false) };
        let named = result.output_files.into_iter().filter_map(|file| file.digest).collect();
        Ok(self.missing(named).await?.is_empty())
    }

    pub(super) async fn publish(
        &self,
        key: &Key,
        record: &SharedRecord,
        layer: &Blob<'_>,
        moved: Moved<'_>,
    ) -> Result<(), StoreError> {
        let layer = Upload::of_blob(layer)?;
        let bytes = record.to_bytes();
        let outputs = vec![named(LAYER, layer.digest.clone()), embedded(RECORD, &bytes)];
        self.put(Question::step(key), outputs, vec![Upload::of(bytes), layer], moved).await
    }

    pub(super) async fn fetch(&self, layer: &Descriptor, to: &Content, moved: Moved<'_>) -> Result<(), StoreError> {
        let hash = digest_of(layer).map_err(|_| RecordError::Senseless("layer"))?;
        let resource = self.resource("blobs", &Digest::new(&hash, layer.size()));
        Ok(self.client.fetch_resource(&resource, (hash, layer.size()), to, moved).await?)
    }

    pub(super) async fn trail(&self, name: &str) -> Result<Vec<Key>, StoreError> {
        let bytes = self.document(&Question::trail(name), KEYS, trail::LIMIT).await?;
        Ok(bytes.map(|bytes| trail::parse(&bytes)).unwrap_or_default())
    }

    pub(super) async fn put_trail(&self, name: &str, keys: &[Key]) -> Result<(), StoreError> {
        let bytes = trail::to_bytes(keys);
        let outputs = vec![embedded(KEYS, &bytes)];
        self.put(Question::trail(name), outputs, vec![Upload::of(bytes)], &|_| {}).await
    }

    pub(super) async fn mount(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        self.document(&Question::mount(key), RECORD, MOUNT_LIMIT).await
    }

    pub(super) async fn put_blob(&self, blob: &Blob<'_>, moved: Moved<'_>) -> Result<(), StoreError> {
        let (capabilities, blob) = (self.capabilities().await?, Upload::of_blob(blob)?);
        match self.missing(vec![blob.digest.clone()]).await?.is_empty() {
            true => Ok(()),
            false => self.upload(vec![blob], capabilities, moved).await,
        }
    }

    pub(super) async fn put_mount(&self, key: &Key, record: Vec<u8>) -> Result<(), StoreError> {
        let outputs = vec![embedded(RECORD, &record)];
        self.put(Question::mount(key), outputs, vec![Upload::of(record)], &|_| {}).await
    }

    /// Asks for what is kept under an action, with one of the outputs in it.
    async fn result(&self, question: &Question, output: &str) -> Result<Option<ActionResult>, StoreError> {
        self.capabilities().await?;
        let request = GetActionResultRequest {
            instance_name: self.place.instance.clone(),
            action_digest: Some(question.action.digest.clone()),
            inline_output_files: vec![output.to_owned()],
        };
        found(self.call(GET_ACTION_RESULT, &request).await)
    }

    /// Returns the bytes of an output; where the blob is gone it is as if there was no result.
    async fn document(&self, question: &Question, path: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(result) = self.result(question, path).await? else { return Ok(None) };
        let file = result.output_files.into_iter().find(|file| file.path == path);
        let Some(OutputFile { digest: Some(digest), contents, .. }) = file else {
            return Err(RecordError::Malformed(format!("the result has no `{path}`")).into());
        };
        let size = u64::try_from(digest.size_bytes).unwrap_or(u64::MAX);
        if size > limit {
            return Err(RecordError::Malformed(format!("it is longer than {limit} bytes")).into());
        }
        if Digest::of(&contents) == digest {
            return Ok(Some(contents));
        }
        let hash: Result<Hash, _> = format!("sha256:{}", digest.hash).parse();
        let hash = hash.map_err(|error| RecordError::Malformed(error.to_string()))?;
        found(self.client.read_resource(&self.resource("blobs", &digest), (hash, size)).await)
    }

    async fn missing(&self, blob_digests: Vec<Digest>) -> Result<Vec<Digest>, StoreError> {
        let request = FindMissingBlobsRequest { instance_name: self.place.instance.clone(), blob_digests };
        let response: FindMissingBlobsResponse = self.call(FIND_MISSING_BLOBS, &request).await?;
        Ok(response.missing_blob_digests)
    }

    /// Writes the blobs that are missing, and then the result.
    async fn put(
        &self,
        question: Question,
        output_files: Vec<OutputFile>,
        mut blobs: Vec<Upload>,
        moved: Moved<'_>,
    ) -> Result<(), StoreError> {
        let capabilities = self.capabilities().await?;
        let action_digest = Some(question.action.digest.clone());
        blobs.extend([question.action, question.command, question.root]);
        let missing = self.missing(blobs.iter().map(|blob| blob.digest.clone()).collect()).await?;
        blobs.retain(|blob| missing.contains(&blob.digest));
        self.upload(blobs, capabilities, moved).await?;
        let (instance_name, action_result) = (self.place.instance.clone(), Some(ActionResult { output_files }));
        let request = UpdateActionResultRequest { instance_name, action_digest, action_result };
        match self.call::<ActionResult>(UPDATE_ACTION_RESULT, &request).await {
            // What was there first is as good.
            Err(StoreError::Call(error)) if error.cause.is_of_what_was_there() => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Writes blobs: as many as one call takes with it, and the others piece by piece.
    async fn upload(
        &self,
        blobs: Vec<Upload>,
        capabilities: &CacheCapabilities,
        moved: Moved<'_>,
    ) -> Result<(), StoreError> {
        let (mut room, largest) = (capabilities.batch_limit(), capabilities.blob_limit());
        let mut requests = Vec::new();
        for Upload { digest, size, source } in blobs {
            if size > largest {
                return Err(StoreError::TooLong { size, limit: largest });
            }
            if size > room {
                let resource = self.resource(&format!("uploads/{}/blobs", unique()), &digest);
                self.client.write_resource(&resource, &source, size, moved).await?;
            } else {
                room -= size;
                requests.push(BlobUpdate { digest: Some(digest), data: read(source).await? });
            }
        }
        if requests.is_empty() { Ok(()) } else { self.batch(requests).await }
    }

    async fn batch(&self, requests: Vec<BlobUpdate>) -> Result<(), StoreError> {
        let request = BatchUpdateBlobsRequest { instance_name: self.place.instance.clone(), requests };
        let response: BatchUpdateBlobsResponse = self.call(BATCH_UPDATE_BLOBS, &request).await?;
        for status in response.responses.into_iter().filter_map(|response| response.status) {
            if let Ok(code @ 1..) = usize::try_from(status.code) {
                let cause = Cause::of_call(code, &status.message, true);
                return Err(self.service.failed(BATCH_UPDATE_BLOBS, cause).into());
            }
        }
        Ok(())
    }

    /// What the service can do. One that cannot do what this is for is an error.
    async fn capabilities(&self) -> Result<&CacheCapabilities, StoreError> {
        let asked = self.capabilities.get_or_try_init(|| async {
            let request = GetCapabilitiesRequest { instance_name: self.place.instance.clone() };
            let all: ServerCapabilities =
                self.call(GET_CAPABILITIES, &request).await.map_err(StoreError::no_service)?;
            let cache = all.cache_capabilities.unwrap_or_default();
            let refuses = |what| Err(StoreError::Unfit { service: self.place.endpoint.clone(), what });
            match self.done {
                _ if !cache.has_sha256() => refuses("it does not name blobs by their SHA-256"),
                Use::Writing if !cache.is_written() => refuses("it takes no results from clients"),
                _ => Ok(cache),
            }
        });
        asked.await
    }

    async fn call<T: Message + Default>(&self, method: Method, question: &impl Message) -> Result<T, StoreError> {
        Ok(self.client.call(&self.service, method, question).await?)
    }

    /// `[INSTANCE/]blobs/HASH/SIZE`
    fn resource(&self, kind: &str, digest: &Digest) -> Resource<'_> {
        let instance = Some(self.place.instance.as_str()).filter(|instance| !instance.is_empty());
        let parts = [instance, Some(kind)].into_iter().flatten().collect::<Vec<_>>().join("/");
        Resource { service: &self.service, name: format!("{parts}/{}/{}", digest.hash, digest.size_bytes) }
    }
}

/// What is not there is nothing to complain of.
fn found<T>(answer: Result<T, impl Into<StoreError>>) -> Result<Option<T>, StoreError> {
    match answer.map_err(Into::into) {
        Ok(found) => Ok(Some(found)),
        Err(StoreError::Call(error)) if matches!(*error.cause, Cause::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn named(path: &str, digest: Digest) -> OutputFile {
    OutputFile { path: path.to_owned(), digest: Some(digest), contents: Vec::new() }
}

/// The same, with its bytes if they are few.
fn embedded(path: &str, bytes: &[u8]) -> OutputFile {
    let contents = if bytes.len() <= EMBEDDED_LIMIT { bytes.to_vec() } else { Vec::new() };
    OutputFile { contents, ..named(path, Digest::of(bytes)) }
}

/// Reads what is small.
async fn read(source: BlobSource) -> Result<Vec<u8>, StoreError> {
    match source {
        BlobSource::Bytes(bytes) => Ok(bytes),
        BlobSource::File(path) => {
            let read = tokio::fs::read(&path).await;
            read.map_err(|source| StoreError::Directory { doing: "read", path, source })
        }
    }
}

/// A name that no other upload has (RFC 9562, version 4).
fn unique() -> String {
    let mut bytes = [0u8; 16];
    // Without randomness two uploads may meet, and one of them fails.
    let _ = getrandom::fill(&mut bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = to_hex(&bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

impl CacheCapabilities {
    /// Services of the first versions do not say.
    fn has_sha256(&self) -> bool {
        self.digest_functions.is_empty() || self.digest_functions.contains(&SHA256)
    }

    fn is_written(&self) -> bool {
        self.action_cache_update_capabilities.as_ref().is_some_and(|update| update.update_enabled)
    }

    fn batch_limit(&self) -> u64 {
        limit(self.max_batch_total_size_bytes).min(BATCH_LIMIT)
    }

    fn blob_limit(&self) -> u64 {
        limit(self.max_cas_blob_size_bytes)
    }
}

/// 0 is none.
fn limit(said: i64) -> u64 {
    u64::try_from(said).ok().filter(|limit| *limit > 0).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Settings;

    #[test]
    fn resources_stand_below_the_instance() {
        let digest = Digest::of(b"layer");
        let name = |place: &str| {
            let place: ReapiPlace = place.parse().unwrap();
            let store = ReapiStore::new(&place, Access::default(), Use::Reading, &Client::new(Settings::default()));
            store.resource("blobs", &digest).name
        };
        let blob = format!("blobs/{}/5", Hash::of(b"layer").hex());
        assert_eq!(name("endpoint=grpc://host.example:1"), blob);
        assert_eq!(name("endpoint=grpc://host.example:1,instance=a/b"), format!("a/b/{blob}"));
    }

    /// Whoever shares a service must derive the same, in every version.
    #[test]
    fn the_action_of_a_step_stays_what_it_is() {
        let key = Key::from_hex(&"a".repeat(64)).unwrap();
        let Question { action, root, .. } = Question::step(&key);
        assert_eq!((root.size, action.size), (0, 138));
        assert_eq!(action.digest.hash, "4139245f1eb17d79ba69b7d92836e86e81c4d9835f16022202908cfca09f3a7c");
        assert_ne!(action.digest, Question::trail(&key.hex()).action.digest);
    }

    #[test]
    fn names_of_uploads_are_of_the_form_that_services_look_for() {
        let name = unique();
        let lengths: Vec<usize> = name.split('-').map(str::len).collect();
        assert_eq!((lengths, name.as_bytes()[14]), (vec![8, 4, 4, 4, 12], b'4'));
        assert_ne!(name, unique());
    }

    #[test]
    fn services_say_what_they_take() {
        let said = CacheCapabilities::default();
        assert_eq!((said.has_sha256(), said.is_written(), said.batch_limit()), (true, false, BATCH_LIMIT));
        let said = CacheCapabilities { digest_functions: vec![2], max_batch_total_size_bytes: 1000, ..said };
        assert_eq!((said.has_sha256(), said.batch_limit(), said.blob_limit()), (false, 1000, u64::MAX));
    }
}
