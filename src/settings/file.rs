//! The file: YAML, one mapping, of scalars and lists of scalars; each with its line.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::Spanned;

/// One key and what is behind it.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Its line, from 1.
    pub line: u64,
    /// What is behind it.
    pub value: Value,
}

/// What is behind a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Value {
    /// Text, number or truth value, as text.
    Scalar(String),
    /// Scalars with their lines.
    List(Vec<(u64, String)>),
    /// Nothing, or `null`.
    Nothing,
    /// Keys of its own, which no setting has.
    Mapping,
}

/// Why a file is none of settings.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong.
    pub why: String,
}

/// The entries of a file, in its order. An empty file has none.
pub fn parse(text: &str) -> Result<Vec<Entry>, Malformed> {
    // A key that is there twice is ours to say, with where it was said first.
    let options = serde_yaml::options! { duplicate_keys: serde_yaml::DuplicateKeyPolicy::LastWins };
    let document: Option<Document> = serde_yaml::from_str_with_options(text, options).map_err(|error| {
        let Malformed { line, why } = malformed(&error);
        Malformed { line, why: format!("not what YAML allows here: {why}") }
    })?;
    let mut entries: Vec<Entry> = Vec::new();
    for (key, found) in document.map(|document| document.0).unwrap_or_default() {
        let line = key.referenced.line();
        let key = key.value;
        if let Some(first) = entries.iter().find(|entry| entry.key == key) {
            return Err(Malformed { line, why: format!("`{key}` was said in line {} already", first.line) });
        }
        let value = value(&key, found)?;
        entries.push(Entry { key, line, value });
    }
    Ok(entries)
}

/// What the parser says, with its line, and without the lines around, which it shows too.
pub fn malformed(error: &serde_yaml::Error) -> Malformed {
    let line = error.location().map_or(1, |location| location.line());
    Malformed { line, why: bare(&error.to_string()) }
}

/// The parser begins with where it was, and shows the lines around, which is more than a message should.
fn bare(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let said = first.strip_prefix("error: line ").and_then(|rest| rest.split_once(": "));
    said.map_or(first, |(_, said)| said).to_owned()
}

fn value(key: &str, found: Spanned<Found>) -> Result<Value, Malformed> {
    match found.value {
        Found::Scalar(text) => Ok(Value::Scalar(text)),
        Found::Nothing => Ok(Value::Nothing),
        Found::Mapping => Ok(Value::Mapping),
        Found::List(items) => {
            let item = |item: Spanned<Found>| match item.value {
                Found::Scalar(text) => Ok((item.referenced.line(), text)),
                Found::Nothing | Found::Mapping | Found::List(_) => {
                    let line = item.referenced.line();
                    Err(Malformed { line, why: format!("`{key}` is a list of texts; this is none") })
                }
            };
            Ok(Value::List(items.into_iter().map(item).collect::<Result<_, _>>()?))
        }
    }
}

#[derive(Debug)]
struct Document(Vec<(Spanned<String>, Spanned<Found>)>);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Document;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("settings, `name: value`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key()? {
                    entries.push((key, map.next_value()?));
                }
                Ok(Document(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[derive(Debug)]
enum Found {
    Scalar(String),
    List(Vec<Spanned<Found>>),
    Nothing,
    Mapping,
}

impl<'de> Deserialize<'de> for Found {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything)
    }
}

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or a list of values")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Found, E> {
        Ok(Found::Scalar(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Found, E> {
        Ok(Found::Scalar(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Found, E> {
        Ok(Found::Scalar(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Found, E> {
        Ok(Found::Scalar(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Found, E> {
        Ok(Found::Scalar(value.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Found, E> {
        Ok(Found::Nothing)
    }

    fn visit_none<E: de::Error>(self) -> Result<Found, E> {
        Ok(Found::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        Found::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Found, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Found::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        while map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
        Ok(Found::Mapping)
    }
}
