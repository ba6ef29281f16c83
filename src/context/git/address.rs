//! Addresses of git repositories, with the directory and the commit that are meant.
//!
//! ```text
//! https://host/path.git[?key=value&...][#reference[:subdirectory]]     http and https only with `.git`
//! git://host/path    ssh://user@host/path    user@host:path            the same way
//! ```

use super::address_error::GitAddressError;
use super::credentials::Login;
use super::parts::{Parts, split, url_parts};

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
    fn credentials_are_no_part_of_the_remote() {
        let read = address("https://us%40er:se%2Fcret@h.example/x.git");
        assert_eq!(read.remote, "https://h.example/x.git");
        let login = read.login.clone().unwrap();
        assert_eq!((login.user.as_str(), login.password.as_str()), ("us@er", "se/cret"));
        assert!(!format!("{read:?}").contains("cret"));
    }
}
