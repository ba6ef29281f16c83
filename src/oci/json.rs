//! One way to write JSON, so that equal values have equal digests.

use serde::Serialize;
use serde_json::Value;

/// Writes a document as compact JSON. Fields come in the order of their struct; annotations, which `oci-spec` keeps in an
/// unordered map, are sorted by name. As in every document that Go's `encoding/json` writes, `<`, `>` and `&` are escaped, and
/// the two line separators of Unicode.
pub fn to_json<T: Serialize>(document: &T) -> Vec<u8> {
    let mut value = serde_json::to_value(document).expect("image documents hold only strings, numbers, lists and maps");
    sort_annotations(&mut value);
    escaped(&value.to_string()).into_bytes()
}

/// These characters stand in strings only: JSON itself has none of them.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => out.push(other),
        }
    }
    out
}

fn sort_annotations(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(sort_annotations),
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                match field {
                    Value::Object(annotations) if name == "annotations" => annotations.sort_keys(),
                    other => sort_annotations(other),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::digest::Digest;
    use crate::oci::{descriptor, media_type};

    #[test]
    fn strings_are_escaped_as_in_go() {
        let text = String::from_utf8(to_json(&"<a> && \"b\"\n\u{2028}\u{7f}é")).unwrap();
        assert_eq!(text, "\"\\u003ca\\u003e \\u0026\\u0026 \\\"b\\\"\\n\\u2028\u{7f}é\"");
    }

    #[test]
    fn annotations_are_sorted_and_fields_are_not() {
        let mut made = descriptor(media_type::OCI_CONFIG, &Digest::of(b""), 0);
        made.set_annotations(Some(HashMap::from_iter((0..9).rev().map(|i| (format!("k{i}"), i.to_string())))));
        let text = String::from_utf8(to_json(&vec![made])).unwrap();
        assert!(text.starts_with(r#"[{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0"#));
        assert!(
            text.ends_with(
                r#""annotations":{"k0":"0","k1":"1","k2":"2","k3":"3","k4":"4","k5":"5","k6":"6","k7":"7","k8":"8"}}]"#
            ),
            "{text}"
        );
    }
}
