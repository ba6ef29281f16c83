//! Below which directory the cgroups of steps are made.
//!
//! The nearest that can be had, so that what limits kiln limits its steps too. Of version 1 that is the cgroup of this
//! process. Of version 2 a cgroup other than the topmost either holds processes or passes controllers on to those below
//! it; so it is the nearest around this process that is empty, that this user may write, and that has the controllers:
//! under systemd's delegation the slice of the user's services.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Access, access};

use super::claim;
use super::group::Member;
use super::hierarchy::{Hierarchy, Version, hierarchies};
use super::{CgroupError, Controller, Group};
use crate::sandbox::limits::ResourceLimits;

/// The hierarchies of this machine, looked up once.
pub(crate) struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    /// Where leftovers of others were looked for.
    swept: Mutex<BTreeSet<PathBuf>>,
}

impl Cgroups {
    /// Looks them up.
    pub(crate) fn find() -> Self {
        // Without the files there are no cgroups, which is said when one is wanted.
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let hierarchies = hierarchies(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
        Self { hierarchies, swept: Mutex::default() }
    }

    /// Makes the cgroup of one step, in each hierarchy that its limits need.
    pub(crate) fn make(&self, limits: &ResourceLimits) -> Result<Group, CgroupError> {
        let mut group = Group::new(limits);
        for need in self.needs(limits)? {
            let parent = need.directory(limits.cgroup_parent.as_deref())?;
            self.sweep_once(&parent);
            let (path, lock) = claim::claim(&parent).map_err(need.denied(&parent))?;
            group.add(
                Member { path, _lock: lock, version: need.hierarchy.version, controllers: need.controllers },
                limits,
            )?;
        }
        Ok(group)
    }

    /// What is there, in words.
    pub(crate) fn version(&self) -> &'static str {
        let any = |version| self.hierarchies.iter().any(|found| found.version == version);
        match (any(Version::V1), any(Version::V2)) {
            (true, true) => "cgroup v1, and v2 beside it",
            (true, false) => "cgroup v1",
            (false, true) => "cgroup v2",
            (false, false) => "no cgroups",
        }
    }

    /// Which hierarchies, and what of each.
    fn needs(&self, limits: &ResourceLimits) -> Result<Vec<Need<'_>>, CgroupError> {
        let mut needs: Vec<Need<'_>> = Vec::new();
        for (controller, flag) in limits.cgroup_flags() {
            let found = self.hierarchies.iter().find(|found| controls(found, controller));
            let hierarchy = found.ok_or(CgroupError::NoController { flag, controller: controller.name() })?;
            add(&mut needs, hierarchy, Some(controller), flag);
        }
        if let Some(parent) = &limits.cgroup_parent {
            // The step belongs there wherever there is such a cgroup; a new one is made where kiln could limit.
            let there = |found: &&Hierarchy| below(&found.top, parent).is_ok_and(|directory| directory.is_dir());
            let may = |found: &&Hierarchy| Controller::ALL.iter().any(|controller| controls(found, *controller));
            let mut all: Vec<&Hierarchy> = self.hierarchies.iter().filter(there).collect();
            if all.is_empty() && needs.is_empty() {
                all = self.hierarchies.iter().filter(may).collect();
            }
            all.into_iter().for_each(|hierarchy| add(&mut needs, hierarchy, None, PARENT));
        }
        Ok(needs)
    }

    fn sweep_once(&self, parent: &Path) {
        if self.swept.lock().unwrap_or_else(PoisonError::into_inner).insert(parent.to_owned()) {
            claim::sweep(parent);
        }
    }
}

const PARENT: &str = "--cgroup-parent";

fn add<'a>(needs: &mut Vec<Need<'a>>, hierarchy: &'a Hierarchy, controller: Option<Controller>, flag: &'static str) {
    match needs.iter_mut().find(|need| need.hierarchy == hierarchy) {
        Some(need) => need.controllers.extend(controller.filter(|controller| !need.controllers.contains(controller))),
        None => needs.push(Need { hierarchy, controllers: controller.into_iter().collect(), flag }),
    }
}

/// Of version 2 the topmost cgroup knows all controllers that are bound to it.
fn controls(hierarchy: &Hierarchy, controller: Controller) -> bool {
    hierarchy.may_control(controller)
        && (hierarchy.version == Version::V1 || names(&hierarchy.top, "cgroup.controllers").contains(controller.name()))
}

fn names(directory: &Path, file: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(directory.join(file)).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// A hierarchy that a step must have a cgroup in.
struct Need<'a> {
    hierarchy: &'a Hierarchy,
    controllers: Vec<Controller>,
    /// The first flag that needs it, for errors.
    flag: &'static str,
}

impl Need<'_> {
    fn denied(&self, directory: &Path) -> impl FnOnce(io::Error) -> CgroupError {
        let (flag, directory, version_2) = (self.flag, directory.to_owned(), self.hierarchy.version == Version::V2);
        move |source| CgroupError::Denied { flag, directory, version_2, source }
    }

    /// Returns the directory to make the cgroup in; a named one is made when it is not there, and stays.
    fn directory(&self, parent: Option<&str>) -> Result<PathBuf, CgroupError> {
        let Hierarchy { version, top, own, .. } = self.hierarchy;
        if self.hierarchy.readonly {
            return Err(CgroupError::ReadOnly { flag: self.flag, top: top.clone() });
        }
        if let Some(parent) = parent {
            let directory = below(top, parent)?;
            self.make_all(top, &directory)?;
            return Ok(directory);
        }
        let own = own.as_deref().ok_or_else(|| CgroupError::NotSeen { flag: self.flag, top: top.clone() })?;
        match version {
            Version::V1 => Ok(own.to_owned()),
            Version::V2 => self.nearest(top, own),
        }
    }

    fn make_all(&self, top: &Path, directory: &Path) -> Result<(), CgroupError> {
        let below_top: Vec<&Path> = directory.ancestors().take_while(|path| *path != top).collect();
        for path in below_top.into_iter().rev() {
            match std::fs::create_dir(path) {
                Ok(()) if self.hierarchy.version == Version::V1 => {
                    super::group::inherit_cpuset(path).map_err(|source| CgroupError::Io {
                        doing: "set up",
                        path: path.to_owned(),
                        source,
                    })?;
                }
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.denied(path.parent().unwrap_or(top))(error)),
            }
        }
        if self.hierarchy.version == Version::V2 {
            for path in
                directory.ancestors().take_while(|path| path.starts_with(top)).collect::<Vec<_>>().into_iter().rev()
            {
                self.pass_on(path)?;
            }
        }
        Ok(())
    }

    /// Version 2: the nearest cgroup around `own` that takes others; if none does, why the nearest does not.
    fn nearest(&self, top: &Path, own: &Path) -> Result<PathBuf, CgroupError> {
        let mut refused = None;
        for directory in own.ancestors().take_while(|directory| directory.starts_with(top)) {
            let may = access(directory, Access::WRITE_OK).map_err(|error| self.denied(directory)(error.into()));
            match may.and_then(|()| self.pass_on(directory)) {
                Ok(()) => return Ok(directory.to_owned()),
                Err(error) => refused = Some(refused.unwrap_or(error)),
            }
        }
        Err(refused.unwrap_or_else(|| CgroupError::NotSeen { flag: self.flag, top: top.to_owned() }))
    }

    /// Version 2: makes `directory` give its controllers to those below it.
    fn pass_on(&self, directory: &Path) -> Result<(), CgroupError> {
        let (given, passed) = (names(directory, "cgroup.controllers"), names(directory, "cgroup.subtree_control"));
        let (flag, directory) = (self.flag, directory.to_owned());
        let missing = self.controllers.iter().map(|controller| controller.name());
        for controller in missing.filter(|name| !passed.contains(*name)) {
            if !given.contains(controller) {
                return Err(CgroupError::NotDelegated { flag, controller, directory });
            }
            match write(&directory.join("cgroup.subtree_control"), &format!("+{controller}")) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                    return Err(CgroupError::Occupied { flag, directory });
                }
                Err(source) => return Err(self.denied(&directory)(source)),
            }
        }
        Ok(())
    }
}

/// Writes to a file of a cgroup, which is there or not: none is ever made by writing.
pub(super) fn write(path: &Path, value: &str) -> io::Result<()> {
    use std::io::Write;
    std::fs::OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

/// Returns the directory of a cgroup that is named from the top. A name of systemd's like `a-b.slice` stands for what it
/// means there: `a.slice/a-b.slice` (systemd.slice(5)).
fn below(top: &Path, parent: &str) -> Result<PathBuf, CgroupError> {
    let malformed = || CgroupError::Parent(parent.to_owned());
    let path = Path::new(parent.trim_start_matches('/'));
    let plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if path.as_os_str().is_empty() || !plain {
        return Err(malformed());
    }
    match parent.strip_suffix(".slice") {
        Some(slice) if !parent.contains('/') => {
            let ends = slice.match_indices('-').map(|(end, _)| end).chain([slice.len()]);
            Ok(ends.fold(top.to_owned(), |path, end| path.join(format!("{}.slice", &slice[..end]))))
        }
        _ => Ok(top.join(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents() {
        let below = |parent| below(Path::new("/c"), parent).map(|path| path.display().to_string()).ok();
        for (parent, path) in [
            ("/a/b", Some("/c/a/b")),
            ("a", Some("/c/a")),
            ("a-b-c.slice", Some("/c/a.slice/a-b.slice/a-b-c.slice")),
            ("a.slice", Some("/c/a.slice")),
            ("/x/a-b.slice", Some("/c/x/a-b.slice")),
            ("", None),
            ("/", None),
            ("..", None),
            ("/a/../../b", None),
        ] {
            assert_eq!(below(parent).as_deref(), path, "{parent}");
        }
    }

    fn cgroups(hierarchies: Vec<Hierarchy>) -> Cgroups {
        Cgroups { hierarchies, swept: Mutex::default() }
    }

    fn of_version_1(controllers: &[&str]) -> Hierarchy {
        Hierarchy {
            version: Version::V1,
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
            top: format!("/nowhere/{}", controllers[0]).into(),
            own: None,
            readonly: false,
        }
    }

    #[test]
    fn a_hierarchy_is_needed_once() {
        let all = cgroups(vec![of_version_1(&["cpu", "cpuset"]), of_version_1(&["pids"])]);
        let limits = ResourceLimits {
            cpu_shares: Some(2),
            cpuset_cpus: Some("0".to_owned()),
            pids: Some(1),
            ..ResourceLimits::default()
        };
        let needs = all.needs(&limits).unwrap();
        let shown: Vec<_> = needs.iter().map(|need| (need.flag, need.controllers.as_slice())).collect();
        assert_eq!(
            shown,
            [
                ("--cpu-shares", [Controller::Cpu, Controller::Cpuset].as_slice()),
                ("--pids-limit", [Controller::Pids].as_slice()),
            ]
        );
        assert!(all.needs(&ResourceLimits::default()).unwrap().is_empty());
    }

    #[test]
    fn what_is_missing_is_named() {
        let memory = ResourceLimits { memory: Some(1 << 30), ..ResourceLimits::default() };
        let why = |hierarchies| cgroups(hierarchies).make(&memory).err().unwrap().to_string();
        assert_eq!(
            why(vec![of_version_1(&["pids"])]),
            "--memory cannot be had here: no mounted cgroup hierarchy has the controller `memory`"
        );
        assert_eq!(
            why(vec![of_version_1(&["memory"])]),
            "--memory cannot be had here: the cgroup of kiln is not below `/nowhere/memory`"
        );
        assert_eq!(
            why(vec![Hierarchy { readonly: true, ..of_version_1(&["memory"]) }]),
            "--memory cannot be had here: `/nowhere/memory` is mounted read-only"
        );
    }
}
