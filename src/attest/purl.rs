//! Package URLs (<https://github.com/package-url/purl-spec>): one line that names a package in its ecosystem.

use crate::oci::{Platform, Reference};

/// Makes a package URL: `pkg:KIND/NAMESPACE/NAME@VERSION?KEY=VALUE`. `path` is the namespace and the name; qualifiers without a
/// value are left out, and the rest come in the order of their keys.
pub(super) fn purl(kind: &str, path: &[&str], version: &str, qualifiers: &[(&str, &str)]) -> String {
    let segments = path.iter().filter(|segment| !segment.is_empty());
    let path: Vec<String> = segments.map(|segment| encoded(segment)).collect();
    let mut text = format!("pkg:{kind}/{}", path.join("/"));
    if !version.is_empty() {
        text.push('@');
        text.push_str(&encoded(version));
    }
    let mut qualifiers: Vec<_> = qualifiers.iter().filter(|(_, value)| !value.is_empty()).collect();
    qualifiers.sort_unstable();
    for (at, (key, value)) in qualifiers.into_iter().enumerate() {
        text.push(if at == 0 { '?' } else { '&' });
        text.push_str(&format!("{key}={}", encoded(value)));
    }
    text
}

/// Returns the package URL of an image, as BuildKit writes it: `pkg:docker/alpine@3.19?platform=linux%2Famd64`.
pub fn of_image(name: &Reference, platform: &Platform) -> String {
    let familiar = name.familiar_name();
    let path: Vec<&str> = familiar.split('/').collect();
    let (version, digest) = match (&name.tag, &name.digest) {
        (Some(tag), None) => (tag.as_str(), String::new()),
        (None, None) => ("latest", String::new()),
        (tag, Some(digest)) => (tag.as_deref().unwrap_or_default(), digest.to_string()),
    };
    purl("docker", &path, version, &[("digest", &digest), ("platform", &platform.to_string())])
}

/// Returns the package URL of an image that came from a layout on this machine, under the name of the context it was given as.
pub fn of_layout(name: &str) -> String {
    purl("oci", &[name], "", &[])
}

/// All but unreserved characters and the colon is written as `%XX`.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_encoded_and_qualifiers_sorted() {
        let made = purl("deb", &["debian", "libstdc++6"], "1:2.0~b-1", &[("distro", "debian-12"), ("arch", "amd64")]);
        assert_eq!(made, "pkg:deb/debian/libstdc%2B%2B6@1:2.0~b-1?arch=amd64&distro=debian-12");
        assert_eq!(purl("npm", &["@scope", "a"], "", &[("x", "")]), "pkg:npm/%40scope/a");
    }

    #[test]
    fn images_are_named_as_users_write_them() {
        let platform = "linux/arm64".parse().unwrap();
        let name = |text: &str| of_image(&Reference::parse(text).unwrap(), &platform);
        assert_eq!(name("alpine"), "pkg:docker/alpine@latest?platform=linux%2Farm64");
        assert_eq!(name("reg.example:5000/a/b:1"), "pkg:docker/reg.example:5000/a/b@1?platform=linux%2Farm64");
        let digest = crate::digest::Digest::of(b"");
        assert_eq!(name(&format!("a@{digest}")), format!("pkg:docker/a?digest={digest}&platform=linux%2Farm64"));
    }
}
