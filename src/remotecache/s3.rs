//! A cache in a bucket of an S3-compatible store.
//!
//! ```text
//! PREFIX/steps/[NAME/]<key>        records, an object each; written only where none is, unless one is of no use
//! PREFIX/trails/[NAME/]<hash>      lists of keys
//! PREFIX/mounts/[NAME/]<key>       records of cache mounts, whose chunks are blobs
//! PREFIX/blobs/sha256-<hex>        layers, in parts where they are long (`parts`); caches of any name share them
//! ```
//!
//! `manifests_prefix` stands in place of `steps`, and behind `trails` and `mounts`; `blobs_prefix` in place of `blobs`.
//!
//! A bucket may have a rule that removes what was written long ago. So that this is what nobody uses, a build that writes the cache
//! makes each step that it uses look new again once a day ([`S3Store::renew`]): the store copies a layer, and then the record, onto
//! itself. No record is older than its layer by more than that.
//!
//! Who asks is not for this room to find out ([`Account`]). Requests are signed in their URLs (Signature Version 4, "Authenticating
//! Requests: Using Query Parameters"). Against AWS itself this was never run: signatures are what its own client makes of the same
//! request (`tests/support/bucket.py`), conditions and errors are as its documentation says.

use std::time::Duration;

use rusty_s3::actions::S3Action as _;
use rusty_s3::{Bucket, BucketError, Credentials, UrlStyle};
use tokio::time::timeout;

use super::account::Account;
use super::mount::MOUNT_LIMIT;
use super::parts;
use super::record::{RECORD_LIMIT, RecordError, SharedRecord};
use super::store::{Blob, Moved, StoreError};
use super::trail;
use crate::cache::{Key, S3Place};
use crate::content::Store as Content;
use crate::digest::Digest;
use crate::oci::{Descriptor, digest_of};
use crate::registry::{BlobSource, Client, Put, Signed, Stored};

/// How long a signature holds. A request must have begun by then.
pub(super) const VALID: Duration = Duration::from_secs(3600);
/// What is younger need not be made to look new.
const YOUNG: Duration = Duration::from_secs(24 * 3600);
/// How long a store may take to make a step look new; a large layer takes it a while.
const RENEWAL: Duration = Duration::from_secs(15);
/// The most that an object may have, in bytes.
pub(super) const LAYER_LIMIT: u64 = 5 << 40;

const ONLY_NEW: (&str, &str) = ("if-none-match", "*");

pub(super) struct S3Store {
    place: S3Place,
    bucket: Result<Bucket, BucketError>,
    pub(super) credentials: Option<Credentials>,
    pub(super) client: Client,
}

impl S3Store {
    pub(super) fn new(place: &S3Place, account: Option<&Account>, client: &Client) -> Self {
        let credentials = account.map(|account| {
            let (id, key) = (account.access_key_id.clone(), account.secret_access_key.clone());
            match &account.session_token {
                None => Credentials::new(id, key),
                Some(token) => Credentials::new_with_token(id, key, token.clone()),
            }
        });
        Self { place: place.clone(), bucket: bucket(place), credentials, client: client.clone() }
    }

    pub(super) async fn record(&self, key: &Key) -> Result<Option<SharedRecord>, StoreError> {
        match self.client.read_object(&self.get(&self.step(key))?, RECORD_LIMIT).await? {
            Some(bytes) => Ok(Some(SharedRecord::parse(&bytes)?)),
            None => Ok(None),
        }
    }

    pub(super) async fn has(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.look_at(&self.step(key)).await?.is_some())
    }

    pub(super) async fn publish(
        &self,
        key: &Key,
        record: &SharedRecord,
        layer: &Blob<'_>,
        replaces: bool,
        moved: Moved<'_>,
    ) -> Result<(), StoreError> {
        self.put_layer(layer, replaces, moved).await?;
        let (name, bytes) = (self.step(key), BlobSource::Bytes(record.to_bytes()));
        let condition: &[_] = if replaces { &[] } else { &[ONLY_NEW] };
        match self.client.put_object(&self.put(&name, condition)?, &bytes, &|_| {}).await? {
            // What was there first is as good.
            Put::Written | Put::WasThere => Ok(()),
            Put::NoConditions => self.write(&name, &bytes, &|_| {}).await,
        }
    }

    pub(super) async fn fetch(&self, layer: &Descriptor, to: &Content, moved: Moved<'_>) -> Result<(), StoreError> {
        let digest = digest_of(layer).map_err(|_| RecordError::Senseless("layer"))?;
        let request = self.get(&self.blob(&digest))?;
        Ok(self.client.fetch_object(&request, (digest, layer.size()), to, moved).await?)
    }

    pub(super) async fn trail(&self, name: &str) -> Result<Vec<Key>, StoreError> {
        let bytes = self.client.read_object(&self.get(&self.trail_at(name))?, trail::LIMIT).await?;
        Ok(bytes.map(|bytes| trail::parse(&bytes)).unwrap_or_default())
    }

    pub(super) async fn put_trail(&self, name: &str, keys: &[Key]) -> Result<(), StoreError> {
        self.write(&self.trail_at(name), &BlobSource::Bytes(trail::to_bytes(keys)), &|_| {}).await
    }

    pub(super) async fn mount(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.client.read_object(&self.get(&self.mount_at(key))?, MOUNT_LIMIT).await?)
    }

    pub(super) async fn put_mount(&self, key: &Key, record: Vec<u8>) -> Result<(), StoreError> {
        self.write(&self.mount_at(key), &BlobSource::Bytes(record), &|_| {}).await
    }

    /// Whether the record of a step is there and was written long ago.
    pub(super) async fn is_old(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.look_at(&self.step(key)).await?.is_some_and(|stored| !is_young(&stored)))
    }

    /// Makes a step look new. That it could not be is no failure: then it is made again some day.
    pub(super) async fn renew(&self, key: &Key) {
        let renewed = async {
            let Some(record) = self.record(key).await? else { return Ok(()) };
            let digest = digest_of(record.layer()).map_err(|_| RecordError::Senseless("layer"))?;
            self.copy(&self.blob(&digest)).await?;
            self.copy(&self.step(key)).await
        };
        let _: Result<Result<(), StoreError>, _> = timeout(RENEWAL, renewed).await;
    }

    /// Sends a layer, unless it is there and not so old that a rule may soon remove it. `replaces` one that may not be what it should.
    pub(super) async fn put_layer(&self, layer: &Blob<'_>, replaces: bool, moved: Moved<'_>) -> Result<(), StoreError> {
        let digest = digest_of(layer.descriptor).map_err(|_| RecordError::Senseless("layer"))?;
        let (name, size) = (self.blob(&digest), layer.descriptor.size());
        if size > LAYER_LIMIT {
            return Err(StoreError::TooLarge(size));
        }
        // The store hashes nothing that it holds.
        let stored = if replaces { None } else { self.look_at(&name).await? };
        let is_there = match stored.filter(|stored| stored.length == Some(size)) {
            Some(stored) => is_young(&stored) || self.copy(&name).await.is_ok(),
            None => false,
        };
        match is_there {
            true => Ok(()),
            false if size > parts::PART => self.write_in_parts(&name, &layer.source, size, moved).await,
            false => self.write(&name, &layer.source, moved).await,
        }
    }

    async fn look_at(&self, name: &str) -> Result<Option<Stored>, StoreError> {
        let object = self.object(name);
        let url = self.bucket()?.head_object(self.credentials.as_ref(), &object).sign(VALID);
        Ok(self.client.look_at_object(&Signed { url, headers: Vec::new(), object }).await?)
    }

    async fn write(&self, name: &str, source: &BlobSource, moved: Moved<'_>) -> Result<(), StoreError> {
        self.client.put_object(&self.put(name, &[])?, source, moved).await?;
        Ok(())
    }

    /// Has the store copy an object onto itself.
    async fn copy(&self, name: &str) -> Result<(), StoreError> {
        let from = format!("/{}/{}", self.place.bucket, self.object(name));
        let headers = [("x-amz-copy-source", from.as_str()), ("x-amz-metadata-directive", "REPLACE")];
        self.client.put_object(&self.put(name, &headers)?, &BlobSource::Bytes(Vec::new()), &|_| {}).await?;
        Ok(())
    }

    fn get(&self, name: &str) -> Result<Signed, StoreError> {
        let object = self.object(name);
        let url = self.bucket()?.get_object(self.credentials.as_ref(), &object).sign(VALID);
        Ok(Signed { url, headers: Vec::new(), object })
    }

    fn put(&self, name: &str, headers: &[(&'static str, &str)]) -> Result<Signed, StoreError> {
        let object = self.object(name);
        let mut action = self.bucket()?.put_object(self.credentials.as_ref(), &object);
        for (name, value) in headers {
            action.headers_mut().insert(*name, *value);
        }
        let url = action.sign(VALID);
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Ok(Signed { url, headers, object })
    }

    pub(super) fn bucket(&self) -> Result<&Bucket, StoreError> {
        self.bucket.as_ref().map_err(|error| StoreError::Bucket(*error))
    }

    fn step(&self, key: &Key) -> String {
        let manifests = if self.place.manifests.is_empty() { "steps" } else { &self.place.manifests };
        joined(&[manifests, &self.place.name, &key.hex()])
    }

    /// Where a list of keys is, which caches of other names do not share.
    fn trail_at(&self, name: &str) -> String {
        joined(&["trails", &self.place.manifests, &self.place.name, name])
    }

    fn mount_at(&self, key: &Key) -> String {
        joined(&["mounts", &self.place.manifests, &self.place.name, &key.hex()])
    }

    fn blob(&self, digest: &Digest) -> String {
        let blobs = if self.place.blobs.is_empty() { "blobs" } else { &self.place.blobs };
        format!("{blobs}/sha256-{}", digest.hex())
    }

    pub(super) fn object(&self, name: &str) -> String {
        joined(&[&self.place.prefix, name])
    }
}

fn joined(parts: &[&str]) -> String {
    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/")
}

/// Without an answer to that, nothing is done about it.
fn is_young(stored: &Stored) -> bool {
    stored.age.is_none_or(|age| age < YOUNG)
}

fn bucket(place: &S3Place) -> Result<Bucket, BucketError> {
    let domain = if place.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let endpoint = place.endpoint.clone().unwrap_or_else(|| format!("https://s3.{}.{domain}", place.region));
    let style = if place.path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
    Bucket::new(endpoint.parse()?, style, place.bucket.clone(), place.region.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Settings;

    fn store(place: &str) -> S3Store {
        let (access_key_id, secret_access_key) = ("id".to_owned(), "hunter2".to_owned());
        let account = Account { access_key_id, secret_access_key, session_token: None };
        S3Store::new(&place.parse().unwrap(), Some(&account), &Client::new(Settings::default()))
    }

    #[test]
    fn names_stand_below_the_prefix() {
        let key = Key::from_hex(&"a".repeat(64)).unwrap();
        let path = |place: &str| {
            let store = store(place);
            let url = store.get(&store.step(&key)).unwrap().url;
            assert!(!url.as_str().contains("hunter2"));
            format!("{}{}", url.host_str().unwrap(), url.path().replace(&key.hex(), "KEY"))
        };
        assert_eq!(path("bucket=b,region=eu-west-1"), "b.s3.eu-west-1.amazonaws.com/steps/KEY");
        let place = "bucket=b,region=r,prefix=p/q,name=main,endpoint_url=http://h.example:1,use_path_style=true";
        assert_eq!(path(place), "h.example/b/p/q/steps/main/KEY");
        let store = store("bucket=b,region=r,prefix=p,blobs_prefix=q/,manifests_prefix=m,name=n");
        assert_eq!(store.object(&store.step(&key)), format!("p/m/n/{}", key.hex()));
        assert_eq!(store.object(&store.trail_at("t")), "p/trails/m/n/t");
        assert_eq!(store.object(&store.blob(&Digest::of(b""))), format!("p/q/sha256-{}", Digest::of(b"").hex()));
    }

    #[test]
    fn an_address_without_subdomains_is_an_error_and_no_panic() {
        let store = store("bucket=b,region=r,endpoint_url=http://[::1]:9000");
        assert!(matches!(store.get("x"), Err(StoreError::Bucket(_))));
    }
}
