//! Addresses of git repositories, with the directory and the commit that are meant.
//!
//! ```text
//! https://host/path.git[?key=value&...][#reference[:subdirectory]]     http and https only with `.git`
//! git://host/path    ssh://user@host/path    user@host:path            the same way
//! ```

use std::fmt;

/// Where a tree of a git repository is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GitAddress {
    /// The repository, as `git` understands it; without credentials.
    pub remote: String,
    /// The host of the repository, with its port if it has one.
    pub host: String,
    /// User and password of an `http` or `https` address.
    pub(super) login: Option<Login>,
    /// Branch, tag, full ref name or commit; `None` is the remote's HEAD.
    pub reference: Option<String>,
    /// The directory in the tree that is meant; `None` is the whole tree.
    pub subdirectory: Option<String>,
    /// How the commit that must be found begins.
    pub checksum: Option<String>,
    /// Whether `.git` is kept; `None` if the address does not say.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are left out.
    pub skip_submodules: bool,
    /// Whether files get the time of the build and not that of the commit.
    pub times_of_checkout: bool,
    /// Whether `checksum` is fetched without a look at what the reference stands for.
    pub fetch_by_commit: bool,
}

/// A user and a password, percent-decoded.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<login>")
    }
}

/// Why the address of a repository makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitAddressError {
    /// A key after `?` that means nothing.
    #[error("unexpected query \"{0}\"")]
    UnexpectedQuery(String),
    /// A key after `?` that needs a value.
    #[error("query \"{0}\" has no value")]
    NoValue(String),
    /// A key after `?` that is there twice.
    #[error("query \"{0}\" has multiple values")]
    ManyValues(String),
    /// A value after `?` that its key does not take.
    #[error("invalid {key} value: \"{value}\"")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// Two parts of the address that contradict each other.
    #[error("{what} conflicts: \"{one}\" vs \"{other}\"")]
    Conflict {
        /// Which part.
        what: &'static str,
        /// The first.
        one: String,
        /// The second.
        other: String,
    },
    /// Both a branch and a tag.
    #[error("branch conflicts with tag")]
    BranchAndTag,
    /// A reference that `git` would take for an option, or that no repository can have.
    #[error("invalid git ref \"{0}\"")]
    Reference(String),
    /// A commit that is no number.
    #[error("invalid checksum {0} for Git URL, expected hex commit hash")]
    Checksum(String),
    /// A commit to fetch is wanted, but none is named.
    #[error("fetch-by-commit requires a checksum or a commit SHA ref")]
    NoCommit,
    /// Only the beginning of the commit to fetch is named.
    #[error("fetch-by-commit requires a full commit SHA checksum, got \"{0}\"")]
    ShortCommit(String),
    /// Address and `--keep-git-dir` disagree.
    #[error("inconsistent keep-git-dir configuration")]
    KeepGitDir,
    /// Address and `--checksum` disagree.
    #[error("checksum mismatch \"{flag}\" != \"{address}\"")]
    TwoChecksums {
        /// The flag's.
        flag: String,
        /// The address's.
        address: String,
    },
}

impl GitAddress {
    /// Reads the address of a repository; `None` if the text is none.
    pub fn parse(text: &str) -> Result<Option<Self>, GitAddressError> {
        match split(text) {
            Some(parts) => Self::of(parts).map(Some),
            None => Ok(None),
        }
    }

    /// The same for the address of a build context, where `github.com/owner/name` is one too.
    pub fn parse_context(text: &str) -> Result<Option<Self>, GitAddressError> {
        match text.starts_with("github.com/") {
            true => Self::parse_any(&format!("https://{text}")).map(Some),
            false => Self::parse(text),
        }
    }

    /// Whether the text is the address of a repository, be it right or wrong.
    pub fn is_address(text: &str) -> bool {
        split(text).is_some()
    }

    /// Takes over the flags of an ADD, which must not contradict the address.
    pub fn with_flags(mut self, keep_git_dir: Option<bool>, checksum: Option<&str>) -> Result<Self, GitAddressError> {
        match (keep_git_dir, self.keep_git_dir) {
            (Some(flag), Some(address)) if flag != address => return Err(GitAddressError::KeepGitDir),
            (flag, address) => self.keep_git_dir = address.or(flag),
        }
        if let Some(flag) = checksum {
            if let Some(address) = self.checksum.filter(|address| address != flag) {
                return Err(GitAddressError::TwoChecksums { flag: flag.to_owned(), address });
            }
            self.checksum = Some(flag.to_owned());
        }
        self.checked()
    }

    /// Whether the repository is reached by ssh.
    pub fn is_ssh(&self) -> bool {
        match self.remote.split_once("://") {
            Some((scheme, _)) => scheme.eq_ignore_ascii_case("ssh"),
            None => true,
        }
    }

    /// Whether `.git` is wanted; it is never there for a part of the tree.
    pub(super) fn keeps_git_dir(&self) -> bool {
        self.keep_git_dir == Some(true) && self.subdirectory.is_none()
    }

    fn parse_any(text: &str) -> Result<Self, GitAddressError> {
        Self::of(url_parts(text).unwrap_or_default())
    }

    fn of(parts: Parts) -> Result<Self, GitAddressError> {
        let (reference, subdirectory) = parts.fragment.split_once(':').unwrap_or((&parts.fragment, ""));
        let mut address = Self {
            remote: parts.remote,
            host: parts.host,
            login: parts.login,
            reference: given(reference),
            subdirectory: given(&clean(subdirectory)),
            ..Self::default()
        };
        address.take_query(&parts.query)?;
        address.subdirectory = address.subdirectory.as_deref().map(clean).filter(|path| !path.is_empty());
        address.checked()
    }

    fn checked(self) -> Result<Self, GitAddressError> {
        if let Some(reference) = self.reference.as_ref().filter(|reference| !is_reference(reference)) {
            return Err(GitAddressError::Reference(reference.clone()));
        }
        let is_hex = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if let Some(checksum) = self.checksum.as_ref().filter(|checksum| !is_hex(checksum)) {
            return Err(GitAddressError::Checksum(checksum.clone()));
        }
        Ok(self)
    }

    /// The commit that is fetched without a look at what the reference stands for.
    pub(super) fn commit_to_fetch(&self) -> Result<Option<&str>, GitAddressError> {
        if let Some(commit) = self.reference.as_deref().filter(|reference| is_commit(reference)) {
            return Ok(Some(commit));
        }
        match self.checksum.as_deref() {
            _ if !self.fetch_by_commit => Ok(None),
            Some(checksum) if is_commit(checksum) => Ok(Some(checksum)),
            Some(checksum) => Err(GitAddressError::ShortCommit(checksum.to_owned())),
            None => Err(GitAddressError::NoCommit),
        }
    }

    fn take_query(&mut self, pairs: &[(String, String)]) -> Result<(), GitAddressError> {
        let (mut tag, mut branch) = (None, None);
        for (at, (key, value)) in pairs.iter().enumerate() {
            if pairs[..at].iter().any(|(earlier, _)| earlier == key) {
                return Err(GitAddressError::ManyValues(key.clone()));
            }
            let is_flag = matches!(key.as_str(), "keep-git-dir" | "submodules" | "fetch-by-commit");
            if value.is_empty() && !is_flag {
                return Err(GitAddressError::NoValue(key.clone()));
            }
            match key.as_str() {
                "ref" => agree("ref", &mut self.reference, value.clone())?,
                "subdir" => agree("subdir", &mut self.subdirectory, value.clone())?,
                "tag" => tag = Some(qualified("refs/tags/", value)),
                "branch" => branch = Some(qualified("refs/heads/", value)),
                "checksum" | "commit" => self.checksum = Some(value.clone()),
                "keep-git-dir" => self.keep_git_dir = Some(flag(key, value)?),
                "submodules" => self.skip_submodules = !flag(key, value)?,
                "fetch-by-commit" => self.fetch_by_commit = flag(key, value)?,
                "mtime" => match value.as_str() {
                    "checkout" => self.times_of_checkout = true,
                    "commit" => {}
                    _ => return Err(GitAddressError::Value { key: key.clone(), value: value.clone() }),
                },
                _ => return Err(GitAddressError::UnexpectedQuery(key.clone())),
            }
        }
        let both = tag.is_some() && branch.is_some();
        for name in tag.into_iter().chain(branch) {
            if !both {
                agree("ref", &mut self.reference, name)?;
            }
        }
        if both { Err(GitAddressError::BranchAndTag) } else { Ok(()) }
    }
}

fn given(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn qualified(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}

/// Sets what is not set yet; what is must be the same.
fn agree(what: &'static str, place: &mut Option<String>, value: String) -> Result<(), GitAddressError> {
    match place {
        Some(one) if *one != value => Err(GitAddressError::Conflict { what, one: one.clone(), other: value }),
        _ => {
            *place = Some(value);
            Ok(())
        }
    }
}

/// The words Go takes for truth values; a key alone is true.
fn flag(key: &str, value: &str) -> Result<bool, GitAddressError> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(GitAddressError::Value { key: key.to_owned(), value: value.to_owned() }),
    }
}

/// A path below a top that `..` does not leave, without slashes around it.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A whole commit id, SHA-1 or SHA-256.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether `git` can only take the text for a name (git-check-ref-format(1), in short).
pub(super) fn is_reference(text: &str) -> bool {
    let odd = |byte: u8| byte <= b' ' || byte == 0x7f || b"~^:?*[\\".contains(&byte);
    !text.is_empty() && !text.starts_with('-') && !text.contains("..") && !text.bytes().any(odd)
}

/// An address taken apart.
#[derive(Default)]
struct Parts {
    remote: String,
    host: String,
    login: Option<Login>,
    query: Vec<(String, String)>,
    fragment: String,
}

/// Takes apart what is the address of a repository.
fn split(text: &str) -> Option<Parts> {
    if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return None;
    }
    let Some((scheme, rest)) = text.split_once("://") else { return scp_parts(text) };
    match scheme.to_ascii_lowercase().as_str() {
        "git" | "ssh" => url_parts(text),
        "http" | "https" => {
            let address = rest.split(['#', '?']).next().unwrap_or(rest);
            let (_, path) = address.split_once('/')?;
            if path.ends_with(".git") { url_parts(text) } else { None }
        }
        _ => None,
    }
}

fn url_parts(text: &str) -> Option<Parts> {
    let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (address, query) = address.split_once('?').unwrap_or((address, ""));
    let (scheme, rest) = address.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if host.is_empty() || host.starts_with('-') {
        return None;
    }
    let is_http = scheme.starts_with("http");
    let login = user.filter(|_| is_http).map(|user| {
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        Login { user: percent_decoded(user), password: percent_decoded(password) }
    });
    // Of ssh, the user is part of the way, and a password is of no use.
    let user = user.filter(|_| !is_http).map(|user| user.split(':').next().unwrap_or(user));
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    if user.starts_with('-') {
        return None;
    }
    Some(Parts {
        remote: format!("{scheme}://{user}{host}/{path}"),
        host: host.to_owned(),
        login,
        query: pairs(query),
        fragment: percent_decoded(fragment),
    })
}

/// `user@host:path`, without a scheme.
fn scp_parts(text: &str) -> Option<Parts> {
    let (user, rest) = text.split_once('@')?;
    let (host, rest) = rest.split_once(':')?;
    let is_word = |text: &str, more: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        !text.is_empty() && !text.starts_with('-') && text.chars().all(fits)
    };
    if !is_word(user, "-_") || !is_word(host, "-.") {
        return None;
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    Some(Parts {
        remote: format!("{user}@{host}:{path}"),
        host: host.to_owned(),
        login: None,
        query: pairs(query),
        fragment: fragment.to_owned(),
    })
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_decoded(&text.replace('+', " "));
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key), decoded(value))
    };
    query.split('&').filter(|text| !text.is_empty()).map(pair).collect()
}

/// Returns a part of a URL without its `%` escapes.
pub fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// A text as it may be shown: user and password of the URLs in it become `xxxxx`, as with BuildKit.
pub fn without_credentials(text: &str) -> String {
    let Some((before, rest)) = text.split_once("://") else { return text.to_owned() };
    let scheme = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or(before);
    let end = rest.find(|c: char| "/?#\"'".contains(c) || c.is_whitespace()).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        // The user of ssh and git is part of the way.
        Some((user, _)) if matches!(scheme, "ssh" | "git") && !user.contains(':') => authority.to_owned(),
        Some((user, host)) if user.contains(':') => format!("xxxxx:xxxxx@{host}"),
        Some((_, host)) => format!("xxxxx@{host}"),
        None => authority.to_owned(),
    };
    format!("{before}://{authority}{}", without_credentials(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> GitAddress {
        GitAddress::parse(text).unwrap().unwrap_or_else(|| panic!("{text} is an address"))
    }

    #[test]
    fn addresses_are_read() {
        let read = address("https://h.example/a/b.git#v1:/sub/../sub/dir/");
        assert_eq!((read.remote.as_str(), read.host.as_str()), ("https://h.example/a/b.git", "h.example"));
        assert_eq!((read.reference.as_deref(), read.subdirectory.as_deref()), (Some("v1"), Some("sub/dir")));
        let read = address("https://h.example:8443/b.git?tag=v1&subdir=x%20y&keep-git-dir&submodules=0&mtime=checkout");
        assert_eq!((read.reference.as_deref(), read.subdirectory.as_deref()), (Some("refs/tags/v1"), Some("x y")));
        assert_eq!((read.keep_git_dir, read.skip_submodules, read.times_of_checkout), (Some(true), true, true));
        assert_eq!(read.host, "h.example:8443");
        let read = address("git@h.example:a/b.git?branch=main&commit=abc#refs/heads/main");
        assert_eq!(
            (read.remote.as_str(), read.reference.as_deref()),
            ("git@h.example:a/b.git", Some("refs/heads/main"))
        );
        assert_eq!((read.checksum.as_deref(), read.is_ssh()), (Some("abc"), true));
        let read = address("ssh://user:secret@h.example:22/b");
        assert_eq!((read.remote.as_str(), read.is_ssh()), ("ssh://user@h.example:22/b", true));
        assert_eq!(GitAddress::parse_context("github.com/a/b#x").unwrap().unwrap().remote, "https://github.com/a/b");
        assert_eq!(GitAddress::parse("github.com/a/b").unwrap(), None);
    }

    #[test]
    fn a_repository_is_told_from_a_file() {
        for git in [
            "https://example.com/r.git",
            "HTTP://example.com/r.git#main:sub",
            "git@example.com:r.git",
            "git://example.com/r",
            "ssh://git@example.com/r",
            "deploy@example.com:r.git#v1",
        ] {
            assert!(GitAddress::is_address(git), "{git}");
        }
        for other in [
            "https://example.com/r.tar.gz",
            "dir.git",
            "a@b",
            "https://example.com/r.github",
            "file:///r.git",
            "ext::sh -c x.git",
            "git@-oProxyCommand=x:r",
            "ssh://-oProxyCommand=x/r",
            "git@a/b:c",
            "https://example.com/a\nb.git",
        ] {
            assert!(!GitAddress::is_address(other), "{other}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let text = |rest: &str| GitAddress::parse(&format!("https://h.example/x.git{rest}")).unwrap_err().to_string();
        assert_eq!(text("?bogus=1"), "unexpected query \"bogus\"");
        assert_eq!(text("?ref="), "query \"ref\" has no value");
        assert_eq!(text("?ref=a&ref=a"), "query \"ref\" has multiple values");
        assert_eq!(text("?ref=a#b"), "ref conflicts: \"b\" vs \"a\"");
        assert_eq!(text("?tag=a&ref=a"), "ref conflicts: \"a\" vs \"refs/tags/a\"");
        assert_eq!(text("?subdir=a#:b"), "subdir conflicts: \"b\" vs \"a\"");
        assert_eq!(text("?tag=a&branch=a"), "branch conflicts with tag");
        assert_eq!(text("?keep-git-dir=maybe"), "invalid keep-git-dir value: \"maybe\"");
        assert_eq!(text("?mtime=now"), "invalid mtime value: \"now\"");
        assert_eq!(text("?checksum=xyz"), "invalid checksum xyz for Git URL, expected hex commit hash");
        for reference in ["#--upload-pack=x", "#a b", "#a..b", "?ref=-x", "#a%0ab"] {
            assert!(text(reference).starts_with("invalid git ref"), "{reference}");
        }
    }

    #[test]
    fn a_commit_needs_no_question() {
        let commit = |rest: &str| {
            let address = address(&format!("https://h.example/x.git{rest}"));
            address.commit_to_fetch().map(|commit| commit.map(str::to_owned)).map_err(|error| error.to_string())
        };
        let id = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(commit(&format!("#{id}")), Ok(Some(id.to_owned())));
        assert_eq!(commit(&format!("?fetch-by-commit&commit={id}#main")), Ok(Some(id.to_owned())));
        assert_eq!(commit(&format!("?commit={id}#main")), Ok(None));
        assert_eq!(commit("?fetch-by-commit").unwrap_err(), "fetch-by-commit requires a checksum or a commit SHA ref");
        assert!(commit("?fetch-by-commit&commit=abc").unwrap_err().contains("full commit SHA"));
    }

    #[test]
    fn flags_and_address_agree() {
        let with = |rest: &str, keep, checksum| {
            let address = address(&format!("https://h.example/x.git{rest}"));
            address.with_flags(keep, checksum).map_err(|error| error.to_string())
        };
        assert_eq!(with("?keep-git-dir=0", Some(true), None).unwrap_err(), "inconsistent keep-git-dir configuration");
        assert_eq!(with("?keep-git-dir=1", None, None).unwrap().keep_git_dir, Some(true));
        assert_eq!(with("?commit=ab", None, Some("cd")).unwrap_err(), "checksum mismatch \"cd\" != \"ab\"");
        assert_eq!(with("", None, Some("cd")).unwrap().checksum.as_deref(), Some("cd"));
        assert!(with("", None, Some("--x")).is_err());
    }

    #[test]
    fn credentials_are_not_shown() {
        let read = address("https://us%40er:se%2Fcret@h.example/x.git");
        assert_eq!(read.remote, "https://h.example/x.git");
        let login = read.login.clone().unwrap();
        assert_eq!((login.user.as_str(), login.password.as_str()), ("us@er", "se/cret"));
        assert!(!format!("{read:?}").contains("cret"));
        let shown = without_credentials;
        assert_eq!(shown("https://u:p@h/x.git#a@b"), "https://xxxxx:xxxxx@h/x.git#a@b");
        assert_eq!(shown("https://token@h/x"), "https://xxxxx@h/x");
        assert_eq!(shown("ADD http://a:b@h http://c:d@h/x /"), "ADD http://xxxxx:xxxxx@h http://xxxxx:xxxxx@h/x /");
        for same in ["https://h/x@y", "https://h /a@b", "git@h:x", "ssh://git@h/x", "dir/a@b"] {
            assert_eq!(shown(same), same);
        }
    }
}
