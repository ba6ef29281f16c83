//! Layers in buckets that are too long for one request: they go in parts, one after the other ("Uploading and copying objects using
//! multipart upload"), so that a connection that breaks costs a part. What was begun and is not ended stays in the bucket, unseen, when
//! kiln is killed meanwhile; a rule of the bucket may remove it (`AbortIncompleteMultipartUpload`).

use std::iter::successors;
use std::ops::Range;

use reqwest::Url;
use rusty_s3::actions::{CreateMultipartUpload, S3Action as _};

use super::s3::{S3Store, VALID};
use super::store::{Moved, StoreError};
use crate::registry::{BlobSource, Signed};

/// What is longer goes in parts, in bytes.
pub(super) const PART: u64 = 64 << 20;
/// The most parts of one object.
const PARTS: u64 = 10_000;

impl S3Store {
    /// Writes an object in parts, or not at all.
    pub(super) async fn write_in_parts(
        &self,
        name: &str,
        source: &BlobSource,
        size: u64,
        moved: Moved<'_>,
    ) -> Result<(), StoreError> {
        let object = self.object(name);
        let signed = |url: Url| Signed { url, headers: Vec::new(), object: object.clone() };
        let (bucket, credentials) = (self.bucket()?, self.credentials.as_ref());
        let begin = signed(bucket.create_multipart_upload(credentials, &object).sign(VALID));
        let answer = self.client.post_object(&begin, String::new()).await?;
        let begun = CreateMultipartUpload::parse_response(&answer).map_err(|_| StoreError::NoUpload)?;
        let id = begun.upload_id();
        let written = async {
            let mut tags = Vec::new();
            for (number, range) in (1..).zip(ranges(size)) {
                let part = signed(bucket.upload_part(credentials, &object, number, id).sign(VALID));
                tags.push(self.client.put_part(&part, (source, range), moved).await?);
            }
            let end = bucket.complete_multipart_upload(credentials, &object, id, tags.iter().map(String::as_str));
            let url = end.sign(VALID);
            self.client.post_object(&signed(url), end.body()).await
        };
        match written.await {
            Ok(_) => Ok(()),
            Err(error) => {
                let abort = signed(bucket.abort_multipart_upload(credentials, &object, id).sign(VALID));
                // It is the first failure that is told.
                let _ = self.client.remove_object(&abort).await;
                Err(error.into())
            }
        }
    }
}

/// The parts of so many bytes.
fn ranges(size: u64) -> impl Iterator<Item = Range<u64>> {
    let length = PART.max(size.div_ceil(PARTS));
    let next = move |start: u64| (start < size).then(|| start..size.min(start + length));
    successors(next(0), move |last: &Range<u64>| next(last.end))
}

#[cfg(test)]
mod tests {
    use super::super::s3::LAYER_LIMIT;
    use super::*;

    #[test]
    fn parts_are_all_of_it_and_not_too_many() {
        for size in [0, 1, PART, PART + 1, 5 << 30, LAYER_LIMIT - 1, LAYER_LIMIT] {
            let all: Vec<_> = ranges(size).collect();
            assert!(all.len() as u64 <= PARTS, "{size}");
            assert_eq!(all.iter().map(|range| range.end - range.start).sum::<u64>(), size);
            assert!(all.windows(2).all(|two| two[0].end == two[1].start));
            assert!(all.iter().all(|range| range.end - range.start <= 5 << 30));
        }
    }
}
