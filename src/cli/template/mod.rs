//! `--format`: Go templates as docker takes them, over JSON values.
//!
//! Of the language of Go's `text/template` there are text, `{{` actions `}}` with trim marks and comments, fields (`.A.B`), variables
//! (`$x := ..`), pipes, parentheses, `if`, `else`, `else if`, `range`, `with`, `end`, and the functions of [`functions`]. There are no
//! methods and no templates by name. An absent field is `<no value>`, as in a Go map.
//!
//! A list is printed by one of: `json` (an object on each line), `table TEMPLATE` (columns under headings, parted by `\t`), or a template
//! for each line. `\t` and `\n` may be written so.

mod evaluate;
mod functions;
mod lexer;
mod list;
mod parse;

pub(super) use list::{Row, list};

use serde_json::Value;

/// Why a template cannot be used, with the place in it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{problem}")]
pub(super) struct TemplateError {
    problem: String,
}

impl TemplateError {
    fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into() }
    }
}

/// A template that was read.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Template {
    nodes: Vec<parse::Node>,
}

impl Template {
    /// Reads a template.
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        Ok(Self { nodes: parse::parse(lexer::lex(text)?)? })
    }

    /// Reads a template as a shell hands it over: with `\t` and `\n`.
    pub(super) fn parse_escaped(text: &str) -> Result<Self, TemplateError> {
        Self::parse(&text.replace("\\t", "\t").replace("\\n", "\n"))
    }

    /// Writes `value` by this template.
    pub(super) fn write(&self, value: &Value) -> Result<String, TemplateError> {
        evaluate::evaluate(&self.nodes, value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value() -> Value {
        json!({
            "Id": "sha256:abc", "Size": 1234, "Names": ["a:1", "b:2"], "None": null, "Empty": [], "True": true, "Ratio": 1.5,
            "Config": { "Labels": { "b.c": "2", "a": "<1>" }, "Env": ["PATH=/bin"] },
        })
    }

    #[track_caller]
    fn check(template: &str, expected: &str) {
        let written = Template::parse(template).and_then(|template| template.write(&value()));
        assert_eq!(written.unwrap_or_else(|error| format!("ERROR {error}")), expected, "{template}");
    }

    #[test]
    fn fields_are_printed_as_go_prints_them() {
        check("id: {{.Id}}!", "id: sha256:abc!");
        check(
            "{{.Size}} {{.True}} {{.Ratio}} {{.None}} {{.Missing}} {{.Missing.Deeper}}",
            "1234 true 1.5 <no value> <no value> <no value>",
        );
        check("{{.Names}} {{.Empty}} {{.Config.Labels}}", "[a:1 b:2] [] map[a:<1> b.c:2]");
        check("{{json .}}", &value().to_string());
        check("{{json .Config.Labels}}", r#"{"b.c":"2","a":"<1>"}"#);
        check("{{ .Config.Env | json }}", r#"["PATH=/bin"]"#);
    }

    #[test]
    fn functions_are_dockers() {
        check(r#"{{join .Names ", "}}"#, "a:1, b:2");
        check(r#"{{upper "aé"}} {{.Id | lower}} {{title "hello world"}}"#, "AÉ sha256:abc Hello World");
        check(r#"{{index (split .Id ":") 1}} {{split "a/b" "/"}}"#, "abc [a b]");
        check(r#"{{truncate .Id 6}}{{truncate "ab" 6}}|{{pad .Size 1 2}}|"#, "sha256ab| 1234  |");
        check(r#"{{len .Names}} {{len .Id}} {{index .Config.Labels "b.c"}} {{index .Names 0}}"#, "2 10 2 a:1");
        check(r#"{{printf "%s=%d %v %q %%" .Id .Size .Names "x"}}"#, r#"sha256:abc=1234 [a:1 b:2] "x" %"#);
        check("{{println .Id 1}}|{{print 1 2}}{{print \"a\" \"b\"}}", "sha256:abc 1\n|1 2ab");
        check(
            r#"{{eq .Id "sha256:abc"}} {{ne .Size 1234}} {{lt 1 2}} {{ge 1 2}} {{eq .Size 1 1234}}"#,
            "true false true false true",
        );
        check(r#"{{and .True .Names}} {{or .None "x"}} {{not .None}}"#, "[a:1 b:2] x true");
    }

    #[test]
    fn actions_nest() {
        check("{{range .Names}}<{{.}}>{{end}}{{range .Empty}}x{{else}}none{{end}}", "<a:1><b:2>none");
        check("{{range $i, $name := .Names}}{{$i}}={{$name}} {{end}}", "0=a:1 1=b:2 ");
        check("{{range $key, $value := .Config.Labels}}{{$key}}:{{$value}};{{end}}", "a:<1>;b.c:2;");
        check("{{if .None}}a{{else if .True}}b{{else}}c{{end}}{{if not .Names}}x{{end}}", "b");
        check("{{with .Config}}{{.Env}}{{$.Size}}{{end}}{{with .None}}x{{else}}y{{end}}", "[PATH=/bin]1234y");
        check("{{$x := .Size}}{{$x}}{{/* nothing */}} {{- \" a\" -}}  b", "1234 ab");
        check("{{(index .Names 1) | upper | printf \"%s!\"}} {{(index .Names 1)}}", "B:2! b:2");
        check("{{`raw \"`}}{{\"tab\\t\"}}", "raw \"tab\t");
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (template, problem) in [
            ("{{.Id", "`{{` is not closed"),
            ("{{if .Id}}x", "`if` has no `end`"),
            ("{{end}}", "`end` without a beginning"),
            ("{{else}}", "`else` without a beginning"),
            ("{{lowr .Id}}", "function `lowr` is not defined: did you mean `lower`?"),
            ("{{.Id}}{{$x}}", "variable `$x` is not defined"),
            ("{{upper}}", "`upper` takes 1 argument, not 0"),
            ("{{\"a}}", "a string is not closed"),
            ("{{index .Names 7}}", "index 7 is out of range: there are 2"),
            ("{{.Id | }}", "a command is missing in `.Id | `"),
            ("{{.Id.Deeper}}", "`sha256:abc` has no field `Deeper`"),
            ("{{(.Id}}", "`(` is not closed"),
            ("{{ }}", "a command is missing in ` `"),
            ("{{range .Size}}{{end}}", "`range` cannot go over 1234"),
            ("{{lt .Names 1}}", "`lt` cannot compare [a:1 b:2] and 1"),
        ] {
            check(template, &format!("ERROR {problem}"));
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = "{{if 1}}".repeat(100_000);
        assert!(Template::parse(&deep).is_err());
        let deep = format!("{{{{{}1{}}}}}", "(".repeat(100_000), ")".repeat(100_000));
        assert!(Template::parse(&deep).is_err());
    }
}
