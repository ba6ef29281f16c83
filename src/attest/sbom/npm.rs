//! Packages of npm: `node_modules/NAME/package.json` (npm docs, package.json).

use serde::Deserialize;
use serde_json::Value;

use super::{Inventory, Package};
use crate::attest::licence::Licence;
use crate::attest::purl::purl;

#[derive(Deserialize)]
struct Manifest {
    name: Option<String>,
    version: Option<String>,
    /// A string, or, long ago, an object with `type`.
    #[serde(default)]
    license: Value,
    /// A string `Name <address> (page)`, or an object of these.
    #[serde(default)]
    author: Value,
}

/// Reads `package.json`. Directories of a package may have one of their own, which only says how to load modules.
pub(super) fn read(path: &str, text: &str, inventory: &mut Inventory) {
    match serde_json::from_str::<Manifest>(text) {
        Ok(Manifest { name: Some(name), version: Some(version), license, author }) => {
            let (scope, own) = name.split_once('/').unwrap_or(("", &name));
            let package = Package {
                kind: "npm",
                purl: purl("npm", &[scope, own], &version, &[]),
                licence: license.as_str().or_else(|| license.get("type")?.as_str()).and_then(Licence::of),
                supplier: maker(&author),
                source: None,
                found: Vec::new(),
                name,
                version,
            };
            inventory.add(path, package);
        }
        Ok(_) => {}
        Err(_) => inventory.remark(path, "this is no manifest of an npm package"),
    }
}

fn maker(author: &Value) -> Option<String> {
    if let Some(text) = author.as_str() {
        return Some(text.split(" (").next().unwrap_or(text).to_owned());
    }
    let name = author.get("name")?.as_str()?;
    Some(match author.get("email").and_then(Value::as_str) {
        Some(address) => format!("{name} <{address}>"),
        None => name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{scanned, urls};

    #[test]
    fn packages_are_listed_and_others_are_not() {
        let inventory = scanned(&[
            ("app/package.json", br#"{"name":"app","version":"1"}"#),
            (
                "app/node_modules/a/package.json",
                br#"{"name":"a","version":"1.0.0","license":"MIT","author":"A <a@x> (p)"}"#,
            ),
            (
                "app/node_modules/@s/b/package.json",
                br#"{"name":"@s/b","version":"2.0.0","license":{"type":"ISC"},"author":{"name":"B"}}"#,
            ),
            ("app/node_modules/a/node_modules/c/package.json", br#"{"name":"c","version":"3.0.0"}"#),
            ("app/node_modules/a/esm/package.json", br#"{"name":"d","version":"1"}"#),
            ("app/node_modules/e/package.json", br#"{"type":"module"}"#),
            ("app/node_modules/f/package.json", b"{"),
        ]);
        assert_eq!(urls(&inventory), ["pkg:npm/%40s/b@2.0.0", "pkg:npm/a@1.0.0", "pkg:npm/c@3.0.0"]);
        let a = &inventory.packages["pkg:npm/a@1.0.0"];
        assert_eq!((a.licence.as_ref().unwrap().expression(), a.supplier.as_deref()), ("MIT", Some("A <a@x>")));
        assert_eq!(inventory.packages["pkg:npm/%40s/b@2.0.0"].licence.as_ref().unwrap().expression(), "ISC");
        assert_eq!(inventory.remarks, ["/app/node_modules/f/package.json: this is no manifest of an npm package"]);
    }
}
