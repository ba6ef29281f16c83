//! From fields to a [`ResolvedMount`]: every rule about mounts is here.

use crate::diag::{Diagnostic, suggestion};
use crate::source::Span;

use super::super::instruction::Text;
use super::super::size;
use super::{BindMount, CacheMount, Mount, MountField, ResolvedMount, SecretMount, Sharing, SshMount, TmpfsMount};

/// Every key, with its other names.
const KEYS: [&str; 17] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "env",
];
const OWNER_KEYS: [&str; 2] = ["uid", "gid"];
const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const SHARINGS: [(&str, Sharing); 3] =
    [("shared", Sharing::Shared), ("private", Sharing::Private), ("locked", Sharing::Locked)];

/// A value and the field it came from.
#[derive(Clone)]
struct Value<T> {
    is: T,
    span: Span,
}

/// The fields with their values read, not yet checked against the type.
#[derive(Default)]
struct Fields {
    from: Option<Text>,
    source: Option<Value<String>>,
    target: String,
    /// `Some` when the user said so.
    readonly: Option<bool>,
    id: Option<Value<String>>,
    sharing: Option<Value<Sharing>>,
    required: bool,
    size_bytes: Option<u64>,
    mode: Option<Value<u32>>,
    uid: Option<Value<u32>>,
    gid: Option<Value<u32>>,
    env: Option<String>,
}

type Expand<'a> = &'a mut dyn FnMut(&Text) -> Result<String, Diagnostic>;

pub(super) fn resolve(mount: &Mount, workdir: &str, expand: Expand<'_>) -> Result<ResolvedMount, Diagnostic> {
    let kind = kind(mount, expand)?;
    let mut fields = Fields { from: mount.from().cloned(), ..Fields::default() };
    for field in &mount.fields {
        fields.read(field, kind, expand)?;
    }
    fields.check_owner(kind)?;
    fields.finish(kind, workdir, mount.span)
}

fn error(span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error("mount", span, message)
}

/// The type decides which keys are allowed, wherever it stands.
fn kind(mount: &Mount, expand: Expand<'_>) -> Result<&'static str, Diagnostic> {
    let mut kind = "bind";
    for value in mount.fields.iter().filter(|field| field.key.text == "type").filter_map(|field| field.value.as_ref()) {
        let written = expand(value)?;
        kind = TYPES.into_iter().find(|known| known.eq_ignore_ascii_case(&written)).ok_or_else(|| {
            let near = suggestion(&written, TYPES);
            error(value.span, format!("unsupported mount type {written:?}{near}"))
        })?;
    }
    Ok(kind)
}

impl Fields {
    fn read(&mut self, field: &MountField, kind: &str, expand: Expand<'_>) -> Result<(), Diagnostic> {
        let span = field.key.span;
        let key = field.key.text.as_str();
        let unexpected = || Err(error(span, format!("unexpected key '{key}' for mount type '{kind}'")));
        let Some(written) = &field.value else {
            match key {
                "readonly" | "ro" => self.readonly = Some(true),
                "readwrite" | "rw" => self.readonly = Some(false),
                "required" if matches!(kind, "secret" | "ssh") => self.required = true,
                "required" => return unexpected(),
                _ => return Err(error(span, format!("invalid field '{key}' must be a key=value pair"))),
            }
            return Ok(());
        };
        if !KEYS.contains(&key) && !OWNER_KEYS.contains(&key) {
            let near = suggestion(key, KEYS.into_iter().chain(OWNER_KEYS));
            return Err(error(span, format!("unexpected key '{key}' in '{key}={}'{near}", written.text)));
        }
        if key == "from" {
            return Ok(());
        }
        let value = expand(written)?;
        let span = written.span;
        let truth = || boolean(&value).ok_or_else(|| error(span, format!("invalid value for {key}: {value}")));
        let number = |radix: u32| {
            let digits = Some(&value).filter(|value| !value.starts_with('+'));
            let number = digits.and_then(|digits| u32::from_str_radix(digits, radix).ok());
            number
                .map(|is| Some(Value { is, span }))
                .ok_or_else(|| error(span, format!("invalid value {value} for {key}")))
        };
        match key {
            "source" | "src" => self.source = Some(Value { is: value, span }),
            "target" | "dst" | "destination" => self.target = value,
            "readonly" | "ro" => self.readonly = Some(truth()?),
            "readwrite" | "rw" => self.readonly = Some(!truth()?),
            "required" if matches!(kind, "secret" | "ssh") => self.required = truth()?,
            "size" if kind == "tmpfs" => {
                let size = size::parse(&value).ok_or_else(|| error(span, format!("invalid size: '{value}'")))?;
                self.size_bytes = Some(size);
            }
            "required" | "size" => return unexpected(),
            "id" => self.id = Some(Value { is: value, span }),
            "sharing" => {
                let known = SHARINGS.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(&value));
                let (_, is) = known.ok_or_else(|| {
                    let near = suggestion(&value, SHARINGS.iter().map(|(name, _)| *name));
                    error(span, format!("unsupported sharing value {value:?}{near}"))
                })?;
                self.sharing = Some(Value { is, span });
            }
            "mode" => self.mode = number(8)?,
            "uid" => self.uid = number(10)?,
            "gid" => self.gid = number(10)?,
            "env" => self.env = Some(value),
            _ => {}
        }
        Ok(())
    }

    fn check_owner(&self, kind: &str) -> Result<(), Diagnostic> {
        let owner = [("mode", &self.mode), ("uid", &self.uid), ("gid", &self.gid)];
        if let (false, Some((name, Some(value)))) =
            (matches!(kind, "cache" | "secret" | "ssh"), owner.into_iter().find(|(_, value)| value.is_some()))
        {
            return Err(error(value.span, format!("{name} not allowed for {kind:?} type mounts")));
        }
        match &self.sharing {
            Some(sharing) if kind == "secret" => Err(error(
                sharing.span,
                "secret mount should not define sharing: invalid cache sharing set for secret mount",
            )),
            Some(sharing) if kind != "cache" => {
                Err(error(sharing.span, format!("invalid cache sharing set for {kind} mount")))
            }
            _ => Ok(()),
        }
    }

    fn finish(self, kind: &str, workdir: &str, span: Span) -> Result<ResolvedMount, Diagnostic> {
        match kind {
            "secret" => self.secret(workdir, span).map(ResolvedMount::Secret),
            "ssh" => self.ssh(workdir, span).map(ResolvedMount::Ssh),
            "cache" => self.cache(workdir, span).map(ResolvedMount::Cache),
            "tmpfs" => {
                let target = target(&self.target, workdir, span)?;
                let readonly = self.readonly.unwrap_or(false);
                Ok(ResolvedMount::Tmpfs(TmpfsMount { target, size_bytes: self.size_bytes, readonly }))
            }
            _ => Ok(ResolvedMount::Bind(BindMount {
                target: target(&self.target, workdir, span)?,
                source: self.source.map(|source| source.is).unwrap_or_default(),
                from: self.from,
                readonly: self.readonly.unwrap_or(true),
            })),
        }
    }

    fn cache(self, workdir: &str, span: Span) -> Result<CacheMount, Diagnostic> {
        let absolute = target(&self.target, workdir, span)?;
        let explicit = self.id.map(|id| id.is).filter(|id| !id.is_empty());
        Ok(CacheMount {
            explicit_id: explicit.is_some(),
            // The target as written, so that one target is one cache whatever the working directory is.
            id: explicit.unwrap_or_else(|| clean(&self.target)),
            from: self.from,
            source: self.source.map(|source| source.is).unwrap_or_default(),
            target: absolute,
            readonly: self.readonly.unwrap_or(false),
            sharing: self.sharing.map(|sharing| sharing.is).unwrap_or_default(),
            mode: self.mode.map_or(0o755, |mode| mode.is),
            uid: self.uid.map_or(0, |uid| uid.is),
            gid: self.gid.map_or(0, |gid| gid.is),
        })
    }

    fn secret(self, workdir: &str, span: Span) -> Result<SecretMount, Diagnostic> {
        if let Some(from) = &self.from {
            return Err(error(from.span, "secret mount should not have a from"));
        }
        let source = self.source.filter(|source| !source.is.is_empty());
        let id = self.id.filter(|id| !id.is.is_empty());
        let id = match (source, id) {
            (Some(source), Some(_)) => return Err(error(source.span, "both source and id can't be set")),
            (Some(given), None) | (None, Some(given)) => given.is,
            (None, None) if self.target.is_empty() => {
                return Err(error(span, "invalid secret mount. one of source, target required"));
            }
            (None, None) => base_name(&self.target).to_owned(),
        };
        let file = match (self.target.is_empty(), &self.env) {
            (true, Some(_)) => None,
            (true, None) => Some(format!("/run/secrets/{}", base_name(&id))),
            (false, _) => Some(target(&self.target, workdir, span)?),
        };
        Ok(SecretMount {
            id,
            target: file,
            env: self.env,
            required: self.required,
            mode: self.mode.map_or(0o400, |mode| mode.is),
            uid: self.uid.map_or(0, |uid| uid.is),
            gid: self.gid.map_or(0, |gid| gid.is),
        })
    }

    fn ssh(self, workdir: &str, span: Span) -> Result<SshMount, Diagnostic> {
        if let Some(source) = self.source.filter(|source| !source.is.is_empty()) {
            return Err(error(source.span, "ssh does not support source"));
        }
        let id = self.id.map(|id| id.is).filter(|id| !id.is_empty());
        Ok(SshMount {
            id: id.unwrap_or_else(|| "default".to_owned()),
            target: match self.target.as_str() {
                "" => None,
                path => Some(target(path, workdir, span)?),
            },
            required: self.required,
            mode: self.mode.map_or(0o600, |mode| mode.is),
            uid: self.uid.map_or(0, |uid| uid.is),
            gid: self.gid.map_or(0, |gid| gid.is),
        })
    }
}

/// Makes a target absolute and clean; the root itself cannot be mounted over.
fn target(written: &str, workdir: &str, span: Span) -> Result<String, Diagnostic> {
    let path = match written.starts_with('/') {
        true => clean(written),
        false => clean(&format!("/{workdir}/{written}")),
    };
    if path == "/" { Err(error(span, "invalid mount target \"/\"")) } else { Ok(path) }
}

/// Resolves `.`, `..` and doubled slashes by text alone, as Go's `path.Clean` does.
fn clean(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if is_absolute => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (is_absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

fn boolean(text: &str) -> Option<bool> {
    super::super::directive::boolean(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<ResolvedMount, String> {
        let value = Text::new(text, Span::new(crate::source::SourceId(0), 0..text.len()));
        let mount = Mount::parse(&value).map_err(|error| error.message)?;
        mount.resolve("/w", &mut |text| Ok(text.text.replace("$X", "/from/x"))).map_err(|error| error.message)
    }

    #[track_caller]
    fn fails(text: &str, want: &str) {
        assert_eq!(run(text), Err(want.to_owned()), "{text}");
    }

    #[test]
    fn binds() {
        let Ok(ResolvedMount::Bind(bind)) = run("source=a,target=b/../c,from=base") else { panic!("no bind") };
        assert_eq!((bind.source.as_str(), bind.target.as_str(), bind.readonly), ("a", "/w/c", true));
        assert_eq!(bind.from.map(|from| from.text).as_deref(), Some("base"));
        let Ok(ResolvedMount::Bind(bind)) = run("type=BIND,dst=$X,rw") else { panic!("no bind") };
        assert_eq!((bind.target.as_str(), bind.readonly), ("/from/x", false));
    }

    #[test]
    fn caches() {
        let Ok(ResolvedMount::Cache(cache)) = run("target=.cache//x,type=cache,uid=5,mode=0700,sharing=locked") else {
            panic!("no cache")
        };
        assert_eq!((cache.id.as_str(), cache.explicit_id, cache.target.as_str()), (".cache/x", false, "/w/.cache/x"));
        assert_eq!((cache.uid, cache.mode, cache.sharing, cache.readonly), (5, 0o700, Sharing::Locked, false));
    }

    #[test]
    fn secrets() {
        let secret = |text| match run(text) {
            Ok(ResolvedMount::Secret(secret)) => (secret.id, secret.target, secret.env),
            other => panic!("{other:?}"),
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(secret("type=secret,id=a/b"), ("a/b".into(), some("/run/secrets/b"), None));
        assert_eq!(secret("type=secret,target=/x/y"), ("y".into(), some("/x/y"), None));
        assert_eq!(secret("type=secret,id=a,env=A"), ("a".into(), None, some("A")));
        assert_eq!(secret("type=secret,id=a,env=A,dst=f"), ("a".into(), some("/w/f"), some("A")));
    }

    #[test]
    fn sizes() {
        let size = |text: &str| match run(&format!("type=tmpfs,target=/t,size={text}")) {
            Ok(ResolvedMount::Tmpfs(tmpfs)) => tmpfs.size_bytes,
            _ => None,
        };
        assert_eq!(
            [size("100"), size("64m"), size("1.5k"), size("2GiB")].map(Option::unwrap_or_default),
            [100, 64 << 20, 1536, 2 << 30]
        );
        assert_eq!(size("x"), None);
    }

    #[test]
    fn mistakes() {
        fails("type=bnd,target=/x", "unsupported mount type \"bnd\" (did you mean bind?)");
        fails("tagret=/x", "unexpected key 'tagret' in 'tagret=/x' (did you mean target?)");
        fails("type", "invalid field 'type' must be a key=value pair");
        fails("target=/", "invalid mount target \"/\"");
        fails("target=/x,ro=maybe", "invalid value for ro: maybe");
        fails("target=/x,mode=0700", "mode not allowed for \"bind\" type mounts");
        fails("type=cache,target=/x,sharing=bad", "unsupported sharing value \"bad\"");
        fails("type=tmpfs,target=/x,sharing=shared", "invalid cache sharing set for tmpfs mount");
        fails("target=/x,size=1", "unexpected key 'size' for mount type 'bind'");
        fails("target=/x,required", "unexpected key 'required' for mount type 'bind'");
        fails("type=secret", "invalid secret mount. one of source, target required");
        fails("type=secret,id=a,source=b", "both source and id can't be set");
        fails("type=ssh,source=b", "ssh does not support source");
        fails("from=$A,target=/x", "'from' doesn't support variable expansion, define alias stage instead");
    }
}
