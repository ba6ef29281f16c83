//! From source paths as written to places in the source's tree.

use std::collections::VecDeque;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use super::content::as_path;
use super::error::{CopyError, shown};
use super::look::has_visible_below;
use super::near::near;
use crate::context::glob::{Glob, clean, has_wildcard};
use crate::context::{Origin, Source};
use crate::fsutil::{Kind, Metadata};

/// As many links as Linux follows in one path (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// One thing a source path stands for.
#[derive(Debug)]
pub(super) struct Place {
    /// Last part of the path as written (or as the wildcard matched it): the name a copied file gets.
    pub name: Vec<u8>,
    /// Path in the tree, without links.
    pub path: Vec<u8>,
    /// What is there.
    pub metadata: Metadata,
}

/// Returns what a source path stands for: one place, or all that match its wildcards (11.1, 11.9-11.11).
pub(super) fn resolve(source: &Source, written: &str) -> Result<Vec<Place>, CopyError> {
    let path = clean(written.as_bytes());
    if !has_wildcard(&path) {
        let place = follow(source, &path)?;
        return Ok(vec![place.ok_or_else(|| not_found(source, &path))?]);
    }
    let mut places = Vec::new();
    for path in matches(source, &path, written)? {
        // A match that is a dangling link has nothing to give.
        places.push(follow(source, &path)?.ok_or_else(|| not_found(source, &path))?);
    }
    Ok(places)
}

/// Follows every link of `path`, including the last; `None` if the build cannot see anything there.
pub(super) fn follow(source: &Source, path: &[u8]) -> Result<Option<Place>, CopyError> {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
    let Some((path, metadata)) = follow_links(source, path, &mut Vec::new())? else { return Ok(None) };
    let hidden = source.ignore.as_ref().is_some_and(|ignore| ignore.excludes(&path));
    if hidden && !(metadata.is_dir() && has_visible_below(source, &path)?) {
        return Ok(None);
    }
    Ok(Some(Place { name, path, metadata }))
}

/// Returns the links on the way along `path` and the place they lead to; `None` if the build cannot see anything there.
pub(super) fn trail(source: &Source, path: &[u8]) -> Result<Option<Vec<Vec<u8>>>, CopyError> {
    let Some(place) = follow(source, path)? else { return Ok(None) };
    let mut trail = Vec::new();
    follow_links(source, path, &mut trail)?;
    trail.push(place.path);
    Ok(Some(trail))
}

/// Puts the links it passes into `passed`.
fn follow_links(
    source: &Source,
    path: &[u8],
    passed: &mut Vec<Vec<u8>>,
) -> Result<Option<(Vec<u8>, Metadata)>, CopyError> {
    let mut rest: VecDeque<Vec<u8>> = parts(path);
    let mut at: Vec<u8> = Vec::new();
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        if part == b".." {
            at.truncate(at.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
            continue;
        }
        let here = join(&at, &part);
        let metadata = source.root.lstat_in_root(as_path(&here)).map_err(CopyError::io("look at", &here))?;
        match metadata.map(|metadata| metadata.kind) {
            None => return Ok(None),
            Some(Kind::Symlink) => {
                if source.ignore.as_ref().is_some_and(|ignore| ignore.excludes(&here)) {
                    return Ok(None);
                }
                links += 1;
                if links > MOST_LINKS {
                    return Err(CopyError::TooManyLinks { path: shown(path) });
                }
                let target = read_link(source, &here).map_err(CopyError::io("read the link", &here))?;
                if target.starts_with(b"/") {
                    at.clear();
                }
                for part in parts(&target).into_iter().rev() {
                    rest.push_front(part);
                }
                passed.push(here);
            }
            Some(Kind::Directory) => at = here,
            Some(_) if rest.is_empty() => at = here,
            Some(_) => return Ok(None),
        }
    }
    let metadata = source.root.lstat_in_root(as_path(&at)).map_err(CopyError::io("look at", &at))?;
    Ok(metadata.map(|metadata| (at, metadata)))
}

fn read_link(source: &Source, path: &[u8]) -> io::Result<Vec<u8>> {
    Ok(source.root.read_link_in_root(as_path(path))?.into_os_string().into_vec())
}

fn parts(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec).collect()
}

/// Joins a directory's path (empty for the top) and a name.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

/// Returns the paths that match. Links in the plain parts before the first wildcard are followed, later ones
/// are not descended into.
fn matches(source: &Source, pattern: &[u8], written: &str) -> Result<Vec<Vec<u8>>, CopyError> {
    let all: Vec<&[u8]> = pattern.split(|byte| *byte == b'/').collect();
    let plain = all.iter().take_while(|part| !has_wildcard(part)).count();
    let bad = |_| CopyError::Pattern { pattern: written.to_owned() };
    let globs: Vec<Glob> =
        all[plain..].iter().map(|part| Glob::of_name(part)).collect::<Result<_, _>>().map_err(bad)?;
    let Some((top, metadata)) = follow_links(source, &all[..plain].join(&b'/'), &mut Vec::new())? else {
        return Ok(Vec::new());
    };
    if !metadata.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = vec![top];
    for (depth, glob) in globs.iter().enumerate() {
        let mut below = Vec::new();
        for directory in found {
            for (name, kind) in visible_names(source, &directory)? {
                if glob.matches(&name) && (kind == Kind::Directory || depth + 1 == globs.len()) {
                    below.push(join(&directory, &name));
                }
            }
        }
        found = below;
    }
    Ok(found)
}

/// Returns the names in a directory that the build can see, sorted.
pub(super) fn visible_names(source: &Source, directory: &[u8]) -> Result<Vec<(Vec<u8>, Kind)>, CopyError> {
    let open = source.root.open_dir_in_root(as_path(directory)).map_err(CopyError::io("open", directory))?;
    let mut names = Vec::new();
    let above = source.ignore.as_ref().map(|ignore| (ignore, ignore.verdict(directory)));
    for entry in open.entries().map_err(CopyError::io("read", directory))? {
        let path = join(directory, entry.name.as_bytes());
        let hidden = above.as_ref().is_some_and(|(ignore, above)| ignore.below(above, &path).excluded);
        if !hidden || (entry.kind == Kind::Directory && has_visible_below(source, &path)?) {
            names.push((entry.name.into_vec(), entry.kind));
        }
    }
    Ok(names)
}

/// Makes the error for a source that is not there: what hides it, or what it may have been meant to be.
pub(super) fn not_found(source: &Source, path: &[u8]) -> CopyError {
    let rule = source.ignore.as_ref().and_then(|ignore| ignore.rule_for(path));
    let exists = matches!(follow_links(source, path, &mut Vec::new()), Ok(Some(_)));
    let ignored_by = rule.filter(|_| exists).map(|rule| (rule.text.clone(), rule.line));
    let nearest = if ignored_by.is_some() { Vec::new() } else { near(source, path) };
    let nearest = nearest.iter().map(|path| match source.origin {
        Origin::Context => shown(path)[1..].to_owned(),
        Origin::Filesystem => shown(path),
    });
    let nearest = nearest.collect();
    CopyError::NotFound { path: shown(path), ignored_by, nearest }
}
