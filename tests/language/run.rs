//! Section 10: RUN.

use super::build::Case;

// language 10.1, 10.3, 10.4, 10.12
#[test]
fn a_command_and_its_surroundings() {
    let case = Case::new(
        r#"FROM BUSYBOX
ARG ONE=1
ENV TWO=2 THREE=3
ARG FOUR
ENV ONE=one
WORKDIR /w
RUN tr '\0' '\n' < /proc/self/environ > /environment; pwd > /cwd; umask > /umask; wc -c > /stdin; tty > /tty || true
RUN true
RUN rmdir /w; echo 'operator:x:37:37::/home:/bin/sh' >> /etc/passwd
RUN ["/bin/sh", "-c", "pwd > /made"]
USER 4242
RUN echo "$HOME" > /tmp/of-nobody
USER operator
RUN echo "$HOME" > /tmp/of-operator
ENV HOME=/set
RUN echo "$HOME" > /tmp/of-env
"#,
    );
    let built = case.build(&["--build-arg=FOUR=4", "--build-arg=http_proxy=http://proxy.example"]);
    let want = "PATH=/bin:/usr/bin:/sbin:/usr/sbin\nONE=one\nTWO=2\nTHREE=3\nFOUR=4\n\
                http_proxy=http://proxy.example\nHTTP_PROXY=http://proxy.example\nHOME=/root\n";
    assert_eq!(sorted_proxies(&built.text("/environment")), sorted_proxies(want));
    assert_eq!([built.text("/cwd"), built.text("/made")], ["/w\n", "/w\n"]);
    assert_eq!([built.text("/umask"), built.text("/stdin")], ["0022\n", "0\n"]);
    assert_eq!(built.text("/tty"), "not a tty\n");
    let homes = ["/tmp/of-nobody", "/tmp/of-operator", "/tmp/of-env"].map(|path| built.text(path));
    assert_eq!(homes, ["/\n", "/home\n", "/set\n"]);

    let history = built.history();
    let prefix = "RUN |2 ONE=one FOUR=4 ";
    assert!(history.contains(&format!("{prefix}/bin/sh -c true # buildkit")), "{history:?}");
    assert!(history.contains(&format!("{prefix}/bin/sh -c pwd > /made # buildkit")), "{history:?}");
    let entries = built.config["history"].as_array().expect("a history");
    let layers = entries.iter().filter(|entry| entry["empty_layer"] != true).count();
    assert_eq!(built.config["rootfs"]["diff_ids"].as_array().map(Vec::len), Some(layers));
    let of_true = entries.iter().find(|entry| entry["created_by"].as_str().is_some_and(|by| by.contains("-c true")));
    assert_ne!(of_true.expect("the entry of `RUN true`")["empty_layer"], true);
}

/// The two spellings of a proxy come in no order.
fn sorted_proxies(environment: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = environment.lines().collect();
    if let Some(first) = lines.iter().position(|line| line.to_lowercase().starts_with("http_proxy")) {
        lines[first..first + 2].sort_unstable();
    }
    lines
}

// language 10.12
#[test]
fn history_without_arguments_has_no_count() {
    let built = Case::new("FROM BUSYBOX\nRUN [\"true\", \"a b\"]\nARG UNSET\nRUN true\n").build(&[]);
    let history = built.history();
    assert!(history.contains(&"RUN true a b # buildkit".to_owned()), "{history:?}");
    assert!(history.contains(&"RUN |1 UNSET= /bin/sh -c true # buildkit".to_owned()), "{history:?}");
}

// language 10.2
#[test]
fn a_failed_command_fails_the_build() {
    Case::new("FROM BUSYBOX\nRUN exit 42\n")
        .fails(&["process \"/bin/sh -c exit 42\" did not complete successfully: exit code: 42", "Dockerfile:2"]);
}

// language 10.5
#[test]
fn users() {
    let case = Case::new(
        r"FROM BUSYBOX
RUN rm /etc/group; chmod 777 /; \
    echo 'bob:x:300:400::/home/bob:/bin/sh' >> /etc/passwd; printf 'g:x:500:bob\nh:x:600:eve,bob\nwheel:x:10:root\n' > /etc/group
RUN id -u > /none; id -g >> /none; id -G >> /none
USER root:root
RUN id -u > /root-only; id -g >> /root-only; id -G >> /root-only
USER bob
RUN id -u > /name; id -g >> /name; id -G >> /name
USER 300
RUN id -u > /known; id -g >> /known; id -G >> /known
USER 301
RUN id -u > /unknown; id -g >> /unknown; id -G >> /unknown
USER bob:h
RUN id -u > /both; id -g >> /both; id -G >> /both
USER 301:7
RUN id -u > /numbers; id -g >> /numbers; id -G >> /numbers
",
    );
    let built = case.build(&[]);
    let told = ["/none", "/root-only", "/name", "/known", "/unknown", "/both", "/numbers"].map(|path| built.text(path));
    let want = [
        "0\n0\n0 10\n",
        "0\n0\n0\n",
        "300\n400\n400 500 600\n",
        "300\n400\n400 500 600\n",
        "301\n0\n0\n",
        "300\n600\n600\n",
        "301\n7\n7\n",
    ];
    assert_eq!(told, want);
    Case::new("FROM BUSYBOX\nUSER ghost\nWORKDIR /\nRUN true\n")
        .fails(&["unable to find user ghost: no matching entries in passwd file", "Dockerfile:4"]);
    Case::new("FROM BUSYBOX\nRUN rm /etc/passwd\nRUN true\nUSER root\nRUN true\n")
        .fails(&["unable to find user root: no matching entries in passwd file", "Dockerfile:5"]);
    Case::new("FROM BUSYBOX\nRUN rm /etc/passwd /etc/group\nRUN true\nUSER root:root\nRUN true\n").build(&[]);
    Case::new("FROM BUSYBOX\nUSER ghost\n").build(&[]);
}

// language 10.6, 10.7
#[test]
fn files_of_the_build_leave_no_trace() {
    let case = Case::new(
        r#"FROM BUSYBOX
COPY <<hosts /etc/
mine
hosts
COPY <<file /kept/
kept
file
RUN --mount=type=tmpfs,target=/kept --mount=type=cache,target=/new/deep/er \
    --mount=type=secret,id=s,target=/new/secret --mount=target=/new/deep/ctx \
    hostname > /name; cat /etc/hosts > /hosts; test -f /etc/resolv.conf; \
    ! echo x > /etc/hosts; ! echo x > /etc/resolv.conf; ls /kept > /seen
"#,
    );
    std::fs::write(case.context().join("token"), "t").expect("a secret");
    let secret = format!("--secret=id=s,src={}", case.context().join("token").display());
    let built = case.build(&["--add-host=db.example:10.1.2.3", "--add-host=six.example:2001:db8::1", &secret]);
    assert_eq!(built.text("/name"), "buildkitsandbox\n");
    let want = "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                10.1.2.3\tdb.example\n2001:db8::1\tsix.example\n";
    assert_eq!(built.text("/hosts"), want);
    assert_eq!([built.text("/seen"), built.text("/kept/file"), built.text("/etc/hosts")], ["", "kept\n", "mine\n"]);
    for path in ["/new", "/etc/resolv.conf"] {
        assert!(!built.files.contains_key(path), "{path} is in the image");
    }
}

// language 10.8
#[test]
fn devices_processes_and_rights() {
    let case = Case::new(
        r#"FROM BUSYBOX
RUN grep -E '^(CapPrm|CapEff|CapBnd|CapInh|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status > /status; \
    ls /dev > /devices; echo x > /dev/made; echo x > /dev/shm/made; ! touch /sys/made; ! echo 1 > /proc/sys/kernel/pid_max; \
    wc -c < /proc/keys > /keys; grep ' /dev/shm ' /proc/mounts | grep -o 'size=65536k' > /shm; mkdir /m; ! mount -t tmpfs none /m
"#,
    );
    let built = case.build(&[]);
    let want = "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n\
                CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n";
    assert_eq!(built.text("/status"), want);
    let devices = "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n";
    assert_eq!(built.text("/devices"), devices);
    assert_eq!([built.text("/keys"), built.text("/shm")], ["0\n", "size=65536k\n"]);
    for path in ["/dev/made", "/dev/shm", "/dev/fd"] {
        assert!(!built.files.contains_key(path), "{path} is in the image");
    }
}

// language 10.9
#[test]
fn networks() {
    let case = Case::new("FROM BUSYBOX\nRUN --network=none ls /sys/class/net > /none\nRUN --network=default true\n");
    assert_eq!(case.build(&[]).text("/none"), "lo\n");
    case.dockerfile("FROM BUSYBOX\nRUN --network=host true\n");
    case.fails(&["network.host is not allowed", "--allow network.host", "Dockerfile:2"]);
    case.build(&["--allow=network.host"]);
    for mode in ["bridge", "HOST"] {
        case.dockerfile(&format!("FROM BUSYBOX\nRUN --network={mode} true\n"));
        case.fails(&[&format!("invalid network mode \"{mode}\""), "Dockerfile:2"]);
    }
}

// language 10.10, 10.11
#[test]
fn security_and_devices() {
    let case = Case::new(
        "FROM BUSYBOX\nRUN --security=sandbox true\nRUN --security=insecure grep CapEff /proc/self/status > /caps\n",
    );
    case.fails(&["security.insecure is not allowed", "--allow security.insecure", "Dockerfile:3"]);
    assert_ne!(case.build(&["--allow=security.insecure"]).text("/caps"), "CapEff:\t00000000a80425fb\n");
    case.dockerfile("FROM BUSYBOX\nRUN --security=lax true\n");
    case.fails(&["security \"lax\" is not valid", "Dockerfile:2"]);
    case.dockerfile("FROM BUSYBOX\nRUN --device=vendor.example/gpu true\n");
    case.fails(&["device feature is only supported in Dockerfile frontend 1.14.0-labs or later", "Dockerfile:2"]);
    let labs = "# syntax=docker/dockerfile:1-labs\nFROM BUSYBOX\n";
    case.dockerfile(&format!("{labs}RUN --device=vendor.example/none --device=vendor.example/none=other true\n"));
    case.build(&[]);
    case.dockerfile(&format!("{labs}RUN --device=vendor.example/none,required true\n"));
    case.fails(&["required device \"vendor.example/none\" is not registered", "Dockerfile:3"]);
    case.dockerfile(&format!("{labs}RUN --device=a/b=c,requierd=true true\n"));
    case.fails(&["unexpected key 'requierd' in 'requierd=true' (did you mean required?)", "Dockerfile:3"]);
}
