//! YAML text as a tree of values that know where they stand.
//!
//! Scalars stay text: what a value means depends on the key it belongs to, not on how YAML would guess its type
//! (`none`, `65001:100` and `10.0.1.2` are all just text until somebody reads them). Anchors, aliases, tags and further
//! documents are refused, so that a key has exactly one place.

use std::borrow::Cow;

use serde_saphyr::granit_parser::{Event, Marker, Options, Parser, ScalarStyle, ScanError, Span};

use super::item::Mistake;

/// A place in the file, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The line.
    pub(super) line: usize,
    /// The column, in characters.
    pub(super) column: usize,
}

impl Place {
    fn of(marker: &Marker) -> Place {
        Place { line: marker.line(), column: marker.col() + 1 }
    }
}

/// A value and where it begins.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it begins.
    pub(super) at: Place,
    /// What it is.
    pub(super) value: Value,
}

/// A value.
#[derive(Debug)]
pub(super) enum Value {
    /// No value at all, `null` or `~`.
    Nothing,
    /// A scalar.
    Text {
        /// What it says.
        text: String,
        /// Is it in quotes or a block of text, so that it cannot be a number?
        quoted: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the file; a key can be there twice.
    Table(Vec<Entry>),
}

/// A key of a mapping, and its value.
#[derive(Debug)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// Where the key stands.
    pub(super) at: Place,
    /// Its value.
    pub(super) node: Node,
}

/// Reads the one document in `text`; a file without any content is an empty mapping.
pub(super) fn parse(text: &str) -> Result<Node, Mistake> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut reader = Reader { parser: Parser::new_from_str_with_options(text, options) };
    let mut document = None;
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            Event::StreamEnd => break,
            _ if document.is_some() => return Err(wrong(&span, "a second document; allowed: one per file")),
            event => document = Some(reader.node(event, &span)?),
        }
    }
    Ok(match document {
        None | Some(Node { value: Value::Nothing, .. }) => {
            Node { at: Place { line: 1, column: 1 }, value: Value::Table(Vec::new()) }
        }
        Some(node) => node,
    })
}

struct Reader<'input, P: Iterator<Item = Result<(Event<'input>, Span), ScanError>>> {
    parser: P,
}

impl<'input, P: Iterator<Item = Result<(Event<'input>, Span), ScanError>>> Reader<'input, P> {
    /// The next event. The parser's own end is an event, so running out of them is an end as well.
    fn next(&mut self) -> Result<(Event<'input>, Span), Mistake> {
        match self.parser.next() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(Mistake::new(Place::of(error.marker()), "", format!("not YAML: {}", error.info()))),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// The value that begins with `event`.
    fn node(&mut self, event: Event<'input>, span: &Span) -> Result<Node, Mistake> {
        let value = match event {
            Event::Scalar(_, _, anchor, _) | Event::SequenceStart(_, anchor, _) | Event::MappingStart(_, anchor, _)
                if anchor != 0 =>
            {
                return Err(wrong(span, "an anchor (&…); allowed: values written out"));
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, _, Some(_))
            | Event::MappingStart(_, _, Some(_)) => {
                return Err(wrong(span, "a tag (!…); allowed: values without tags"));
            }
            Event::Scalar(text, style, ..) => scalar(text, style),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break Value::List(items),
                        (event, span) => items.push(self.node(event, &span)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut entries = Vec::new();
                loop {
                    match self.next()? {
                        (Event::MappingEnd, _) => break Value::Table(entries),
                        (event, span) => entries.push(self.entry(event, &span)?),
                    }
                }
            }
            Event::Alias(_) => return Err(wrong(span, "an alias (*…); allowed: values written out")),
            _ => return Err(wrong(span, "the end of the file within a value")),
        };
        Ok(Node { at: Place::of(&span.start), value })
    }

    /// The key that begins with `event`, and its value.
    fn entry(&mut self, event: Event<'input>, span: &Span) -> Result<Entry, Mistake> {
        let Node { at, value: Value::Text { text: key, .. } } = self.node(event, span)? else {
            return Err(wrong(span, "a key that is not a word; allowed: a word"));
        };
        let (event, span) = self.next()?;
        let mut node = self.node(event, &span)?;
        if matches!(node.value, Value::Nothing) {
            // The parser puts the place of a missing value wherever it noticed; the key is where one looks for it.
            node.at = at;
        }
        Ok(Entry { key, at, node })
    }
}

/// What a scalar is: nothing, in the spellings of YAML 1.2's core schema, or text.
fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Value {
    let quoted = style != ScalarStyle::Plain;
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" if !quoted => Value::Nothing,
        _ => Value::Text { text: text.into_owned(), quoted },
    }
}

fn wrong(span: &Span, found: &str) -> Mistake {
    Mistake::new(Place::of(&span.start), "", format!("found {found}"))
}
