use super::*;
use crate::dockerfile::parse;
use crate::source::SourceFile;

#[track_caller]
fn check(text: &str, want: &[(&str, &str)]) {
    let mut sources = Sources::default();
    let id = sources.add(SourceFile::new("Dockerfile", text));
    let parsed = parse(&sources, id);
    assert_eq!(parsed.diagnostics, []);
    let warnings = lint(&parsed.file, &sources);
    let got: Vec<_> = warnings.iter().map(|one| (one.code, one.span.map_or("", |span| sources.text(span)))).collect();
    assert_eq!(got, want);
}

#[test]
fn rules_are_sorted_by_name() {
    assert!(RULES.is_sorted_by_key(|rule| rule.name.to_lowercase()));
}

#[test]
fn stages() {
    check(
        "FROM a as Upper\nfrom b AS context\nFROM c AS dup\nFROM d AS dup\n",
        &[
            ("FromAsCasing", "as"),
            ("StageNameCasing", "Upper"),
            ("ConsistentInstructionCasing", "from"),
            ("FromAsCasing", "AS"),
            ("ReservedStageName", "context"),
            ("DuplicateStageName", "dup"),
        ],
    );
    check(
        "FROM --platform=linux/arm64 a\nFROM --platform=linux/arm64 b AS for-arm64\nFROM --platform=$TARGETPLATFORM c\n",
        &[("FromPlatformFlagConstDisallowed", "linux/arm64"), ("RedundantTargetPlatform", "$TARGETPLATFORM")],
    );
}

#[test]
fn instructions() {
    check(
        "FROM a\nMAINTAINER me\nENV old value\nLABEL a=b\nARG API_TOKEN PUBLIC_KEY\nENV x=1 PassWord=x\n",
        &[
            ("MaintainerDeprecated", "MAINTAINER"),
            ("LegacyKeyValueFormat", "ENV old value"),
            ("SecretsUsedInArgOrEnv", "API_TOKEN"),
            ("SecretsUsedInArgOrEnv", "PassWord"),
        ],
    );
    check(
        "FROM a\nRUN a \\\n\n b\nEXPOSE 80/TCP 1:2 $X/TCP\n",
        &[("NoEmptyContinuation", ""), ("ExposeProtoCasing", "80/TCP"), ("ExposeInvalidFormat", "1:2")],
    );
}

#[test]
fn stages_inherit_shell_and_workdir() {
    check("FROM a AS b\nCMD x\nSHELL [\"s\"]\nENTRYPOINT y\nFROM b\nCMD z\n", &[("JSONArgsRecommended", "CMD x")]);
    check(
        "FROM a AS b\nWORKDIR x\nWORKDIR y\nFROM b\nWORKDIR z\nFROM a\nWORKDIR $A\n",
        &[("WorkdirRelativePath", "x")],
    );
    check("FROM a\nCMD [\"1\"]\nHEALTHCHECK NONE\nCMD [\"2\"]\n", &[("MultipleInstructionsDisallowed", "CMD")]);
}

#[test]
fn options_silence_rules() {
    check("# check=skip=MaintainerDeprecated\nFROM a\nMAINTAINER me\n", &[]);
    check("FROM a\n# check=skip=all\nMAINTAINER me\nENV a b\n", &[("LegacyKeyValueFormat", "ENV a b")]);
    check(
        "# check=experimental=all\n# is what?\nFROM a AS b\n# VERSION of it\nARG VERSION\n",
        &[("InvalidDefinitionDescription", "# is what?")],
    );
    check("# is what?\nFROM a AS b\n", &[]);
}
