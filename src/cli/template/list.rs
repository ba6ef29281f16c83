//! A list by `--format`.

use serde_json::{Map, Value};

use super::{Template, TemplateError};
use crate::cli::table::Table;
use crate::cli::usage::did_you_mean;

/// The fields of one line.
pub(in crate::cli) type Row = Map<String, Value>;

/// Prints rows by a format: `table`, `json`, `table TEMPLATE` or a template. `columns` are those of `table`; `headings` names
/// fields whose heading is not their name in capitals.
pub(in crate::cli) fn list(
    rows: &[Row],
    format: &str,
    columns: &[&str],
    headings: &[(&str, &str)],
) -> Result<String, TemplateError> {
    let whole =
        format!("table {}", columns.iter().map(|name| format!("{{{{.{name}}}}}")).collect::<Vec<_>>().join("\t"));
    match if format == "table" || format.is_empty() { &whole } else { format } {
        "json" => Ok(rows.iter().map(|row| format!("{}\n", Value::Object(row.clone()))).collect()),
        // Docker would print the word for each line, which nobody wants.
        word if !word.contains("{{") => {
            let problem = "expected table, json, or a template with fields as in `{{.ID}}`";
            Err(TemplateError::new(format!("{problem}{}", did_you_mean(word, &["table", "json"]))))
        }
        format => match format.strip_prefix("table ") {
            Some(template) => table(rows, template.trim(), columns, headings),
            None => {
                let template = Template::parse_escaped(format)?;
                let lines = rows.iter().map(|row| Ok(template.write(&Value::Object(row.clone()))? + "\n"));
                lines.collect()
            }
        },
    }
}

/// The headings are what the template makes of the names of its fields.
fn table(rows: &[Row], template: &str, columns: &[&str], headings: &[(&str, &str)]) -> Result<String, TemplateError> {
    let template = Template::parse_escaped(template)?;
    let names = rows.first().map(|row| row.keys().map(String::as_str).collect::<Vec<_>>()).unwrap_or(columns.to_vec());
    let mut heads = Row::new();
    for name in names.into_iter().chain(headings.iter().map(|(name, _)| *name)) {
        let given = headings.iter().find(|(known, _)| *known == name).map(|(_, heading)| (*heading).to_owned());
        heads.insert(name.to_owned(), Value::from(given.unwrap_or_else(|| name.to_uppercase())));
    }
    let heads = template.write(&Value::Object(heads))?;
    let heads: Vec<&str> = heads.split('\t').collect();
    let mut table = Table::new(&heads).at_least(10);
    for row in rows {
        table.row(template.write(&Value::Object(row.clone()))?.split('\t'));
    }
    Ok(table.to_string())
}
