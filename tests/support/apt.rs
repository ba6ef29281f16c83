//! What a Dockerfile on Debian needs to be given so that its apt finds packages where the host's does.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::bases::Base;
use super::{registry, tool};

/// Build arguments for a Dockerfile on Debian that calls apt: the base image, and the host's own settings of apt
/// and proxies, so that packages come from where the host gets its own.
pub fn arguments() -> Vec<&'static str> {
    static ARGUMENTS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    let arguments = ARGUMENTS.get_or_init(|| {
        let mut arguments = vec!["--build-arg".to_owned(), format!("BASE={}", registry::base(Base::Debian))];
        for name in ["http_proxy", "https_proxy", "no_proxy"] {
            if let Ok(value) = std::env::var(name) {
                arguments.extend(["--build-arg".to_owned(), format!("{name}={value}")]);
            }
        }
        arguments.extend(["--secret".to_owned(), format!("id=apt,src={}", settings().display())]);
        arguments
    });
    arguments.iter().map(String::as_str).collect()
}

/// A file with the settings by which the host's apt reaches its mirror.
fn settings() -> PathBuf {
    let dump = tool::run(tool::tool("apt-config").args(["dump", "--format", "%F \"%v\";%n", "Acquire"]));
    let of_transport = ["Acquire::http", "Acquire::https", "Acquire::Check"];
    let kept = dump.lines().filter(|line| of_transport.iter().any(|prefix| line.starts_with(prefix)));
    let directory = Box::leak(Box::new(super::scratch()));
    let file = directory.path().join("apt.conf");
    std::fs::write(&file, kept.fold(String::new(), |text, line| text + line + "\n")).expect("the apt settings");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("mode of the apt settings");
    file
}
