//! The grammar's only door: text in, positions and decoded words out.
//!
//! Nothing outside this file sees pest. All positions are byte ranges of the text that was passed in.

use std::ops::Range;

use pest::Parser;
use pest::iterators::{Pair, Pairs};

#[derive(pest_derive::Parser)]
#[grammar = "grammar/dockerfile.pest"]
struct Grammar;

/// A decoded word and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) range: Range<usize>,
}

/// `--name=value`
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct FlagWord {
    /// Without the dashes.
    pub(super) name: String,
    /// What follows the first `=`.
    pub(super) value: Option<Word>,
    pub(super) range: Range<usize>,
}

/// `<<NAME`
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct HeredocWord {
    /// Without quotes.
    pub(super) name: String,
    pub(super) is_quoted: bool,
    /// `<<-`
    pub(super) strips_tabs: bool,
    pub(super) range: Range<usize>,
}

/// Whether Unicode calls it a letter.
pub(super) fn is_letter(character: char) -> bool {
    pest::unicode::LETTER(character)
}

/// Whether Unicode calls it a decimal digit.
pub(super) fn is_digit(character: char) -> bool {
    pest::unicode::DECIMAL_NUMBER(character)
}

fn read(rule: Rule, text: &str) -> Option<Pairs<'_, Rule>> {
    Some(read_start(rule, text)?.0)
}

/// Like [`read`], for a rule that need not reach the end of the text; also says where it ends.
fn read_start(rule: Rule, text: &str) -> Option<(Pairs<'_, Rule>, usize)> {
    let whole = Grammar::parse(rule, text).ok()?.next()?;
    let end = whole.as_span().end();
    Some((whole.into_inner(), end))
}

fn range(pair: &Pair<'_, Rule>) -> Range<usize> {
    let span = pair.as_span();
    span.start()..span.end()
}

/// Exchanges the two escape characters, so that the grammar knows one only. Positions stay as they are.
fn with_backslash_escapes(text: &str, escape: char) -> std::borrow::Cow<'_, str> {
    if escape != '`' {
        return text.into();
    }
    let swap = |character| match character {
        '`' => '\\',
        '\\' => '`',
        other => other,
    };
    text.chars().map(swap).collect::<String>().into()
}

/// Reads `# key = value`.
pub(super) fn directive(line: &str) -> Option<(Range<usize>, Range<usize>)> {
    let (mut pairs, start) = read_start(Rule::directive, line)?;
    let key = range(&pairs.next()?);
    Some((key, start..start + line[start..].trim_end().len()))
}

/// What separates plain words; the grammar's `blank`.
fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\u{b}' | '\u{c}' | '\r')
}

/// Splits a line into the instruction's name, which is everything up to the first blank, and its arguments, flags included.
/// By hand: each line of a file comes here, and this takes a tenth of the grammar's time.
pub(super) fn head(line: &str) -> Option<(Range<usize>, Range<usize>)> {
    let start = line.len() - line.trim_start().len();
    let name = line[start..].split(is_blank).next().filter(|name| !name.is_empty())?;
    let end = start + name.len();
    Some((start..end, line.len() - line[end..].trim_start_matches(is_blank).len()..line.len()))
}

/// Reads the flags in front of `arguments`, and says where what follows them begins.
pub(super) fn flags(arguments: &str, escape: char) -> (Vec<FlagWord>, usize) {
    // Most lines have none.
    if !arguments.trim_start().starts_with("--") {
        return (Vec::new(), 0);
    }
    let swapped = with_backslash_escapes(arguments, escape);
    let Some((pairs, end)) = read_start(Rule::flags, &swapped) else { return (Vec::new(), 0) };
    let flags = pairs.filter(|pair| pair.as_rule() == Rule::flag);
    (flags.map(|pair| flag(arguments, pair)).collect(), end)
}

fn flag(arguments: &str, pair: Pair<'_, Rule>) -> FlagWord {
    let whole = range(&pair);
    let mut text = String::new();
    // Where the value begins: in the decoded text, and in the line.
    let mut value_start = None;
    for piece in pair.into_inner() {
        let piece = match piece.as_rule() {
            Rule::trailing_escape => continue,
            Rule::escaped => match piece.into_inner().next() {
                Some(character) => range(&character),
                None => continue,
            },
            _ => range(&piece),
        };
        let part = &arguments[piece.clone()];
        if value_start.is_none() {
            value_start = part.find('=').map(|at| (text.len() + at + 1, piece.start + at + 1));
        }
        text.push_str(part);
    }
    let value = value_start.map(|(decoded, at)| Word { text: text[decoded..].to_owned(), range: at..whole.end });
    let name_end = value_start.map_or(text.len(), |(decoded, _)| decoded - 1);
    let name = text[..name_end].strip_prefix("--").unwrap_or(&text[..name_end]).to_owned();
    FlagWord { name, value, range: whole }
}

/// Reads a JSON array of strings; `None` for anything else.
pub(super) fn json_strings(text: &str) -> Option<Vec<Word>> {
    let pairs = read(Rule::json_strings, text)?;
    let strings = pairs.filter(|pair| pair.as_rule() == Rule::json_string);
    Some(strings.map(|pair| Word { range: range(&pair), text: json_string(pair) }).collect())
}

fn json_string(pair: Pair<'_, Rule>) -> String {
    let mut text = String::new();
    // UTF-16 units in a row are decoded together, since two may make one character.
    let mut units: Vec<u16> = Vec::new();
    for piece in pair.into_inner() {
        let part = piece.as_str();
        if piece.as_rule() == Rule::json_unicode {
            units.push(u16::from_str_radix(&part[2..], 16).unwrap_or(0xfffd));
            continue;
        }
        push_units(&mut text, &mut units);
        match (piece.as_rule(), part) {
            (Rule::json_escape, "\\b") => text.push('\u{8}'),
            (Rule::json_escape, "\\f") => text.push('\u{c}'),
            (Rule::json_escape, "\\n") => text.push('\n'),
            (Rule::json_escape, "\\r") => text.push('\r'),
            (Rule::json_escape, "\\t") => text.push('\t'),
            (Rule::json_escape, other) => text.push_str(&other[1..]),
            _ => text.push_str(part),
        }
    }
    push_units(&mut text, &mut units);
    text
}

fn push_units(text: &mut String, units: &mut Vec<u16>) {
    text.extend(char::decode_utf16(units.drain(..)).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
}

/// Splits at blanks; quotes mean nothing.
pub(super) fn plain_words(text: &str) -> Vec<Range<usize>> {
    let words = read(Rule::plain_words, text).into_iter().flatten();
    words.filter(|pair| pair.as_rule() == Rule::plain_word).map(|pair| range(&pair)).collect()
}

/// Splits at white space outside of quotes; the words keep quotes and escapes.
pub(super) fn assignments(text: &str, escape: char) -> Vec<Range<usize>> {
    let swapped = with_backslash_escapes(text, escape);
    let words = read(Rule::assignments, &swapped).into_iter().flatten();
    let words = words.filter(|pair| pair.as_rule() == Rule::assignment).map(|pair| {
        let whole = range(&pair);
        // An escape at the very end is the word's only inner pair.
        whole.start..pair.into_inner().next().map_or(whole.end, |trailing| trailing.as_span().start())
    });
    words.filter(|word| !word.is_empty()).collect()
}

/// Finds the heredoc words of a line, in order.
pub(super) fn heredocs(line: &str) -> Vec<HeredocWord> {
    if !line.contains("<<") {
        return Vec::new();
    }
    let words = read(Rule::shell_line, line).into_iter().flatten();
    words.filter(|pair| pair.as_rule() == Rule::heredoc).filter_map(heredoc).collect()
}

/// Reads a word that is a heredoc and nothing else.
pub(super) fn heredoc_word(word: &str) -> Option<HeredocWord> {
    read(Rule::heredoc_word, word)?.next().and_then(heredoc)
}

/// Decodes a heredoc word; one whose name is empty is none.
fn heredoc(pair: Pair<'_, Rule>) -> Option<HeredocWord> {
    let mut found = HeredocWord { name: String::new(), is_quoted: false, strips_tabs: false, range: range(&pair) };
    for part in pair.into_inner() {
        match part.as_rule() {
            Rule::heredoc_tabs => found.strips_tabs = true,
            Rule::heredoc_name => part.into_inner().for_each(|piece| name_piece(&mut found, &piece)),
            _ => {}
        }
    }
    Some(found).filter(|found| !found.name.is_empty())
}

fn name_piece(found: &mut HeredocWord, piece: &Pair<'_, Rule>) {
    let text = piece.as_str();
    match piece.as_rule() {
        Rule::heredoc_single_text => {
            found.is_quoted = true;
            found.name.push_str(text);
        }
        Rule::heredoc_double_text => {
            found.is_quoted = true;
            push_double_quoted(&mut found.name, text);
        }
        Rule::escaped => found.name.push_str(&text[1..]),
        Rule::trailing_escape => {}
        _ => found.name.push_str(text),
    }
}

/// Between double quotes the escape stays, except before a quote, a dollar and itself.
fn push_double_quoted(name: &mut String, text: &str) {
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let escaped = characters.next_if(|next| character == '\\' && matches!(next, '"' | '$' | '\\'));
        name.push(escaped.unwrap_or(character));
    }
}

/// Splits comma-separated fields; `None` when a quote is out of place.
pub(super) fn comma_separated(text: &str) -> Option<Vec<Word>> {
    let fields = read(Rule::csv, text)?.filter(|pair| pair.as_rule() == Rule::field);
    let word = |pair: Pair<'_, Rule>| {
        let inner = pair.into_inner().next()?;
        let text = match inner.as_rule() {
            Rule::csv_quoted => inner.as_str().replace("\"\"", "\""),
            _ => inner.as_str().to_owned(),
        };
        Some(Word { text, range: range(&inner) })
    };
    fields.map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_end_at_the_first_other_word() {
        let text = "--a=1 --b --c='x y'\\ z\\\" -- --d rest";
        let (words, rest) = flags(text, '\\');
        let shown: Vec<_> = words.iter().map(|flag| (&*flag.name, flag.value.as_ref().map(|v| &*v.text))).collect();
        assert_eq!(shown, [("a", Some("1")), ("b", None), ("c", Some("x y z\""))]);
        assert_eq!(&text[rest..], "--d rest");
        assert_eq!(&text[words[0].value.as_ref().expect("has a value").range.clone()], "1");
        assert_eq!(flags("-x --y", '\\'), (vec![], 0));
        assert_eq!(flags("--c=a`b\\", '`').0[0].value.as_ref().expect("has a value").text, "ab\\");
        assert_eq!(flags("--c='a", '\\').0[0].value.as_ref().expect("has a value").text, "a");
    }

    #[test]
    fn json_is_strict() {
        let texts = |text| json_strings(text).map(|words| words.into_iter().map(|w| w.text).collect::<Vec<_>>());
        assert_eq!(texts(r#"[ "a" , "\u00e9\n\ud83d\ude00\ud800" ] "#), Some(vec!["a".into(), "é\n😀\u{fffd}".into()]));
        assert_eq!(texts("[]"), Some(vec![]));
        for text in ["['a']", r#"["a",]"#, r#"["a"] b"#, r#"["\d"]"#, "[1]", "[\"\t\"]", "", "[\"a\" \"b\"]"] {
            assert_eq!(texts(text), None, "{text}");
        }
    }

    #[test]
    fn assignments_keep_quotes() {
        let text = r#"A="x y" B=a\ b 'c d'=e F="unclosed g\"#;
        let words: Vec<_> = assignments(text, '\\').into_iter().map(|word| &text[word]).collect();
        assert_eq!(words, [r#"A="x y""#, r"B=a\ b", "'c d'=e", r#"F="unclosed g"#]);
    }

    #[test]
    fn heredoc_words() {
        let names = |line| heredocs(line).into_iter().map(|found| found.name).collect::<Vec<_>>();
        assert_eq!(names("cat << A > /o 3<<-'B c' <<E'O'F x<<no"), ["A", "B c", "EOF"]);
        assert_eq!(names(r#"<<\A <<E\ F <<"a\"b\c" <<G\"#), ["A", "E F", r#"a"b\c"#, "G"]);
        assert_eq!(names("cat <<< a $((1<<3)) 'a <<EOF b' <<a<b <<a\\<b <<'' <<- A <<\u{a0}A"), Vec::<String>::new());
        assert_eq!(names("it's <<EOF"), Vec::<String>::new());
        assert!(heredoc_word("<<\"E\"").is_some_and(|found| found.is_quoted && !found.strips_tabs));
        assert!(heredoc_word("<<\\E").is_some_and(|found| !found.is_quoted));
        assert!(heredoc_word("<<").is_none());
    }

    #[test]
    fn comma_separated_fields_may_be_quoted() {
        let texts = |text| comma_separated(text).map(|f| f.into_iter().map(|w| w.text).collect::<Vec<_>>());
        assert_eq!(texts(r#"a=b,"c=d,""e""",f"#), Some(vec!["a=b".into(), "c=d,\"e\"".into(), "f".into()]));
        assert_eq!(texts(r#"a"b"#), None);
    }
}
