//! The distribution of an image (os-release(5)).

use std::io::Read as _;
use std::path::Path;

use crate::fsutil::Dir;

const LIMIT: u64 = 64 << 10;

/// A distribution.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Os {
    /// `ID`: `debian`.
    pub(in crate::attest) id: String,
    /// `VERSION_ID`: `12`. Those that are always at work on the next one have none.
    pub(in crate::attest) version: String,
}

impl Os {
    /// Returns `debian-12`, as package URLs have it.
    pub(super) fn distro(&self) -> String {
        match self.version.as_str() {
            "" => self.id.clone(),
            version => format!("{}-{version}", self.id),
        }
    }
}

/// Reads what the image at `root` says it is. The usual file is a link to the other, which the kernel follows inside the image.
pub(super) fn read(root: &Dir) -> Option<Os> {
    let text = ["etc/os-release", "usr/lib/os-release"].into_iter().find_map(|path| {
        let file =
            root.open_file_in_root(Path::new(path)).ok().filter(|file| file.metadata().is_ok_and(|m| m.is_file()))?;
        let mut bytes = Vec::new();
        file.take(LIMIT).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    })?;
    let value = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
    };
    let (id, version) = (value("ID"), value("VERSION_ID"));
    let proper =
        |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "._-~+".contains(c)) && text.len() < 100;
    (!id.is_empty() && proper(&id) && proper(&version)).then_some(Os { id, version })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_is_read_through_its_link() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("usr/lib")).unwrap();
        std::fs::create_dir_all(temp.path().join("etc")).unwrap();
        let text = "NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n";
        std::fs::write(temp.path().join("usr/lib/os-release"), text).unwrap();
        std::os::unix::fs::symlink("/usr/lib/os-release", temp.path().join("etc/os-release")).unwrap();
        let os = read(&Dir::open(temp.path()).unwrap()).unwrap();
        assert_eq!(os.distro(), "debian-12");
        std::fs::write(temp.path().join("usr/lib/os-release"), "ID=\"a b\"\n").unwrap();
        assert_eq!(read(&Dir::open(temp.path()).unwrap()), None);
    }
}
