//! Statements: a predicate, and the digests it is about (in-toto attestation framework, Statement v1).

use serde_json::{Value, json};

use crate::digest::Digest;

/// Media type of a statement.
pub const STATEMENT: &str = "application/vnd.in-toto+json";

/// Annotation on the descriptor of a statement: the type of its predicate.
pub const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

const TYPE: &str = "https://in-toto.io/Statement/v1";

/// What is said, not yet of anything.
#[derive(Clone, PartialEq, Debug)]
pub struct Predicate {
    /// A URI that says what it means.
    pub kind: &'static str,
    /// What it says.
    pub value: Value,
}

/// Makes the statement that `predicate` holds for the manifest of this digest, which has these names; without a name it is called
/// `_`, as BuildKit does.
pub fn statement(predicate: &Predicate, names: &[String], subject: &Digest) -> Value {
    let names = if names.is_empty() { &["_".to_owned()][..] } else { names };
    let subjects: Vec<Value> = names.iter().map(|name| json!({ "name": name, "digest": digests(subject) })).collect();
    json!({ "_type": TYPE, "subject": subjects, "predicateType": predicate.kind, "predicate": predicate.value })
}

/// Returns the statement with another digest in place of each of its own: the same image in other clothes.
pub fn about(mut statement: Value, subject: &Digest) -> Value {
    let subjects = statement.get_mut("subject").and_then(Value::as_array_mut);
    for entry in subjects.into_iter().flatten().filter_map(Value::as_object_mut) {
        entry.insert("digest".to_owned(), digests(subject));
    }
    statement
}

fn digests(digest: &Digest) -> Value {
    json!({ "sha256": digest.hex() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_names_its_subject() {
        let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
        let predicate = Predicate { kind: "https://example.com/v1", value: json!({"a": 1}) };
        let made = statement(&predicate, &[], &one);
        assert_eq!(
            made.to_string(),
            format!(
                r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"_","digest":{{"sha256":"{}"}}}}],"predicateType":"https://example.com/v1","predicate":{{"a":1}}}}"#,
                one.hex()
            )
        );
        let names = ["a".to_owned(), "b".to_owned()];
        let moved = about(statement(&predicate, &names, &one), &other);
        assert_eq!(moved, statement(&predicate, &names, &other));
    }
}
