//! Messages of the Remote Execution API, version 2, as far as a cache needs them: numbers and types are those of
//! `build/bazel/remote/execution/v2/remote_execution.proto` and `google/rpc/status.proto`. What is not here is skipped when it is read.

use prost::Message;

use crate::digest::Digest as Hash;
use crate::registry::Method;

const SMALL: usize = 64 << 10;
/// What servers send at most unless they were told otherwise (gRPC).
const LARGE: usize = 4 << 20;

pub(super) const GET_CAPABILITIES: Method = Method {
    path: "build.bazel.remote.execution.v2.Capabilities/GetCapabilities",
    doing: "ask for capabilities",
    limit: SMALL,
};
pub(super) const GET_ACTION_RESULT: Method = Method {
    path: "build.bazel.remote.execution.v2.ActionCache/GetActionResult",
    doing: "ask for a result",
    limit: LARGE,
};
pub(super) const UPDATE_ACTION_RESULT: Method = Method {
    path: "build.bazel.remote.execution.v2.ActionCache/UpdateActionResult",
    doing: "write a result",
    limit: LARGE,
};
pub(super) const FIND_MISSING_BLOBS: Method = Method {
    path: "build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs",
    doing: "ask for blobs",
    limit: SMALL,
};
pub(super) const BATCH_UPDATE_BLOBS: Method = Method {
    path: "build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs",
    doing: "write blobs",
    limit: SMALL,
};

/// `DigestFunction.Value.SHA256`.
pub(super) const SHA256: i32 = 1;

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Digest {
    /// 64 hex digits.
    #[prost(string, tag = "1")]
    pub(super) hash: String,
    #[prost(int64, tag = "2")]
    pub(super) size_bytes: i64,
}

impl Digest {
    pub(super) fn new(hash: &Hash, size: u64) -> Self {
        Self { hash: hash.hex(), size_bytes: i64::try_from(size).unwrap_or(i64::MAX) }
    }

    pub(super) fn of(bytes: &[u8]) -> Self {
        Self::new(&Hash::of(bytes), bytes.len() as u64)
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Command {
    #[prost(string, repeated, tag = "1")]
    pub(super) arguments: Vec<String>,
    #[prost(string, repeated, tag = "7")]
    pub(super) output_paths: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Action {
    #[prost(message, optional, tag = "1")]
    pub(super) command_digest: Option<Digest>,
    #[prost(message, optional, tag = "2")]
    pub(super) input_root_digest: Option<Digest>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OutputFile {
    #[prost(string, tag = "1")]
    pub(super) path: String,
    #[prost(message, optional, tag = "2")]
    pub(super) digest: Option<Digest>,
    /// May be left out by either side.
    #[prost(bytes = "vec", tag = "5")]
    pub(super) contents: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ActionResult {
    #[prost(message, repeated, tag = "2")]
    pub(super) output_files: Vec<OutputFile>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetActionResultRequest {
    #[prost(string, tag = "1")]
    pub(super) instance_name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) action_digest: Option<Digest>,
    #[prost(string, repeated, tag = "5")]
    pub(super) inline_output_files: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct UpdateActionResultRequest {
    #[prost(string, tag = "1")]
    pub(super) instance_name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) action_digest: Option<Digest>,
    #[prost(message, optional, tag = "3")]
    pub(super) action_result: Option<ActionResult>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FindMissingBlobsRequest {
    #[prost(string, tag = "1")]
    pub(super) instance_name: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) blob_digests: Vec<Digest>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FindMissingBlobsResponse {
    #[prost(message, repeated, tag = "2")]
    pub(super) missing_blob_digests: Vec<Digest>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct BatchUpdateBlobsRequest {
    #[prost(string, tag = "1")]
    pub(super) instance_name: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) requests: Vec<BlobUpdate>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct BlobUpdate {
    #[prost(message, optional, tag = "1")]
    pub(super) digest: Option<Digest>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct BatchUpdateBlobsResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) responses: Vec<BlobUpdated>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct BlobUpdated {
    #[prost(message, optional, tag = "2")]
    pub(super) status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetCapabilitiesRequest {
    #[prost(string, tag = "1")]
    pub(super) instance_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ServerCapabilities {
    #[prost(message, optional, tag = "1")]
    pub(super) cache_capabilities: Option<CacheCapabilities>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CacheCapabilities {
    #[prost(int32, repeated, tag = "1")]
    pub(super) digest_functions: Vec<i32>,
    #[prost(message, optional, tag = "2")]
    pub(super) action_cache_update_capabilities: Option<ActionCacheUpdateCapabilities>,
    /// 0 is no limit of its own.
    #[prost(int64, tag = "4")]
    pub(super) max_batch_total_size_bytes: i64,
    /// 0 is none that is said.
    #[prost(int64, tag = "8")]
    pub(super) max_cas_blob_size_bytes: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ActionCacheUpdateCapabilities {
    #[prost(bool, tag = "1")]
    pub(super) update_enabled: bool,
}
