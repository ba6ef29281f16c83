//! Writing a value by a template.

use serde_json::Value;

use super::TemplateError;
use super::functions::{self, is_true, printed};
use super::parse::{Command, Node, Operand, Pipe, Root};

pub(super) fn evaluate(nodes: &[Node], value: &Value) -> Result<String, TemplateError> {
    let mut evaluator = Evaluator { out: String::new(), variables: vec![(String::new(), value.clone())] };
    evaluator.nodes(nodes, value)?;
    Ok(evaluator.out)
}

struct Evaluator {
    out: String,
    /// Those in sight, inner ones last; `$` is the first.
    variables: Vec<(String, Value)>,
}

impl Evaluator {
    /// Writes a list; variables that are made in it end with it.
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        let before = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(before);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), TemplateError> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Write(pipe) => {
                let value = self.pipe(pipe, dot)?;
                match pipe.variables.as_slice() {
                    [] => self.out.push_str(&printed(&value)),
                    names => self.assign(&names[names.len() - 1], value),
                }
            }
            Node::If { condition, then, otherwise } => {
                let value = self.named(condition, dot)?;
                self.nodes(if is_true(&value) { then } else { otherwise }, dot)?;
            }
            Node::With { value, then, otherwise } => {
                let value = self.named(value, dot)?;
                match is_true(&value) {
                    true => self.nodes(then, &value)?,
                    false => self.nodes(otherwise, dot)?,
                }
            }
            Node::Range { over, body, otherwise } => self.range(over, body, otherwise, dot)?,
        }
        Ok(())
    }

    /// `$x = ..` changes a variable that is in sight, as `$x := ..` makes one.
    fn assign(&mut self, name: &str, value: Value) {
        match self.variables.iter_mut().rev().find(|(known, _)| known == name && !name.is_empty()) {
            Some((_, known)) => *known = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    fn named(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, TemplateError> {
        let value = self.pipe(pipe, dot)?;
        if let Some(name) = pipe.variables.last() {
            self.assign(name, value.clone());
        }
        Ok(value)
    }

    fn range(&mut self, over: &Pipe, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<(), TemplateError> {
        let value = self.pipe(over, dot)?;
        let items: Vec<(Value, Value)> = match &value {
            Value::Null => Vec::new(),
            Value::Array(items) => items.iter().enumerate().map(|(at, item)| (Value::from(at), item.clone())).collect(),
            Value::Object(fields) => {
                let mut items: Vec<_> =
                    fields.iter().map(|(key, item)| (Value::from(key.as_str()), item.clone())).collect();
                items.sort_by(|a, b| a.0.as_str().cmp(&b.0.as_str()));
                items
            }
            other => return Err(TemplateError::new(format!("`range` cannot go over {}", printed(other)))),
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, item) in items {
            let before = self.variables.len();
            match over.variables.as_slice() {
                [] => {}
                [one] => self.variables.push((one.clone(), item.clone())),
                [one, two, ..] => {
                    self.variables.push((one.clone(), key));
                    self.variables.push((two.clone(), item.clone()));
                }
            }
            self.nodes(body, &item)?;
            self.variables.truncate(before);
        }
        Ok(())
    }

    fn pipe(&self, pipe: &Pipe, dot: &Value) -> Result<Value, TemplateError> {
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(command, dot, last)?);
        }
        Ok(last.unwrap_or_default())
    }

    fn command(&self, command: &Command, dot: &Value, last: Option<Value>) -> Result<Value, TemplateError> {
        match command {
            Command::Value(operand) if last.is_none() => self.operand(operand, dot),
            Command::Value(_) => Err(TemplateError::new("only functions can stand after `|`")),
            Command::Call { function, arguments } => {
                let arguments = arguments.iter().map(|operand| self.operand(operand, dot));
                let mut arguments = arguments.collect::<Result<Vec<_>, _>>()?;
                arguments.extend(last);
                functions::call(function, &arguments)
            }
        }
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        let mut value = match &operand.root {
            Root::Dot => dot.clone(),
            Root::Literal(value) => value.clone(),
            Root::Pipe(pipe) => self.pipe(pipe, dot)?,
            Root::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                let missing = || TemplateError::new(format!("variable `${name}` is not defined"));
                found.ok_or_else(missing)?.1.clone()
            }
        };
        for field in &operand.fields {
            value = match value {
                Value::Object(mut fields) => fields.remove(field).unwrap_or_default(),
                Value::Null => Value::Null,
                other => return Err(TemplateError::new(format!("`{}` has no field `{field}`", printed(&other)))),
            };
        }
        Ok(value)
    }
}
