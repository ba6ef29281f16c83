//! `type=reapi` of `--cache-from` and `--cache-to`: a service of the Remote Execution API, and how it is reached.
//!
//! ```text
//! endpoint=grpc[s]://HOST[:PORT]
//! instance=NAME
//! ca=FILE                     authorities besides the system's
//! cert=FILE, key=FILE         the client's own certificate
//! ```
//!
//! `KILN_CACHE_REAPI_TOKEN` is a token that says who asks. It is in no value, since others see command lines.

use super::environment::Environment;
use super::fields::Field;
use super::usage::UsageError;
use crate::cache::{Place, ReapiPlace};
use crate::registry::{Access, is_of_this_machine};

/// All attributes.
pub(super) const ATTRIBUTES: [&str; 5] = ["endpoint", "instance", "ca", "cert", "key"];

const TOKEN: &str = "KILN_CACHE_REAPI_TOKEN";

/// Reads how services are reached of which nothing else is said.
pub(super) fn usual_access(environment: &Environment) -> Result<Access, UsageError> {
    let token = environment.variable(TOKEN).map(str::trim).filter(|token| !token.is_empty());
    if token.is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(UsageError::malformed(TOKEN, "..", "expected a token without blanks and control characters"));
    }
    Ok(Access { token: token.map(str::to_owned), ..Access::default() })
}

/// One value of a flag.
pub(super) struct Service<'a> {
    pub(super) flag: &'static str,
    /// As it may be shown.
    pub(super) text: &'a str,
    pub(super) fields: &'a [Field],
    pub(super) environment: &'a Environment,
}

impl Service<'_> {
    /// Where it is.
    pub(super) fn place(&self) -> Result<Place, UsageError> {
        let missing = || self.malformed("type=reapi needs endpoint=grpc[s]://HOST:PORT".to_owned());
        let endpoint = self.field("endpoint").ok_or_else(missing)?.trim_end_matches('/').to_owned();
        let instance = self.field("instance").unwrap_or_default().to_owned();
        let place = ReapiPlace { endpoint, instance }.checked().map_err(|error| self.malformed(error.to_string()))?;
        let has_token = self.environment.variable(TOKEN).is_some();
        if has_token && !place.is_protected() && !is_of_this_machine(place.address()) {
            return Err(self.malformed(format!("{TOKEN} is sent by TLS only: use grpcs://")));
        }
        Ok(Place::Reapi(place))
    }

    /// How it is reached, if the value says more of that than the environment.
    pub(super) fn access(&self) -> Result<Option<Access>, UsageError> {
        let authorities = self.file("ca")?;
        let identity = match (self.file("cert")?, self.file("key")?) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some([certificate, b"\n".to_vec(), key].concat()),
            _ => return Err(self.malformed("cert and key go together".to_owned())),
        };
        if authorities.is_none() && identity.is_none() {
            return Ok(None);
        }
        Ok(Some(Access { authorities, identity, ..usual_access(self.environment)? }))
    }

    fn file(&self, key: &str) -> Result<Option<Vec<u8>>, UsageError> {
        let Some(file) = self.field(key) else { return Ok(None) };
        let path = self.environment.absolute(file);
        let read = std::fs::read(&path);
        read.map(Some).map_err(|source| UsageError::Unreadable { flag: self.flag, path, source })
    }

    /// Returns the value of an attribute that is not empty.
    fn field(&self, key: &str) -> Option<&str> {
        let field = self.fields.iter().rev().find(|field| field.key == key)?;
        field.value.as_deref().filter(|value| !value.is_empty())
    }

    fn malformed(&self, why: String) -> UsageError {
        UsageError::malformed(self.flag, self.text, why)
    }
}
