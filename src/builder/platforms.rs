//! Which platforms a request builds for, and whether the result is one image or an index over several.

use super::{BuildFailure, BuildRequest, FailureKind};
use crate::oci::Platform;

/// Asks for an index even over a single image.
const MULTI_PLATFORM: &str = "BUILDKIT_MULTI_PLATFORM";

/// Returns the platforms to build for, in the order asked for, each once.
pub(super) fn platforms(request: &BuildRequest) -> Vec<Platform> {
    if request.platforms.is_empty() {
        return vec![Platform::host()];
    }
    let asked = request.platforms.iter().enumerate();
    asked.filter(|(at, platform)| !request.platforms[..*at].contains(platform)).map(|(_, p)| p.clone()).collect()
}

/// Whether the result is an index, and files are put into a directory for each platform.
pub(super) fn several(request: &BuildRequest) -> Result<bool, BuildFailure> {
    if platforms(request).len() > 1 {
        return Ok(true);
    }
    let given = request.build_args.iter().rev().find(|(name, _)| name == MULTI_PLATFORM);
    match given.map(|(_, value)| value.as_str()) {
        None | Some("" | "0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(false),
        Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(true),
        Some(other) => {
            let message = format!("invalid boolean value for {MULTI_PLATFORM}: {other}");
            let mut failure = BuildFailure::new(FailureKind::User, message);
            failure.help.push(format!("say `--build-arg {MULTI_PLATFORM}=1` or leave it out"));
            Err(failure)
        }
    }
}
