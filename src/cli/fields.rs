//! The `key=value,key=value` syntax of `--output`, `--secret` and the like.
//!
//! One record of comma-separated values (RFC 4180): a field that holds commas is written in double
//! quotes, and a quote inside it twice, as in `type=image,"name=a,b"`.

use super::usage::UsageError;

/// One field of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Field {
    /// The key in lower case.
    pub(super) key: String,
    /// The text after the first `=`; `None` when there is none.
    pub(super) value: Option<String>,
}

impl Field {
    /// Returns the value, or the complaint that there is none.
    pub(super) fn required(&self, flag: &'static str) -> Result<&str, UsageError> {
        let complain = || UsageError::malformed(flag, &self.key, "must be a key=value pair");
        self.value.as_deref().ok_or_else(complain)
    }

    /// Returns the value as a truth; a key alone is true.
    pub(super) fn truth(&self, flag: &'static str) -> Result<bool, UsageError> {
        match self.value.as_deref().unwrap_or("true").to_ascii_lowercase().as_str() {
            "1" | "t" | "true" => Ok(true),
            "0" | "f" | "false" => Ok(false),
            other => Err(UsageError::malformed(flag, other, format!("`{}` must be true or false", self.key))),
        }
    }
}

/// Splits `record` at its commas, honouring quotes.
pub(super) fn split(flag: &'static str, record: &str) -> Result<Vec<String>, UsageError> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = record.chars().peekable();
    while let Some(character) = characters.next() {
        let field = fields.last_mut().expect("there is always a last field");
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            '"' => return Err(UsageError::malformed(flag, record, "a quote inside a field that is not quoted")),
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    if quoted {
        return Err(UsageError::malformed(flag, record, "a quote is not closed"));
    }
    Ok(fields)
}

/// Splits `record` into fields and their keys and values.
pub(super) fn parse(flag: &'static str, record: &str) -> Result<Vec<Field>, UsageError> {
    let field = |text: String| match text.split_once('=') {
        Some((key, value)) => Field { key: key.trim().to_ascii_lowercase(), value: Some(value.to_owned()) },
        None => Field { key: text.trim().to_ascii_lowercase(), value: None },
    };
    Ok(split(flag, record)?.into_iter().map(field).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_commas_together() {
        let fields = split("--output", r#"type=image,"name=a,b","q""x""#).unwrap();
        assert_eq!(fields, ["type=image", "name=a,b", "q\"x"]);
        assert!(split("--output", "\"a").is_err());
        assert!(split("--output", "a\"b").is_err());
    }

    #[test]
    fn keys_are_lower_case_and_values_are_kept() {
        let fields = parse("--secret", "ID=a,src=/B=c,flag").unwrap();
        let shown: Vec<_> = fields.iter().map(|f| (f.key.as_str(), f.value.as_deref())).collect();
        assert_eq!(shown, [("id", Some("a")), ("src", Some("/B=c")), ("flag", None)]);
        assert!(fields[2].truth("--secret").unwrap());
        assert!(fields[0].truth("--secret").is_err());
    }
}
