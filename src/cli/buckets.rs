//! `type=s3` of `--cache-from` and `--cache-to`: a bucket, and who asks for it.
//!
//! ```text
//! bucket=B            or AWS_BUCKET
//! region=R            or AWS_REGION
//! endpoint_url=U      or AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL; else AWS
//! prefix=P, blobs_prefix=P, manifests_prefix=P, name=N, use_path_style=BOOL
//! access_key_id=I, secret_access_key=K, session_token=T
//!                     or AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; else a profile
//! upload_parallelism=N    a most: the parts of a layer go one after the other
//! ```

use std::collections::BTreeMap;

use super::environment::{Environment, machine_text};
use super::fields::Field;
use super::usage::UsageError;
use crate::cache::{Place, S3Place};
use crate::context::without_credentials;
use crate::remotecache::Account;

/// All attributes that say where, and who asks.
pub(super) const ATTRIBUTES: [&str; 12] = [
    "bucket",
    "region",
    "prefix",
    "blobs_prefix",
    "manifests_prefix",
    "name",
    "endpoint_url",
    "use_path_style",
    "access_key_id",
    "secret_access_key",
    "session_token",
    PARALLELISM,
];

const PARALLELISM: &str = "upload_parallelism";

/// Attributes whose values are not for others.
const SECRET: [&str; 3] = ["access_key_id", "secret_access_key", "session_token"];

/// Returns the start of a value that may be shown, which is all of it unless a secret stands in it.
pub(super) fn shown(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let shown = match SECRET.iter().filter_map(|key| lower.find(key)).min() {
        None => text.to_owned(),
        Some(start) => text.get(..start).map_or_else(String::new, |start| format!("{start}..")),
    };
    without_credentials(&shown)
}

/// Reads the account that the environment names, if it does.
pub(super) fn usual_account(environment: &Environment) -> Option<Account> {
    let variable = |name: &str| environment.variable(name).map(str::to_owned);
    Some(Account {
        access_key_id: variable("AWS_ACCESS_KEY_ID")?,
        secret_access_key: variable("AWS_SECRET_ACCESS_KEY")?,
        session_token: variable("AWS_SESSION_TOKEN"),
    })
}

/// Reads the account in the credentials file of AWS's tools, if there is one.
pub(super) fn account_of_profile(environment: &Environment) -> Option<Account> {
    let named = environment.variable("AWS_SHARED_CREDENTIALS_FILE").map(|path| environment.absolute(path));
    let usual = || Some(environment.absolute(environment.variable("HOME")?).join(".aws/credentials"));
    let text = machine_text(named.or_else(usual)?)?;
    profile(&text, environment.variable("AWS_PROFILE").unwrap_or("default"))
}

/// Reads one section: `[NAME]`, and below it lines of `key = value`.
fn profile(text: &str, name: &str) -> Option<Account> {
    let is_head = |line: &&str| line.starts_with('[');
    let lines = text.lines().map(str::trim);
    let own = lines.skip_while(|line| line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) != Some(name));
    let fields: BTreeMap<&str, &str> = own
        .skip(1)
        .take_while(|line| !is_head(line))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let field = |key: &str| fields.get(key).filter(|value| !value.is_empty()).map(|value| (*value).to_owned());
    Some(Account {
        access_key_id: field("aws_access_key_id")?,
        secret_access_key: field("aws_secret_access_key")?,
        session_token: field("aws_session_token"),
    })
}

/// One value of a flag.
pub(super) struct Bucket<'a> {
    pub(super) flag: &'static str,
    /// As it may be shown.
    pub(super) text: &'a str,
    pub(super) fields: &'a [Field],
    pub(super) environment: &'a Environment,
}

impl Bucket<'_> {
    /// Where it is.
    pub(super) fn place(&self) -> Result<Place, UsageError> {
        let variables = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
        let usual = variables.into_iter().find_map(|name| self.environment.variable(name));
        let endpoint = self.field("endpoint_url").or(usual).map(|url| url.trim_end_matches('/').to_owned());
        let bucket = self.required("bucket", "AWS_BUCKET")?;
        let path_style = match self.fields.iter().rev().find(|field| field.key == "use_path_style") {
            Some(field) => field.truth(self.flag)?,
            // A certificate is for one level of names.
            None => bucket.contains('.') || endpoint.as_deref().is_some_and(is_number),
        };
        if self.field(PARALLELISM).is_some_and(|number| number.parse::<std::num::NonZeroU32>().is_err()) {
            return Err(self.malformed(format!("{PARALLELISM} is a number from 1")));
        }
        let own = |key: &str| self.field(key).unwrap_or_default().to_owned();
        let (prefix, blobs, manifests) = (own("prefix"), own("blobs_prefix"), own("manifests_prefix"));
        let (region, name) = (self.required("region", "AWS_REGION")?, own("name"));
        let place = S3Place { bucket, region, prefix, blobs, manifests, name, endpoint, path_style };
        place.checked().map(Place::S3).map_err(|error| self.malformed(error.to_string()))
    }

    /// Who asks, if the flag says so.
    pub(super) fn account(&self) -> Result<Option<Account>, UsageError> {
        let own = |key: &str| self.field(key).map(str::to_owned);
        match (own("access_key_id"), own("secret_access_key"), own("session_token")) {
            (None, None, None) => Ok(None),
            (Some(access_key_id), Some(secret_access_key), session_token) => {
                Ok(Some(Account { access_key_id, secret_access_key, session_token }))
            }
            _ => Err(self.malformed("access_key_id and secret_access_key go together".to_owned())),
        }
    }

    /// Returns the value of an attribute that is not empty.
    fn field(&self, key: &str) -> Option<&str> {
        let field = self.fields.iter().rev().find(|field| field.key == key)?;
        field.value.as_deref().filter(|value| !value.is_empty())
    }

    fn required(&self, key: &str, variable: &str) -> Result<String, UsageError> {
        let value = self.field(key).or_else(|| self.environment.variable(variable)).map(str::to_owned);
        value.ok_or_else(|| self.malformed(format!("type=s3 needs {key}=.., or {variable} in the environment")))
    }

    fn malformed(&self, why: String) -> UsageError {
        UsageError::malformed(self.flag, self.text, why)
    }
}

/// Whether the host of a URL is an address, which has no subdomains.
fn is_number(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    host.starts_with('[') || name.parse::<std::net::Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_one_section_of_the_file() {
        let text = "# mine\n[default]\naws_access_key_id = a\naws_secret_access_key=b=/+\n\n[ci]\n\
                    aws_access_key_id=c\r\naws_secret_access_key=d\naws_session_token = e\n[role]\nrole_arn=f\n";
        let read = |name| {
            let account = profile(text, name)?;
            Some([account.access_key_id, account.secret_access_key, account.session_token.unwrap_or_default()])
        };
        assert_eq!(read("default").unwrap(), ["a", "b=/+", ""]);
        assert_eq!(read("ci").unwrap(), ["c", "d", "e"]);
        assert_eq!((read("role"), read("other")), (None, None));
    }
}
