//! Runs one case: a scratch copy, its setup, its builds in order.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Map, Value};

use super::http::FileServer;
use super::support::bases::Base;
use super::support::image::{self, Files, Image};
use super::support::kiln::{self, Kiln, Output};
use super::support::user::User;
use super::support::{self, registry};
use super::{Builder, expect};

/// One build of a case must not take longer.
const LIMIT: Duration = Duration::from_secs(180);
/// The registry that the Dockerfiles of the cases name.
const WRITTEN_REGISTRY: &str = "127.0.0.1:5000";
/// What belongs to the case but not to the build context.
const NOT_CONTEXT: [&str; 3] = ["expect.json", "setup.sh", ".http"];

/// Why a case failed.
pub(crate) struct Failure {
    /// One line for each thing that is not as expected.
    pub(crate) reasons: Vec<String>,
    /// What the builds printed.
    pub(crate) log: String,
}

/// Builds the case in `directory` with a new store and checks everything its `expect.json` says.
pub(crate) fn check(directory: &Path, builder: Builder) -> Result<(), Failure> {
    let mut log = String::new();
    let reasons = Case::prepare(directory, builder).and_then(|case| case.run_builds(&mut log));
    match reasons.unwrap_or_else(|reason| vec![reason]) {
        reasons if reasons.is_empty() => Ok(()),
        reasons => Err(Failure { reasons, log }),
    }
}

struct Case {
    expected: Map<String, Value>,
    scratch: tempfile::TempDir,
    kiln: Kiln,
    user: Option<User>,
    builder: Builder,
    server: Option<FileServer>,
}

/// What one build left.
struct Built {
    output: Output,
    image: Option<(Image, Files)>,
}

impl Case {
    fn prepare(directory: &Path, builder: Builder) -> Result<Self, String> {
        let expected = std::fs::read(directory.join("expect.json")).map_err(|error| format!("expect.json: {error}"))?;
        let expected = serde_json::from_slice(&expected).map_err(|error| format!("expect.json: {error}"))?;
        let scratch = support::scratch();
        // Setup writes into the case too (archives to serve), so the case itself is a copy.
        let copy = scratch.path().join("case");
        copy_tree(directory, &copy)?;
        let context = scratch.path().join("context");
        copy_tree(directory, &context)?;
        for name in NOT_CONTEXT {
            let path = context.join(name);
            let _ = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        }
        name_this_registry(&context)?;
        let user = match builder {
            Builder::Caller | Builder::WholeTrees | Builder::Unisolated => None,
            Builder::OrdinaryUser => Some(User::with_ranges()),
            Builder::SingleId => Some(User::without_ranges()),
        };
        for tree in [&copy, &context] {
            user.iter().for_each(|user| user.give_tree(tree));
        }
        if copy.join("setup.sh").exists() {
            let mut setup = shell_of(user.as_ref());
            run(setup.arg("-e").arg(copy.join("setup.sh")).env("CASE", &copy).current_dir(&context))?;
        }
        let kiln = user.clone().map_or_else(Kiln::new, Kiln::of);
        let served = copy.join(".http");
        let server = served.is_dir().then(|| FileServer::start(served));
        Ok(Self { expected, scratch, kiln, user, builder, server })
    }

    /// Returns what is not as expected.
    fn run_builds(&self, log: &mut String) -> Result<Vec<String>, String> {
        let single = vec![Value::Object(Map::new())];
        let steps = self.expected.get("sequence").and_then(Value::as_array).unwrap_or(&single);
        let mut reasons = Vec::new();
        let mut previous: Option<Files> = None;
        for (number, step) in steps.iter().enumerate() {
            let step = step.as_object().ok_or("a step of the sequence is no object")?;
            let label = if steps.len() == 1 { String::new() } else { format!("step {}: ", number + 1) };
            if let Some(script) = step.get("sh").and_then(Value::as_str) {
                run(shell_of(self.user.as_ref()).arg("-ec").arg(script).current_dir(self.context()))?;
            }
            let expected = self.expected_of(step);
            let built = self.build(&self.options_of(step), number)?;
            log.push_str(&built.output.both());
            let wanted = expected.get("ok").and_then(Value::as_bool).unwrap_or(true);
            if wanted != (built.output.code == 0) {
                let want = if wanted { "success" } else { "failure" };
                reasons.push(format!("{label}exit status {}, expected {want}", built.output.code));
                break;
            }
            let mut found = expect::check_output(&expected, &built.output);
            if let Some((image, files)) = built.image {
                found.extend(expect::check_image(&expected, &image, &files));
                found.extend(previous.iter().flat_map(|before| expect::check_reuse(step, before, &files)));
                previous = Some(files);
            }
            reasons.extend(found.into_iter().map(|reason| format!("{label}{reason}")));
        }
        Ok(reasons)
    }

    fn context(&self) -> PathBuf {
        self.scratch.path().join("context")
    }

    /// What a step must give: what the case says, with what the step says in its place.
    fn expected_of(&self, step: &Map<String, Value>) -> Map<String, Value> {
        let mut expected = self.expected.clone();
        let own = step.iter().filter(|(key, _)| !["sh", "same", "differ", "opts"].contains(&key.as_str()));
        expected.extend(own.map(|(key, value)| (key.clone(), value.clone())));
        expected
    }

    /// The options of a step: those of the case; maps are merged, anything else is replaced.
    fn options_of(&self, step: &Map<String, Value>) -> Map<String, Value> {
        let of = |map: &Map<String, Value>| map.get("opts").and_then(Value::as_object).cloned().unwrap_or_default();
        let mut options = of(&self.expected);
        for (key, value) in of(step) {
            match (options.get_mut(&key).and_then(Value::as_object_mut), &value) {
                (Some(old), Value::Object(new)) => old.extend(new.clone()),
                _ => drop(options.insert(key, value)),
            }
        }
        options
    }

    fn build(&self, options: &Map<String, Value>, number: usize) -> Result<Built, String> {
        let context = self.context();
        let text = |key: &str| options.get(key).and_then(Value::as_str);
        let archive = self.kiln.out().join(format!("{number}.tar"));
        let mut command = self.kiln.command();
        command.arg("build").arg("-f").arg(context.join(text("file").unwrap_or("Dockerfile")));
        command.args(self.builder.flags()).args(self.arguments(options)?);
        command.arg("-o").arg(format!("type=oci,dest={}", archive.display()));
        command.arg(text("context").map_or_else(|| context.clone(), |below| context.join(below)));
        let output = kiln::output_of(&mut command, LIMIT);
        let mut built = Built { output, image: None };
        if built.output.code == 0 && text("call").is_none() {
            let image = image::read(&archive)?;
            let files = image::flatten(&image.layers)?;
            built.image = Some((image, files));
        }
        Ok(built)
    }

    /// The command line for `opts`.
    fn arguments(&self, options: &Map<String, Value>) -> Result<Vec<String>, String> {
        let entries = |key: &str| options.get(key).and_then(Value::as_object).into_iter().flatten();
        let pairs = |key: &'static str| entries(key).map(|(name, value)| (name.as_str(), plain(value)));
        let mut arguments = Vec::new();
        let mut add = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
        let given: Vec<&str> = pairs("build_args").map(|(name, _)| name).collect();
        for (name, base) in [("BASE", Base::Busybox), ("DEBIAN", Base::Debian)] {
            // No case uses Debian yet; asking for it would make the image for nothing.
            if !given.contains(&name) && base == Base::Busybox {
                add("--build-arg", format!("{name}={}", registry::base(base)));
            }
        }
        pairs("build_args").for_each(|(name, value)| add("--build-arg", format!("{name}={value}")));
        if let Some(server) = &self.server {
            add("--build-arg", format!("HTTP=http://{}", server.address()));
        }
        if let Some(target) = options.get("target").and_then(Value::as_str) {
            add("--target", target.to_owned());
        }
        for (name, value) in pairs("secrets") {
            let file = self.scratch.path().join(format!("secret-{name}"));
            std::fs::write(&file, value).map_err(|error| format!("a secret: {error}"))?;
            add("--secret", format!("id={name},src={}", file.display()));
        }
        pairs("contexts").for_each(|(name, value)| {
            add("--build-context", format!("{name}={}", self.context().join(value).display()));
        });
        pairs("labels").for_each(|(name, value)| add("--label", format!("{name}={value}")));
        pairs("add_hosts").for_each(|(name, value)| add("--add-host", format!("{name}={value}")));
        for value in options.get("allow").and_then(Value::as_array).into_iter().flatten() {
            add("--allow", plain(value));
        }
        for (key, flag) in [("platform", "--platform"), ("call", "--call")] {
            if let Some(value) = options.get(key).and_then(Value::as_str) {
                add(flag, value.to_owned());
            }
        }
        if options.get("no_cache").and_then(Value::as_bool) == Some(true) {
            arguments.push("--no-cache".to_owned());
        }
        Ok(arguments)
    }
}

/// The text of a JSON string; other values as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Cases name a registry on a fixed port. The one of this run is on another, so that runs do not meet.
fn name_this_registry(context: &Path) -> Result<(), String> {
    let file = context.join("Dockerfile");
    let Ok(bytes) = std::fs::read(&file) else { return Ok(()) };
    // Dockerfiles may hold any bytes; those that name a registry are text.
    let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
    if !text.contains(WRITTEN_REGISTRY) {
        return Ok(());
    }
    let address = registry::base(Base::Busybox);
    let address = address.split('/').next().unwrap_or_default();
    std::fs::write(&file, text.replace(WRITTEN_REGISTRY, address)).map_err(|error| format!("Dockerfile: {error}"))
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), String> {
    run(Command::new("cp").arg("-a").arg(from).arg(to))
}

/// A shell of whoever builds the case: what it makes is theirs, with the modes they asked for.
fn shell_of(user: Option<&User>) -> Command {
    user.map_or_else(|| Command::new("sh"), |user| user.command(Path::new("sh")))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}
