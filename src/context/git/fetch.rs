//! Asking a remote for a commit, and fetching its tree.

use std::path::{Path, PathBuf};

use super::address::{is_commit, is_reference};
use super::program::Git;
use super::tidy::{git_directories, tidy};
use super::{GitAccess, GitAddress, GitError};
use crate::fsutil::{Dir, Timestamp};

/// A repository that can be asked.
pub struct GitRemote<'a> {
    /// What is wanted of it.
    pub address: &'a GitAddress,
    /// How it lets us in.
    pub access: &'a GitAccess,
    /// A directory for what `git` needs meanwhile.
    pub beside: &'a Path,
    /// Whether the build is to stop.
    pub canceled: &'a (dyn Fn() -> bool + Sync),
}

/// What an address stands for at this moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GitCommit {
    /// The full name of the branch or tag, or the commit again.
    reference: String,
    /// The commit, or the annotated tag.
    id: String,
    /// The commit of an annotated tag.
    peeled: Option<String>,
}

impl GitCommit {
    /// The commit, in hex digits.
    pub fn id(&self) -> &str {
        self.peeled.as_deref().unwrap_or(&self.id)
    }

    /// Everything that decides which files are fetched (16.7): the commit, and what is made of it.
    pub fn key(&self, address: &GitAddress) -> String {
        let mut key = self.id().to_owned();
        if address.keeps_git_dir() {
            // The repository knows where it came from, and by which name.
            key = format!("{}.git {} {}", self.id, self.reference, address.remote);
        }
        if let Some(subdirectory) = &address.subdirectory {
            key += &format!(":{subdirectory}");
        }
        if address.skip_submodules {
            key += " without submodules";
        }
        if address.times_of_checkout {
            key += " with times of checkout";
        }
        key
    }
}

impl GitRemote<'_> {
    /// Asks which commit is meant. A full commit id is not asked for.
    pub fn resolve(&self) -> Result<GitCommit, GitError> {
        let address = self.address;
        if let Some(commit) = address.commit_to_fetch().map_err(GitError::Address)? {
            let reference = match &address.reference {
                Some(name) if is_commit(name) || name.starts_with("refs/") => name.clone(),
                Some(name) => format!("refs/heads/{name}"),
                None => commit.to_owned(),
            };
            return self.checked(GitCommit { reference, id: commit.to_owned(), peeled: None });
        }
        let git = self.git(self.beside);
        let name = match &address.reference {
            Some(name) => name.clone(),
            None => head(&git.run(&["ls-remote", "--symref", "--", git.remote, "HEAD"])?)
                .ok_or_else(|| GitError::NoHead { remote: git.remote.to_owned() })?,
        };
        let answer = git.run(&["ls-remote", "--", git.remote, &name, &format!("{name}^{{}}")])?;
        self.checked(pick(&answer, &name).ok_or(GitError::NoReference { reference: name })?)
    }

    fn checked(&self, found: GitCommit) -> Result<GitCommit, GitError> {
        let Some(wanted) = &self.address.checksum else { return Ok(found) };
        let ids = [Some(&found.id), found.peeled.as_ref()];
        if ids.into_iter().flatten().any(|id| id.starts_with(wanted)) {
            return Ok(found);
        }
        let found = found.peeled.map_or(found.id.clone(), |peeled| format!("{} or {peeled}", found.id));
        Err(GitError::Checksum { wanted: wanted.clone(), found })
    }

    /// Fetches the tree of `commit` into the empty directory `into`; returns the directory that is meant, which is
    /// below it. `now` is the time of the build.
    pub fn fetch(&self, commit: &GitCommit, into: &Path, now: Timestamp) -> Result<PathBuf, GitError> {
        let git = self.git(into);
        let made = fetch_commit(&git, commit)?;
        git.run(&["checkout", "--quiet", "--force", "--detach", &format!("{}^{{commit}}", commit.id)])?;
        if !self.address.skip_submodules && into.join(".gitmodules").exists() {
            git.run(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])?;
        }
        let time = if self.address.times_of_checkout { now } else { Timestamp::from_seconds(made) };
        let keeps_git_dir = self.address.keeps_git_dir();
        if keeps_git_dir {
            for directory in git_directories(into)? {
                forget_this_machine(&git, &directory)?;
            }
        }
        tidy(into, keeps_git_dir, time)?;
        self.meant(into)
    }

    /// Returns when a commit was made, in seconds since 1970. `into` is an empty directory.
    pub fn time(&self, commit: &GitCommit, into: &Path) -> Result<i64, GitError> {
        fetch_commit(&self.git(into), commit)
    }

    fn git<'g>(&'g self, directory: &'g Path) -> Git<'g> {
        let (beside, remote) = (self.beside, self.address.remote.as_str());
        Git { directory, beside, remote, access: self.access, canceled: self.canceled }
    }

    fn meant(&self, root: &Path) -> Result<PathBuf, GitError> {
        let Some(subdirectory) = &self.address.subdirectory else { return Ok(root.to_owned()) };
        // Not through links: they may lead out.
        match Dir::open(root)?.open_dir_without_links(subdirectory.as_bytes()) {
            Ok(_) => Ok(root.join(subdirectory)),
            Err(_) => Err(GitError::Subdirectory { subdirectory: subdirectory.clone() }),
        }
    }
}

/// Makes a repository with one commit; returns when that was made, in seconds since 1970.
fn fetch_commit(git: &Git, commit: &GitCommit) -> Result<i64, GitError> {
    let format = if commit.id.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
    git.run(&["init", "--quiet", "--template=", format])?;
    // Submodules may be named relative to it.
    git.run(&["remote", "add", "origin", git.remote])?;
    fetch_objects(git, commit)?;
    let time = git.run(&["show", "--no-patch", "--format=%ct", &format!("{}^{{commit}}", commit.id)])?;
    time.trim().parse().map_err(|_| GitError::NoTime { commit: commit.id.clone() })
}

/// Fetches one commit and nothing else where the server can do so.
fn fetch_objects(git: &Git, commit: &GitCommit) -> Result<(), GitError> {
    let named = commit.reference != commit.id;
    let wanted = match named {
        true => format!("+{0}:{0}", commit.reference),
        false => commit.id.clone(),
    };
    let fetched = git.run(&["fetch", "--quiet", "--no-tags", "--update-head-ok", "--depth=1", "origin", &wanted]);
    let has_it = |git: &Git| git.run(&["cat-file", "-e", &format!("{}^{{commit}}", commit.id)]);
    match fetched {
        Ok(_) if has_it(git).is_ok() => return Ok(()),
        // The name stands for another commit by now.
        Ok(_) => {}
        // Some servers do not give a single commit by its id.
        Err(GitError::Git { .. }) if !named => {}
        Err(error) => return Err(error),
    }
    let all = "+refs/heads/*:refs/remotes/origin/*";
    git.run(&["fetch", "--quiet", "--tags", "--update-shallow", "origin", all])?;
    has_it(git).map(drop)
}

/// Takes out of a repository what tells when and where it was checked out: the file times in the index, and what was
/// fetched last.
fn forget_this_machine(git: &Git, directory: &Path) -> Result<(), GitError> {
    if let Some(path) = directory.to_str() {
        git.run(&["--git-dir", path, "read-tree", "HEAD"])?;
    }
    for name in ["FETCH_HEAD", "ORIG_HEAD"] {
        match std::fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// The branch that HEAD is, in the answer to `ls-remote --symref`.
fn head(answer: &str) -> Option<String> {
    let line = answer.lines().find_map(|line| line.strip_prefix("ref: ")?.strip_suffix("\tHEAD"))?;
    Some(line.to_owned()).filter(|name| name.starts_with("refs/heads/") && is_reference(name))
}

/// Picks what `name` stands for from the answer to `ls-remote`: a full name, a branch, a tag, in this order.
fn pick(answer: &str, name: &str) -> Option<GitCommit> {
    let listed = |reference: &str| {
        let found = answer.lines().filter_map(|line| line.split_once('\t')).find(|(_, listed)| *listed == reference);
        found.map(|(id, _)| id.to_owned()).filter(|id| is_commit(id))
    };
    let bare = |prefix: &str| format!("{prefix}{}", name.strip_prefix(prefix).unwrap_or(name));
    let tag = bare("refs/tags/");
    [bare("refs/"), bare("refs/heads/"), tag].into_iter().find_map(|reference| {
        let peeled = listed(&format!("{reference}^{{}}"));
        Some(GitCommit { id: listed(&reference)?, peeled, reference })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn branches_come_before_tags() {
        let both =
            format!("{A}\trefs/heads/v1\n{B}\trefs/tags/v1\n{A}\trefs/tags/v1^{{}}\n{B}\trefs/x/refs/heads/v1\n");
        let picked = |name: &str| pick(&both, name).map(|found| (found.reference, found.id, found.peeled));
        assert_eq!(picked("v1"), Some(("refs/heads/v1".to_owned(), A.to_owned(), None)));
        let tag = Some(("refs/tags/v1".to_owned(), B.to_owned(), Some(A.to_owned())));
        assert_eq!(picked("tags/v1"), tag);
        assert_eq!(picked("refs/tags/v1"), tag);
        assert_eq!(picked("v2"), None);
        assert_eq!(pick("--upload-pack\trefs/heads/v1\n", "v1"), None);
    }

    #[test]
    fn a_head_is_a_branch() {
        assert_eq!(head(&format!("ref: refs/heads/main\tHEAD\n{A}\tHEAD\n")).as_deref(), Some("refs/heads/main"));
        assert_eq!(head(&format!("ref: refs/heads/-x y\tHEAD\n{A}\tHEAD\n")), None);
        assert_eq!(head(&format!("{A}\tHEAD\n")), None);
    }

    #[test]
    fn what_is_made_of_a_commit_counts() {
        let commit = GitCommit { reference: "refs/tags/t".into(), id: B.into(), peeled: Some(A.into()) };
        let key =
            |rest: &str| commit.key(&GitAddress::parse(&format!("https://h.example/x.git{rest}")).unwrap().unwrap());
        assert_eq!(key("#main"), A);
        let mut keys = ["", "?keep-git-dir=1", "#:d", "?submodules=0", "?mtime=checkout"].map(key).to_vec();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 5);
        // A part of the tree has no `.git`.
        assert_eq!(key("?keep-git-dir=1#:d"), key("#:d"));
    }

    fn fetched(remote: &str) -> Result<PathBuf, GitError> {
        let (into, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let address = GitAddress { remote: remote.to_owned(), ..GitAddress::default() };
        let access = GitAccess::default();
        let remote = GitRemote { address: &address, access: &access, beside: beside.path(), canceled: &|| false };
        let commit = GitCommit { reference: "refs/heads/main".into(), id: A.into(), peeled: None };
        remote.fetch(&commit, into.path(), Timestamp::from_seconds(0))
    }

    #[test]
    fn local_transports_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        let marker = temp.path().join("marker");
        for remote in [
            format!("file://{}", temp.path().display()),
            temp.path().display().to_string(),
            format!("ext::touch {}", marker.display()),
            "fd::7".to_owned(),
        ] {
            match fetched(&remote) {
                Err(GitError::NoGit { .. }) => {}
                Err(GitError::Git { message, .. }) => assert!(message.contains("not allowed"), "{message}"),
                other => panic!("{other:?}"),
            }
        }
        assert!(!marker.exists());
    }

    #[test]
    fn a_subdirectory_is_not_reached_through_a_link() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("in")).unwrap();
        std::fs::write(temp.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("/etc", temp.path().join("out")).unwrap();
        std::os::unix::fs::symlink("in", temp.path().join("link")).unwrap();
        let meant = |name: &str| {
            let address = GitAddress { subdirectory: Some(name.to_owned()), ..GitAddress::default() };
            let access = GitAccess::default();
            let remote = GitRemote { address: &address, access: &access, beside: temp.path(), canceled: &|| false };
            remote.meant(temp.path())
        };
        assert!(meant("in").is_ok());
        for name in ["out", "link", "file", "none"] {
            assert!(meant(name).is_err(), "{name}");
        }
    }
}
