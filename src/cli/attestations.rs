//! What is said of images beside them: `--sbom`, `--provenance` and `--attest`, in the words of buildx.
//!
//! `--sbom` is `--attest type=sbom`, `--provenance` is `--attest type=provenance`; a truth in place of attributes turns them on or off. Each type
//! stands once.

use std::collections::BTreeSet;

use super::args::AttestationArguments;
use super::fields::{self, Field};
use super::usage::UsageError;
use crate::builder::{Attestations, Provenance, ProvenanceMode};

const ATTEST: &str = "--attest";

/// Reads all three flags.
pub(super) fn attestations(typed: &AttestationArguments) -> Result<Attestations, UsageError> {
    let records = typed.attest.iter().map(|text| (ATTEST, text.clone()));
    let provenance = typed.provenance.iter().map(|text| ("--provenance", canonical("provenance", text)));
    let sbom = typed.sbom.iter().map(|text| ("--sbom", canonical("sbom", text)));
    let (mut all, mut seen) = (Attestations::default(), BTreeSet::new());
    for (flag, text) in records.chain(provenance).chain(sbom) {
        let mut record = Record { flag, text: &text, fields: fields::parse(flag, &text)? };
        let kind = record.take("type").ok_or_else(|| record.wrong("attestation type not specified"))?;
        let kind = kind.required(flag)?.to_owned();
        if !seen.insert(kind.clone()) {
            return Err(record.wrong(&format!("duplicate attestation field {kind}")));
        }
        let disabled = record.take("disabled").map(|field| field.truth(flag)).transpose()?.unwrap_or(false);
        match kind.as_str() {
            "sbom" => all.sbom = record.sbom()? && !disabled,
            "provenance" => all.provenance = Some(record.provenance()?).filter(|_| !disabled),
            _ => return Err(UsageError::unknown(flag, &text, &kind, &["sbom", "provenance"])),
        }
    }
    Ok(all)
}

/// `--sbom=true` in the words of `--attest`.
fn canonical(kind: &str, text: &str) -> String {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => format!("type={kind}"),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => format!("type={kind},disabled=true"),
        attributes => format!("type={kind},{attributes}"),
    }
}

struct Record<'a> {
    flag: &'static str,
    text: &'a str,
    fields: Vec<Field>,
}

impl Record<'_> {
    /// Takes out all fields of a key; the last one counts.
    fn take(&mut self, key: &str) -> Option<Field> {
        self.fields.extract_if(.., |field| field.key == key).last()
    }

    fn wrong(&self, what: &str) -> UsageError {
        UsageError::malformed(self.flag, self.text, what)
    }

    fn sbom(&mut self) -> Result<bool, UsageError> {
        if self.take("generator").is_some() {
            // It is an image that BuildKit runs; kiln reads the files itself.
            let detail = ": leave it out, kiln looks for packages itself";
            return Err(UsageError::NotYet { flag: format!("{} generator=", self.flag), detail });
        }
        self.nothing_left(&["generator", "disabled"]).map(|()| true)
    }

    fn provenance(&mut self) -> Result<Provenance, UsageError> {
        let mode = self.take("mode").map(|field| field.required(self.flag).map(str::to_owned)).transpose()?;
        let mode = match mode.as_deref() {
            None | Some("min") => ProvenanceMode::Min,
            Some("max") => ProvenanceMode::Max,
            Some(other) => return Err(UsageError::unknown(self.flag, self.text, other, &["min", "max"])),
        };
        if let Some(version) = self.take("version")
            && version.required(self.flag)? != "v1"
        {
            let detail = ": only version=v1 is written";
            return Err(UsageError::NotYet { flag: format!("{} version=", self.flag), detail });
        }
        let builder = self.take("builder-id").map(|field| field.required(self.flag).map(str::to_owned)).transpose()?;
        let reproducible = self.take("reproducible").map(|field| field.truth(self.flag)).transpose()?;
        self.nothing_left(&["mode", "version", "builder-id", "reproducible", "disabled"])?;
        Ok(Provenance { mode, builder, reproducible: reproducible.unwrap_or(false) })
    }

    fn nothing_left(&self, known: &[&str]) -> Result<(), UsageError> {
        let Some(field) = self.fields.first() else { return Ok(()) };
        field.required(self.flag)?;
        Err(UsageError::unknown(self.flag, self.text, &field.key, known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: &[&str]) -> String {
        let mut typed = AttestationArguments::default();
        for flag in flags {
            match flag.split_once('=') {
                Some(("--sbom", value)) => typed.sbom = Some(value.to_owned()),
                Some(("--provenance", value)) => typed.provenance = Some(value.to_owned()),
                Some(("--attest", value)) => typed.attest.push(value.to_owned()),
                _ => panic!("{flag}"),
            }
        }
        match attestations(&typed) {
            Ok(all) => format!(
                "{}{}",
                if all.sbom { "sbom " } else { "" },
                all.provenance.map_or(String::new(), |provenance| format!("{provenance:?}"))
            ),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_three_flags_say_the_same() {
        let min = "Provenance { mode: Min, builder: None, reproducible: false }";
        let max = "Provenance { mode: Max, builder: Some(\"https://b\"), reproducible: true }";
        for (flags, want) in [
            (&[][..], String::new()),
            (&["--sbom=true"], "sbom ".to_owned()),
            (&["--sbom=false", "--provenance=false"], String::new()),
            (&["--attest=type=sbom"], "sbom ".to_owned()),
            (&["--attest=type=sbom,disabled=true"], String::new()),
            (&["--provenance=true", "--sbom=1"], format!("sbom {min}")),
            (&["--provenance=mode=min"], min.to_owned()),
            (&["--provenance=mode=max,builder-id=https://b,reproducible=true"], max.to_owned()),
            (&["--attest=type=provenance,mode=max,disabled=true"], String::new()),
            (&["--attest=type=provenance,mode=max,builder-id=https://b,reproducible=1,version=v1"], max.to_owned()),
        ] {
            assert_eq!(read(flags), want, "{flags:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (flags, want) in [
            (
                &["--sbom=true", "--attest=type=sbom"][..],
                "invalid value `type=sbom` for --sbom: duplicate attestation field sbom",
            ),
            (&["--attest=mode=max"], "invalid value `mode=max` for --attest: attestation type not specified"),
            (
                &["--sbom=generator=example/scanner"],
                "--sbom generator= is not supported yet: leave it out, kiln looks for packages itself",
            ),
            (&["--provenance=version=v0.2"], "--provenance version= is not supported yet: only version=v1 is written"),
        ] {
            assert_eq!(read(flags), want, "{flags:?}");
        }
        assert!(read(&["--provenance=mode=mx"]).contains("did you mean `max`?"));
        assert!(read(&["--attest=type=sbon"]).contains("did you mean `sbom`?"));
        assert!(read(&["--provenance=moed=max"]).contains("did you mean `mode`?"));
    }
}
