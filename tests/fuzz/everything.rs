//! Whatever reads text, given a text.

use std::collections::BTreeMap;

use kiln::context::Ignore;
use kiln::diag;
use kiln::digest::Digest;
use kiln::dockerfile::chmod::Chmod;
use kiln::dockerfile::expand::{expand, expand_heredoc, expand_words};
use kiln::dockerfile::port::PortSpec;
use kiln::dockerfile::{CheckOptions, InstructionKind, duration, frontend, lint, parse, parse_trigger, signal};
use kiln::oci::{ImageConfig, Platform, Reference};
use kiln::plan::{ImageOp, ImageSource, KnownImage, KnownImages, Options, Planned, mistakes_beside, plan};
use kiln::source::{SourceFile, SourceId, Sources, Span};

fn source(bytes: &[u8]) -> (Sources, SourceId) {
    let mut sources = Sources::default();
    let id = sources.add(SourceFile::new("Dockerfile", bytes));
    (sources, id)
}

/// Some variables are set, and some are not.
fn value(name: &str) -> Option<String> {
    (name.len().is_multiple_of(2)).then(|| name.to_owned())
}

/// Reads, lints and plans; whatever is said must be about bytes of the text.
pub(crate) fn read_dockerfile(bytes: &[u8]) {
    let (mut sources, id) = source(bytes);
    let _ = frontend::check(&sources, id, None);
    let parsed = parse(&sources, id);
    let mut said = parsed.diagnostics.clone();
    said.extend(lint::of_instructions(&parsed.file, &sources));
    said.extend(lint::of_stages(&parsed.file, &sources));
    for instruction in &parsed.file.instructions {
        check_spans(&sources, [instruction.span, instruction.name_span]);
        match &instruction.kind {
            InstructionKind::Run(run) => {
                check_spans(&sources, [run.command_span].into_iter().chain(run.mounts.iter().map(|mount| mount.span)));
                for mount in &run.mounts {
                    let mut expanded = |word: &kiln::dockerfile::Text| {
                        expand(&word.text, '\\', &value).map(|done| done.text).map_err(|error| error.at(word))
                    };
                    said.extend(mount.resolve("/w", &mut expanded).err());
                }
            }
            InstructionKind::OnBuild(trigger) => {
                let (sources, id) = source(trigger.text.as_bytes());
                let _ = parse_trigger(&sources, id);
            }
            _ => {}
        }
    }
    if parsed.diagnostics.is_empty() {
        said.extend(planned(&parsed.file, &mut sources));
    } else {
        said.extend(mistakes_beside(&parsed, &mut sources, &options()));
    }
    for diagnostic in said {
        check_spans(&sources, diagnostic.span.into_iter().chain(diagnostic.notes.iter().map(|note| note.span)));
        diag::render(&diagnostic, &sources, true);
    }
}

fn check_spans(sources: &Sources, spans: impl IntoIterator<Item = Span>) {
    for span in spans {
        let text = sources.get(span.source).text();
        assert!(text.get(span.range()).is_some(), "{span:?} of {text:?}");
    }
}

/// Plans with images that are all alike; returns what was said.
fn planned(file: &kiln::dockerfile::Dockerfile, sources: &mut Sources) -> Vec<diag::Diagnostic> {
    let mut known = KnownImages::new();
    loop {
        match plan(file, sources, &options(), &known) {
            Err(mistakes) => return mistakes,
            Ok(Planned::Ready(plan)) => return plan.warnings,
            Ok(Planned::Needs(needs)) => {
                for need in needs {
                    let reference = match &need.key.source {
                        ImageSource::Reference(reference) => reference.clone(),
                        ImageSource::Layout(_) => Reference::parse("layout").expect("a reference"),
                    };
                    let image = ImageOp { reference, manifest: Digest::of(b"image"), layers: Vec::new() };
                    let platform = need.key.platform.clone();
                    known.insert(need.key, KnownImage { image, config: ImageConfig::default(), platform });
                }
            }
        }
    }
}

fn options() -> Options {
    Options {
        every_stage: true,
        build_args: BTreeMap::from([("ABC".to_owned(), "given".to_owned())]),
        allow_network_host: true,
        allow_insecure: true,
        ..Options::new(Platform::new("linux", "amd64", None))
    }
}

/// Reads a text as each of the small languages that stand in words.
pub(crate) fn read_word(text: &str) {
    for escape in ['\\', '`'] {
        let _ = expand(text, escape, &value);
        let _ = expand_words(text, escape, &value);
    }
    let _ = expand_heredoc(text, &value);
    if let Ok(chmod) = Chmod::parse(text) {
        assert_eq!(chmod.apply(0o644, false) & !0o7777, 0, "{text}");
    }
    if let Ok(port) = PortSpec::parse(text) {
        assert!(port.keys().count() > 0, "{text}");
    }
    if let Ok(duration) = duration::parse(text) {
        assert_eq!(duration::parse(&duration::format(duration)), Ok(duration), "{text}");
    }
    let _ = signal::check(text);
    let _ = CheckOptions::parse(text);
    if let Ok(ignore) = Ignore::parse(text) {
        for path in ["", "a", "a/b", text, "AB/é/1"] {
            let _ = (
                ignore.excludes(path.as_bytes()),
                ignore.rule_for(path.as_bytes()),
                ignore.may_apply_below(path.as_bytes()),
            );
        }
    }
    if let Ok(reference) = Reference::parse(text) {
        assert_eq!(Reference::parse(&reference.to_string()).as_ref(), Ok(&reference), "{text}");
        reference.familiar();
    }
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse().as_ref(), Ok(&platform), "{text}");
    }
    let _ = kiln::context::GitAddress::parse(text);
    let in_flags = format!(
        "FROM scratch\nRUN --mount={text} --mount=type=cache,{text} a\nCOPY --chmod={text} --chown={text} [{text}] b\n"
    );
    read_dockerfile(in_flags.as_bytes());
    read_dockerfile(
        format!(
            "FROM {text}\nEXPOSE {text}\nSTOPSIGNAL {text}\nHEALTHCHECK --interval={text} CMD {text}\nADD {text} /\n"
        )
        .as_bytes(),
    );
}
