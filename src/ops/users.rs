//! `/etc/passwd` and `/etc/group` of a filesystem: who runs a command (10.5), who owns a copy (11.14).
//!
//! The files belong to the image and may hold anything: they are opened inside its root, read up to a limit,
//! and lines that make no sense are skipped.

use std::io::{self, Read};
use std::path::Path;

use super::copy::Owner;
use crate::fsutil::Dir;

/// More than any real file has; less than would hurt.
const MOST_BYTES: u64 = 16 << 20;
/// Linux reserves the numbers above (and runc refuses them).
const LARGEST_ID: u32 = i32::MAX as u32;

/// Who a process runs as.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ResolvedUser {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups, sorted. The primary group is among them, so that a process that gives it up (as by running a
    /// set-group-id program) does not lose what files deny that group.
    pub additional_gids: Vec<u32>,
    /// Home directory; `/` for a user without an entry.
    pub home: String,
}

/// Why a user cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No such user.
    #[error("unable to find user {name}: no matching entries in passwd file")]
    UnknownUser {
        /// The name as written.
        name: String,
    },
    /// No such group.
    #[error("unable to find group {name}: no matching entries in group file")]
    UnknownGroup {
        /// The name as written.
        name: String,
    },
    /// A number that cannot be an id.
    #[error("user and group ids must be in range 0-2147483647, not {id}")]
    OutOfRange {
        /// The number as written.
        id: String,
    },
    /// `COPY --link` cannot look up names: what it makes does not depend on the files below.
    #[error("invalid user index: -1: `{name}` is a name, and --link can only be used with numbers")]
    NameWithoutFiles {
        /// The name as written.
        name: String,
    },
    /// The file could not be read.
    #[error("cannot read {file}")]
    Io {
        /// The file.
        file: &'static str,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// The file has more than 16 MiB.
    #[error("{file} is too large")]
    TooLarge {
        /// The file.
        file: &'static str,
    },
}

struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// Returns who a command runs as under `USER user`, by the rules of 10.5. `view` is `None` for an empty filesystem. Two
/// numbers, and `root` beside another one, are not looked up; without a user it is that of 0.
pub fn resolve_user(view: Option<&Dir>, user: &str) -> Result<ResolvedUser, UserError> {
    let (user, group) = split(user);
    let users = users(view)?;
    let home_of = |uid: u32| {
        let entry = users.iter().find(|entry| entry.uid == uid);
        entry.map(|entry| entry.home.as_str()).filter(|home| !home.is_empty()).unwrap_or("/").to_owned()
    };
    if let (Some(uid), Some(gid)) = (number_or_root(user)?, number_or_root(group)?) {
        return Ok(ResolvedUser { uid, gid, additional_gids: vec![gid], home: home_of(uid) });
    }
    let (uid, gid, entry) = find_user(&users, if user.is_empty() { "0" } else { user })?;
    let home = home_of(uid);
    if !group.is_empty() {
        let gid = find_group(&groups(view)?, group)?;
        return Ok(ResolvedUser { uid, gid, additional_gids: vec![gid], home });
    }
    let mut additional_gids = vec![gid];
    if let Some(entry) = entry {
        let groups = groups(view)?;
        let of_user = groups.iter().filter(|group| group.members.contains(&entry.name));
        additional_gids.extend(of_user.map(|group| group.gid));
        additional_gids.sort_unstable();
        additional_gids.dedup();
    }
    Ok(ResolvedUser { uid, gid, additional_gids, home })
}

/// Returns who owns what `--chown=owner` copies, by the rules of 11.14: a user nobody knows is root, a group nobody
/// knows is the user's own; numbers and `root`, which is 0, are not looked up.
/// `None` if nothing was asked for.
pub fn resolve_owner(view: Option<&Dir>, owner: &str) -> Result<Option<Owner>, UserError> {
    if owner.is_empty() {
        return Ok(None);
    }
    let (user, group) = split(owner);
    let (uid, own_gid) = match (user, number_or_root(user)?) {
        ("", _) => (0, 0),
        (_, Some(uid)) => (uid, uid),
        (name, None) => {
            let users = users(view)?;
            let entry = users.iter().find(|entry| entry.name == name);
            entry.map_or((0, 0), |entry| (entry.uid, entry.gid))
        }
    };
    let gid = match (group, number_or_root(group)?) {
        // A colon with nothing behind it, as an ARG without a value leaves it, is a group, and that of root.
        ("", _) if owner.ends_with(':') => 0,
        ("", _) => own_gid,
        (_, Some(gid)) => gid,
        (name, None) => groups(view)?.iter().find(|entry| entry.name == name).map_or(own_gid, |entry| entry.gid),
    };
    Ok(Some(Owner { uid, gid }))
}

/// Like [`resolve_owner`] for `COPY --link`, which has no files to look names up in (11.19).
pub fn numeric_owner(owner: &str) -> Result<Option<Owner>, UserError> {
    let (user, group) = split(owner);
    for name in [user, group] {
        if !name.is_empty() && number_or_root(name)?.is_none() {
            return Err(UserError::NameWithoutFiles { name: name.to_owned() });
        }
    }
    resolve_owner(None, owner)
}

fn split(text: &str) -> (&str, &str) {
    text.split_once(':').unwrap_or((text, ""))
}

/// Returns the number that `text` is, or `None` if it is a name.
fn number(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(id) if id <= LARGEST_ID => Ok(Some(id)),
        _ => Err(UserError::OutOfRange { id: text.to_owned() }),
    }
}

/// Like [`number`], with 0 for `root`, whatever the files say of it.
fn number_or_root(text: &str) -> Result<Option<u32>, UserError> {
    if text == "root" { Ok(Some(0)) } else { number(text) }
}

fn find_user<'u>(users: &'u [User], user: &str) -> Result<(u32, u32, Option<&'u User>), UserError> {
    let id = number(user)?;
    let by_name = users.iter().find(|entry| entry.name == user);
    match (by_name.or_else(|| users.iter().find(|entry| Some(entry.uid) == id)), id) {
        (Some(entry), _) => Ok((entry.uid, entry.gid, Some(entry))),
        (None, Some(uid)) => Ok((uid, 0, None)),
        (None, None) => Err(UserError::UnknownUser { name: user.to_owned() }),
    }
}

fn find_group(groups: &[Group], group: &str) -> Result<u32, UserError> {
    let id = number(group)?;
    let by_name = groups.iter().find(|entry| entry.name == group).map(|entry| entry.gid);
    by_name.or(id).ok_or_else(|| UserError::UnknownGroup { name: group.to_owned() })
}

fn users(view: Option<&Dir>) -> Result<Vec<User>, UserError> {
    let text = read(view, "/etc/passwd")?;
    Ok(text.lines().filter_map(user).collect())
}

fn groups(view: Option<&Dir>) -> Result<Vec<Group>, UserError> {
    let text = read(view, "/etc/group")?;
    Ok(text.lines().filter_map(group).collect())
}

/// Reads `name:password:uid:gid:comment:home:shell`.
fn user(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.trim().split(':').collect();
    let [name, _, uid, gid, rest @ ..] = fields.as_slice() else { return None };
    let home = (*rest.get(1).unwrap_or(&"")).to_owned();
    Some(User { name: name_of(name)?, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
}

/// Reads `name:password:gid:member,member`.
fn group(line: &str) -> Option<Group> {
    let fields: Vec<&str> = line.trim().split(':').collect();
    let [name, _, gid, rest @ ..] = fields.as_slice() else { return None };
    let members = rest.first().map(|members| members.split(',').map(str::to_owned).collect());
    Some(Group { name: name_of(name)?, gid: gid.parse().ok()?, members: members.unwrap_or_default() })
}

fn name_of(name: &str) -> Option<String> {
    (!name.is_empty() && !name.starts_with('#')).then(|| name.to_owned())
}

/// Reads a file inside the view; one that is not there is empty.
fn read(view: Option<&Dir>, file: &'static str) -> Result<String, UserError> {
    let Some(view) = view else { return Ok(String::new()) };
    let failed = |source| UserError::Io { file, source };
    let open = match view.open_file_in_root(Path::new(file)) {
        Ok(open) => open,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(String::new());
        }
        Err(error) => return Err(failed(error)),
    };
    if !open.metadata().map_err(failed)?.is_file() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    open.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(UserError::TooLarge { file });
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("etc")).unwrap();
        let passwd = "root:x:0:9:root:/root:/bin/sh\n\n# c:x:1:1\nbroken\nbob:x:300:400::/home/bob:/bin/sh\nbad:x:y:1:::\ntoor:x:0:7::/toor:\n";
        std::fs::write(temp.path().join("etc/passwd"), passwd).unwrap();
        let group = "root:x:9:\nstaff:x:50:ann,bob\ngrp:x:500:\nextra:x:7:bob,root\n";
        std::fs::write(temp.path().join("real-group"), group).unwrap();
        std::os::unix::fs::symlink("/real-group", temp.path().join("etc/group")).unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        (temp, dir)
    }

    #[test]
    fn commands_run_as_10_5_says() {
        let (_temp, dir) = view();
        let found = |user: &str| {
            let user = resolve_user(Some(&dir), user).unwrap();
            (user.uid, user.gid, user.additional_gids, user.home)
        };
        assert_eq!(found(""), (0, 9, vec![7, 9], "/root".into()));
        assert_eq!(found("bob"), (300, 400, vec![7, 50, 400], "/home/bob".into()));
        assert_eq!(found("300"), (300, 400, vec![7, 50, 400], "/home/bob".into()));
        assert_eq!(found("bob:grp"), (300, 500, vec![500], "/home/bob".into()));
        assert_eq!(found("42"), (42, 0, vec![0], "/".into()));
        assert_eq!(found("42:43"), (42, 43, vec![43], "/".into()));
        assert_eq!([found("root"), found("0")], [found(""), found("")]);
        assert_eq!(found("toor"), (0, 7, vec![7], "/root".into()));
        assert_eq!(found("bob:root"), (300, 9, vec![9], "/home/bob".into()));
        assert_eq!(found("root:root"), (0, 0, vec![0], "/root".into()));
        let text = |user: &str| resolve_user(Some(&dir), user).unwrap_err().to_string();
        assert_eq!(text("ghost"), "unable to find user ghost: no matching entries in passwd file");
        assert_eq!(text("bob:ghost"), "unable to find group ghost: no matching entries in group file");
        assert!(text("4294967295").contains("range"));
        assert!(resolve_user(None, "root").is_err() && resolve_user(None, "5:root").unwrap().uid == 5);
        assert_eq!(resolve_user(None, "").unwrap().home, "/");
    }

    #[test]
    fn copies_are_owned_as_11_14_says() {
        let (_temp, dir) = view();
        let found = |owner: &str| resolve_owner(Some(&dir), owner).unwrap().map(|owner| (owner.uid, owner.gid));
        let cases = [
            ("", None),
            ("11", Some((11, 11))),
            ("11:22", Some((11, 22))),
            ("bob", Some((300, 400))),
            ("bob:staff", Some((300, 50))),
            (":staff", Some((0, 50))),
            ("bob:7", Some((300, 7))),
            ("ghost", Some((0, 0))),
            ("11:ghost", Some((11, 11))),
            ("root", Some((0, 0))),
            ("bob:", Some((300, 0))),
            ("bob:root", Some((300, 0))),
        ];
        for (owner, expected) in cases {
            assert_eq!(found(owner), expected, "{owner}");
        }
        assert_eq!(numeric_owner("9:root").unwrap(), Some(Owner { uid: 9, gid: 0 }));
        assert!(numeric_owner("nobody").unwrap_err().to_string().contains("invalid user index: -1"));
    }
}
