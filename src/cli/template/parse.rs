//! Actions as a tree.

use serde_json::Value;

use super::TemplateError;
use super::functions;
use super::lexer::{Piece, Word};

/// How deep actions and parentheses may nest: each level is a call of the parser.
const DEPTH_LIMIT: usize = 64;

/// A part of a template.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Node {
    Text(String),
    Write(Pipe),
    If { condition: Pipe, then: Vec<Node>, otherwise: Vec<Node> },
    With { value: Pipe, then: Vec<Node>, otherwise: Vec<Node> },
    Range { over: Pipe, body: Vec<Node>, otherwise: Vec<Node> },
}

/// Commands, each of which gets what the one before made as its last argument; the names that the result is given.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Pipe {
    pub(super) variables: Vec<String>,
    pub(super) commands: Vec<Command>,
}

/// A function and its arguments, or one value.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Command {
    Value(Operand),
    Call { function: String, arguments: Vec<Operand> },
}

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Operand {
    pub(super) root: Root,
    /// The fields below it.
    pub(super) fields: Vec<String>,
}

/// Where a value begins.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Root {
    Dot,
    Variable(String),
    Literal(Value),
    Pipe(Box<Pipe>),
}

/// Reads all of a template.
pub(super) fn parse(pieces: Vec<Piece>) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser { pieces: pieces.into_iter() };
    match parser.nodes(0)? {
        (nodes, None) => Ok(nodes),
        (_, Some(end)) => Err(TemplateError::new(format!("`{}` without a beginning", end.name()))),
    }
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
}

/// What ends a list of nodes.
enum Stop {
    End,
    Else,
    /// `else if`, with the condition.
    ElseIf(Pipe),
}

impl Stop {
    fn name(&self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Else | Self::ElseIf(_) => "else",
        }
    }
}

impl Parser {
    fn nodes(&mut self, depth: usize) -> Result<(Vec<Node>, Option<Stop>), TemplateError> {
        if depth > DEPTH_LIMIT {
            return Err(too_deep());
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (words, written) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(words, written) => (words, written),
            };
            let keyword = match words.first() {
                Some(Word::Name(name)) => name.as_str(),
                _ => "",
            };
            match (keyword, words.get(1)) {
                ("end", None) => return Ok((nodes, Some(Stop::End))),
                ("else", None) => return Ok((nodes, Some(Stop::Else))),
                ("else", Some(Word::Name(name))) if name == "if" => {
                    return Ok((nodes, Some(Stop::ElseIf(pipe(&words[2..], &written)?))));
                }
                ("if" | "with" | "range", _) => {
                    let pipe = pipe(&words[1..], &written)?;
                    let node = self.block(keyword, pipe, depth)?;
                    nodes.push(node);
                }
                _ => nodes.push(Node::Write(pipe(&words, &written)?)),
            }
        }
        Ok((nodes, None))
    }

    fn block(&mut self, keyword: &str, head: Pipe, depth: usize) -> Result<Node, TemplateError> {
        let open = || TemplateError::new(format!("`{keyword}` has no `end`"));
        let (then, end) = self.nodes(depth + 1)?;
        let otherwise = match end.ok_or_else(open)? {
            Stop::End => Vec::new(),
            Stop::ElseIf(condition) => vec![self.block("if", condition, depth + 1)?],
            Stop::Else => match self.nodes(depth + 1)? {
                (otherwise, Some(Stop::End)) => otherwise,
                (_, Some(end)) => return Err(TemplateError::new(format!("`{}` after `else`", end.name()))),
                (_, None) => return Err(open()),
            },
        };
        Ok(match keyword {
            "range" => Node::Range { over: head, body: then, otherwise },
            "with" => Node::With { value: head, then, otherwise },
            _ => Node::If { condition: head, then, otherwise },
        })
    }
}

fn pipe(words: &[Word], written: &str) -> Result<Pipe, TemplateError> {
    let mut reader = Reader { words, at: 0, written };
    let pipe = reader.pipe(0)?;
    match reader.words.get(reader.at) {
        None => Ok(pipe),
        Some(_) => Err(TemplateError::new(format!("`)` without `(` in `{written}`"))),
    }
}

struct Reader<'a> {
    words: &'a [Word],
    at: usize,
    written: &'a str,
}

impl Reader<'_> {
    fn peek(&self) -> Option<&Word> {
        self.words.get(self.at)
    }

    fn pipe(&mut self, depth: usize) -> Result<Pipe, TemplateError> {
        if depth > DEPTH_LIMIT {
            return Err(too_deep());
        }
        let mut pipe = Pipe { variables: self.variables(), commands: Vec::new() };
        loop {
            pipe.commands.push(self.command(depth)?);
            match self.peek() {
                Some(Word::Pipe) => self.at += 1,
                _ => return Ok(pipe),
            }
        }
    }

    /// `$x :=` and `$x, $y :=`, if it begins so.
    fn variables(&mut self) -> Vec<String> {
        let (names, length) = match &self.words[self.at..] {
            [Word::Variable(one), Word::Assign, ..] => (vec![one.clone()], 2),
            [Word::Variable(one), Word::Comma, Word::Variable(two), Word::Assign, ..] => {
                (vec![one.clone(), two.clone()], 4)
            }
            _ => (Vec::new(), 0),
        };
        self.at += length;
        names
    }

    fn command(&mut self, depth: usize) -> Result<Command, TemplateError> {
        let mut operands = Vec::new();
        let mut function = None;
        if let Some(Word::Name(name)) = self.peek()
            && literal(name).is_none()
        {
            functions::check(name)?;
            function = Some(name.clone());
            self.at += 1;
        }
        while let Some(operand) = self.operand(depth)? {
            operands.push(operand);
        }
        match (function, operands.len()) {
            (Some(function), _) => Ok(Command::Call { function, arguments: operands }),
            (None, 1) => Ok(Command::Value(operands.remove(0))),
            (None, 0) => Err(TemplateError::new(format!("a command is missing in `{}`", self.written))),
            _ => Err(TemplateError::new(format!("a value cannot be called in `{}`", self.written))),
        }
    }

    fn operand(&mut self, depth: usize) -> Result<Option<Operand>, TemplateError> {
        let root = match self.peek() {
            Some(Word::Field(fields, _)) => {
                let operand = Operand { root: Root::Dot, fields: fields.clone() };
                self.at += 1;
                return Ok(Some(operand));
            }
            Some(Word::Variable(name)) => Root::Variable(name.clone()),
            Some(Word::Text(text)) => Root::Literal(Value::from(text.as_str())),
            Some(Word::Number(number)) => Root::Literal(Value::Number(number.clone())),
            Some(Word::Name(name)) => match literal(name) {
                Some(value) => Root::Literal(value),
                // A function without arguments stands in parentheses; this one could not be told from an argument.
                None => {
                    return Err(TemplateError::new(format!(
                        "`{name}` must stand in parentheses in `{}`",
                        self.written
                    )));
                }
            },
            Some(Word::Open) => {
                self.at += 1;
                let pipe = self.pipe(depth + 1)?;
                if self.peek() != Some(&Word::Close) {
                    return Err(TemplateError::new("`(` is not closed"));
                }
                Root::Pipe(Box::new(pipe))
            }
            Some(Word::Comma | Word::Assign) => {
                return Err(TemplateError::new(format!("`,` or `=` makes no sense in `{}`", self.written)));
            }
            Some(Word::Pipe | Word::Close) | None => return Ok(None),
        };
        self.at += 1;
        let fields = match self.peek() {
            Some(Word::Field(fields, true)) => {
                let fields = fields.clone();
                self.at += 1;
                fields
            }
            _ => Vec::new(),
        };
        Ok(Some(Operand { root, fields }))
    }
}

fn literal(name: &str) -> Option<Value> {
    match name {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        "nil" => Some(Value::Null),
        _ => None,
    }
}

fn too_deep() -> TemplateError {
    TemplateError::new(format!("nested more than {DEPTH_LIMIT} deep"))
}
