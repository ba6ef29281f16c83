//! Section 10: RUN --mount.

use std::fs;

use super::build::Case;

/// Builds one RUN with these mounts, which must fail with `words`, at its line.
#[track_caller]
fn refused(mount: &str, words: &str) {
    Case::new(&format!("FROM BUSYBOX\nRUN --mount={mount} true\n")).fails(&[words, "Dockerfile:2"]);
}

// language m.1
#[test]
fn how_mounts_are_written() {
    let case = Case::new(
        r#"FROM BUSYBOX
ARG type=tmpfs
ENV AT=/a,b
RUN --mount='TYPE=$type,"target=/a,b"' touch /a,b/x && grep -q '^[^ ]* /a,b tmpfs' /proc/mounts
RUN --mount='type=${type:-x},"Target=$AT"' grep -q '^[^ ]* /a,b tmpfs' /proc/mounts
RUN --mount=target=/ctx cat /ctx/f > /seen
"#,
    )
    .file("f", "context\n");
    assert_eq!(case.build(&[]).text("/seen"), "context\n");
    refused("type=bnd,target=/x", "unsupported mount type \"bnd\" (did you mean bind?)");
    refused("tagret=/x", "unexpected key 'tagret' in 'tagret=/x' (did you mean target?)");
    refused("type,target=/x", "invalid field 'type' must be a key=value pair");
}

// language m.2
#[test]
fn targets() {
    let case = Case::new(
        r#"FROM BUSYBOX
WORKDIR /w
RUN --mount=target=rel,source=d cat /w/rel/f > /relative
RUN --mount=dst=/x/in,source=e --mount=destination=/x,source=d,rw ls /x /x/in > /nested
RUN --mount=target=/x,source=d --mount=target=/x,source=e ls /x > /last
"#,
    )
    .file("d/f", "f\n")
    .file("d/in/covered", "")
    .file("e/g", "g\n");
    let built = case.build(&[]);
    assert_eq!(built.text("/relative"), "f\n");
    assert_eq!(built.text("/nested"), "/x:\nf\nin\n\n/x/in:\ng\n");
    assert_eq!(built.text("/last"), "g\n");
    refused("type=tmpfs,target=/", "invalid mount target \"/\"");
    refused("type=tmpfs,target=/a/..", "invalid mount target \"/\"");
    refused("type=tmpfs,target=", "invalid mount target \"/\"");
}

// language m.3
#[test]
fn what_is_writable() {
    let case = Case::new(
        r#"FROM BUSYBOX
RUN --mount=target=/m ! touch /m/x
RUN --mount=target=/m,rw touch /m/x
RUN --mount=target=/m,readwrite=true touch /m/x
RUN --mount=target=/m,ro=false touch /m/x
RUN --mount=target=/m,rw=FALSE ! touch /m/x
RUN --mount=type=cache,target=/m touch /m/x
RUN --mount=type=cache,target=/m,ro ! touch /m/x
RUN --mount=type=cache,target=/m,readonly=1 ! touch /m/x
RUN --mount=type=tmpfs,target=/m touch /m/x
RUN --mount=type=tmpfs,target=/m,ro ! touch /m/x
RUN --mount=type=secret,id=s,target=/m,mode=0666 ! echo x > /m
"#,
    )
    .file("s", "s");
    let secret = format!("--secret=id=s,src={}", case.context().join("s").display());
    case.build(&[&secret]);
    refused("target=/x,ro=maybe", "invalid value for ro: maybe");
}

// language m.4
#[test]
fn binds() {
    let case = Case::new(
        r#"FROM BUSYBOX AS stage
RUN mkdir /o && echo stage > /o/f && ln -s o /link && mkfifo /o/p
FROM BUSYBOX
RUN --mount=target=/ctx ls /ctx > /context; test ! -e /ctx/d/hidden; stat -c %a /ctx/d > /mode
RUN --mount=target=/file,source=d/f cat /file > /one
RUN --mount=target=/file,source=to-f cat /file > /linked
RUN --mount=target=/dir,source=to-d cat /dir/f >> /linked
RUN --mount=from=stage,src=link,target=/o cat /o/f > /stage && test -p /o/p
RUN --mount=from=stage,source=../../o/f,target=/single cat /single >> /stage
RUN --mount=from=BUSYBOX,source=/bin,target=/other /other/busybox true
RUN --mount=from=named,target=/n cat /n/g > /named
RUN --mount=from=stage,source=/o,target=/rw,rw echo changed > /rw/f && rm /rw/p && touch /rw/new && ls /rw > /written
RUN --mount=from=stage,source=/o,target=/rw ls /rw > /again && cat /rw/f >> /again
"#,
    )
    .file(".dockerignore", "hidden\n**/hidden\n")
    .file("d/f", "f\n")
    .file("d/hidden", "")
    .file("hidden", "");
    let named = case.context().join("hidden-named");
    fs::create_dir(&named).and_then(|()| fs::write(named.join("g"), "g\n")).expect("a second context");
    std::os::unix::fs::symlink("d/f", case.context().join("to-f")).expect("a link");
    std::os::unix::fs::symlink("d", case.context().join("to-d")).expect("a link");
    let built = case.build(&[&format!("--build-context=named={}", named.display())]);
    assert_eq!(
        built.text("/context"),
        ".dockerignore\nDockerfile\nd\nhidden-named\nto-d\nto-f\n".replacen(".dockerignore\n", "", 1)
    );
    assert_eq!([built.text("/one"), built.text("/linked")], ["f\n", "f\nf\n"]);
    assert_eq!([built.text("/stage"), built.text("/named")], ["stage\nstage\n", "g\n"]);
    assert_eq!([built.text("/written"), built.text("/again")], ["f\nnew\n", "f\np\nstage\n"]);
    refused("target=/x,source=/nope", "\"/nope\": not found");
    refused("target=/x,from=BUSYBOX,source=/nope", "\"/nope\": not found");
    for key in ["mode=0600", "uid=1", "gid=1"] {
        let name = key.split('=').next().expect("a key");
        refused(&format!("target=/x,{key}"), &format!("{name} not allowed for \"bind\" type mounts"));
    }
}

// language m.5
#[test]
fn caches() {
    let case = Case::new(
        r#"FROM BUSYBOX AS seed
RUN mkdir -p /s/t && echo seed > /s/t/f && chown 3:4 /s/t && chmod 0710 /s/t
FROM BUSYBOX AS first
RUN --mount=type=cache,target=/c/ ls /c > /empty && echo one > /c/f && stat -c '%a %u %g' /c > /made
FROM BUSYBOX
COPY --from=first /empty /made /
RUN --mount=type=cache,target=/c cat /c/f > /by-target
RUN --mount=type=cache,id=/c,target=/elsewhere cat /elsewhere/f > /by-id
RUN --mount=type=cache,id=own,target=/o,mode=0700,uid=5,gid=6 stat -c '%a %u %g' /o > /owned
RUN --mount=type=cache,id=own,target=/o,mode=0700,uid=5,gid=6 touch /o/f && chmod 0750 /o
RUN --mount=type=cache,id=own,target=/o,mode=0700,uid=5,gid=6 stat -c '%a %u %g' /o > /still; ls /o >> /still
RUN --mount=type=cache,id=own,target=/o,uid=7 stat -c '%a %u %g' /o > /other; ls /o >> /other
RUN --mount=type=cache,target=/seeded,from=seed,source=/s/t cat /seeded/f > /of-seed; stat -c '%a %u %g' /seeded >> /of-seed; echo changed > /seeded/f
RUN --mount=type=cache,target=/seeded,from=seed,source=/s/t cat /seeded/f > /kept
RUN --mount=type=cache,target=/seeded,from=seed,source=/s ls /seeded > /of-parent
RUN --mount=type=cache,target=/seeded ls /seeded > /unseeded
"#,
    );
    let built = case.build(&[]);
    assert_eq!([built.text("/empty"), built.text("/made")], ["", "755 0 0\n"]);
    assert_eq!([built.text("/by-target"), built.text("/by-id")], ["one\n", "one\n"]);
    assert_eq!([built.text("/owned"), built.text("/still")], ["700 5 6\n", "750 5 6\nf\n"]);
    assert_eq!(built.text("/other"), "755 7 0\n");
    assert_eq!([built.text("/of-seed"), built.text("/kept")], ["seed\n710 3 4\n", "changed\n"]);
    assert_eq!([built.text("/of-parent"), built.text("/unseeded")], ["t\n", ""]);
    for path in ["/c", "/o", "/seeded", "/elsewhere"] {
        assert!(!built.files.contains_key(path), "{path} is in the image");
    }
    // What is in them outlives the build, also one that takes nothing from the cache.
    case.dockerfile("FROM BUSYBOX\nRUN --mount=type=cache,target=/c cat /c/f > /later\n");
    assert_eq!(case.build(&["--no-cache"]).text("/later"), "one\n");
}

// language m.6
#[test]
fn sharing_of_caches() {
    refused("type=cache,target=/x,sharing=bad", "unsupported sharing value \"bad\"");
    refused("type=tmpfs,target=/x,sharing=shared", "invalid cache sharing set for tmpfs mount");
}

// language m.7
#[test]
fn tmpfs() {
    let case = Case::new(
        r#"FROM BUSYBOX
COPY f /t/f
RUN --mount=type=tmpfs,target=/t,size=64k ls /t > /hidden; ! head -c 100000 /dev/zero > /t/x; wc -c < /t/x > /k
RUN --mount=type=tmpfs,target=/t,size=8192 ! head -c 10000 /dev/zero > /t/x; wc -c < /t/x > /bytes
RUN --mount=type=tmpfs,target=/t,size=2m grep ' /t ' /proc/mounts | grep -o 'size=[0-9]*k' > /m
RUN --mount=type=tmpfs,target=/t,size=1g grep ' /t ' /proc/mounts | grep -o 'size=[0-9]*k' > /g
"#,
    )
    .file("f", "f");
    let built = case.build(&[]);
    assert_eq!([built.text("/hidden"), built.text("/t/f")], ["", "f"]);
    assert_eq!([built.text("/k"), built.text("/bytes")], ["65536\n", "8192\n"]);
    assert_eq!([built.text("/m"), built.text("/g")], ["size=2048k\n", "size=1048576k\n"]);
    assert!(!built.files.contains_key("/t/x"));
    refused("target=/x,size=1", "unexpected key 'size' for mount type 'bind'");
}

// language m.8
#[test]
fn secrets() {
    let case = Case::new(
        r#"FROM BUSYBOX
RUN --mount=type=secret,id=tok cat /run/secrets/tok > /1; stat -c '%a %u %g' /run/secrets/tok >> /1
RUN --mount=type=secret,source=tok cat /run/secrets/tok > /2
RUN --mount=type=secret,target=/at/tok,mode=0444,uid=7,gid=8 cat /at/tok > /3; stat -c '%a %u %g' /at/tok >> /3
RUN --mount=type=secret,id=tok,env=TOK echo $TOK > /4; test ! -e /run/secrets
RUN --mount=type=secret,id=tok,env=TOK,target=/both echo $TOK > /5; cat /both >> /5
RUN --mount=type=secret,id=none test ! -e /run/secrets/none; echo "${TOK-unset}" > /6
RUN --mount=type=secret,id=none,env=NONE echo "${NONE-unset}" > /7
ENV TOK=env NONE=env
RUN --mount=type=secret,id=none,env=TOK --mount=type=secret,id=tok,env=TOK --mount=type=secret,id=none,env=NONE echo "$TOK|$NONE" > /8
RUN echo "$TOK" > /9
RUN --mount=type=secret,id=program,target=/program,mode=0755 --mount=type=secret,id=program,target=/text \
    /program > /10; grep -c ' /text tmpfs ro,.*noexec' /proc/mounts >> /10; ! echo x > /program
"#,
    );
    let token = case.context().join("token");
    fs::write(&token, "s3cret\n").expect("a secret");
    let program = case.context().join("program");
    fs::write(&program, "#!/bin/sh\necho ran\n").expect("a secret");
    let secrets =
        [("tok", &token), ("program", &program)].map(|(id, path)| format!("--secret=id={id},src={}", path.display()));
    let built = case.build(&[&secrets[0], &secrets[1]]);
    assert_eq!(built.text("/10"), "ran\n1\n");
    let told = ["/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/9"].map(|path| built.text(path));
    let plain = "s3cret\n";
    // The last secret of a name hides the ones before and what ENV says, also by being absent.
    let hidden = ["s3cret\n|\n", "env\n"];
    let want = [
        "s3cret\n400 0 0\n",
        plain,
        "s3cret\n444 7 8\n",
        plain,
        "s3cret\ns3cret\n",
        "unset\n",
        "\n",
        hidden[0],
        hidden[1],
    ];
    assert_eq!(told, want);
    assert!(!built.files.contains_key("/run/secrets") && !built.files.contains_key("/at"));
    assert!(!built.config.to_string().contains("s3cret"));
    refused("type=secret,id=none,required", "secret none: not found");
    refused("type=secret", "invalid secret mount. one of source, target required");
    refused("type=secret,id=a,source=b", "both source and id can't be set");
}

// language m.9
#[test]
fn agents() {
    let case = Case::new(
        r#"FROM BUSYBOX
RUN --mount=type=ssh echo $SSH_AUTH_SOCK > /default; stat -c '%F %a %u %g' $SSH_AUTH_SOCK >> /default
RUN --mount=type=ssh,id=default,target=/agent,mode=0666,uid=5,gid=6 \
    echo $SSH_AUTH_SOCK > /placed; stat -c '%F %a %u %g' /agent >> /placed
RUN --mount=type=ssh,id=none echo $SSH_AUTH_SOCK > /absent; test ! -e $SSH_AUTH_SOCK
RUN --mount=type=ssh,id=none --mount=type=ssh echo $SSH_AUTH_SOCK > /first; ls /run/buildkit >> /first
ENV SSH_AUTH_SOCK=/set
RUN --mount=type=ssh echo $SSH_AUTH_SOCK > /set
"#,
    );
    let socket = case.context().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let built = case.build(&[&format!("--ssh=default={}", socket.display())]);
    assert_eq!(built.text("/default"), "/run/buildkit/ssh_agent.0\nsocket 600 0 0\n");
    assert_eq!(built.text("/placed"), "/agent\nsocket 666 5 6\n");
    assert_eq!(built.text("/absent"), "/run/buildkit/ssh_agent.0\n");
    assert_eq!([built.text("/first"), built.text("/set")], ["/run/buildkit/ssh_agent.0\nssh_agent.1\n", "/set\n"]);
    assert!(!built.files.contains_key("/run/buildkit") && !built.files.contains_key("/agent"));
    refused("type=ssh,source=/x", "ssh does not support source");
    refused("type=ssh,required", "no SSH key \"default\" forwarded from the client");
}

// language m.10
#[test]
fn required_is_for_what_may_be_absent() {
    for kind in ["bind", "cache", "tmpfs"] {
        let words = format!("unexpected key 'required' for mount type '{kind}'");
        refused(&format!("type={kind},target=/x,required"), &words);
    }
}
