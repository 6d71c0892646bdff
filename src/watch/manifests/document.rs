//! One manifest file: its documents, read one after the other and made compact at once, so that neither the file nor
//! its objects are ever in memory as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::options::NonFiniteFloatPolicy;
use serde_saphyr::{Spanned, UserMessageFormatter};

use crate::model::{Kind, ObjectRef};
use crate::watch::{Reading, convert};

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// Its objects, those that are not for us included.
    pub(super) objects: BTreeMap<ObjectRef, Arc<Reading>>,
    /// Other kinds that it holds objects of.
    pub(super) others: BTreeSet<String>,
    /// What is wrong besides single objects. What is wrong may hide any object of the file.
    pub(super) problem: Option<String>,
    /// Was it read to its end? If not, there are no objects here.
    pub(super) readable: bool,
}

impl Content {
    /// A file that could not be read.
    pub(super) fn unreadable(problem: impl Into<String>) -> Content {
        Content { problem: Some(problem.into()), ..Content::default() }
    }
}

/// Reads `file`, whose path is `path`, which messages call it by. `node` is the name of this node's
/// own Node.
pub(super) fn read(file: File, path: &Path, node: &str) -> Content {
    // Whoever empties a file is about to write it, or out of disk space; who wants its objects gone deletes it.
    if file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
        return Content::unreadable("is empty");
    }
    let reader = BufReader::new(file);
    let mut builder = Builder { path, node, content: Content::default(), problems: Vec::new() };
    let end = if path.extension().is_some_and(|extension| extension == "json") {
        read_json(reader, &mut builder)
    } else {
        read_yaml(reader, &mut builder)
    };
    match end {
        Ok(()) => builder.finish(),
        Err(problem) => Content::unreadable(problem),
    }
}

/// JSON has a reader of its own, which is ten times as fast.
fn read_json(reader: impl Read, builder: &mut Builder) -> Result<(), String> {
    for document in serde_json::Deserializer::from_reader(reader).into_iter::<Document>() {
        builder.add(document.map_err(|error| error.to_string())?, None);
    }
    Ok(())
}

fn read_yaml(mut reader: impl Read, builder: &mut Builder) -> Result<(), String> {
    let options = serde_saphyr::options! {
        // The file is the operator's own and read as a stream; how long it is, is not for us to limit. What bounds
        // aliases has its own limits, which stay.
        budget: None,
        emit_comments: false,
        with_snippet: false,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
    };
    for document in serde_saphyr::read_with_options::<_, Spanned<Document>>(&mut reader, options) {
        match document {
            Ok(document) => builder.add(document.value, line(document.referenced)),
            // The end of such a document is known, so it spoils no other.
            Err(error @ (serde_saphyr::Error::DuplicateMappingKey { .. } | serde_saphyr::Error::Unexpected { .. })) => {
                builder.problems.push(error.render_with_formatter(&UserMessageFormatter))
            }
            Err(error) => return Err(error.render_with_formatter(&UserMessageFormatter)),
        }
    }
    Ok(())
}

/// The line that a location names, counted from 1.
fn line(location: serde_saphyr::Location) -> Option<u64> {
    Some(location.line()).filter(|line| *line != 0)
}

/// Puts a file's documents together.
struct Builder<'a> {
    path: &'a Path,
    node: &'a str,
    content: Content,
    problems: Vec<String>,
}

impl Builder<'_> {
    fn add(&mut self, document: Document, line: Option<u64>) {
        for item in document.0 {
            self.add_item(item.what, item.line.or(line));
        }
    }

    fn add_item(&mut self, what: What, line: Option<u64>) {
        match what {
            What::Object(object, _) if self.content.objects.contains_key(&object) => {
                self.problems.push(at(line, format_args!("{object} again; the first one counts")));
            }
            What::Object(object, reading) => {
                let place = |problem: String| {
                    let line = line.map(|line| format!(", line {line}")).unwrap_or_default();
                    format!("{problem} ({}{line})", self.path.display())
                };
                let reading = match reading.seen_from(self.node, &object) {
                    Reading::Bad(problem) => Reading::Bad(place(problem)),
                    Reading::Partly(value, problem) => Reading::Partly(value, place(problem)),
                    good @ (Reading::Good(_) | Reading::Ignored) => good,
                };
                self.content.objects.insert(object, Arc::new(reading));
            }
            What::Other(kind) => {
                self.content.others.insert(kind);
            }
            What::Nameless(problem) => self.problems.push(at(line, format_args!("{problem}"))),
        }
    }

    fn finish(mut self) -> Content {
        self.content.problem = match self.problems.as_slice() {
            [] => None,
            [only] => Some(only.clone()),
            [first, others @ ..] => Some(format!("{first} (and {} more)", others.len())),
        };
        self.content.readable = true;
        self.content
    }
}

fn at(line: Option<u64>, problem: fmt::Arguments<'_>) -> String {
    line.map_or_else(|| problem.to_string(), |line| format!("line {line}: {problem}"))
}

/// A document: one object, or the items of a list.
struct Document(Vec<Item>);

/// An object of a document, with the line that it begins on where that is known and not the document's own.
struct Item {
    line: Option<u64>,
    what: What,
}

enum What {
    /// An object of a kind that is read.
    Object(ObjectRef, Box<Reading>),
    /// An object of another kind.
    Other(String),
    /// Something that is wrong, and it cannot be said with which object.
    Nameless(String),
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Document, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Document;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a Kubernetes object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut fields = Map::new();
                let mut items = None;
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "items" => items = map.next_value::<Option<Items>>()?,
                        _ => {
                            fields.insert(key, map.next_value()?);
                        }
                    }
                }
                Ok(Document(objects(fields, items)))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// The items of a list, each made compact before the next is read. The items of a typed list (`ServiceList`) do not say
/// what they are; those wait until the list has.
#[derive(Default)]
struct Items {
    known: Vec<Item>,
    waiting: Vec<(Option<u64>, Value)>,
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Items, D::Error> {
        struct Elements;

        impl<'de> Visitor<'de> for Elements {
            type Value = Items;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of objects")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Items, A::Error> {
                let mut items = Items::default();
                while let Some(element) = elements.next_element::<Spanned<Value>>()? {
                    let line = line(element.referenced);
                    match element.value {
                        Value::Object(fields) if fields.contains_key("kind") => {
                            items.known.push(Item { line, what: object(fields) });
                        }
                        other => items.waiting.push((line, other)),
                    }
                }
                Ok(items)
            }
        }

        deserializer.deserialize_seq(Elements)
    }
}

/// What a document with these fields holds.
fn objects(fields: Map<String, Value>, items: Option<Items>) -> Vec<Item> {
    let kind = fields.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let (item_kind, items) = match (kind.strip_suffix("List"), items) {
        (Some(item_kind), Some(items)) => (item_kind, items),
        (Some(""), None) => return Vec::new(),
        // A custom resource may be called SomethingList without being one: then it has no items.
        (_, None) | (None, Some(_)) => return vec![Item { line: None, what: object(fields) }],
    };
    let version = fields.get("apiVersion").cloned().unwrap_or_default();
    let mut found = items.known;
    for (line, value) in items.waiting {
        let what = match value {
            Value::Object(mut fields) if !item_kind.is_empty() => {
                fields.insert("kind".to_owned(), item_kind.into());
                fields.insert("apiVersion".to_owned(), version.clone());
                object(fields)
            }
            Value::Object(fields) => object(fields),
            other => What::Nameless(format!("an item of {kind} is {other}; allowed: an object")),
        };
        found.push(Item { line, what });
    }
    found
}

/// What an object with these fields is.
fn object(fields: Map<String, Value>) -> What {
    let text = |key: &str| fields.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (Some(kind), Some(version)) = (text("kind"), text("apiVersion")) else {
        return What::Nameless("an object without apiVersion or kind".to_owned());
    };
    if kind == "List" {
        return What::Nameless("a List where an object belongs".to_owned());
    }
    let group = |version: &str| version.rsplit_once('/').map(|(group, _)| group.to_owned());
    let known = Kind::ALL
        .into_iter()
        .find(|known| known.name() == kind && group(convert::api_version(*known)) == group(version));
    let Some(known) = known else { return What::Other(format!("{kind} ({version})")) };
    let object = match reference(known, &fields) {
        Ok(object) => object,
        Err(problem) => return What::Nameless(problem),
    };
    let allowed = convert::api_version(known);
    if version != allowed {
        let problem = format!("apiVersion is {version:?}; allowed: {allowed}");
        return What::Object(object, Box::new(Reading::Bad(problem)));
    }
    What::Object(object, Box::new(convert::from_value(known, Value::Object(fields))))
}

/// What names the object of `kind` with these fields. Names that the API server would refuse are refused: they end up in
/// logs, metrics and tables.
fn reference(kind: Kind, fields: &Map<String, Value>) -> Result<ObjectRef, String> {
    let metadata = fields.get("metadata").and_then(Value::as_object);
    let get = |key: &str| match metadata.and_then(|metadata| metadata.get(key)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if is_name(text) => Ok(Some(text.as_str())),
        Some(found) => {
            let kind = kind.name();
            Err(format!("metadata.{key} of a {kind} is {found}; allowed: text of a-z, 0-9, '-' and '.'"))
        }
    };
    let name = get("name")?.ok_or_else(|| format!("a {} without metadata.name", kind.name()))?;
    Ok(convert::reference(kind, get("namespace")?, name))
}

/// Is `text` made of what Kubernetes allows in the names of these kinds (DNS names, at most 253 characters)?
fn is_name(text: &str) -> bool {
    let valid = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'.';
    (1..=253).contains(&text.len()) && text.bytes().all(valid)
}

#[cfg(test)]
mod tests;
