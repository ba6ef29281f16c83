//! The functions of templates: those of docker (`json join lower upper split title truncate pad println`) and the common ones of Go.

use std::cmp::Ordering;

use serde_json::Value;

use super::TemplateError;
use crate::cli::usage::did_you_mean;

/// Each function with the least and the most arguments it takes.
const FUNCTIONS: [(&str, usize, usize); 23] = [
    ("json", 1, 1),
    ("join", 2, 2),
    ("lower", 1, 1),
    ("upper", 1, 1),
    ("split", 2, 2),
    ("title", 1, 1),
    ("truncate", 2, 2),
    ("pad", 3, 3),
    ("print", 0, usize::MAX),
    ("println", 0, usize::MAX),
    ("printf", 1, usize::MAX),
    ("len", 1, 1),
    ("index", 1, usize::MAX),
    ("not", 1, 1),
    ("and", 1, usize::MAX),
    ("or", 1, usize::MAX),
    ("eq", 2, usize::MAX),
    ("ne", 2, 2),
    ("lt", 2, 2),
    ("le", 2, 2),
    ("gt", 2, 2),
    ("ge", 2, 2),
    ("html", 1, 1),
];

/// Refuses a function that there is not.
pub(super) fn check(name: &str) -> Result<(), TemplateError> {
    let names = FUNCTIONS.map(|(name, ..)| name);
    match names.contains(&name) {
        true => Ok(()),
        false => Err(TemplateError::new(format!("function `{name}` is not defined{}", did_you_mean(name, &names)))),
    }
}

/// Calls a function.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, TemplateError> {
    let (least, most) =
        FUNCTIONS.iter().find(|(known, ..)| *known == name).map_or((0, usize::MAX), |(_, a, b)| (*a, *b));
    if arguments.len() < least || arguments.len() > most {
        let wanted = if least == most { least.to_string() } else { format!("at least {least}") };
        let plural = if least == 1 { "" } else { "s" };
        return Err(TemplateError::new(format!("`{name}` takes {wanted} argument{plural}, not {}", arguments.len())));
    }
    let text = |at: usize| printed(&arguments[at]);
    Ok(match name {
        "json" => Value::from(arguments[0].to_string()),
        "join" => {
            let items = arguments[0].as_array().map_or(&[][..], Vec::as_slice);
            Value::from(items.iter().map(printed).collect::<Vec<_>>().join(&text(1)))
        }
        "lower" => Value::from(text(0).to_lowercase()),
        "upper" => Value::from(text(0).to_uppercase()),
        "split" => text(0).split(&text(1)).map(Value::from).collect(),
        "title" => Value::from(title(&text(0))),
        "truncate" => Value::from(text(0).chars().take(count(&arguments[1])?).collect::<String>()),
        "pad" => match text(0) {
            empty if empty.is_empty() => Value::from(empty),
            text => {
                let blanks = |count: usize| " ".repeat(count.min(PAD_LIMIT));
                Value::from(format!("{}{text}{}", blanks(count(&arguments[1])?), blanks(count(&arguments[2])?)))
            }
        },
        "print" => Value::from(print(arguments)),
        "println" => Value::from(arguments.iter().map(printed).collect::<Vec<_>>().join(" ") + "\n"),
        "printf" => Value::from(printf(&text(0), &arguments[1..])),
        "len" => Value::from(match &arguments[0] {
            Value::Array(items) => items.len(),
            Value::Object(fields) => fields.len(),
            Value::Null => 0,
            other => printed(other).len(),
        }),
        "index" => return index(arguments),
        "not" => Value::Bool(!is_true(&arguments[0])),
        "and" => arguments.iter().find(|value| !is_true(value)).or(arguments.last()).cloned().unwrap_or_default(),
        "or" => arguments.iter().find(|value| is_true(value)).or(arguments.last()).cloned().unwrap_or_default(),
        "eq" => Value::Bool(arguments[1..].iter().any(|other| same(&arguments[0], other))),
        "ne" => Value::Bool(!same(&arguments[0], &arguments[1])),
        "lt" | "le" | "gt" | "ge" => Value::Bool(ordered(name, &arguments[0], &arguments[1])?),
        "html" => Value::from(html(&text(0))),
        other => return Err(TemplateError::new(format!("function `{other}` is not defined"))),
    })
}

/// Blanks that `pad` writes at most, on each side.
const PAD_LIMIT: usize = 1000;

/// What `if` takes for true: all but zero, empty and absent.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// As Go prints a value: `[a b]`, `map[a:1 b:2]`.
pub(super) fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(printed).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| name.as_str());
            let fields = fields.iter().map(|(name, value)| format!("{name}:{}", printed(value)));
            format!("map[{}]", fields.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

/// Go's `Print` puts a blank between two that are both no strings.
fn print(arguments: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in arguments.iter().enumerate() {
        if at > 0 && !value.is_string() && !arguments[at - 1].is_string() {
            out.push(' ');
        }
        out.push_str(&printed(value));
    }
    out
}

/// `%s %v %d %t %f` print a value, `%q` quotes it, `%%` is a per cent sign. A width is taken, and a minus sign before it.
fn printf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut characters = format.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let mut width = String::new();
        while let Some(digit) = characters.next_if(|next| next.is_ascii_digit() || *next == '-') {
            width.push(digit);
        }
        match characters.next() {
            Some('%') | None => out.push('%'),
            Some(verb) => {
                let text = arguments.next().map_or_else(
                    || format!("%!{verb}(MISSING)"),
                    |value| match verb {
                        'q' => Value::from(printed(value)).to_string(),
                        _ => printed(value),
                    },
                );
                let cells = width.trim_start_matches('-').parse::<usize>().unwrap_or(0).min(PAD_LIMIT);
                match width.starts_with('-') {
                    true => out.push_str(&format!("{text:<cells$}")),
                    false => out.push_str(&format!("{text:>cells$}")),
                }
            }
        }
    }
    out
}

fn title(text: &str) -> String {
    let mut begins = true;
    let raised = text.chars().flat_map(|character| {
        let raised = if begins { character.to_uppercase().collect() } else { vec![character] };
        begins = !character.is_alphanumeric() && character != '_' && character != '\'';
        raised
    });
    raised.collect()
}

fn html(text: &str) -> String {
    let escapes = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&#34;"), ("'", "&#39;")];
    escapes.iter().fold(text.to_owned(), |text, (plain, escaped)| text.replace(plain, escaped))
}

fn index(arguments: &[Value]) -> Result<Value, TemplateError> {
    let mut value = arguments[0].clone();
    for key in &arguments[1..] {
        value = match value {
            Value::Object(mut fields) => fields.remove(&printed(key)).unwrap_or_default(),
            Value::Array(mut items) => {
                let (at, length) = (count(key)?, items.len());
                if at >= length {
                    return Err(TemplateError::new(format!("index {at} is out of range: there are {length}")));
                }
                items.swap_remove(at)
            }
            Value::Null => Value::Null,
            other => return Err(TemplateError::new(format!("`index` cannot look into {}", printed(&other)))),
        };
    }
    Ok(value)
}

fn count(value: &Value) -> Result<usize, TemplateError> {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| TemplateError::new(format!("{} is no count", printed(value))))
}

fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.partial_cmp(&other) == Some(Ordering::Equal),
        _ => one == other,
    }
}

fn ordered(name: &str, one: &Value, other: &Value) -> Result<bool, TemplateError> {
    let order = match (one, other) {
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        _ => one.as_f64().zip(other.as_f64()).and_then(|(one, other)| one.partial_cmp(&other)),
    };
    let cannot = || TemplateError::new(format!("`{name}` cannot compare {} and {}", printed(one), printed(other)));
    let order = order.ok_or_else(cannot)?;
    Ok(match name {
        "lt" => order.is_lt(),
        "le" => order.is_le(),
        "gt" => order.is_gt(),
        _ => order.is_ge(),
    })
}
