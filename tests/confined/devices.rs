//! Devices by their CDI names. The one that is given is `/dev/zero`, which every machine has.

use std::time::Duration;

use super::support::kiln::{Output, output_of};
use super::support::{has_root, machine, scratch, write};
use super::{Builder, context_of};

const LIMIT: Duration = Duration::from_secs(120);

/// A machine's `/etc` with descriptions of devices.
fn etc() -> tempfile::TempDir {
    let etc = scratch();
    write(etc.path(), "shared/word", "of the machine\n");
    let shared = etc.path().join("shared");
    let text = format!(
        r#"cdiVersion: "0.6.0"
kind: kiln.example/zero
containerEdits:
  additionalGids: [44]
  mounts:
  - hostPath: {}
    containerPath: /shared
    options: [ro, bind]
devices:
- name: one
  containerEdits:
    env: [KILN_DEVICE=one]
    deviceNodes:
    - path: /dev/made
      hostPath: /dev/zero
      type: c
      major: 1
      minor: 5
- name: hooked
  containerEdits:
    hooks:
    - hookName: createContainer
      path: /bin/true
"#,
        shared.display()
    );
    write(etc.path(), "cdi/kiln.yaml", text);
    etc
}

const LABS: &str = "# syntax=docker/dockerfile:1-labs\n";
const USES: &str = "test \"$(head -c 2 /dev/made | od -An -tx1 | tr -d ' ')\" = 0000 && test $KILN_DEVICE = one && id -G | grep -qw 44 && \
                    grep -q 'of the machine' /shared/word && ! touch /shared/x 2>/dev/null && echo it is used\n";

fn build(builder: Builder, dockerfile: &str, arguments: &[&str]) -> Output {
    let (kiln, etc, context) = (builder.kiln(), etc(), context_of(dockerfile));
    let command = super::command(&kiln, context.path(), arguments);
    output_of(&mut machine::with(&[&format!("etc={}", etc.path().display())], &command), LIMIT)
}

#[test]
fn a_device_is_given_where_it_is_asked_for_and_allowed() {
    if !has_root() {
        return;
    }
    let asks = format!(
        "{LABS}FROM BUSYBOX\nRUN --device=kiln.example/zero=one {USES}RUN ! test -e /dev/made && test -z \"$KILN_DEVICE\"\n"
    );
    let command_line = format!("FROM BUSYBOX\nUSER 7\nRUN {USES}");
    for builder in Builder::all() {
        for allowed in ["--allow=device", "--allow=device=kiln.example/zero=one", "--allow=device=kiln.example/zero=*"]
        {
            let output = build(builder, &asks, &[allowed]);
            assert!(output.succeeded().stderr.contains(" it is used\n"), "{builder:?} {}", output.both());
        }
        let output = build(builder, &command_line, &["--device=kiln.example/zero=one"]);
        assert!(output.succeeded().stderr.contains(" it is used\n"), "{builder:?} {}", output.both());
    }
    let refused = "device kiln.example/zero=one is requested by the build but not allowed";
    for arguments in [&[][..], &["--allow=device=kiln.example/zero=hooked"]] {
        let help = "--allow device=kiln.example/zero=one";
        build(Builder::Caller, &asks, arguments).failed_saying(&[refused, help, "Dockerfile:3"]);
    }
}

#[test]
fn what_no_step_can_have_is_refused_by_name() {
    if !has_root() {
        return;
    }
    let hooked = format!("{LABS}FROM BUSYBOX\nRUN --device=kiln.example/zero=hooked true\n");
    let words = ["device kiln.example/zero=hooked cannot be given to a step: it needs hooks", "Dockerfile:3"];
    build(Builder::Caller, &hooked, &["--allow=device"]).failed_saying(&words);
    let missing =
        ["required device \"kiln.example/zero=onne\" is not registered", "did you mean `kiln.example/zero=one`?"];
    build(Builder::Caller, "FROM BUSYBOX\nRUN true\n", &["--device=kiln.example/zero=onne"]).failed_saying(&missing);
}
