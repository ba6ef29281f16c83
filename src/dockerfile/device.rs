//! `RUN --device=NAME[,required]`: a device by the name that its vendor gave it (Container Device Interface).

use super::directive::boolean;
use super::instruction::Text;
use super::parse;
use crate::diag::{Diagnostic, nearest};
use crate::source::Span;

/// One `--device`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// `vendor.example/class=name`, `vendor.example/class` for the first of a class, `vendor.example/class=*` for all.
    pub name: String,
    /// Absence fails the step.
    pub required: bool,
    /// Where it is written.
    pub span: Span,
}

impl Device {
    /// Reads the value of the flag.
    pub(super) fn parse(value: &Text) -> Result<Self, Diagnostic> {
        let wrong = |message: String| Diagnostic::error("device", value.span, message);
        let fields = parse::comma_separated(&value.text)
            .ok_or_else(|| wrong("invalid --device: a quote must begin and end its field".to_owned()))?;
        let (mut name, mut required) = (String::new(), false);
        for field in fields {
            let field = field.text;
            let (key, given) = match field.split_once('=') {
                Some((key, given)) => (key.to_lowercase(), Some(given)),
                None => (field.to_lowercase(), None),
            };
            match (key.as_str(), given) {
                ("required", None) => required = true,
                ("required", Some(given)) => {
                    required = boolean(given).ok_or_else(|| wrong(format!("invalid value for required: {given}")))?;
                }
                ("name", Some(_)) if !name.is_empty() => {
                    return Err(wrong(format!("device name already set to {name}")));
                }
                ("name", Some(given)) => name = given.to_owned(),
                // A name itself has an equals sign.
                _ if name.is_empty() => name = field,
                (_, None) => return Err(wrong(format!("invalid field '{field}' must be a key=value pair"))),
                (key, Some(_)) => {
                    let near = nearest(key, ["name", "required"]);
                    let hint = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
                    return Err(wrong(format!("unexpected key '{key}' in '{field}'{hint}")));
                }
            }
        }
        if name.is_empty() {
            Err(wrong("a device needs a name".to_owned()))
        } else {
            Ok(Self { name, required, span: value.span })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceId;

    fn read(text: &str) -> Result<(String, bool), String> {
        let span = Span::new(SourceId(0), 0..text.len());
        let read = Device::parse(&Text::new(text, span));
        read.map(|device| (device.name, device.required)).map_err(|error| error.message)
    }

    // language 10.11
    #[test]
    fn names_and_whether_they_must_be_there() {
        let name = "vendor.example/class=one";
        for (text, want) in [
            (name.to_owned(), (name, false)),
            (format!("{name},required"), (name, true)),
            (format!("required,{name}"), (name, true)),
            (format!("name={name},required=true"), (name, true)),
            (format!("NAME={name},Required=0"), (name, false)),
            ("vendor.example/class".to_owned(), ("vendor.example/class", false)),
        ] {
            assert_eq!(read(&text), Ok((want.0.to_owned(), want.1)), "{text}");
        }
        for (text, want) in [
            ("a/b=c,other", "invalid field 'other' must be a key=value pair"),
            ("a/b=c,requierd=1", "unexpected key 'requierd' in 'requierd=1' (did you mean required?)"),
            ("a/b=c,required=perhaps", "invalid value for required: perhaps"),
            ("a/b=c,name=d/e=f", "device name already set to a/b=c"),
            ("required", "a device needs a name"),
        ] {
            assert_eq!(read(text), Err(want.to_owned()), "{text}");
        }
    }
}
