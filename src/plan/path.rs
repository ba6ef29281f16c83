//! Paths of the image as text: what WORKDIR, mounts and COPY destinations do with them before any file exists.
//!
//! Nothing here touches a file system; symbolic links are resolved later, inside the image.

/// Returns the shortest equal path: no `.`, no `//`, `..` taken back where possible. Empty becomes `.`.
pub(super) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.join("/")) {
        (true, rest) => format!("/{rest}"),
        (false, rest) if rest.is_empty() => ".".to_owned(),
        (false, rest) => rest,
    }
}

/// Returns `path` as a clean absolute path; a relative one starts at `workdir`.
pub(super) fn absolute(workdir: &str, path: &str) -> String {
    if path.starts_with('/') { clean(path) } else { clean(&format!("/{workdir}/{path}")) }
}

/// Returns what WORKDIR stores: an absolute path as written, a relative one joined and clean (rule 13.1).
pub(super) fn workdir(before: &str, written: &str) -> String {
    if written.starts_with('/') { written.to_owned() } else { absolute(before, written) }
}

/// Returns a COPY destination: absolute and clean, but a trailing `/` or `/.` stays as `/` (rule 11.2).
pub(super) fn destination(workdir: &str, written: &str) -> String {
    let path = absolute(workdir, written);
    let is_directory = written.is_empty() || written == "." || written.ends_with('/') || written.ends_with("/.");
    if is_directory && !path.ends_with('/') { path + "/" } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_agrees_with_go() {
        let cases =
            [("", "."), ("/", "/"), ("a/../b/./c//", "b/c"), ("/../a", "/a"), ("../a", "../a"), ("a/../../b", "../b")];
        for (path, want) in cases {
            assert_eq!(clean(path), want, "{path}");
        }
    }

    #[test]
    fn a_destination_keeps_its_slash() {
        let cases =
            [("/x/", "/x/"), ("/x/.", "/x/"), ("x", "/w/x"), (".", "/w/"), ("", "/w/"), ("/", "/"), ("..", "/")];
        for (written, want) in cases {
            assert_eq!(destination("/w", written), want, "{written}");
        }
    }

    #[test]
    fn an_absolute_workdir_stays_as_written() {
        assert_eq!(workdir("/a", "//b//c/"), "//b//c/");
        assert_eq!(workdir("/a", "b/../c"), "/a/c");
    }
}
