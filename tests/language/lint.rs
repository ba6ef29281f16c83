//! Section 18: lint rules. A warning is printed as `Rule: message (line N)` and, behind a bar, what its carets mark.

use std::sync::Arc;

use kiln::context::Ignore;
use kiln::diag::Diagnostic;
use kiln::digest::Digest;
use kiln::dockerfile::lint::{self, RULES, Rule};
use kiln::dockerfile::parse;
use kiln::oci::{ImageConfig, Platform};
use kiln::plan::{ImageKey, ImageOp, ImageSource, KnownImage, KnownImages, Options, Planned, plan};
use kiln::source::{SourceFile, Sources};

use super::build::Case;

/// Plans for linux/amd64; the image `arm` is for linux/arm64, and `shell` has a SHELL.
struct Check {
    options: Options,
}

fn check() -> Check {
    let options = Options { every_stage: true, ..Options::new(Platform::new("linux", "amd64", None)) };
    Check { options }
}

fn image(key: &ImageKey) -> KnownImage {
    let ImageSource::Reference(reference) = &key.source else { panic!("no layouts here") };
    let (mut config, mut platform) = (ImageConfig::default(), key.platform.clone());
    match reference.familiar().as_str() {
        "arm" => platform = Platform::new("linux", "arm64", None),
        "shell" => config.config.shell = vec!["/bin/bash".to_owned()],
        _ => {}
    }
    let manifest = Digest::of(b"");
    let media_type = kiln::oci::media_type::OCI_LAYER;
    let layer = (kiln::digest::DiffId(manifest), kiln::oci::descriptor(media_type, &manifest, 1));
    KnownImage { image: ImageOp { reference: reference.clone(), manifest, layers: vec![layer] }, config, platform }
}

impl Check {
    fn arg(mut self, name: &str, value: &str) -> Self {
        self.options.build_args.insert(name.to_owned(), value.to_owned());
        self
    }

    fn ignoring(mut self, rules: &str) -> Self {
        self.options.ignore = Some(Arc::new(Ignore::parse(rules).expect("rules")));
        self
    }

    fn target(mut self, name: &str) -> Self {
        (self.options.target, self.options.every_stage) = (Some(name.to_owned()), false);
        self
    }

    #[track_caller]
    fn warnings(&self, text: &str) -> (Vec<Diagnostic>, Sources) {
        let mut sources = Sources::default();
        let main = sources.add(SourceFile::new("Dockerfile", text));
        let parsed = parse(&sources, main);
        assert_eq!(parsed.diagnostics, [], "{text}");
        let file = parsed.file;
        let mut known = KnownImages::new();
        let more = loop {
            match plan(&file, &mut sources, &self.options, &known) {
                Ok(Planned::Ready(plan)) => break plan.warnings,
                Ok(Planned::Needs(needs)) => {
                    known.extend(needs.into_iter().map(|need| (need.key.clone(), image(&need.key))));
                }
                Err(mistakes) => break mistakes,
            }
        };
        let mut all = [lint::of_instructions(&file, &sources), lint::of_stages(&file, &sources), more].concat();
        all.sort_by_key(|found| found.lines.map(|lines| lines.start));
        (all, sources)
    }

    /// Each of `want` is a warning, and there is no other.
    #[track_caller]
    fn finds(&self, text: &str, want: &[&str]) {
        let (found, sources) = self.warnings(text);
        let shown = found.iter().map(|one| {
            let lines = one.lines.expect("a warning is about an instruction");
            let marked = sources.text(one.span.expect("a place"));
            format!(
                "{}: {} (line {}) | {marked}",
                one.code,
                one.message,
                sources.get(lines.source).line_of(lines.start)
            )
        });
        assert_eq!(shown.collect::<Vec<_>>(), want, "{text}");
    }
}

#[track_caller]
fn finds(text: &str, want: &[&str]) {
    check().finds(text, want);
}

// language 18.4
#[test]
fn stage_name_casing() {
    let warning = "StageNameCasing: Stage name 'Foo' should be lowercase (line 2) | Foo";
    finds(
        "FROM a AS foo\nFROM a AS Foo",
        &[warning, "DuplicateStageName: Duplicate stage name \"foo\", stage names should be unique (line 2) | Foo"],
    );
}

// language 18.5
#[test]
fn from_as_casing() {
    let warning = |from: &str, keyword: &str| {
        format!("FromAsCasing: '{keyword}' and '{from}' keywords' casing do not match (line 1) | {keyword}")
    };
    finds("FROM a as b", &[&warning("FROM", "as")]);
    finds("FROM a As b", &[&warning("FROM", "As")]);
    finds("from a AS b", &[&warning("from", "AS")]);
    finds("FROM a AS b", &[]);
    finds("from a as b", &[]);
    // What is neither is another rule's.
    let other = "ConsistentInstructionCasing: Command 'From' should match the case of the command majority (uppercase) \
                 (line 1) | From";
    finds("From a As b", &[other]);
}

// language 18.6
#[test]
fn no_empty_continuation() {
    finds("FROM a\nRUN a \\\n\n  # comment\n  b\nRUN c", &["NoEmptyContinuation: Empty continuation line (line 5) | "]);
    finds("FROM a\nRUN a \\\n  # comment\n  b\n\nRUN c", &[]);
}

// language 18.7
#[test]
fn consistent_instruction_casing() {
    let warning = |written: &str, case: &str, line: u32| {
        format!(
            "ConsistentInstructionCasing: Command '{written}' should match the case of the command majority ({case}) \
             (line {line}) | {written}"
        )
    };
    finds("from a\nRun b\nrun c\nUSER d", &[&warning("Run", "lowercase", 2), &warning("USER", "lowercase", 4)]);
    // A tie is for capitals; ARG before FROM neither votes nor is judged.
    finds("arg X\narg Y\nFROM a\nrun b", &[&warning("run", "uppercase", 4)]);
    finds("from a\nrun b\nonbuild RUN c", &[]);
}

// language 18.8
#[test]
fn duplicate_stage_name() {
    let warning = "DuplicateStageName: Duplicate stage name \"b\", stage names should be unique (line 3) | b";
    finds("FROM a AS b\nFROM a AS c\nFROM a AS b", &[warning]);
}

// language 18.9
#[test]
fn reserved_stage_name() {
    let warning = |name: &str| {
        format!(
            "ReservedStageName: Stage name should not use the same name as reserved stage \"{name}\" (line 1) | {name}"
        )
    };
    finds("FROM a AS scratch", &[&warning("scratch")]);
    finds("FROM a AS context", &[&warning("context")]);
    finds("FROM a AS contexts", &[]);
}

// language 18.10
#[test]
fn json_args_recommended() {
    let warning = |name: &str, line: u32, text: &str| {
        format!(
            "JSONArgsRecommended: JSON arguments recommended for {name} to prevent unintended behavior related to OS \
             signals (line {line}) | {text}"
        )
    };
    finds("FROM a\nCMD b\nENTRYPOINT c", &[&warning("CMD", 2, "CMD b"), &warning("ENTRYPOINT", 3, "ENTRYPOINT c")]);
    finds("FROM a\nCMD [\"b\"]\nENTRYPOINT [\"c\"]\nHEALTHCHECK CMD d", &[]);
    finds("FROM a\nSHELL [\"/bin/bash\", \"-c\"]\nCMD b\nENTRYPOINT c", &[]);
    finds("FROM a AS b\nSHELL [\"/bin/bash\", \"-c\"]\nFROM b\nCMD b", &[]);
    finds("FROM shell\nCMD b", &[]);
}

// language 18.11
#[test]
fn maintainer_deprecated() {
    let warning = "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2) | \
                   MAINTAINER me";
    finds("FROM a\nMAINTAINER me", &[warning]);
    finds("FROM a\nLABEL maintainer=me", &[]);
}

// language 18.12
#[test]
fn undefined_arg_in_from() {
    let warning = |name: &str, near: &str| {
        format!("UndefinedArgInFrom: FROM argument '{name}' is not declared{near} (line 2) | a:${name}")
    };
    finds("ARG TAG=1\nFROM a:${TAG}", &[]);
    finds("ARG TAG\nFROM a:${TAG:-b}", &[]);
    finds("ARG TAG=1\nFROM a:$TARGETARCH", &[]);
    let invalid = |name: &str| {
        format!(
            "InvalidDefaultArgInFrom: Default value for ARG a:${name} results in empty or invalid base image name \
             (line 2) | a:${name}"
        )
    };
    let tac = check().arg("TAC", "1").warnings("ARG TAG=1\nFROM a:$TAC").0;
    assert_eq!(tac.len(), 3, "{tac:?}");
    for (name, near) in [("TAC", " (did you mean TAG?)"), ("tag", ""), ("OTHER", "")] {
        let found: Vec<String> =
            check().warnings(&format!("ARG TAG=1\nFROM a:${name}")).0.iter().map(|one| one.message.clone()).collect();
        assert!(found.iter().any(|message| warning(name, near).contains(message.as_str())), "{found:?}");
        assert!(found.iter().any(|message| invalid(name).contains(message.as_str())), "{found:?}");
    }
    let platform = "UndefinedArgInFrom: FROM argument 'P' is not declared (line 1) | linux/${P:-amd64}";
    finds("FROM --platform=linux/${P:-amd64} a", &[platform]);
}

// language 18.13
#[test]
fn workdir_relative_path() {
    let warning = |path: &str, line: u32| {
        format!(
            "WorkdirRelativePath: Relative workdir \"{path}\" can have unexpected results if the base image changes \
             (line {line}) | {path}"
        )
    };
    finds("FROM a AS b\nWORKDIR x\nWORKDIR y\nFROM b\nWORKDIR z", &[&warning("x", 2)]);
    finds("FROM a\nWORKDIR /x\nWORKDIR y", &[]);
    // The path is read after expansion.
    finds("FROM a\nENV R=r A=/a\nWORKDIR $A", &[]);
    finds(
        "FROM a\nENV R=r\nWORKDIR $R",
        &["WorkdirRelativePath: Relative workdir \"r\" can have unexpected results if \
         the base image changes (line 3) | $R"],
    );
}

// language 18.14
#[test]
fn undefined_var() {
    let warning = |name: &str, near: &str, line: u32, text: &str| {
        format!("UndefinedVar: Usage of undefined variable '${name}'{near} (line {line}) | {text}")
    };
    finds("FROM a\nLABEL x=$NOPE", &[&warning("NOPE", "", 2, "$NOPE")]);
    finds("FROM a\nLABEL x=$PAHT", &[&warning("PAHT", " (did you mean $PATH?)", 2, "$PAHT")]);
    // Case counts; who would say it is near, three edits away, is wrong.
    finds("FROM a\nLABEL x=$path", &[&warning("path", "", 2, "$path")]);
    finds("FROM a\nENV ABCDEF=1\nLABEL x=$ABC", &[&warning("ABC", "", 3, "$ABC")]);
    finds("FROM a\nARG A\nENV B=$A\nARG C=1 D=$C\nUSER $B", &[]);
    finds("FROM a\nENV A=$B B=$B", &[&warning("B", "", 2, "$B"), &warning("B", "", 2, "$B")]);
    // Only what is expanded; and EXPOSE says nothing.
    finds("FROM a\nENV P=80\nRUN $NOPE\nCMD [\"$NOPE\"]\nEXPOSE $P$NOPE", &[]);
    // In a heredoc it is the instruction's, from its first line on.
    finds("FROM a\nCOPY <<E /x\nb $NOPE\nE\n", &[&warning("NOPE", "", 2, "b $NOPE\n")]);
    // A mistake in the same stage does not silence what was seen before.
    let (found, _) = check().warnings("FROM a\nSTOPSIGNAL $NOPE");
    assert!(found.iter().any(|one| one.code == "UndefinedVar"), "{found:?}");
}

// language 18.15
#[test]
fn multiple_instructions_disallowed() {
    let warning = |name: &str, line: u32, text: &str| {
        format!(
            "MultipleInstructionsDisallowed: Multiple {name} instructions should not be used in the same stage because \
             only the last one will be used (line {line}) | {text}"
        )
    };
    let text =
        "FROM a\nCMD [\"1\"]\nCMD [\"2\"]\nENTRYPOINT [\"1\"]\nHEALTHCHECK NONE\nHEALTHCHECK CMD x\nENTRYPOINT []";
    let want =
        [warning("CMD", 2, "CMD"), warning("ENTRYPOINT", 4, "ENTRYPOINT"), warning("HEALTHCHECK", 5, "HEALTHCHECK")];
    finds(text, &want.each_ref().map(String::as_str));
    finds("FROM a AS b\nCMD [\"1\"]\nFROM b\nCMD [\"2\"]", &[]);
}

// language 18.16
#[test]
fn legacy_key_value_format() {
    let warning = |name: &str, line: u32, text: &str| {
        format!(
            "LegacyKeyValueFormat: \"{name} key=value\" should be used instead of legacy \"{name} key value\" format \
             (line {line}) | {text}"
        )
    };
    finds("FROM a\nENV a b\nLABEL c d e", &[&warning("ENV", 2, "ENV a b"), &warning("LABEL", 3, "LABEL c d e")]);
    finds("FROM a\nENV a=b\nLABEL c=d e=f", &[]);
}

// language 18.17
#[test]
fn invalid_base_image_platform() {
    let warning = |line: u32, text: &str| {
        format!(
            "InvalidBaseImagePlatform: Base image arm was pulled with platform \"linux/arm64\", expected \"linux/amd64\" \
             for current build (line {line}) | {text}"
        )
    };
    finds("FROM arm", &[&warning(1, "arm")]);
    finds("FROM a\nCOPY --from=arm /x /y", &[&warning(2, "arm")]);
    finds("ARG P=linux/arm64\nFROM --platform=$P arm", &[]);
    assert_eq!(Rule::named("InvalidBaseImagePlatform").and_then(Rule::url), None);
}

// language 18.18
#[test]
fn redundant_target_platform() {
    let warning = |text: &str| {
        format!(
            "RedundantTargetPlatform: Setting platform to predefined {text} in FROM is redundant as this is the default \
             behavior (line 1) | {text}"
        )
    };
    finds("FROM --platform=$TARGETPLATFORM a", &[&warning("$TARGETPLATFORM")]);
    finds("FROM --platform=${TARGETPLATFORM} a", &[&warning("${TARGETPLATFORM}")]);
    finds("FROM --platform=$BUILDPLATFORM a", &[]);
    finds("FROM --platform=$TARGETOS/$TARGETARCH a", &[]);
}

// language 18.19
#[test]
fn secrets_used_in_arg_or_env() {
    let warning = |keyword: &str, name: &str| {
        format!(
            "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data ({keyword} \"{name}\") (line 2) \
             | {name}"
        )
    };
    for word in ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"]
    {
        for name in
            [word.to_owned(), word.to_uppercase(), format!("MY_{word}"), format!("{word}_X"), format!("a_{word}_b")]
        {
            finds(&format!("FROM a\nARG {name}"), &[&warning("ARG", &name)]);
            finds(&format!("FROM a\nENV {name}=1"), &[&warning("ENV", &name)]);
        }
    }
    for name in ["PUBLIC_KEY", "key_file", "TOKEN_VERSION", "keys", "my-token", "monkey", "author", "TOKENS_X"] {
        finds(&format!("FROM a\nARG {name}\nENV {name}=1"), &[]);
    }
    // A global ARG is not looked at, and LABEL may say what it likes.
    finds("ARG TOKEN\nFROM a\nLABEL token=1", &[]);
}

// language 18.20
#[test]
fn invalid_default_arg_in_from() {
    let warning = |text: &str| {
        format!(
            "InvalidDefaultArgInFrom: Default value for ARG {text} results in empty or invalid base image name (line 2) | \
             {text}"
        )
    };
    check().arg("TAG", "1").finds("ARG TAG\nFROM a:$TAG", &[&warning("a:$TAG")]);
    check().arg("BASE", "a").finds("ARG BASE\nFROM $BASE", &[&warning("$BASE")]);
    check().arg("TAG", "1").finds("ARG TAG=2\nFROM a:$TAG", &[]);
    check().arg("TAG", "1").finds("ARG TAG\nFROM a:${TAG:-2}", &[]);
}

// language 18.21
#[test]
fn from_platform_flag_const_disallowed() {
    let warning = "FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\" \
                   (line 1) | linux/amd64";
    finds("FROM --platform=linux/amd64 a AS b", &[warning]);
    finds("FROM --platform=linux/amd64 a AS build-amd64", &[]);
    finds("FROM --platform=linux/amd64 a AS linux", &[]);
    finds("FROM --platform=linux/x86_64 a AS amd64", &[]);
    finds("ARG P=linux/amd64\nFROM --platform=$P a", &[]);
}

// language 18.22
#[test]
fn copy_ignored_file() {
    let warning = |verb: &str, path: &str, text: &str| {
        format!(
            "CopyIgnoredFile: Attempting to {verb} file \"{path}\" that is excluded by .dockerignore (line 2) | {text}"
        )
    };
    let ignoring =
        |text: &str, want: &[&str]| check().ignoring("foo\n*.txt\ndir").finds(&format!("FROM a\n{text}"), want);
    ignoring("COPY foo /x", &[&warning("Copy", "foo", "foo")]);
    ignoring("COPY ./foo bar /x/", &[&warning("Copy", "foo", "./foo")]);
    ignoring("COPY *.txt /x/", &[&warning("Copy", "*.txt", "*.txt")]);
    ignoring("COPY dir/x /x", &[&warning("Copy", "dir/x", "dir/x")]);
    ignoring("ADD foo https://registry.example/foo /x/", &[&warning("Add", "foo", "foo")]);
    ignoring("COPY --from=a foo /x\nCOPY . bar fo? /x/\nRUN --mount=type=bind,source=foo,target=/f true", &[]);
    check().ignoring("foo\n!bar").finds("FROM a\nCOPY foo /x", &[]);
    check().ignoring("**").finds("FROM a\nCOPY . /x", &[&warning("Copy", ".", ".")]);
    // A comment above silences it as any other.
    ignoring("# check=skip=CopyIgnoredFile\nCOPY foo /x", &[]);
}

// language 18.23
#[test]
fn invalid_definition_description() {
    let check_ = "# check=experimental=InvalidDefinitionDescription\n";
    let warning = |what: &str, name: &str, line: u32, text: &str| {
        format!(
            "InvalidDefinitionDescription: Comment for {what} should follow the format: `# {name} <description>` (line \
             {line}) | {text}"
        )
    };
    finds(&format!("{check_}# is\nFROM a AS b"), &[&warning("FROM", "b", 3, "# is")]);
    finds(&format!("{check_}# b is\n# V is\nFROM a AS b"), &[&warning("FROM", "b", 4, "# V is")]);
    finds(&format!("{check_}# is\nARG V\nFROM a"), &[&warning("ARG", "V", 3, "# is")]);
    finds(&format!("{check_}# is\nARG V W\nFROM a"), &[&warning("ARG", "<arg_key>", 3, "# is")]);
    finds(&format!("{check_}# W is\nARG V W\n# x\n# b is\nFROM a AS b\n# x\n#\nARG X\n# x\nFROM a"), &[]);
    // Nobody asked.
    finds("# is\nFROM a AS b", &[]);
    // Who asks is not to be silenced by `skip`, and may ask for one instruction alone.
    finds("# check=skip=all;experimental=all\n# is\nFROM a AS b", &[&warning("FROM", "b", 3, "# is")]);
    finds("FROM a\n# check=experimental=all\n# is\nARG V\n# is\nARG W", &[&warning("ARG", "V", 4, "# is")]);
}

// language 18.24
#[test]
fn expose_proto_casing() {
    let warning = |port: &str, text: &str| {
        format!(
            "ExposeProtoCasing: Defined protocol '{port}' in EXPOSE instruction should be lowercase (line 3) | {text}"
        )
    };
    finds("FROM a\nENV P=TCP\nEXPOSE 80/tcp 81/Udp", &[&warning("81/Udp", "81/Udp")]);
    finds("FROM a\nENV P=TCP\nEXPOSE 80/$P", &[&warning("80/TCP", "80/$P")]);
}

// language 18.25
#[test]
fn expose_invalid_format() {
    let warning = |port: &str| {
        format!(
            "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '{port}' \
             (line 2) | {port}"
        )
    };
    finds("FROM a\nEXPOSE 80 8080-8090 80:80", &[&warning("80:80")]);
    finds("FROM a\nEXPOSE 1.2.3.4:80:81", &[&warning("1.2.3.4:80:81")]);
}

// language 18.26
#[test]
fn what_the_target_does_not_reach_is_read_only() {
    let text = "FROM a AS Dead\nENV a b\nWORKDIR x\nFROM a AS alive\nENV c d\n";
    let names = |check: &Check| {
        let (found, sources) = check.warnings(text);
        let line =
            |one: &Diagnostic| sources.get(one.span.expect("a place").source).line_of(one.span.expect("a place").start);
        found.iter().map(|one| format!("{} {}", one.code, line(one))).collect::<Vec<_>>()
    };
    let reached = ["StageNameCasing 1", "LegacyKeyValueFormat 5"];
    assert_eq!(names(&check().target("alive")), reached);
    let all = ["StageNameCasing 1", "LegacyKeyValueFormat 2", "WorkdirRelativePath 3", "LegacyKeyValueFormat 5"];
    assert_eq!(names(&check()), all);
}

// language 18.27
#[test]
fn skip_counts_for_the_file_or_one_instruction() {
    let legacy = |line: u32| {
        format!(
            "LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format (line {line}) \
             | ENV a b"
        )
    };
    finds("# check=skip=X,LegacyKeyValueFormat\nFROM a\nENV a b", &[]);
    finds("# check=skip=all\nFROM a As b\nENV a b", &[]);
    // Names are written as they are; `all` stands alone.
    finds("# check=skip=legacykeyvalueformat\nFROM a\nENV a b", &[&legacy(3)]);
    finds("# check=skip=X,all\nFROM a\nENV a b", &[&legacy(3)]);
    // In a comment: the first one counts, up to a blank; a mistake in it makes it a comment.
    finds("FROM a\n# check = skip=LegacyKeyValueFormat and why\nENV a b\nENV a b", &[&legacy(4)]);
    finds("FROM a\n# check=skip=X\n# check=skip=all\nENV a b", &[&legacy(4)]);
    finds("FROM a\n# check=skip=all;nothing\nENV a b", &[&legacy(3)]);
    // Rules about the file as a whole do not hear it.
    for text in [
        "FROM a\n# check=skip=all\nrun b",
        "FROM a\n# check=skip=all\nRUN a \\\n\n b",
        "FROM a AS b\n# check=skip=all\nFROM a AS b",
        "# x\n# check=skip=all\nFROM a AS context",
        "ARG X=1\n# check=skip=all\nFROM arm",
    ] {
        assert_eq!(check().warnings(text).0.len(), 1, "{text}");
    }
}

// language 18.28
#[test]
fn every_rule_has_its_page() {
    let without: Vec<&str> = RULES.iter().filter(|rule| rule.url().is_none()).map(|rule| rule.name).collect();
    assert_eq!((RULES.len(), without), (22, vec!["InvalidBaseImagePlatform"]));
    let (found, _) = check().warnings("FROM a\nENV a b");
    assert_eq!(found[0].help, ["https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/"]);
}

// language 18.1
#[test]
fn warnings_fail_a_build_only_when_asked() {
    let case = Case::new("FROM scratch As b\nENV a b\nLABEL x=1\n");
    let output = case.build(&[]).output;
    for words in
        ["warning[FromAsCasing]", "warning[LegacyKeyValueFormat]", " --> Dockerfile:1:14", "rule/from-as-casing/"]
    {
        assert_eq!(output.stderr.matches(words).count(), 1, "{words}: {}", output.stderr);
    }
    case.dockerfile("# check=error=true\nFROM BUSYBOX As b\nENV a b\nRUN echo was-$((40+2))\n");
    let output = case.fails(&["lint violation found for rules: FromAsCasing, LegacyKeyValueFormat"]);
    assert!(!output.both().contains("was-42"), "{}", output.both());
    // Nothing to find, nothing to fail for.
    case.dockerfile("# check=error=true;skip=FromAsCasing\nFROM scratch As b\nLABEL a=b\n");
    case.build(&[]);
}

// language 18.29
#[test]
fn the_build_argument_stands_in_place_of_the_directive() {
    let case = Case::new("# check=skip=all\nFROM scratch As b\nLABEL x=1\n");
    let with = |value: &str| {
        let argument = format!("--build-arg=BUILDKIT_DOCKERFILE_CHECK={value}");
        case.kiln.build(case.context(), &["--progress=plain", "-o", "type=cacheonly", &argument])
    };
    assert!(!case.build(&[]).output.stderr.contains("FromAsCasing"));
    assert!(with("").stderr.contains("warning[FromAsCasing]"));
    with("error=true").failed_saying(&["lint violation found for rules: FromAsCasing"]);
    for (value, problem) in [
        ("foo", "invalid check option \"foo\""),
        ("foo=bar", "invalid check option \"foo\""),
        ("skip=a;", "invalid check option \"\""),
        ("error=maybe", "failed to parse check option \"error=maybe\""),
    ] {
        let problem = format!("failed to parse build-arg:BUILDKIT_DOCKERFILE_CHECK: {problem}");
        with(value).failed_saying(&[&problem]);
    }
    // A mistake in the directive is then nobody's.
    case.dockerfile("# check=foo\nFROM scratch\nLABEL x=1\n");
    case.fails(&["failed to parse check options: invalid check option \"foo\""]);
    with("skip=all").succeeded();
}
