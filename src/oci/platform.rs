//! Platforms: `os/architecture[/variant]` in Go's spelling.

use std::fmt;
use std::str::FromStr;

use crate::diag::suggestion;

/// An operating system and a processor. Always in normal form: `linux/aarch64/v8` and `linux/arm64` are the same value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Platform {
    /// Operating system, for example `linux`.
    pub os: String,
    /// Architecture, for example `amd64`.
    pub architecture: String,
    /// Variant of the architecture, for example `v7` of `arm`.
    pub variant: Option<String>,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid platform `{text}`: expected os/architecture[/variant], for example linux/amd64 or linux/arm/v7")]
pub struct PlatformError {
    /// What was given.
    pub text: String,
}

const SYSTEMS: [&str; 10] =
    ["linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "dragonfly", "solaris", "android", "aix"];
const ARCHITECTURES: [&str; 14] = [
    "amd64", "arm64", "arm", "386", "riscv64", "ppc64le", "ppc64", "s390x", "loong64", "mips64le", "mips64", "mipsle",
    "mips", "wasm",
];

impl Platform {
    /// Makes a platform in normal form; an empty variant means none.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let variant = variant.unwrap_or_default().to_ascii_lowercase();
        let (architecture, variant) = normal_architecture(&architecture.to_ascii_lowercase(), &variant);
        Self { os, architecture, variant: (!variant.is_empty()).then_some(variant) }
    }

    /// Returns the platform this program was compiled for.
    pub fn host() -> Self {
        Self::new(std::env::consts::OS, std::env::consts::ARCH, None)
    }

    /// Says what is strange about a platform that has no name of Go's; it may exist all the same.
    pub fn doubt(&self) -> Option<String> {
        let unknown = |kind: &str, name: &str, known: &[&str]| {
            let hint = suggestion(name, known.iter().copied());
            (!known.contains(&name)).then(|| format!("`{name}` is no {kind} that kiln knows{hint}"))
        };
        let system = unknown("operating system", &self.os, &SYSTEMS);
        system.or_else(|| unknown("architecture", &self.architecture, &ARCHITECTURES))
    }

    /// Whether an image of platform `image` runs here without emulation.
    pub fn matches(&self, image: &Self) -> bool {
        self.preference(image).is_some()
    }

    /// Returns how well an image of platform `image` suits: 0 is the same platform, more is worse; `None` does not run.
    /// Lower variants run on higher ones, and 32-bit images on their 64-bit successors.
    pub fn preference(&self, image: &Self) -> Option<usize> {
        if self.os != image.os {
            return None;
        }
        let image = (image.architecture.as_str(), image.variant.as_deref().unwrap_or_default());
        self.runnable().iter().position(|(architecture, variant)| (architecture.as_str(), variant.as_str()) == image)
    }

    /// Architectures and variants that run here, best first.
    fn runnable(&self) -> Vec<(String, String)> {
        let variant = self.variant.as_deref().unwrap_or_default();
        let own = (self.architecture.clone(), variant.to_owned());
        let lower = |from: u32, to: u32| (to..from).rev().map(|n| format!("v{n}"));
        let number: Option<u32> = variant.strip_prefix('v').and_then(|n| n.parse().ok()).filter(|n| *n < 100);
        let mut all = vec![own];
        match self.architecture.as_str() {
            "amd64" => {
                all.extend(lower(number.unwrap_or(1), 2).map(|v| ("amd64".to_owned(), v)));
                if number.is_some() {
                    all.push(("amd64".to_owned(), String::new()));
                }
                all.push(("386".to_owned(), String::new()));
            }
            "arm64" => {
                all.extend(lower(number.unwrap_or(8), 9).map(|v| ("arm64".to_owned(), v)));
                if number.is_some() {
                    all.push(("arm64".to_owned(), String::new()));
                }
                all.extend(lower(9, 5).map(|v| ("arm".to_owned(), v)));
            }
            "arm" => all.extend(lower(number.unwrap_or(5), 5).map(|v| ("arm".to_owned(), v))),
            _ => {}
        }
        all
    }

    /// Reads the platform of a descriptor.
    pub fn of(platform: &oci_spec::image::Platform) -> Self {
        let (os, architecture) = (platform.os().to_string(), platform.architecture().to_string());
        Self::new(&os, &architecture, platform.variant().as_deref())
    }

    /// Returns this as the platform of a descriptor.
    pub fn to_spec(&self) -> oci_spec::image::Platform {
        let mut platform = oci_spec::image::Platform::default();
        platform.set_os(self.os.as_str().into());
        platform.set_architecture(self.architecture.as_str().into());
        platform.set_variant(self.variant.clone());
        platform
    }
}

/// The many names of one processor, and the variants that are the default and so not written.
fn normal_architecture(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("x86_64" | "x86-64" | "amd64", "v1" | "1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("i386" | "i486" | "i586" | "i686" | "x86" | "386", _) => ("386", ""),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0" | "8.0") => ("arm64", ""),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("powerpc64le", variant) => ("ppc64le", variant),
        ("loongarch64", variant) => ("loong64", variant),
        other => other,
    };
    let is_number = !variant.is_empty() && variant.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let variant = if is_number && matches!(architecture, "arm" | "arm64" | "amd64") {
        format!("v{variant}")
    } else {
        variant.to_owned()
    };
    (architecture.to_owned(), variant)
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// Parses `os/architecture[/variant]`; of an operating system or an architecture alone, the host gives the rest.
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let bad = || PlatformError { text: text.to_owned() };
        let parts: Vec<&str> = text.trim().split('/').collect();
        let is_word = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        };
        if !parts.iter().all(is_word) {
            return Err(bad());
        }
        match parts[..] {
            [one] => {
                let host = Self::host();
                let (as_system, as_architecture) =
                    (Self::new(one, &host.architecture, None), Self::new(&host.os, one, None));
                if SYSTEMS.contains(&as_system.os.as_str()) {
                    Ok(as_system)
                } else if ARCHITECTURES.contains(&as_architecture.architecture.as_str()) {
                    Ok(as_architecture)
                } else {
                    Err(bad())
                }
            }
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn spellings_have_one_normal_form() {
        let cases = [
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("Linux/AArch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/arm64/v9", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i686", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
            ("linux/riscv64", "linux/riscv64"),
        ];
        for (text, normal) in cases {
            assert_eq!(platform(text).to_string(), normal);
            assert_eq!(platform(normal), platform(text));
        }
    }

    #[test]
    fn half_a_platform_is_filled_in_by_the_host() {
        assert_eq!(platform("linux").architecture, Platform::host().architecture);
        assert_eq!(platform("arm64"), Platform::new(std::env::consts::OS, "arm64", None));
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "/", "linux/", "plan10", "a/b/c/d", "linux/a b"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn strange_names_are_doubted() {
        for known in ["linux/amd64", "linux/arm/v6", "windows/arm64", "macos", "linux/x86_64"] {
            assert_eq!(platform(known).doubt(), None, "{known}");
        }
        let doubt = |text: &str| platform(text).doubt().unwrap();
        assert_eq!(doubt("linux/amd46"), "`amd46` is no architecture that kiln knows (did you mean amd64?)");
        assert_eq!(doubt("lunix/arm64"), "`lunix` is no operating system that kiln knows (did you mean linux?)");
        assert_eq!(doubt("linux/sparc9"), "`sparc9` is no architecture that kiln knows");
    }

    #[test]
    fn lower_variants_run_on_higher_ones() {
        let prefers = |host: &str, image: &str| platform(host).preference(&platform(image));
        assert_eq!(prefers("linux/amd64", "linux/amd64"), Some(0));
        assert!(prefers("linux/amd64/v3", "linux/amd64/v2") < prefers("linux/amd64/v3", "linux/amd64"));
        assert_eq!(prefers("linux/amd64", "linux/amd64/v2"), None);
        assert!(platform("linux/amd64").matches(&platform("linux/386")));
        assert!(platform("linux/arm/v7").matches(&platform("linux/arm/v6")));
        assert_eq!(prefers("linux/arm/v6", "linux/arm/v7"), None);
        assert!(platform("linux/arm64").matches(&platform("linux/arm/v7")));
        assert_eq!(prefers("linux/arm64", "windows/arm64"), None);
        assert_eq!(prefers("linux/riscv64", "linux/amd64"), None);
    }

    #[test]
    fn descriptors_keep_platforms() {
        for text in ["linux/amd64", "linux/arm/v6", "windows/amd64", "linux/sparc9"] {
            assert_eq!(Platform::of(&platform(text).to_spec()), platform(text));
        }
    }
}
