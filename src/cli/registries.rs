//! Where this machine and this user keep what they know of registries (see [`crate::registry`] for what is read).
//!
//! | what | where, the first that counts first |
//! | --- | --- |
//! | credentials | `$REGISTRY_AUTH_FILE` alone if it is set; else `$DOCKER_CONFIG/config.json` (`~/.docker`), then containers' `auth.json` |
//! | `registries.conf` | `$CONTAINERS_REGISTRIES_CONF`, `~/.config/containers`, `/etc/containers` |
//! | certificates, `hosts.toml` | `~/.config/docker`, `~/.config/containers`; `containerd`, `docker`, `containers` in `/etc` |
//! | `daemon.json` | `~/.config/docker` and `/etc/docker` |

use std::path::{Path, PathBuf};

use super::environment::Environment;
use crate::registry::{ConfigFiles, Proxies};

/// Returns the places of all files.
pub(super) fn files(environment: &Environment) -> ConfigFiles {
    let etc = Path::new("/etc");
    let config = user_config(environment);
    let of_user = |below: &str| config.iter().map(|config| config.join(below)).collect::<Vec<_>>();
    let of_machine = |all: &[&str]| all.iter().map(|below| etc.join(below)).collect::<Vec<_>>();
    let named = environment.variable("CONTAINERS_REGISTRIES_CONF").map(|path| environment.absolute(path));
    ConfigFiles {
        credentials: credentials(environment, config.as_deref()),
        registries: named.map_or_else(
            || [of_user("containers/registries.conf"), of_machine(&["containers/registries.conf"])].concat(),
            |path| vec![path],
        ),
        registries_drop_in: [of_machine(&["containers/registries.conf.d"]), of_user("containers/registries.conf.d")]
            .concat(),
        certificates: [
            of_user("docker/certs.d"),
            of_user("containers/certs.d"),
            of_machine(&["containerd/certs.d", "docker/certs.d", "containers/certs.d"]),
        ]
        .concat(),
        daemon: [of_user("docker/daemon.json"), of_machine(&["docker/daemon.json"])].concat(),
    }
}

/// Returns the files of credentials, the one that counts first.
fn credentials(environment: &Environment, config: Option<&Path>) -> Vec<PathBuf> {
    if let Some(path) = environment.variable("REGISTRY_AUTH_FILE") {
        return vec![environment.absolute(path)];
    }
    let home = || environment.variable("HOME").map(|home| Path::new(home).join(".docker"));
    let docker = environment.variable("DOCKER_CONFIG").map(PathBuf::from).or_else(home);
    let docker = docker.map(|directory| environment.absolute(directory).join("config.json"));
    let running = match environment.variable("XDG_RUNTIME_DIR") {
        Some(directory) => environment.absolute(directory).join("containers"),
        None => PathBuf::from(format!("/run/containers/{}", rustix::process::getuid().as_raw())),
    };
    let kept = config.map(|config| config.join("containers/auth.json"));
    docker.into_iter().chain([running.join("auth.json")]).chain(kept).collect()
}

/// Where the user's configuration is: `$XDG_CONFIG_HOME`, else `~/.config`.
fn user_config(environment: &Environment) -> Option<PathBuf> {
    let set = environment.variable("XDG_CONFIG_HOME").filter(|path| path.starts_with('/')).map(PathBuf::from);
    set.or_else(|| environment.variable("HOME").map(|home| environment.absolute(home).join(".config")))
}

/// Returns the proxies of the environment; names in small letters count before those in capitals, as with curl.
pub(super) fn proxies(environment: &Environment) -> Proxies {
    let variable = |small: &str| environment.variable(small).or(environment.variable(&small.to_ascii_uppercase()));
    let all = variable("all_proxy");
    let proxy = |name| variable(name).or(all).map(str::to_owned);
    Proxies {
        http: proxy("http_proxy"),
        https: proxy("https_proxy"),
        except: variable("no_proxy").unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Environment { variables: variables.collect(), directory: PathBuf::from("/w"), ..Environment::default() }
    }

    fn shown(paths: &[PathBuf]) -> String {
        paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn credentials_are_where_docker_and_containers_leave_them() {
        let of = |variables: &[(&str, &str)]| shown(&files(&environment(variables)).credentials);
        let home = ("HOME", "/h");
        let expected = "/h/.docker/config.json /run/user/1/containers/auth.json /h/.config/containers/auth.json";
        assert_eq!(of(&[home, ("XDG_RUNTIME_DIR", "/run/user/1")]), expected);
        assert!(of(&[home, ("DOCKER_CONFIG", "d")]).starts_with("/w/d/config.json /run/containers/"));
        assert_eq!(of(&[home, ("DOCKER_CONFIG", "d"), ("REGISTRY_AUTH_FILE", "a.json")]), "/w/a.json");
    }

    #[test]
    fn the_users_files_count_before_the_machines() {
        let files = files(&environment(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/c")]));
        assert_eq!(shown(&files.registries), "/c/containers/registries.conf /etc/containers/registries.conf");
        let drop_in = "/etc/containers/registries.conf.d /c/containers/registries.conf.d";
        assert_eq!(shown(&files.registries_drop_in), drop_in);
        assert!(
            shown(&files.certificates).ends_with("/etc/containerd/certs.d /etc/docker/certs.d /etc/containers/certs.d")
        );
        let named = environment(&[("HOME", "/h"), ("CONTAINERS_REGISTRIES_CONF", "r.conf")]);
        assert_eq!(shown(&super::files(&named).registries), "/w/r.conf");
    }

    #[test]
    fn proxies_are_the_environments() {
        let found =
            proxies(&environment(&[("HTTP_PROXY", "a"), ("http_proxy", "b"), ("ALL_PROXY", "c"), ("no_proxy", "d")]));
        assert_eq!((found.http.as_deref(), found.https.as_deref(), found.except.as_str()), (Some("b"), Some("c"), "d"));
    }
}
