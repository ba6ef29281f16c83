//! Licences as packages state them, and as SPDX can say them.

use spdx::{Expression, ParseMode};

use crate::digest::Digest;

/// What a package says of its licence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Licence {
    /// An SPDX expression of listed licences.
    Expression(String),
    /// Any other words, under a name made for them.
    Other {
        /// `LicenseRef-...`
        id: String,
        /// The words.
        text: String,
    },
}

impl Licence {
    /// Reads what a package says; nothing when it says nothing.
    pub(super) fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || ["NOASSERTION", "UNKNOWN", "NONE"].contains(&text.to_ascii_uppercase().as_str()) {
            return None;
        }
        // `MIT/Apache-2.0` is how cargo once wrote "or".
        if text.len() > LONGEST {
            return None;
        }
        let written = text.replace('/', " OR ");
        let mode = ParseMode { allow_deprecated: true, allow_postfix_plus_on_gpl: true, ..ParseMode::STRICT };
        let is_plain = written.len() < LONGEST_EXPRESSION && !written.contains("Ref-");
        match Expression::parse_mode(&written, mode) {
            Ok(expression) if is_plain => Some(Self::Expression(expression.to_string())),
            _ => {
                let id = format!("LicenseRef-{}", &Digest::of(text.as_bytes()).hex()[..16]);
                Some(Self::Other { id, text: text.to_owned() })
            }
        }
    }

    /// How many bytes it takes.
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Expression(text) | Self::Other { text, .. } => text.len(),
        }
    }

    /// What stands where SPDX wants an expression.
    pub(super) fn expression(&self) -> &str {
        match self {
            Self::Expression(text) => text,
            Self::Other { id, .. } => id,
        }
    }
}

/// Longer words are no name of a licence, in bytes.
const LONGEST: usize = 4096;

/// Longer ones are whole licences.
const LONGEST_EXPRESSION: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_licences_are_told_from_other_words() {
        let of = |text: &str| Licence::of(text).map(|licence| licence.expression().to_owned());
        for (text, said) in [
            ("MIT", "MIT"),
            ("MIT OR Apache-2.0", "MIT OR Apache-2.0"),
            ("MIT/Apache-2.0", "MIT OR Apache-2.0"),
            ("GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
            ("GPL-2.0+", "GPL-2.0+"),
        ] {
            assert_eq!(of(text).as_deref(), Some(said), "{text}");
        }
        for text in ["GPLv2+ and BSD", "BSD License", "LicenseRef-x", "MIT OR", "(", "ä"] {
            let said = of(text).unwrap();
            assert!(said.starts_with("LicenseRef-") && said.len() == 27, "{text}: {said}");
        }
        assert_eq!(of(" UNKNOWN "), None);
        assert_eq!(of(""), None);
    }
}
