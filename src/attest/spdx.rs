//! SPDX 2.3 documents, as JSON (<https://spdx.github.io/spdx-spec/v2.3/>).
//!
//! The document describes one package, the image, which contains the distribution and every package that was found. Files are not
//! listed one by one; `sourceInfo` names those that tell of a package. What is not known is `NOASSERTION`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::in_toto::Predicate;
use super::licence::Licence;
use super::sbom::{Inventory, Os, Package};
use crate::digest::Digest;
use crate::fsutil::Timestamp;
use crate::oci::rfc3339;

/// The type of the predicate that such a document is.
pub const PREDICATE: &str = "https://spdx.dev/Document";

const UNKNOWN: &str = "NOASSERTION";
const IMAGE: &str = "SPDXRef-Image";
const TOOL: &str = concat!("kiln-", env!("CARGO_PKG_VERSION"));

/// The image a document is about.
#[derive(Clone, Debug)]
pub struct About {
    /// The image id: the same for the same image in any compression and under any name, and so is the document.
    pub id: Digest,
    /// When the image was made.
    pub created: Timestamp,
}

/// Writes the bill of materials of an image. The same image gives the same document.
pub fn document(about: &About, inventory: &Inventory) -> Predicate {
    let mut packages = vec![image(about)];
    packages.extend(inventory.os.as_ref().map(distribution));
    packages.extend(inventory.packages.values().map(package));
    let contains = packages.iter().skip(1).map(|package| relationship(IMAGE, "CONTAINS", &package["SPDXID"]));
    let described = relationship("SPDXRef-DOCUMENT", "DESCRIBES", &json!(IMAGE));
    let relationships: Vec<Value> = std::iter::once(described).chain(contains).collect();
    let mut value = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": about.id.to_string(),
        "documentNamespace": format!("https://spdx.org/spdxdocs/{TOOL}-{}", about.id.hex()),
        "creationInfo": { "created": whole_seconds(about.created), "creators": [format!("Tool: {TOOL}")] },
        "packages": packages,
        "relationships": relationships,
    });
    let licences = extracted(inventory);
    if !licences.is_empty() {
        value["hasExtractedLicensingInfos"] = json!(licences);
    }
    Predicate { kind: PREDICATE, value }
}

/// The format knows no fractions of a second.
fn whole_seconds(time: Timestamp) -> String {
    rfc3339(Timestamp::from_seconds(time.seconds))
}

fn image(about: &About) -> Value {
    json!({
        "SPDXID": IMAGE,
        "name": "image",
        "versionInfo": about.id.to_string(),
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
        "primaryPackagePurpose": "CONTAINER",
    })
}

fn distribution(os: &Os) -> Value {
    let mut value = json!({
        "SPDXID": "SPDXRef-OperatingSystem",
        "name": os.id,
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
    });
    if !os.version.is_empty() {
        value["versionInfo"] = json!(os.version);
    }
    value
}

fn package(package: &Package) -> Value {
    let mut value = json!({ "SPDXID": id_of(package), "name": package.name });
    if !package.version.is_empty() {
        value["versionInfo"] = json!(package.version);
    }
    if let Some(supplier) = package.supplier.as_deref().and_then(person) {
        value["supplier"] = json!(supplier);
    }
    value["downloadLocation"] = json!(UNKNOWN);
    value["filesAnalyzed"] = json!(false);
    value["sourceInfo"] = json!(source_info(package));
    value["licenseConcluded"] = json!(UNKNOWN);
    value["licenseDeclared"] = json!(package.licence.as_ref().map_or(UNKNOWN, Licence::expression));
    value["copyrightText"] = json!(UNKNOWN);
    value["externalRefs"] = json!([{
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": package.purl,
    }]);
    value
}

/// Letters, digits, dots and hyphens are all that an identifier may have, so the digest of the URL tells names apart.
fn id_of(package: &Package) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = package.name.chars().map(plain).take(64).collect();
    format!("SPDXRef-Package-{}-{name}-{}", package.kind, &Digest::of(package.purl.as_bytes()).hex()[..16])
}

/// `Name <address>` is `Person: Name (address)`.
fn person(supplier: &str) -> Option<String> {
    let (name, address) = supplier.split_once('<').unwrap_or((supplier, ""));
    let (name, address) = (name.trim().trim_matches('"').trim(), address.split('>').next().unwrap_or_default().trim());
    let name: String = name.chars().filter(|c| !"()".contains(*c)).collect();
    match (name.is_empty(), address.contains('@') && !address.contains([' ', '(', ')'])) {
        (true, _) => None,
        (false, true) => Some(format!("Person: {name} ({address})")),
        (false, false) => Some(format!("Person: {name}")),
    }
}

fn source_info(package: &Package) -> String {
    let found: Vec<String> = package.found.iter().map(|path| format!("/{path}")).collect();
    let found = format!("found by {}", found.join(", "));
    match &package.source {
        Some(source) => format!("built from {source}; {found}"),
        None => found,
    }
}

/// Licences in other words, each once.
fn extracted(inventory: &Inventory) -> Vec<Value> {
    let other = |package: &Package| match &package.licence {
        Some(Licence::Other { id, text }) => Some((id.clone(), text.clone())),
        _ => None,
    };
    let all: BTreeMap<String, String> = inventory.packages.values().filter_map(other).collect();
    all.into_iter().map(|(id, text)| json!({ "licenseId": id, "extractedText": text })).collect()
}

fn relationship(from: &str, kind: &str, to: &Value) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attest::sbom::tests::scanned;

    fn made(files: &[(&str, &[u8])]) -> Value {
        let created = Timestamp { seconds: 1_000_000_000, nanoseconds: 5 };
        let about = About { id: Digest::of(b"image"), created };
        document(&about, &scanned(files)).value
    }

    #[test]
    fn the_document_describes_the_image_and_what_it_contains() {
        let status: &[u8] =
            b"Package: a+b\nVersion: 1\nStatus: install ok installed\nMaintainer: \"A (team)\" <a@x.example>\n";
        let metadata: &[u8] = b"Name: p\nVersion: 2\nLicense: like BSD\n";
        let files =
            [("var/lib/dpkg/status", status), ("p.dist-info/METADATA", metadata), ("etc/os-release", b"ID=debian\n")];
        let document = made(&files);
        assert_eq!(document["creationInfo"]["created"], "2001-09-09T01:46:40Z");
        let names: Vec<_> =
            document["packages"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["image", "debian", "a+b", "p"]);
        let deb = &document["packages"][2];
        assert_eq!(deb["supplier"], "Person: A team (a@x.example)");
        assert_eq!(deb["sourceInfo"], "found by /var/lib/dpkg/status");
        assert_eq!(deb["externalRefs"][0]["referenceLocator"], "pkg:deb/debian/a%2Bb@1?distro=debian");
        assert!(deb["SPDXID"].as_str().unwrap().starts_with("SPDXRef-Package-deb-a-b-"));
        let other = &document["hasExtractedLicensingInfos"][0];
        assert_eq!(other["extractedText"], "like BSD");
        assert_eq!(document["packages"][3]["licenseDeclared"], other["licenseId"]);
        let related: Vec<_> =
            document["relationships"].as_array().unwrap().iter().map(|r| &r["relatedSpdxElement"]).collect();
        let ids: Vec<_> = document["packages"].as_array().unwrap().iter().map(|p| &p["SPDXID"]).collect();
        assert_eq!(related, ids);
        assert_eq!(made(&files), document);
    }

    #[test]
    fn an_image_without_packages_has_a_document_too() {
        let document = made(&[]);
        assert_eq!(document["packages"].as_array().unwrap().len(), 1);
        assert!(document.get("hasExtractedLicensingInfos").is_none());
    }
}
