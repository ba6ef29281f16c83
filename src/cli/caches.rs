//! `--cache-from` and `--cache-to`, and the same as variables of the environment.
//!
//! ```text
//! REF                                             the same as type=registry,ref=REF
//! type=registry,ref=REPOSITORY[:TAG]              a repository; images in it with a cache of their own are read too
//! type=local,src=DIR         type=local,dest=DIR  a directory
//! type=s3,bucket=B,region=R,..                    a bucket (see `buckets`)
//! type=reapi,endpoint=grpc://HOST:PORT,..         a service of the Remote Execution API (see `services`)
//! type=inline                                     (to) in the config of the image
//! mode=min|max, ignore-error=BOOL, sign-key=FILE  (to)
//! trust-key=FILE                                  (from) any number of times
//! ```
//!
//! `KILN_CACHE_FROM` and `KILN_CACHE_TO` hold such values, separated by blanks or lines; they count where there is no flag.
//! `KILN_CACHE_SIGN_KEY` names the file of a private key, `KILN_CACHE_TRUST_KEYS` files of public ones; they count where a value names none.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::buckets::{self, Bucket};
use super::environment::Environment;
use super::fields::{self, Field};
use super::services::{self, Service};
use super::usage::UsageError;
use crate::builder::{CacheMode, CacheSource, CacheTarget, InlineCache, SharedCaches};
use crate::cache::Place;
use crate::oci::Reference;
use crate::registry::Access;
use crate::remotecache::{Account, Accounts, KeyError, SigningKey, TAG_LIMIT, Trust};

const FROM: &str = "--cache-from";
const TO: &str = "--cache-to";
/// What BuildKit has and kiln has not.
const NOT_YET: [&str; 2] = ["gha", "azblob"];
/// Attributes of BuildKit's that ask for what a cache of kiln always is.
const ALWAYS_SO: [&str; 2] = ["image-manifest", "oci-mediatypes"];
/// What names keys where no value does.
const SIGN_KEY: &str = "KILN_CACHE_SIGN_KEY";
const TRUST_KEYS: &str = "KILN_CACHE_TRUST_KEYS";
const TRUST: &str = "trust-key";
const SIGN: &str = "sign-key";
const INSTEAD: &str = ": use type=registry, type=s3, type=reapi or type=local";

/// Reads what was typed, or else what the environment says.
pub(super) fn shared_caches(
    from: &[String],
    to: &[String],
    environment: &Environment,
) -> Result<SharedCaches, UsageError> {
    let given = |typed: &[String], variable: &str| match typed {
        [] => words(environment.variable(variable).unwrap_or_default()),
        typed => typed.to_vec(),
    };
    let usual = trust_of(TRUST_KEYS, &words(environment.variable(TRUST_KEYS).unwrap_or_default()), environment)?;
    let mut caches = SharedCaches { trust: usual.clone(), ..SharedCaches::default() };
    caches.accounts.usual = buckets::usual_account(environment);
    caches.accounts.usual_access = services::usual_access(environment)?;
    for text in given(from, "KILN_CACHE_FROM") {
        let (place, known, own) = source(&text, environment)?;
        known.add(&place, &mut caches.accounts, |accounts| &mut accounts.reading);
        caches.trust.extend(&own);
        let trust = if own.is_asked() { own } else { usual.clone() };
        match caches.from.iter_mut().find(|known| known.place == place) {
            // Named twice: what asks for signatures holds.
            Some(known) if known.trust.is_asked() => known.trust.extend(&trust),
            Some(known) => known.trust = trust,
            None => caches.from.push(CacheSource { place, trust }),
        }
    }
    for text in given(to, "KILN_CACHE_TO") {
        match target(&text, environment)? {
            Target::Image(inline) => caches.inline = Some(inline),
            Target::Place(target, known) => {
                known.add(&target.place, &mut caches.accounts, |accounts| &mut accounts.writing);
                caches.to.push(*target);
            }
        }
    }
    let is_bucket = |place: &Place| matches!(place, Place::S3(_));
    let mut places = caches.from.iter().map(|source| &source.place).chain(caches.to.iter().map(|target| &target.place));
    if caches.accounts.usual.is_none() && places.any(is_bucket) {
        caches.accounts.usual = buckets::account_of_profile(environment);
    }
    Ok(caches)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// What a value says of who asks.
#[derive(Default)]
enum Known {
    /// Nothing.
    #[default]
    Not,
    Account(Account),
    Access(Access),
}

impl Known {
    fn by_account(account: Option<Account>) -> Self {
        account.map_or(Self::Not, Self::Account)
    }

    fn by_access(access: Option<Access>) -> Self {
        access.map_or(Self::Not, Self::Access)
    }

    /// Adds it; accounts are for reading or for writing.
    fn add(self, place: &Place, to: &mut Accounts, which: fn(&mut Accounts) -> &mut BTreeMap<Place, Account>) {
        match self {
            Self::Not => {}
            Self::Account(account) => _ = which(to).insert(place.clone(), account),
            Self::Access(access) => _ = to.services.insert(place.clone(), access),
        }
    }
}

/// The place, who reads it, and whose records of it are used.
fn source(text: &str, environment: &Environment) -> Result<(Place, Known, Trust), UsageError> {
    let spec = Spec::parse(FROM, text)?;
    let (place, known) = match spec.kind.as_str() {
        "registry" => {
            spec.allow(&["ref", TRUST])?;
            (spec.registry()?, Known::Not)
        }
        "local" => {
            spec.allow(&["src", TRUST])?;
            (Place::Directory(environment.absolute(spec.required("src")?)), Known::Not)
        }
        "s3" => {
            spec.allow(&[&buckets::ATTRIBUTES[..], &[TRUST]].concat())?;
            let bucket = spec.bucket(environment);
            (bucket.place()?, Known::by_account(bucket.account()?))
        }
        "reapi" => {
            spec.allow(&[&services::ATTRIBUTES[..], &[TRUST]].concat())?;
            let service = spec.service(environment);
            (service.place()?, Known::by_access(service.access()?))
        }
        "inline" => {
            let why = "an image with a cache is read with type=registry,ref=IMAGE";
            return Err(UsageError::malformed(FROM, text, why));
        }
        _ => return Err(spec.unknown(&["registry", "local", "s3", "reapi"])),
    };
    let named = spec.fields.iter().filter(|field| field.key == TRUST);
    let named: Vec<String> = named.map(|field| field.required(FROM).map(str::to_owned)).collect::<Result<_, _>>()?;
    Ok((place, known, trust_of(FROM, &named, environment)?))
}

/// The public keys in these files.
fn trust_of(flag: &'static str, files: &[String], environment: &Environment) -> Result<Trust, UsageError> {
    let mut trust = Trust::default();
    for file in files {
        let bytes = key_file(flag, file, environment)?;
        trust.add(&bytes).map_err(|error| bad_key(flag, file, &error))?;
    }
    Ok(trust)
}

fn key_file(flag: &'static str, file: &str, environment: &Environment) -> Result<Vec<u8>, UsageError> {
    let path: PathBuf = environment.absolute(file);
    std::fs::read(&path).map_err(|source| UsageError::Unreadable { flag, path, source })
}

fn bad_key(flag: &'static str, file: &str, error: &KeyError) -> UsageError {
    UsageError::malformed(flag, file, format!("the key cannot be used: {error}"))
}

/// What a value of `--cache-to` names.
enum Target {
    Image(InlineCache),
    /// With who writes it.
    Place(Box<CacheTarget>, Known),
}

fn target(text: &str, environment: &Environment) -> Result<Target, UsageError> {
    let spec = Spec::parse(TO, text)?;
    let mut known = Known::Not;
    let place = match spec.kind.as_str() {
        "registry" => {
            spec.allow(&["ref", "mode", "ignore-error", SIGN])?;
            spec.registry()?
        }
        "local" => {
            spec.allow(&["dest", "mode", "ignore-error", SIGN])?;
            Place::Directory(environment.absolute(spec.required("dest")?))
        }
        "s3" => {
            spec.allow(&[&buckets::ATTRIBUTES[..], &["mode", "ignore-error", SIGN]].concat())?;
            let bucket = spec.bucket(environment);
            known = Known::by_account(bucket.account()?);
            bucket.place()?
        }
        "reapi" => {
            spec.allow(&[&services::ATTRIBUTES[..], &["mode", "ignore-error", SIGN]].concat())?;
            let service = spec.service(environment);
            known = Known::by_access(service.access()?);
            service.place()?
        }
        "inline" => {
            spec.allow(&["mode", SIGN])?;
            return match spec.mode()? {
                CacheMode::Min => Ok(Target::Image(InlineCache { sign: spec.sign(environment)? })),
                CacheMode::Max => {
                    Err(UsageError::malformed(TO, text, "an image holds the records of its own steps only: mode=min"))
                }
            };
        }
        _ => return Err(spec.unknown(&["registry", "local", "s3", "reapi", "inline"])),
    };
    let ignore_error = spec.field("ignore-error").map_or(Ok(true), |field| field.truth(TO))?;
    let sign = spec.sign(environment)?;
    let target = CacheTarget { place, mode: spec.mode()?, ignore_error, sign };
    Ok(Target::Place(Box::new(target), known))
}

/// One value of a flag.
struct Spec {
    flag: &'static str,
    /// As it may be shown.
    text: String,
    kind: String,
    fields: Vec<Field>,
}

impl Spec {
    fn parse(flag: &'static str, text: &str) -> Result<Self, UsageError> {
        let (text, whole) = (buckets::shown(text), text);
        // What cannot be split is shown as it is.
        let unreadable = |_| UsageError::malformed(flag, &text, "expected KEY=VALUE,.. with quotes that are closed");
        let mut fields = fields::parse(flag, whole).map_err(unreadable)?;
        if let [alone] = fields.as_slice()
            && alone.value.is_none()
        {
            let field = |key: &str, value: &str| Field { key: key.to_owned(), value: Some(value.to_owned()) };
            fields = vec![field("ref", whole.trim())];
        }
        let kind = match fields.iter().find(|field| field.key == "type") {
            Some(kind) => kind.required(flag)?.to_owned(),
            None if fields.iter().any(|field| field.key == "ref") => "registry".to_owned(),
            None => return Err(UsageError::malformed(flag, &text, "expected type=registry, type=local, ..")),
        };
        fields.retain(|field| field.key != "type" && !ALWAYS_SO.contains(&field.key.as_str()));
        Ok(Self { flag, text, kind, fields })
    }

    fn field(&self, key: &str) -> Option<&Field> {
        self.fields.iter().rev().find(|field| field.key == key)
    }

    fn required(&self, key: &str) -> Result<&str, UsageError> {
        let missing = || UsageError::malformed(self.flag, &self.text, format!("type={} needs {key}=..", self.kind));
        let value = self.field(key).ok_or_else(missing)?.required(self.flag)?;
        if value.is_empty() { Err(missing()) } else { Ok(value) }
    }

    /// BuildKit has attributes for forms of a cache that this one does not have; which are meant is not guessed.
    fn allow(&self, known: &[&str]) -> Result<(), UsageError> {
        match self.fields.iter().find(|field| !known.contains(&field.key.as_str())) {
            None => Ok(()),
            Some(field) => Err(UsageError::unknown(self.flag, &self.text, &field.key, known)),
        }
    }

    fn bucket<'a>(&'a self, environment: &'a Environment) -> Bucket<'a> {
        Bucket { flag: self.flag, text: &self.text, fields: &self.fields, environment }
    }

    fn service<'a>(&'a self, environment: &'a Environment) -> Service<'a> {
        Service { flag: self.flag, text: &self.text, fields: &self.fields, environment }
    }

    fn registry(&self) -> Result<Place, UsageError> {
        let text = self.required("ref")?;
        let malformed = |why: String| UsageError::malformed(self.flag, &self.text, why);
        let reference = Reference::parse(text).map_err(|error| malformed(error.to_string()))?;
        if reference.digest.is_some() {
            return Err(malformed("a cache has no digest: name a repository, with a tag or without".to_owned()));
        }
        if reference.tag.as_ref().is_some_and(|tag| tag.len() > TAG_LIMIT) {
            return Err(malformed(format!("the tag of a cache is {TAG_LIMIT} bytes at most")));
        }
        Ok(Place::Registry(reference))
    }

    fn sign(&self, environment: &Environment) -> Result<Option<SigningKey>, UsageError> {
        let typed = self.field(SIGN).map(|field| field.required(self.flag)).transpose()?;
        let named = typed.map(|file| (self.flag, file));
        let Some((flag, file)) = named.or_else(|| environment.variable(SIGN_KEY).map(|file| (SIGN_KEY, file))) else {
            return Ok(None);
        };
        let bytes = key_file(flag, file, environment)?;
        SigningKey::read(&bytes).map(Some).map_err(|error| bad_key(flag, file, &error))
    }

    fn mode(&self) -> Result<CacheMode, UsageError> {
        match self.field("mode").map(|field| field.required(self.flag)).transpose()? {
            None | Some("min") => Ok(CacheMode::Min),
            Some("max") => Ok(CacheMode::Max),
            Some(other) => Err(UsageError::unknown(self.flag, &self.text, other, &["min", "max"])),
        }
    }

    fn unknown(&self, known: &[&str]) -> UsageError {
        match NOT_YET.contains(&self.kind.as_str()) {
            true => UsageError::NotYet { flag: format!("{} type={}", self.flag, self.kind), detail: INSTEAD },
            false => UsageError::unknown(self.flag, &self.text, &self.kind, known),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(from: &[&str], to: &[&str], variables: &[(&str, &str)]) -> Result<SharedCaches, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let environment = Environment { variables, directory: "/w".into(), ..Environment::default() };
        let owned = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        shared_caches(&owned(from), &owned(to), &environment).map_err(|error| error.to_string())
    }

    fn places(caches: &SharedCaches) -> (Vec<String>, Vec<String>) {
        let to = caches.to.iter().map(|target| format!("{} {:?} {}", target.place, target.mode, target.ignore_error));
        (caches.from.iter().map(|source| source.place.to_string()).collect(), to.collect())
    }

    #[test]
    fn buildkits_spelling_is_read() {
        let from = ["type=registry,ref=h.example/c", "h.example/app:1", "type=local,src=dir", "h.example/app:1"];
        let to =
            ["type=registry,ref=h.example/c:main,mode=max", "type=local,dest=/d,ignore-error=false", "type=inline"];
        let caches = read(&from, &to, &[]).unwrap();
        assert_eq!(caches.inline, Some(InlineCache { sign: None }));
        let (from, to) = places(&caches);
        assert_eq!(from, ["registry:h.example/c", "registry:h.example/app:1", "local:/w/dir"]);
        assert_eq!(to, ["registry:h.example/c:main Max true", "local:/d Min false"]);
    }

    #[test]
    fn the_environment_counts_where_there_is_no_flag() {
        let variables =
            [("KILN_CACHE_FROM", "h.example/a\n type=local,src=/b"), ("KILN_CACHE_TO", "type=local,dest=/b,mode=max")];
        let (from, to) = places(&read(&[], &[], &variables).unwrap());
        assert_eq!((from.len(), to), (2, vec!["local:/b Max true".to_owned()]));
        let (from, _) = places(&read(&["h.example/c"], &[], &variables).unwrap());
        assert_eq!(from, ["registry:h.example/c"]);
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        let refused = |from: &[&str], to: &[&str]| read(from, to, &[]).unwrap_err();
        assert!(refused(&["type=azblob,name=b"], &[]).contains("--cache-from type=azblob is not supported yet"));
        assert!(refused(&[], &["type=gha"]).contains("--cache-to type=gha is not supported yet"));
        assert!(refused(&[], &["type=inline,mode=max"]).contains("mode=min"));
        assert!(
            refused(&[], &["type=registry,ref=h.example/c,compression=zstd"])
                .contains("ref, mode, ignore-error or sign-key")
        );
        assert!(refused(&[], &["type=local"]).contains("needs dest="));
        assert!(refused(&["type=registri,ref=a"], &[]).contains("did you mean `registry`"));
        assert!(refused(&[&format!("h.example/c:{}", "t".repeat(60))], &[]).contains("at most"));
    }

    const AWS: [(&str, &str); 5] = [
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_BUCKET", "b"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9000/"),
    ];

    #[test]
    fn buckets_are_read_as_buildkit_reads_them() {
        let own = "type=s3,bucket=c,region=r,prefix=/p/,name=n,endpoint_url=https://h.example";
        let to = format!("{own},use_path_style=true,access_key_id=i,secret_access_key=k,session_token=t,mode=max");
        let caches = read(&["type=s3", own], &[&to], &AWS).unwrap();
        let (from, to) = places(&caches);
        let here = "s3:bucket=b,region=eu-west-1,endpoint_url=http://127.0.0.1:9000,use_path_style=true";
        let there = "s3:bucket=c,region=r,prefix=p,name=n,endpoint_url=https://h.example";
        assert_eq!(
            (from, to),
            (vec![here.to_owned(), there.to_owned()], vec![format!("{there},use_path_style=true Max true")])
        );
        let writer = &caches.accounts.writing[&caches.to[0].place];
        assert_eq!((writer.access_key_id.as_str(), writer.session_token.as_deref()), ("i", Some("t")));
        assert_eq!(caches.accounts.usual.as_ref().unwrap().secret_access_key, "hunter2");
        assert!(caches.accounts.reading.is_empty());
    }

    #[test]
    fn services_are_read_with_how_they_are_reached() {
        let token = [("KILN_CACHE_REAPI_TOKEN", "hunter2\n")];
        let at = "type=reapi,endpoint=grpcs://cache.example,instance=team/main";
        let here = "type=reapi,endpoint=grpc://[::1]:9092/";
        let caches = read(&[at, here], &[&format!("{at},mode=max,ca=/dev/null")], &token).unwrap();
        let (from, to) = places(&caches);
        let place = "reapi:endpoint=grpcs://cache.example,instance=team/main";
        assert_eq!(from, [place, "reapi:endpoint=grpc://[::1]:9092"]);
        assert_eq!(to, [format!("{place} Max true")]);
        let accounts = &caches.accounts;
        assert_eq!(accounts.usual_access.token.as_deref(), Some("hunter2"));
        let access = &accounts.services[&caches.to[0].place];
        assert_eq!((access.token.as_deref(), access.authorities.as_deref()), (Some("hunter2"), Some(&b""[..])));
        assert!(!format!("{caches:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_wrong_with_a_service_is_said_without_its_secrets() {
        let token = [("KILN_CACHE_REAPI_TOKEN", "hunter2")];
        let refused = |text: &str, variables: &[(&str, &str)]| {
            let error = read(&[text], &[], variables).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
            error
        };
        assert!(refused("type=reapi", &[]).contains("needs endpoint="));
        assert!(refused("type=reapi,endpoint=http://h.example:1", &[]).contains("grpc[s]://HOST:PORT"));
        refused("type=reapi,endpoint=grpc://me:hunter2@h.example:1", &[]);
        assert!(refused("type=reapi,endpoint=grpc://h:1,instance=a/blobs", &[]).contains("`a/blobs` is no instance"));
        assert!(refused("type=reapi,endpoint=grpc://h:1,cert=/dev/null", &[]).contains("go together"));
        assert!(refused("type=reapi,endpoint=grpc://h:1,ca=/no/such", &[]).contains("/no/such"));
        assert!(refused("type=reapi,endpoint=grpc://h.example:1", &token).contains("use grpcs://"));
        refused("type=reapi,endpoint=grpcs://h:1", &[("KILN_CACHE_REAPI_TOKEN", "hunter2 x")]);
    }

    #[test]
    fn keys_of_buckets_are_shown_nowhere() {
        let key = "secret_access_key=hunter2";
        assert!(!format!("{:?}", read(&["type=s3"], &[], &AWS).unwrap()).contains("hunter2"));
        for text in [
            format!("type=s3,bucket=b,region=r,{key}"),
            format!("type=s3,bucket=b,region=r,access_key_id=hunter2,{key},unknown=x"),
            format!("type=s3,bucket=b,region=r,access_key_id=hunter2,\"{key}"),
            format!("type=s3,\"SECRET_{}", &key[7..]),
            format!("type=s4,{key}"),
            key.to_owned(),
            "type=s3,bucket=b,region=r,endpoint_url=http://me:hunter2@host.example".to_owned(),
        ] {
            let error = read(&[&text], &[], &[]).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
