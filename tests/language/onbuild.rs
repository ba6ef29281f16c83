//! Section 14: ONBUILD.

use serde_json::{Value, json};

use super::build::Case;
use super::layout::Layout;

// language 14.1
#[test]
fn triggers_are_kept_as_they_are() {
    let built =
        Case::new("FROM scratch\nONBUILD   RUN   echo  \"$X\"   \\\n  # gone\n  y\nOnBuild copy f /f\nLABEL a=b\n")
            .build(&[]);
    assert_eq!(built.config["config"]["OnBuild"], json!(["RUN   echo  \"$X\"     y", "copy f /f"]));
    assert_eq!(built.history(), ["LABEL a=b"]);
}

// language 14.2
#[test]
fn what_a_trigger_says_is_read_in_the_child() {
    let refused = |line: &str, words: &str| {
        Case::new(&format!("FROM scratch\n{line}\n")).fails(&[words, "Dockerfile:2"]);
    };
    refused("ONBUILD onbuild RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
    refused("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger");
    refused("ONBUILD maintainer x", "MAINTAINER isn't allowed as an ONBUILD trigger");
    refused("ONBUILD", "ONBUILD requires at least one argument");
    for (trigger, words) in [
        ("RUNN x", "unknown instruction: RUNN (did you mean RUN?)"),
        ("COPY f", "COPY requires at least two arguments"),
        ("# nothing", "single instruction"),
    ] {
        let case = Case::new(&format!("FROM scratch\nONBUILD {trigger}\n"));
        case.build(&[]);
        case.dockerfile(&format!("FROM scratch AS a\nONBUILD {trigger}\nFROM a\n"));
        case.fails(&[words, trigger]);
    }
}

// language 14.3, 14.4
#[test]
fn triggers_run_in_the_child_and_no_further() {
    let case = Case::new(
        "FROM BUSYBOX AS other\nRUN echo other > /other\n\
         FROM BUSYBOX AS parent\nARG X=1\nONBUILD ARG Y=2\nONBUILD RUN echo $X $Y >> /ran\n\
         ONBUILD COPY --from=other /other f /d/\nONBUILD CMD [\"c\"]\nONBUILD ENTRYPOINT [\"e\"]\nRUN test ! -e /ran\n\
         FROM parent AS child\nRUN cat /ran /d/f > /seen\n\
         FROM child\nLABEL a=b\n",
    )
    .file("f", "of the context\n");
    case.fails(&["\"/f\": not found"]);
    let text = std::fs::read_to_string(case.context().join("Dockerfile")).expect("the Dockerfile");
    let text = text.replace("/other f /d/", "/other /d/").replace("ONBUILD CMD", "ONBUILD COPY f /d/\nONBUILD CMD");
    case.dockerfile(&text);
    let built = case.build(&[]);
    assert_eq!((built.text("/ran").as_str(), built.text("/seen").as_str()), ("1 2\n", "1 2\nof the context\n"));
    let config = &built.config["config"];
    assert_eq!(
        (&config["Cmd"], &config["Entrypoint"], &config["OnBuild"]),
        (&json!(["c"]), &json!(["e"]), &Value::Null)
    );
    let want = [
        "ARG X=1",
        "RUN |1 X=1 /bin/sh -c test ! -e /ran # buildkit",
        "ARG Y=2",
        "RUN |2 X=1 Y=2 /bin/sh -c echo $X $Y >> /ran # buildkit",
        "COPY /other /d/ # buildkit",
        "COPY f /d/ # buildkit",
        "CMD [\"c\"]",
        "ENTRYPOINT [\"e\"]",
        "RUN |2 X=1 Y=2 /bin/sh -c cat /ran /d/f > /seen # buildkit",
        "LABEL a=b",
    ];
    assert_eq!(built.history()[2..], want);
}

// language 14.3
#[test]
fn triggers_of_an_image_may_name_stages_and_images() {
    let other = Layout::of(json!({}));
    let base = Layout::of(
        json!({"config": {"OnBuild": ["COPY --from=other /layer /1", "COPY --from=stage /f /2", "WORKDIR /w", "COPY f f"]}}),
    );
    let case =
        Case::new("FROM scratch AS stage\nCOPY f /f\nFROM base AS child\nFROM child\nLABEL a=b\n").file("f", "f");
    let contexts = [("other", &other), ("base", &base)]
        .map(|(name, layout)| format!("--build-context={name}=oci-layout://{}", layout.path().display()));
    let built = case.build(&[&contexts[0], &contexts[1]]);
    assert_eq!(
        (built.text("/1").as_str(), built.text("/2").as_str(), built.text("/w/f").as_str()),
        ("of the layout", "f", "f")
    );
    assert_eq!(built.config["config"]["OnBuild"], Value::Null);
    assert_eq!(built.history().iter().filter(|entry| entry.starts_with("COPY")).count(), 3);
}
