//! The texts of history entries, as BuildKit writes them (language rules 8.12, 9.5, 10.12, 11.20, 13, 17.3).

/// Returns `text` as Go's `%q` prints it: what CMD and ENTRYPOINT entries use.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if is_printable(c) => out.push(c),
            c => out.push_str(&match u32::from(c) {
                code @ ..0x80 => format!("\\x{code:02x}"),
                code @ ..0x1_0000 => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            }),
        }
    }
    out.push('"');
    out
}

/// Whether Go prints `c` as it is: letters, marks, numbers, punctuation, symbols and the blank, which is what Rust leaves
/// alone in the middle of a text.
fn is_printable(c: char) -> bool {
    c == '\'' || format!("a{c}").escape_debug().nth(1) == Some(c)
}

/// Returns `["a" "b c"]`.
pub(super) fn quoted_list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(" "))
}

/// Returns `[a b]`.
pub(super) fn plain_list(items: &[String]) -> String {
    format!("[{}]", items.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_print_as_in_go() {
        let items = ["a".to_owned(), "b \"c\"\n".to_owned()];
        assert_eq!(quoted_list(&items), "[\"a\" \"b \\\"c\\\"\\n\"]");
        assert_eq!(plain_list(&items[..1]), "[a]");
    }

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        assert_eq!(quoted("it's \u{e9} e\u{301} \u{1f600}"), "\"it's \u{e9} e\u{301} \u{1f600}\"");
        assert_eq!(quoted("\u{7}\u{8}\u{1}\u{7f}"), r#""\a\b\x01\x7f""#);
        assert_eq!(quoted("\u{85}\u{a0}\u{200b}\u{feff}\u{e0001}"), r#""\u0085\u00a0\u200b\ufeff\U000e0001""#);
    }
}
