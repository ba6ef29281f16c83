//! Section 8: ARG.

use serde_json::json;

use super::build::Case;

/// The labels of the image that `dockerfile` makes.
#[track_caller]
fn labels(dockerfile: &str, arguments: &[&str]) -> serde_json::Value {
    Case::new(dockerfile).build(arguments).config["config"]["Labels"].clone()
}

// language 8.1
#[test]
fn a_line_declares_any_number_of_names() {
    let text = "FROM scratch\nARG A=1 B C=\"x y\" 9.z=w A=2\nLABEL a=$A b=${B-none} c=$C\n";
    let built = Case::new(text).build(&[]);
    assert_eq!(built.config["config"]["Labels"], json!({"a": "2", "b": "none", "c": "x y"}));
    assert_eq!(built.history()[0], "ARG A=1 B C=x y 9.z=w A=2");
    Case::new("FROM scratch\nARG A =x\n").fails(&["ARG names can not be blank", "Dockerfile:2"]);
}

// language 8.2, 8.3
#[test]
fn the_build_argument_wins_then_the_default_then_the_global_value() {
    let text = "ARG G=global\nARG H=global\nFROM scratch\n\
                ARG A=default B=default C=$A$B D E=x G H=stage\n\
                LABEL a=$A b=$B c=$C d=${D-unset} e=$E g=$G h=$H\n";
    let given = ["--build-arg=A=given", "--build-arg=B=", "--build-arg=E=$A \"q\""];
    let want = json!({"a": "given", "b": "", "c": "given", "d": "unset", "e": "$A \"q\"", "g": "global", "h": "stage"});
    assert_eq!(labels(text, &given), want);
    let text = "FROM BUSYBOX\nARG D\nRUN env > /env\n";
    assert!(!Case::new(text).build(&[]).text("/env").lines().any(|line| line.starts_with("D=")));
}

// language 8.4
#[test]
fn global_args_serve_from_and_stages_that_ask() {
    let text = "ARG A=scr\nARG B=${A}atch C=$TARGETOS\nFROM $B AS first\nLABEL before=${A-unset}\nARG A\nLABEL after=$A\n\
                FROM $B\nARG C A\nLABEL c=$C a=$A b=${B-unset}\n";
    assert_eq!(labels(text, &["--target=first"]), json!({"before": "unset", "after": "scr"}));
    assert_eq!(labels(text, &[]), json!({"a": "scr", "b": "unset", "c": "linux"}));
    assert_eq!(labels(text, &["--build-arg=C=given"])["c"], "given");
}

// language 8.5
#[test]
fn an_arg_is_seen_from_its_line_on() {
    let text = "FROM scratch\nLABEL a=${A-unset}\nARG A=default\nLABEL b=$A\n";
    assert_eq!(labels(text, &["--build-arg=A=given", "--build-arg=NOBODY=x"]), json!({"a": "unset", "b": "given"}));
}

// language 8.6
#[test]
fn a_stage_inherits_the_args_of_its_parent() {
    let text = "FROM BUSYBOX AS parent\nARG A=1\nFROM parent\nLABEL a=$A\nRUN echo $A > /a\n";
    let built = Case::new(text).build(&["--build-arg=A=2"]);
    assert_eq!((built.config["config"]["Labels"]["a"].as_str(), built.text("/a").as_str()), (Some("2"), "2\n"));
    assert_eq!(built.config["config"]["Env"].as_array().map(Vec::len), Some(1));
    assert_eq!(built.history().last().map(String::as_str), Some("RUN |1 A=2 /bin/sh -c echo $A > /a # buildkit"));
}

// language 8.7
#[test]
fn of_arg_and_env_the_later_wins() {
    let text = "FROM BUSYBOX\nENV A=env\nARG A=arg\nRUN echo $A > /first\nLABEL first=$A\nENV A=again\n\
                RUN echo $A > /second\nLABEL second=$A\nARG A=last\nLABEL third=$A\n";
    let built = Case::new(text).build(&[]);
    assert_eq!((built.text("/first").as_str(), built.text("/second").as_str()), ("arg\n", "again\n"));
    let config = &built.config["config"];
    assert_eq!(config["Labels"], json!({"first": "arg", "second": "again", "third": "last"}));
    assert_eq!(config["Env"][1], "A=again");
    // A child begins with the environment of the image, and with those ARGs that ENV does not name.
    let text = format!("{text}FROM parent\nRUN echo $A $B > /third\nLABEL fourth=$A\n");
    let built = Case::new(&text.replacen("BUSYBOX", "BUSYBOX AS parent\nARG B=b", 1)).build(&[]);
    assert_eq!(
        (built.text("/third").as_str(), &built.config["config"]["Labels"]["fourth"]),
        ("again b\n", &json!("again"))
    );
    assert_eq!(
        built.history().iter().rev().nth(1).map(String::as_str),
        Some("RUN |2 B=b A=again /bin/sh -c echo $A $B > /third # buildkit")
    );
}

// language 8.8
#[test]
fn args_are_facts_of_later_runs() {
    let case = Case::new("FROM BUSYBOX\nRUN echo before\nARG A=1 B\nRUN env > /env\n");
    let built = case.build(&["--build-arg=A=x y"]);
    assert!(built.text("/env").lines().any(|line| line == "A=x y"));
    let history = built.history();
    assert_eq!(history[history.len() - 3], "RUN /bin/sh -c echo before # buildkit");
    assert_eq!(history[history.len() - 1], "RUN |2 A=x y B= /bin/sh -c env > /env # buildkit");
    assert_eq!(case.build(&["--build-arg=A=x y"]).cached(), case.build(&["--build-arg=A=z"]).cached() + 1);
}

// language 8.9
#[test]
fn proxies_are_given_to_run_alone() {
    let text = "FROM BUSYBOX\nRUN env | grep -i _proxy | sort > /env; cat /proc/sys/kernel/random/uuid > /once\nLABEL a=${HTTP_PROXY-unset}\n";
    let case = Case::new(text);
    let names = ["HTTP_PROXY", "https_proxy", "Ftp_Proxy", "NO_PROXY", "all_proxy"];
    let given: Vec<String> = names.iter().map(|name| format!("--build-arg={name}=of {name}")).collect();
    let built = case.build(&given.iter().map(String::as_str).collect::<Vec<_>>());
    let mut want: Vec<String> = names
        .iter()
        .flat_map(|name| [format!("{}=of {name}", name.to_uppercase()), format!("{}=of {name}", name.to_lowercase())])
        .collect();
    want.sort();
    let mut found: Vec<String> = built.text("/env").lines().map(str::to_owned).collect();
    found.sort();
    assert_eq!(found, want);
    assert_eq!(built.config["config"]["Labels"]["a"], "unset");
    assert!(!built.config.to_string().contains("of HTTP"), "{}", built.config);
    // They are no fact of the key.
    assert_eq!(case.build(&[]).text("/once"), built.text("/once"));
    // They hide what ENV says; of two spellings the one in small letters counts, and an empty one is none.
    let seen = Case::new(
        "FROM BUSYBOX\nENV http_proxy=env no_proxy=env\nRUN echo $http_proxy $HTTP_PROXY $no_proxy > /seen\n",
    )
    .build(&["--build-arg=HTTP_PROXY=capitals", "--build-arg=http_proxy=small", "--build-arg=NO_PROXY="]);
    assert_eq!(seen.text("/seen"), "small small env\n");
    // Declared they are arguments as all are, of the name that is declared.
    case.dockerfile(&text.replace("RUN", "ARG HTTP_PROXY\nRUN"));
    let built = case.build(&["--build-arg=HTTP_PROXY=p"]);
    assert_eq!(built.config["config"]["Labels"]["a"], "p");
    assert!(
        built.history().iter().any(|entry| entry.starts_with("RUN |1 HTTP_PROXY=p /bin/sh")),
        "{:?}",
        built.history()
    );
}

// language 8.11
#[test]
fn some_build_arguments_are_for_the_builder() {
    let case = Case::new("FROM BUSYBOX\nRUN hostname > /name; grep -c called /etc/hosts >> /name; env > /env\n");
    let built = case.build(&["--build-arg=BUILDKIT_SANDBOX_HOSTNAME=called"]);
    assert!(built.text("/name").starts_with("called\n1\n") || built.text("/name").starts_with("called\n2\n"));
    assert!(!built.text("/env").contains("BUILDKIT"));
    assert_eq!(case.build(&[]).text("/name").lines().next(), Some("buildkitsandbox"));
    let cached = "FROM BUSYBOX\nRUN --mount=type=cache,target=/c echo NUMBER; touch /c/NUMBER; ls /c > /seen\n";
    let seen = |number: &str, arguments: &[&str]| {
        case.dockerfile(&cached.replace("NUMBER", number));
        case.build(arguments).text("/seen").split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(seen("1", &[]), "1");
    assert_eq!(seen("2", &["--build-arg=BUILDKIT_CACHE_MOUNT_NS=own"]), "2");
    assert_eq!(seen("3", &["--build-arg=BUILDKIT_CACHE_MOUNT_NS=own"]), "2 3");
    assert_eq!(seen("4", &[]), "1 4");
    // What scanners are told is seen in the history only.
    case.dockerfile("FROM BUSYBOX\nARG BUILDKIT_SBOM_SCAN_CONTEXT=true BUILDKIT_SBOM_SCAN_STAGE=1\nLABEL a=${BUILDKIT_SBOM_SCAN_STAGE-unset}\nRUN env > /env\n");
    let built = case.build(&[]);
    assert_eq!(built.config["config"]["Labels"]["a"], "unset");
    assert!(!built.text("/env").contains("BUILDKIT"));
    assert!(built.history().contains(&"ARG BUILDKIT_SBOM_SCAN_CONTEXT=true BUILDKIT_SBOM_SCAN_STAGE=1".to_owned()));
}

// language 8.12
#[test]
fn history_has_one_entry_for_a_line() {
    let built = Case::new("ARG G=g\nFROM scratch\nARG A=1 B C=$A-$NOPE G D=d\n").build(&["--build-arg=D=given"]);
    assert_eq!(built.history(), ["ARG A=1 B C=1- G=g D=given"]);
    assert_eq!(built.config["history"][0]["empty_layer"], true);
}
