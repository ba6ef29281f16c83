//! Section 9: ENV, LABEL, MAINTAINER.

use serde_json::json;

use super::build::Case;

#[track_caller]
fn fails(line: &str, words: &str) {
    Case::new(&format!("FROM scratch\n{line}\n")).fails(&[words, "Dockerfile:2"]);
}

// language 9.1
#[test]
fn the_first_word_decides() {
    fails("ENV A=1 B", "Syntax error - can't find = in \"B\". Must be of the form: name=value");
    fails("LABEL A=1 B C=2", "Syntax error - can't find = in \"B\". Must be of the form: name=value");
    fails("ENV =x", "ENV names can not be blank");
    fails("ENV A=1 =x", "ENV names can not be blank");
    let built = Case::new("FROM scratch\nENV A=1 B=\"b b\"   C=c\\ c\n").build(&[]);
    assert_eq!(built.history(), ["ENV A=1 B=b b C=c c"]);
}

// language 9.2
#[test]
fn the_old_form_takes_the_rest_of_the_line() {
    fails("ENV A", "ENV must have two arguments");
    fails("LABEL A", "LABEL must have two arguments");
    let built = Case::new(
        "FROM scratch\nENV A   one   two \"three\"\nENV X Y=Z\nENV B a\\ b $A 'q $A'\nLABEL l  some   \"thing\"  x\n",
    )
    .build(&[]);
    let config = &built.config["config"];
    let env: Vec<&str> =
        config["Env"].as_array().expect("a list").iter().skip(1).filter_map(|one| one.as_str()).collect();
    assert_eq!(env, ["A=one   two three", "X=Y=Z", "B=a b one   two three q $A"]);
    assert_eq!(config["Labels"], json!({"l": "some   thing  x"}));
}

// language 9.3
#[test]
fn names_keep_their_place() {
    let built = Case::new(
        "FROM BUSYBOX\nENV A=1 B=2\nENV C=$A \"D E\"=x 9=z x.y=w\nENV A=3 PATH=/p:$PATH $A=computed V= W=\"\"\nRUN env > /env\n",
    )
    .build(&[]);
    let want = [
        "PATH=/p:/bin:/usr/bin:/sbin:/usr/sbin",
        "A=3",
        "B=2",
        "C=1",
        "D E=x",
        "9=z",
        "x.y=w",
        "1=computed",
        "V=",
        "W=",
    ];
    assert_eq!(built.config["config"]["Env"], json!(want));
    for line in ["A=3", "B=2", "V="] {
        assert!(built.text("/env").lines().any(|found| found == line), "{line}");
    }
}

// language 9.4
#[test]
fn of_labels_the_later_wins_and_options_last() {
    let case = Case::new(
        "FROM scratch\nENV A=a\nLABEL m=1 m=2 \"n o\"=\"p  q\" l=file\nLABEL $NOPE=1 $A=$A m=3 s=\"a \\\nb\"\n",
    );
    let built = case.build(&["--label=l=opt", "--label=z="]);
    let want = json!({"": "1", "a": "a", "l": "opt", "m": "3", "n o": "p  q", "s": "a b", "z": ""});
    assert_eq!(built.config["config"]["Labels"], want);
    assert_eq!(built.history().len(), 3);
}

// language 9.5
#[test]
fn history_shows_values_without_quotes_in_order() {
    let built = Case::new("FROM scratch\nENV b=1 a=\"x $NOPE y\"\nLABEL z=\"$b q\" a='$b' z=2\n").build(&[]);
    assert_eq!(built.history(), ["ENV b=1 a=x  y", "LABEL z=1 q a=$b z=2"]);
}

// language 9.6
#[test]
fn the_maintainer_is_the_author() {
    let built = Case::new("FROM scratch\nMAINTAINER first\nMAINTAINER  $X \"me\" <a@b>  \n").build(&[]);
    assert_eq!(built.config["author"], "$X \"me\" <a@b>");
    assert_eq!(built.history(), ["MAINTAINER first", "MAINTAINER $X \"me\" <a@b>"]);
}
