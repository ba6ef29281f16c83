//! containerd's `hosts.toml`: which hosts to ask for the images of one registry, in the order of the file, and the registry itself
//! (`server`) last (containerd, `docs/hosts.md`).

use std::path::{Path, PathBuf};

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use toml::Spanned;

use super::{ConfigError, ConfigFiles, Trust, at_line, parse_toml, read};

/// What `certs.d` says of one registry.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Hosts {
    /// The hosts of `hosts.toml`, the last one being the registry itself; empty when there is no such file.
    pub(in super::super) upstreams: Vec<Upstream>,
    /// The file itself.
    pub(in super::super) path: PathBuf,
    /// Certificates that lie in the directories.
    pub(in super::super) trust: Trust,
}

/// One host.
#[derive(Clone, Debug)]
pub(in super::super) struct Upstream {
    /// `None` is the registry as its name says.
    pub(in super::super) url: Option<Url>,
    /// Whether the path of the URL stands for `/v2`.
    pub(in super::super) overrides_path: bool,
    /// Whether its certificate is not looked at.
    pub(in super::super) skips_verify: bool,
    /// What it is asked for.
    pub(in super::super) may: May,
    /// Certificates.
    pub(in super::super) trust: Trust,
    /// Headers sent with each request.
    pub(in super::super) headers: HeaderMap,
}

/// What a host is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) struct May {
    /// What a tag means.
    pub(in super::super) resolve: bool,
    /// Content by its digest.
    pub(in super::super) pull: bool,
    /// To take content.
    pub(in super::super) push: bool,
}

impl May {
    /// Everything.
    pub(in super::super) const ALL: Self = Self { resolve: true, pull: true, push: true };
}

/// The file, and each `[host."URL"]` in it, have the same keys.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Table {
    server: Option<Spanned<String>>,
    host: InOrder,
    capabilities: Option<Vec<Spanned<String>>>,
    ca: Option<OneOrMore>,
    client: Option<Clients>,
    skip_verify: bool,
    override_path: bool,
    header: std::collections::BTreeMap<String, Spanned<OneOrMore>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// `"both.pem"`, `["both.pem", ...]`, or `[["certificate.pem", "key.pem"], ...]`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Clients {
    One(String),
    More(Vec<OneOrMore>),
}

/// A table whose order counts.
#[derive(Default)]
struct InOrder(Vec<(Spanned<String>, Table)>);

impl<'de> Deserialize<'de> for InOrder {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = InOrder;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("tables named by URLs")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InOrder, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(InOrder(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl Hosts {
    /// Reads what is there about a registry (`host[:port]`).
    pub(in super::super) fn read(files: &ConfigFiles, domain: &str) -> Result<Self, ConfigError> {
        let mut found = Self::default();
        let names = names(domain);
        for directory in files.certificates.iter().flat_map(|root| names.iter().map(|name| root.join(name))) {
            let path = directory.join("hosts.toml");
            if found.upstreams.is_empty()
                && let Some(text) = read(&path)?
            {
                found.upstreams = parse(&text, &path)?;
                found.path = path;
            }
            found.trust.add_directory(&directory)?;
        }
        // What is said of all registries counts where nothing is said of this one.
        for path in files.certificates.iter().map(|root| root.join("_default/hosts.toml")) {
            if !found.upstreams.is_empty() {
                break;
            }
            if let Some(text) = read(&path)? {
                found.upstreams = parse(&text, &path)?;
                found.path = path;
            }
        }
        Ok(found)
    }
}

/// The names of a registry's directory: `host_port_` is for file systems without colons.
fn names(domain: &str) -> Vec<String> {
    let mut names = vec![domain.to_owned()];
    if let Some((host, port)) = domain.rsplit_once(':') {
        names.insert(0, format!("{host}_{port}_"));
    }
    names
}

fn parse(text: &str, path: &Path) -> Result<Vec<Upstream>, ConfigError> {
    let mut file: Table = parse_toml(text, path)?;
    let mut all = Vec::new();
    for (name, table) in std::mem::take(&mut file.host).0 {
        let url = url(&name).map_err(|detail| at_line(text, name.span().start, path, detail))?;
        all.push(upstream(Some(url), table, text, path)?);
    }
    let server = file.server.take();
    let server = match server.filter(|server| !server.get_ref().is_empty()) {
        Some(name) => Some(url(&name).map_err(|detail| at_line(text, name.span().start, path, detail))?),
        None => None,
    };
    all.push(upstream(server, file, text, path)?);
    Ok(all)
}

fn url(name: &Spanned<String>) -> Result<Url, String> {
    let text = name.get_ref();
    let whole = if text.contains("://") { text.clone() } else { format!("https://{text}") };
    let url = Url::parse(&whole).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| format!("`{text}` is no http or https URL"))
}

fn upstream(url: Option<Url>, table: Table, text: &str, path: &Path) -> Result<Upstream, ConfigError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut trust = Trust::default();
    for file in table.ca.into_iter().flat_map(OneOrMore::all) {
        trust.add_authority(&directory.join(file))?;
    }
    let clients = match table.client {
        Some(Clients::One(file)) => vec![vec![file]],
        Some(Clients::More(all)) => all.into_iter().map(OneOrMore::all).collect(),
        None => Vec::new(),
    };
    for files in clients {
        let [certificate, rest @ ..] = files.as_slice() else { continue };
        let key = rest.first().filter(|key| !key.is_empty()).map(|key| directory.join(key));
        trust.add_identity(&directory.join(certificate), key.as_deref())?;
    }
    Ok(Upstream {
        url,
        overrides_path: table.override_path,
        skips_verify: table.skip_verify,
        may: may(table.capabilities).map_err(|(at, detail)| at_line(text, at, path, detail))?,
        trust,
        headers: headers(table.header).map_err(|(at, detail)| at_line(text, at, path, detail))?,
    })
}

fn may(capabilities: Option<Vec<Spanned<String>>>) -> Result<May, (usize, String)> {
    let Some(capabilities) = capabilities.filter(|all| !all.is_empty()) else { return Ok(May::ALL) };
    let mut may = May { resolve: false, pull: false, push: false };
    for capability in capabilities {
        match capability.get_ref().as_str() {
            "resolve" => may.resolve = true,
            "pull" => may.pull = true,
            "push" => may.push = true,
            other => {
                let detail = format!("unknown capability `{other}`: expected pull, resolve or push");
                return Err((capability.span().start, detail));
            }
        }
    }
    Ok(may)
}

fn headers(table: std::collections::BTreeMap<String, Spanned<OneOrMore>>) -> Result<HeaderMap, (usize, String)> {
    let mut headers = HeaderMap::new();
    for (name, values) in table {
        let at = values.span().start;
        let wrong = || (at, format!("the header `{name}` cannot be sent"));
        let header: HeaderName = name.parse().map_err(|_| wrong())?;
        for value in values.into_inner().all() {
            let mut value = HeaderValue::from_str(&value).map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.append(header.clone(), value);
        }
    }
    Ok(headers)
}

impl OneOrMore {
    fn all(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::More(all) => all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_come_in_the_order_of_the_file() {
        let text = r#"
            server = "https://up.example"
            skip_verify = true
            [host."https://z.example"]
            capabilities = ["pull"]
            [host."http://a.example:5000/path"]
            override_path = true
            [host."http://a.example:5000/path".header]
            x-key = ["v"]
            [host."bare.example"]
        "#;
        let all = parse(text, Path::new("/certs.d/x/hosts.toml")).unwrap();
        let urls: Vec<&str> = all.iter().map(|one| one.url.as_ref().unwrap().as_str()).collect();
        let expected =
            ["https://z.example/", "http://a.example:5000/path", "https://bare.example/", "https://up.example/"];
        assert_eq!(urls, expected);
        assert_eq!(all[0].may, May { pull: true, resolve: false, push: false });
        assert!(all[1].overrides_path && all[1].headers["x-key"] == "v" && all[1].may == May::ALL);
        assert!(all[3].skips_verify && !all[2].skips_verify);
        assert!(parse("", Path::new("hosts.toml")).unwrap()[0].url.is_none());
    }

    #[test]
    fn mistakes_have_a_line() {
        let wrong = |text: &str| parse(text, Path::new("/c/hosts.toml")).unwrap_err().to_string();
        assert!(wrong("server = 1").starts_with("/c/hosts.toml:1: invalid type: integer"));
        let unknown = wrong("[host.'https://a']\ncapabilities = ['pull',\n'fly']");
        assert_eq!(unknown, "/c/hosts.toml:3: unknown capability `fly`: expected pull, resolve or push");
        assert_eq!(wrong("\n[host.'file:///etc']"), "/c/hosts.toml:2: `file:///etc` is no http or https URL");
        assert!(wrong("[header]\nx = 1\n[host.a.header]\n'a b' = 'c'").starts_with("/c/hosts.toml:2: "));
        assert!(wrong("ca = 'missing.pem'").starts_with("cannot read `/c/missing.pem`"));
    }

    #[test]
    fn directories_have_two_names() {
        assert_eq!(names("a.example:5000"), ["a.example_5000_", "a.example:5000"]);
        assert_eq!(names("a.example"), ["a.example"]);
    }
}
