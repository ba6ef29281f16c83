//! `cp`: files out of an image.
//!
//! The path is the image's: links in it are followed inside the image only, by the kernel, below the handle of the image's root. What
//! is copied is written below the destination without following a link there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Image, ImagesError, Unpacked};
use crate::export::{Report, write_local};
use crate::fsutil::{Dir, Kind, replace, set_mtime};
use crate::layer;

/// Where files go.
pub enum CopyTo<'a> {
    /// A path: into it if it is a directory, else under this name.
    Path(PathBuf),
    /// An archive of what is copied, under its own name.
    Archive(&'a mut dyn Write),
}

/// Copies what is at `path` in an image. With `follow`, a link is what it points to.
pub fn copy(unpacked: &Unpacked, image: &Image, path: &str, follow: bool, to: CopyTo<'_>) -> Result<(), ImagesError> {
    let view = unpacked.view(image)?;
    let inside = Path::new("/").join(path);
    let failed = |source| ImagesError::Copy { path: path.to_owned(), source };
    let stat = if follow { view.stat_in_root(&inside) } else { view.lstat_in_root(&inside) };
    let found = stat.map_err(failed)?.ok_or_else(|| ImagesError::NotThere { path: path.to_owned() })?;
    let name = inside.file_name().map_or_else(|| OsString::from("."), OsString::from);
    let (parent, own) = (inside.parent().unwrap_or(Path::new("/")), name.clone());
    let source = Source { view: &view, inside: &inside, parent, name: &own, follow };
    match (to, found.kind) {
        (CopyTo::Archive(out), Kind::Directory) => {
            let dir = source.directory().map_err(failed)?;
            // Names of an archive are text or bytes, and the layer writer sorts them.
            let trees = BTreeMap::from([(name.to_string_lossy().into_owned(), dir)]);
            layer::write_trees(&trees, None, out)?;
        }
        (CopyTo::Archive(out), kind) => source.archive(kind, out).map_err(failed)?,
        (CopyTo::Path(to), Kind::Directory) => {
            // As with docker: into a directory that is there, unless only what is in the source is meant.
            let contents_only = path.ends_with("/.") || name == ".";
            let dest = if to.is_dir() && !contents_only { to.join(&name) } else { to };
            write_local(&source.directory().map_err(failed)?, &dest, None, &Report::silent())?;
        }
        (CopyTo::Path(to), kind) => {
            let dest = if to.is_dir() { to.join(&name) } else { to };
            source.one(kind, &dest).map_err(failed)?;
        }
    }
    Ok(())
}

struct Source<'a> {
    view: &'a Dir,
    inside: &'a Path,
    parent: &'a Path,
    name: &'a OsString,
    follow: bool,
}

impl Source<'_> {
    fn directory(&self) -> io::Result<Dir> {
        match self.name.as_os_str() == "." {
            true => self.view.try_clone(),
            false => self.view.open_dir_in_root(self.inside),
        }
    }

    fn file(&self) -> io::Result<std::fs::File> {
        self.view.open_file_in_root(self.inside)
    }

    fn link(&self) -> io::Result<PathBuf> {
        self.view.open_dir_in_root(self.parent)?.child_link(self.name)
    }

    /// One file or link, which takes the place of what has this name.
    fn one(&self, kind: Kind, dest: &Path) -> io::Result<()> {
        match kind {
            Kind::File => {
                let mut file = self.file()?;
                let metadata = self.view.metadata_of(&file)?;
                replace(dest, 0o600, |out| {
                    io::copy(&mut file, out)?;
                    out.set_permissions(std::fs::Permissions::from_mode(metadata.mode & 0o777))?;
                    set_mtime(&*out, metadata.mtime)
                })
            }
            Kind::Symlink if !self.follow => {
                match std::fs::remove_file(dest) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                std::os::unix::fs::symlink(self.link()?, dest)
            }
            _ => Err(io::Error::new(io::ErrorKind::Unsupported, "it is neither a file, a directory nor a link")),
        }
    }

    fn archive(&self, kind: Kind, out: &mut dyn Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(out);
        let mut header = tar::Header::new_gnu();
        match kind {
            Kind::File => {
                let file = self.file()?;
                let metadata = self.view.metadata_of(&file)?;
                header.set_size(metadata.size);
                header.set_mode(metadata.mode);
                header.set_uid(metadata.uid.into());
                header.set_gid(metadata.gid.into());
                header.set_mtime(u64::try_from(metadata.mtime.seconds).unwrap_or(0));
                tar.append_data(&mut header, self.name, file)?;
            }
            Kind::Symlink => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                header.set_mode(0o777);
                tar.append_link(&mut header, self.name, self.link()?)?;
            }
            _ => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "it is neither a file, a directory nor a link"));
            }
        }
        tar.into_inner()?.flush()
    }
}
