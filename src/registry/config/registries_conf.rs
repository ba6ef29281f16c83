//! containers' `registries.conf`, version 2 and the older version 1 (containers-registries.conf(5)).
//!
//! What has to do with names that say no registry (`unqualified-search-registries`, `[aliases]`, `short-name-mode`) has no meaning
//! here: such names are docker's. Credential helpers come from `auth.json`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::{ConfigError, ConfigFiles, at_line, files_of, is_host, parse_toml, read};

/// All `[[registry]]` of all files, one for each prefix.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in super::super) struct Registries(Vec<Registry>);

/// One `[[registry]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) struct Registry {
    prefix: String,
    location: String,
    /// Whether it may do without a certificate.
    pub(in super::super) is_insecure: bool,
    /// Whether it must not be asked.
    pub(in super::super) is_blocked: bool,
    mirrors: Vec<Mirror>,
    /// Where this stands.
    pub(in super::super) path: PathBuf,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Mirror {
    location: String,
    is_insecure: bool,
    serves: Serves,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
enum Serves {
    #[default]
    #[serde(rename = "all")]
    All,
    #[serde(rename = "digest-only")]
    Digests,
    #[serde(rename = "tag-only")]
    Tags,
}

/// `host[:port]/path` of a repository, and whether a certificate is not needed there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) struct Place {
    pub(in super::super) host: String,
    pub(in super::super) path: String,
    pub(in super::super) is_insecure: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    registry: Vec<Spanned<Table>>,
    /// Version 1.
    registries: Option<Spanned<Old>>,
}

/// `[registries.*]` of version 1. Where names without a registry are looked for has no meaning here.
#[derive(Deserialize)]
struct Old {
    #[serde(default)]
    insecure: OldList,
    #[serde(default)]
    block: OldList,
}

#[derive(Deserialize, Default)]
struct OldList {
    #[serde(default)]
    registries: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Table {
    prefix: Option<Spanned<String>>,
    location: Option<Spanned<String>>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<Spanned<MirrorTable>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorTable {
    location: Option<Spanned<String>>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: Option<Serves>,
}

impl Registries {
    /// Reads the main file and those that add to it.
    pub(in super::super) fn read(files: &ConfigFiles) -> Result<Self, ConfigError> {
        let mut all = Self::default();
        for path in &files.registries {
            if let Some(text) = read(path)? {
                all.add(&text, path)?;
                break;
            }
        }
        for directory in &files.registries_drop_in {
            for path in files_of(directory, ".conf")? {
                if let Some(text) = read(&path)? {
                    all.add(&text, &path)?;
                }
            }
        }
        Ok(all)
    }

    /// Adds the tables of a file; one takes the place of an earlier one with its prefix.
    fn add(&mut self, text: &str, path: &Path) -> Result<(), ConfigError> {
        let file: File = parse_toml(text, path)?;
        if let Some(old) = file.registries {
            if !file.registry.is_empty() {
                let detail = "`[registries]` (version 1 of the format) and `[[registry]]` (version 2) cannot be mixed";
                return Err(at_line(text, old.span().start, path, detail));
            }
            for registry in of_version_one(old.into_inner(), text, path)? {
                self.put(registry);
            }
        }
        for table in file.registry {
            self.put(registry(table, text, path)?);
        }
        Ok(())
    }

    fn put(&mut self, registry: Registry) {
        self.0.retain(|earlier| earlier.prefix != registry.prefix);
        self.0.push(registry);
    }

    /// Returns what is written about a repository: the table with the longest prefix.
    pub(in super::super) fn of(&self, domain: &str, path: &str) -> Option<&Registry> {
        let name = format!("{domain}/{path}");
        let fitting = self.0.iter().filter(|registry| matched(&registry.prefix, &name).is_some());
        fitting.max_by_key(|registry| registry.prefix.len())
    }

    /// Whether a host may do without a certificate because a table about all of it says so.
    pub(in super::super) fn is_insecure(&self, host: &str) -> bool {
        self.of(host, "").is_some_and(|registry| registry.is_insecure && registry.location_of(host, "").host == host)
    }
}

fn of_version_one(old: Old, text: &str, path: &Path) -> Result<Vec<Registry>, ConfigError> {
    let mut all: Vec<Registry> = Vec::new();
    let insecure = old.insecure.registries.into_iter().map(|name| (name, true, false));
    for (name, is_insecure, is_blocked) in
        insecure.chain(old.block.registries.into_iter().map(|name| (name, false, true)))
    {
        check(&name, false).map_err(|detail| at_line(text, name.span().start, path, detail))?;
        let prefix = name.get_ref().trim_end_matches('/').to_owned();
        match all.iter_mut().find(|known| known.prefix == prefix) {
            Some(known) => {
                known.is_insecure |= is_insecure;
                known.is_blocked |= is_blocked;
            }
            None => all.push(Registry {
                location: prefix.clone(),
                prefix,
                is_insecure,
                is_blocked,
                mirrors: Vec::new(),
                path: path.to_owned(),
            }),
        }
    }
    Ok(all)
}

fn registry(table: Spanned<Table>, text: &str, path: &Path) -> Result<Registry, ConfigError> {
    let (span, table) = (table.span(), table.into_inner());
    let wrong = |at: usize, detail: &str| at_line(text, at, path, detail);
    let named = table.prefix.as_ref().or(table.location.as_ref());
    let prefix = named.ok_or_else(|| wrong(span.start, "a `[[registry]]` needs a `prefix` or a `location`"))?;
    check(prefix, true).map_err(|detail| wrong(prefix.span().start, detail))?;
    let location = match &table.location {
        Some(location) => {
            check(location, false).map_err(|detail| wrong(location.span().start, detail))?;
            location.get_ref().clone()
        }
        None if prefix.get_ref().starts_with("*.") => String::new(),
        None => prefix.get_ref().clone(),
    };
    let mut mirrors = Vec::new();
    for mirror in table.mirror {
        let (span, mirror) = (mirror.span(), mirror.into_inner());
        let location =
            mirror.location.ok_or_else(|| wrong(span.start, "a `[[registry.mirror]]` needs a `location`"))?;
        check(&location, false).map_err(|detail| wrong(location.span().start, detail))?;
        let all = if table.mirror_by_digest_only { Serves::Digests } else { Serves::All };
        let serves = mirror.pull_from_mirror.unwrap_or(all);
        mirrors.push(Mirror { location: location.into_inner(), is_insecure: mirror.insecure, serves });
    }
    let (prefix, path) = (prefix.get_ref().clone(), path.to_owned());
    let (is_insecure, is_blocked) = (table.insecure, table.blocked);
    Ok(Registry { prefix: prefix.trim_end_matches('/').to_owned(), location, is_insecure, is_blocked, mirrors, path })
}

/// `host[:port][/path]`; a prefix may start with `*.`.
fn check(text: &Spanned<String>, may_be_wild: bool) -> Result<(), &'static str> {
    let text = text.get_ref();
    let bare = text.strip_prefix("*.").filter(|_| may_be_wild).unwrap_or(text);
    let (host, path) = bare.trim_end_matches('/').split_once('/').unwrap_or((bare.trim_end_matches('/'), ""));
    if text.contains("://") {
        return Err("expected HOST[:PORT][/PATH] without a scheme");
    }
    match is_host(host) {
        false => Err("expected HOST[:PORT][/PATH]"),
        true if path.contains([':', '@']) => Err("a prefix with a tag or digest is not supported: name the repository"),
        true => Ok(()),
    }
}

/// Returns how many bytes of `name` (`host[:port]/path`) a prefix covers; `None` when it is about something else.
fn matched(prefix: &str, name: &str) -> Option<usize> {
    let skipped = match prefix.strip_prefix('*') {
        // `*.example.com` is about the hosts below it, and not about itself.
        Some(rest) => {
            let domain = &rest[..rest.find('/').unwrap_or(rest.len())];
            let host = &name[..name.find('/').unwrap_or(name.len())];
            host.strip_suffix(domain).filter(|below| !below.is_empty())?.len()
        }
        None => 0,
    };
    let rest = &name[skipped..];
    let after = rest.strip_prefix(prefix.trim_start_matches('*'))?;
    (after.is_empty() || after.starts_with('/')).then_some(name.len() - after.len())
}

impl Registry {
    /// Returns where the repository really is.
    pub(in super::super) fn location_of(&self, domain: &str, path: &str) -> Place {
        self.place(&self.location, self.is_insecure, domain, path)
    }

    /// Returns the mirrors to ask for it, in order.
    pub(in super::super) fn mirrors_of(&self, domain: &str, path: &str, by_tag: bool) -> Vec<Place> {
        let serves = |mirror: &&Mirror| match mirror.serves {
            Serves::All => true,
            Serves::Digests => !by_tag,
            Serves::Tags => by_tag,
        };
        let mirrors = self.mirrors.iter().filter(serves);
        mirrors.map(|mirror| self.place(&mirror.location, mirror.is_insecure, domain, path)).collect()
    }

    /// Returns all mirrors: a blob is the same wherever it comes from.
    pub(in super::super) fn all_mirrors_of(&self, domain: &str, path: &str) -> Vec<Place> {
        self.mirrors.iter().map(|mirror| self.place(&mirror.location, mirror.is_insecure, domain, path)).collect()
    }

    /// Puts a location where the prefix is.
    fn place(&self, location: &str, is_insecure: bool, domain: &str, path: &str) -> Place {
        let name = format!("{domain}/{path}");
        let name = match matched(&self.prefix, &name) {
            Some(length) if !location.is_empty() => format!("{}{}", location.trim_end_matches('/'), &name[length..]),
            _ => name,
        };
        let (host, path) = name.split_once('/').unwrap_or((&name, ""));
        Place { host: host.to_owned(), path: path.to_owned(), is_insecure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registries(text: &str) -> Registries {
        let mut all = Registries::default();
        all.add(text, Path::new("registries.conf")).unwrap();
        all
    }

    fn shown(places: &[Place]) -> String {
        let one = |place: &Place| {
            format!("{}/{}{}", place.host, place.path, if place.is_insecure { " insecure" } else { "" })
        };
        places.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    const TEXT: &str = r#"
        unqualified-search-registries = ["quay.example"]
        [[registry]]
        prefix = "a.example/team"
        location = "b.example:5000/else"
        [[registry.mirror]]
        location = "m.example/cache/"
        insecure = true
        [[registry.mirror]]
        location = "digests.example"
        pull-from-mirror = "digest-only"
        [[registry]]
        location = "a.example"
        insecure = true
        [[registry]]
        prefix = "*.wild.example"
        blocked = true
    "#;

    #[test]
    fn the_longest_prefix_decides() {
        let all = registries(TEXT);
        let team = all.of("a.example", "team/x").unwrap();
        assert_eq!(shown(&[team.location_of("a.example", "team/x")]), "b.example:5000/else/x");
        let mirrors = |by_tag| shown(&team.mirrors_of("a.example", "team/x", by_tag));
        assert_eq!(mirrors(true), "m.example/cache/x insecure");
        assert_eq!(mirrors(false), "m.example/cache/x insecure, digests.example/x");
        let other = all.of("a.example", "teams/x").unwrap();
        assert_eq!(shown(&[other.location_of("a.example", "teams/x")]), "a.example/teams/x insecure");
        assert!(all.of("a.example:5000", "x").is_none() && all.of("b.example", "x").is_none());
        assert!(all.of("sub.wild.example", "x").unwrap().is_blocked && all.of("wild.example", "x").is_none());
        assert!(all.is_insecure("a.example") && !all.is_insecure("b.example:5000"));
    }

    #[test]
    fn a_later_table_takes_the_place_of_an_earlier() {
        let mut all = registries(TEXT);
        all.add("[[registry]]\nprefix='a.example/team'\nlocation='c.example'", Path::new("x.conf")).unwrap();
        let team = all.of("a.example", "team/x").unwrap();
        assert_eq!(shown(&[team.location_of("a.example", "team/x")]), "c.example/x");
        assert_eq!(shown(&team.mirrors_of("a.example", "team/x", true)), "");
    }

    #[test]
    fn version_one_says_what_is_insecure_and_what_is_blocked() {
        let all = registries(
            "[registries.search]\nregistries = ['docker.io']\n[registries.insecure]\nregistries = ['a.example:5000', 'b.example']\n\
             [registries.block]\nregistries = ['b.example', 'c.example']\n",
        );
        let said = |host: &str| all.of(host, "x").map(|registry| (registry.is_insecure, registry.is_blocked));
        assert_eq!(said("a.example:5000"), Some((true, false)));
        assert_eq!((said("b.example"), said("c.example")), (Some((true, true)), Some((false, true))));
        assert_eq!(said("docker.io"), None);
        assert!(all.is_insecure("a.example:5000"));
    }

    #[test]
    fn mistakes_have_a_line() {
        let wrong = |text: &str| Registries::default().add(text, Path::new("r.conf")).unwrap_err().to_string();
        assert!(wrong("a = 1\n[[registry]\n").starts_with("r.conf:2: "), "{}", wrong("a = 1\n[[registry]\n"));
        assert!(wrong("[[registry]]\nprefix = 'a'\nblocked = 'yes'").starts_with("r.conf:3: invalid type: string"));
        assert_eq!(
            wrong("\n[[registry]]\nblocked = true"),
            "r.conf:2: a `[[registry]]` needs a `prefix` or a `location`"
        );
        assert!(wrong("[[registry]]\nlocation = 'https://a'").starts_with("r.conf:2: expected HOST[:PORT]"));
        assert!(wrong("[[registry]]\nprefix = 'a/b:c'").contains("with a tag"));
        let mixed = wrong("[registries.search]\nregistries = []\n[[registry]]\nlocation='a'");
        assert!(mixed.contains("cannot be mixed"), "{mixed}");
        assert!(wrong("[registries.insecure]\nregistries = ['http://a']").starts_with("r.conf:2: expected HOST"));
        let mirror = wrong("[[registry]]\nlocation='a'\n[[registry.mirror]]\ninsecure=true");
        assert_eq!(mirror, "r.conf:3: a `[[registry.mirror]]` needs a `location`");
    }
}
