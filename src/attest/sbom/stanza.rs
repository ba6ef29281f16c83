//! Records of `Key: value` lines, parted by empty lines: dpkg's (deb822(5)), apk's, and the headers of Python's.

/// Most fields of a record that are kept; what is asked for stands among the first.
const FIELDS: usize = 1000;

/// One record. Keys are as written.
pub(super) struct Stanza<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Stanza<'a> {
    /// Returns the first value of a key: one line, trimmed.
    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        self.all(key).next()
    }

    /// Returns all values of a key.
    pub(super) fn all(&self, key: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| *name == key).map(|(_, value)| *value)
    }

    pub(super) fn text(&self, key: &str) -> String {
        self.get(key).unwrap_or_default().to_owned()
    }
}

/// Reads the records of `text`, one after the other. Lines that go on with the one before them, and lines without a key, are skipped.
pub(super) fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    let mut lines = text.lines().peekable();
    std::iter::from_fn(move || {
        while lines.next_if(|line| line.trim().is_empty()).is_some() {}
        lines.peek()?;
        let mut fields = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.trim().is_empty()) {
            let field = line.split_once(':').filter(|_| !line.starts_with([' ', '\t']) && fields.len() < FIELDS);
            if let Some((key, value)) = field {
                fields.push((key, value.trim()));
            }
        }
        Some(Stanza(fields))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_line_by_line() {
        let text = "\n\nA: 1\nB: x: y\n more\nA:2\nnothing\n\n\nP:musl\r\n";
        let read: Vec<Vec<(String, String)>> = stanzas(text)
            .map(|stanza| stanza.0.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
            .collect();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(read, [vec![pair("A", "1"), pair("B", "x: y"), pair("A", "2")], vec![pair("P", "musl")]]);
        let stanza = stanzas(text).next().unwrap();
        assert_eq!((stanza.get("A"), stanza.all("A").count(), stanza.text("C")), (Some("1"), 2, String::new()));
    }
}
