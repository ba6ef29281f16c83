//! The rules: their names, and what is said of them.

/// A lint rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// BuildKit's name, the code of its diagnostics.
    pub name: &'static str,
    /// What `--call=check,format=json` says it asks for, in BuildKit's words.
    pub description: &'static str,
    /// Whether BuildKit's documentation has a page about it.
    pub has_page: bool,
    /// True: silent unless `experimental=` asks for it, and then not to be skipped.
    pub is_experimental: bool,
    /// Whether a `# check=` comment above the instruction counts too, or only what holds for the whole file.
    pub heeds_comments: bool,
}

const fn rule(name: &'static str, description: &'static str) -> Rule {
    Rule { name, description, has_page: true, is_experimental: false, heeds_comments: true }
}

const fn of_file(rule: Rule) -> Rule {
    Rule { heeds_comments: false, ..rule }
}

/// All rules, in the order of their names.
pub const RULES: [Rule; 22] = [
    of_file(rule(
        "ConsistentInstructionCasing",
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
    )),
    rule("CopyIgnoredFile", "Attempting to Copy file that is excluded by .dockerignore"),
    of_file(rule("DuplicateStageName", "Stage names should be unique")),
    rule(
        "ExposeInvalidFormat",
        "IP address and host-port mapping should not be used in EXPOSE instruction. \
         This will become an error in a future release",
    ),
    rule("ExposeProtoCasing", "Protocol in EXPOSE instruction should be lowercase"),
    rule("FromAsCasing", "The 'as' keyword should match the case of the 'from' keyword"),
    rule("FromPlatformFlagConstDisallowed", "FROM --platform flag should not use a constant value"),
    Rule {
        has_page: false,
        ..of_file(rule("InvalidBaseImagePlatform", "Base image platform does not match expected target platform"))
    },
    of_file(rule(
        "InvalidDefaultArgInFrom",
        "Default value for global ARG results in an empty or invalid base image name",
    )),
    Rule {
        is_experimental: true,
        ..rule(
            "InvalidDefinitionDescription",
            "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. \
             If this is not intended to be a description comment, add an empty line or comment between the \
             instruction and the comment.",
        )
    },
    rule(
        "JSONArgsRecommended",
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    ),
    rule("LegacyKeyValueFormat", "Legacy key/value format with whitespace separator should not be used"),
    rule(
        "MaintainerDeprecated",
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    ),
    rule(
        "MultipleInstructionsDisallowed",
        "Multiple instructions of the same type should not be used in the same stage",
    ),
    of_file(rule("NoEmptyContinuation", "Empty continuation lines will become errors in a future release")),
    rule(
        "RedundantTargetPlatform",
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    ),
    of_file(rule("ReservedStageName", "Reserved words should not be used as stage names")),
    rule("SecretsUsedInArgOrEnv", "Sensitive data should not be used in the ARG or ENV commands"),
    rule("StageNameCasing", "Stage names should be lowercase"),
    rule("UndefinedArgInFrom", "FROM command must use declared ARGs"),
    rule("UndefinedVar", "Variables should be defined before their use"),
    rule(
        "WorkdirRelativePath",
        "Relative workdir without an absolute workdir declared within the build can have unexpected results \
         if the base image changes",
    ),
];

impl Rule {
    /// Returns the rule called `name`.
    pub fn named(name: &str) -> Option<&'static Rule> {
        RULES.iter().find(|rule| rule.name == name)
    }

    /// Returns the address of the page about it.
    pub fn url(&self) -> Option<String> {
        self.has_page.then(|| format!("https://docs.docker.com/go/dockerfile/rule/{}/", kebab(self.name)))
    }
}

/// `JSONArgsRecommended` to `json-args-recommended`.
fn kebab(name: &str) -> String {
    let characters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (at, character) in characters.iter().enumerate() {
        let begins_word = character.is_uppercase()
            && at > 0
            && (characters[at - 1].is_lowercase() || characters.get(at + 1).is_some_and(|next| next.is_lowercase()));
        if begins_word {
            out.push('-');
        }
        out.extend(character.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_sorted_by_name() {
        assert!(RULES.is_sorted_by_key(|rule| rule.name.to_lowercase()));
    }

    #[test]
    fn pages_are_named_for_the_rules() {
        let page = |name| Rule::named(name).and_then(Rule::url);
        let json = "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/";
        assert_eq!(page("JSONArgsRecommended").as_deref(), Some(json));
        let secrets = "https://docs.docker.com/go/dockerfile/rule/secrets-used-in-arg-or-env/";
        assert_eq!(page("SecretsUsedInArgOrEnv").as_deref(), Some(secrets));
        assert_eq!(page("InvalidBaseImagePlatform"), None);
    }
}
