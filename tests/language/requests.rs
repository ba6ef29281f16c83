//! Section 19: requests instead of builds.

use serde_json::{Value, json};

use super::build::Case;
use super::support::kiln::Output;

impl Case {
    fn call(&self, call: &str, arguments: &[&str]) -> Output {
        let call = format!("--call={call}");
        let mut all = vec![call.as_str()];
        all.extend(arguments);
        self.kiln.build(self.context(), &all)
    }

    #[track_caller]
    fn json(&self, call: &str, arguments: &[&str]) -> Value {
        let output = self.call(&format!("{call},format=json"), arguments);
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.both()))
    }
}

/// `pb.Location`.
fn lines(first: u32, last: u32) -> Value {
    let range = |line| json!({ "start": { "line": line }, "end": { "line": line } });
    json!({ "ranges": (first..=last).map(range).collect::<Vec<_>>() })
}

const STAGES: &str = "\
ARG S=base
ARG P=linux/amd64
ARG NAME=x IMAGE=${NAME}-${UNSET}
# V global v
ARG V=1
ARG UNUSED=1
FROM scratch AS base
ARG TARGETARCH
ARG V=2
ARG X
FROM --platform=$P $S AS mid
ARG V
RUN --mount=type=secret,id=s1 --mount=type=ssh,id=k \\
  exit 1
ARG Y=$V-y Z
FROM nowhere.invalid/image AS dead
# fin the final
FROM scratch AS fin
# Q quiet
# W what
ARG Q W=${Q:-w}
RUN --mount=type=secret,id=s1,required exit 1
COPY --from=mid /etc/x /
RUN --mount=type=secret,target=/a/b,required --mount=type=ssh exit 1
";

// language 19.1
#[test]
fn outline() {
    let case = Case::new(STAGES);
    let output = case.call("outline", &[]);
    output.succeeded();
    let want = "\
TARGET:      fin
DESCRIPTION: the final

BUILD ARG   VALUE         DESCRIPTION
S           base          \n\
P           linux/amd64   \n\
V           1             global v
X                         \n\
Y           1-y           \n\
Z                         \n\
Q                         quiet
W           w             what

SECRET   REQUIRED
s1       true
b        true

SSH       REQUIRED
k         \n\
default   \n\
\n";
    assert_eq!(output.stdout, want);
    let json = case.json("outline", &["--target=mid", "--build-arg=V=3"]);
    assert_eq!((&json["name"], json.get("description")), (&json!("mid"), None));
    let v = json!({ "name": "V", "value": "3", "location": lines(12, 12) });
    assert_eq!(json["args"][3], v);
    assert_eq!(json["args"].as_array().map(Vec::len), Some(6));
    assert_eq!(json["secrets"], json!([{ "name": "s1", "location": lines(13, 14) }]));
    assert_eq!(json["ssh"], json!([{ "name": "k", "location": lines(13, 14) }]));
    let keys: Vec<_> = json.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["name", "args", "secrets", "ssh", "sources"]);
    // What it reaches is resolved.
    case.call("outline", &["--target=dead"]).failed_saying(&["nowhere.invalid/image"]);
    case.dockerfile("ARG NAME=x IMAGE=${NAME}y\nFROM BUSYBOX AS xy\nFROM $IMAGE\n");
    let names = case.json("outline", &[])["args"].clone();
    assert_eq!(names.as_array().into_iter().flatten().map(|arg| &arg["name"]).collect::<Vec<_>>(), ["IMAGE", "NAME"]);
    case.dockerfile("FROM scratch\nRUN exit 1\n");
    assert_eq!(case.call("outline", &[]).stdout, "");
}

// language 19.2
#[test]
fn targets() {
    let case = Case::new(
        "# one the first\nFROM nowhere.invalid/a AS One\nFROM --platform=$X $Y\n# three x\nFROM one as three\n",
    );
    let output = case.call("targets", &[]);
    output.succeeded();
    assert_eq!(
        output.stdout,
        "TARGET          DESCRIPTION\none             the first\n                \nthree (default) x\n"
    );
    let want = json!([
        { "name": "one", "description": "the first", "base": "nowhere.invalid/a", "location": lines(2, 2) },
        { "base": "$Y", "platform": "$X", "location": lines(3, 3) },
        { "name": "three", "default": true, "description": "x", "base": "one", "location": lines(5, 5) },
    ]);
    assert_eq!(case.json("targets", &[])["targets"], want);
    case.dockerfile("FROM scratch\n");
    assert_eq!(case.call("targets", &[]).stdout, "TARGET    DESCRIPTION\n(default) \n");
    case.dockerfile("FROM scratch\nRUNN x\n");
    case.call("targets", &[]).failed_saying(&["unknown instruction: RUNN"]);
}

// language 19.3, 18.2, 18.3
#[test]
fn check() {
    let case = Case::new("FROM scratch AS dead\nENV a b\nFROM scratch As x\nRUN echo \"<\" \\\n\n  x\n");
    let output = case.call("check", &[]);
    assert_eq!(output.code, 1);
    let excerpt = "
WARNING: LegacyKeyValueFormat - https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/
\"ENV key=value\" should be used instead of legacy \"ENV key value\" format
Dockerfile:2
--------------------
   1 |     FROM scratch AS dead
   2 | >>> ENV a b
   3 |     FROM scratch As x
   4 |     RUN echo \"<\" \\
--------------------

WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/
'As' and 'FROM' keywords' casing do not match
Dockerfile:3
";
    let shown = output.stdout.strip_prefix("Check complete, 3 warnings have been found!\n");
    assert!(shown.is_some_and(|text| text.starts_with(excerpt)), "{}", output.stdout);
    assert_eq!(case.call("check,ignorestatus=true", &[]).code, 0);
    assert!(output.stdout.contains("\nEmpty continuation line\nDockerfile:6\n"), "{}", output.stdout);

    let found = case.json("check", &["--target=x"]);
    let want = json!([
        {
            "ruleName": "NoEmptyContinuation",
            "description": "Empty continuation lines will become errors in a future release",
            "url": "https://docs.docker.com/go/dockerfile/rule/no-empty-continuation/",
            "detail": "Empty continuation line",
            "location": lines(6, 6),
        },
        {
            "ruleName": "FromAsCasing",
            "description": "The 'as' keyword should match the case of the 'from' keyword",
            "url": "https://docs.docker.com/go/dockerfile/rule/from-as-casing/",
            "detail": "'As' and 'FROM' keywords' casing do not match",
            "location": lines(3, 3),
        },
    ]);
    assert_eq!(found["warnings"], want);
    assert_eq!(found["sources"][0]["filename"], "Dockerfile");
    assert_eq!(found["sources"][0]["language"], "Dockerfile");
    assert_eq!(found.get("buildError"), None);

    case.dockerfile("FROM scratch\nLABEL a=b\n");
    let output = case.call("check", &[]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "Check complete, no warnings found.\n"));
    assert_eq!(case.json("check", &[])["warnings"], Value::Null);
}

// language 19.3
#[test]
fn check_of_what_cannot_be_built() {
    let case = Case::new("FROM scratch As x\nRUNN x\nMAINTAINER x\n");
    let message = "dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)";
    let output = case.call("check,ignorestatus=true", &[]);
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains(&format!("ERROR: {message}\nDockerfile:2\n-----")), "{}", output.stderr);
    assert!(output.stdout.starts_with("Check complete, 1 warning has been found!\n\nWARNING: FromAsCasing"));
    let found = case.json("check", &[]);
    assert_eq!(found["buildError"], json!({ "message": message, "location": lines(2, 2) }));
    assert_eq!(found["warnings"].as_array().map(Vec::len), Some(1));

    case.dockerfile("# check=error=true\nFROM scratch As x\nLABEL a=b\n");
    let message = "lint violation found for rules: FromAsCasing";
    assert_eq!(case.json("check", &[])["buildError"], json!({ "message": message, "location": {} }));
    assert!(case.call("check", &[]).stderr.ends_with(&format!("ERROR: {message}\n")));

    case.dockerfile("FROM scratch\nLABEL a=b \\\n  c=${d:?no}\nENV a b\n");
    let found = case.json("check", &[]);
    assert_eq!(found["buildError"]["location"], lines(2, 3));
    assert_eq!(found["warnings"], Value::Null);

    case.dockerfile("FROM nowhere.invalid/image As x\n");
    let found = case.json("check", &[]);
    let message = found["buildError"]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("nowhere.invalid/image: failed to resolve source metadata"), "{message}");
    assert_eq!(found["warnings"][0]["ruleName"], "FromAsCasing");
}

// language 19.4
#[test]
fn descriptions() {
    let case = Case::new(
        "# b another\n# a   is \n# a twice\n# last\n\nFROM scratch AS A\n# b no\n#\nFROM scratch AS b\n# clear\n# c# no\nFROM scratch AS c\n",
    );
    let targets = case.json("targets", &[]);
    let described: Vec<_> =
        targets["targets"].as_array().into_iter().flatten().map(|one| &one["description"]).collect();
    assert_eq!(described, [&json!("  is"), &Value::Null, &Value::Null]);
    case.dockerfile("FROM scratch\n# A one\n# B two\nARG A B=1 C\n");
    let args = case.json("outline", &[])["args"].clone();
    let described: Vec<_> = args.as_array().into_iter().flatten().map(|one| one["description"].as_str()).collect();
    assert_eq!(described, [Some("one"), Some("two"), None]);
}

// language 19.5
#[test]
fn unknown_requests_are_errors() {
    let case = Case::new("FROM scratch\n");
    let output = case.call("nope", &[]);
    assert!(output.code != 0 && output.stderr.contains("nope"), "{}", output.both());
}
