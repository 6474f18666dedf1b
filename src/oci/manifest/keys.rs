//! Keys that some readers take for others.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::ManifestError;

/// The keys that say what a manifest names, and what it is.
const KNOWN: [&str; 13] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "blobs",
    "manifests",
    "subject",
    "annotations",
    "digest",
    "size",
    "urls",
    "data",
];

/// A name as `encoding/json` of Go folds it: long s and the sign for kelvin are letters too.
fn folded(key: &str) -> String {
    key.to_uppercase().to_lowercase()
}

/// Which known key this is almost.
fn almost(key: &str) -> Option<&'static str> {
    if KNOWN.contains(&key) {
        return None;
    }
    let key = folded(key);
    KNOWN.into_iter().find(|known| folded(known) == key)
}

pub(super) fn require_exact(json: &[u8]) -> Result<(), ManifestError> {
    let mut found = None;
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let read = Keys(&mut found).deserialize(&mut deserializer);
    match (found, read) {
        (Some((key, known)), _) => Err(ManifestError::AlmostKey { key, known }),
        (None, read) => Ok(read?),
    }
}

/// Walks a value; ends with what it looked for.
struct Keys<'a>(&'a mut Option<(String, &'static str)>);

impl<'de> DeserializeSeed<'de> for Keys<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            if let Some(known) = almost(&key) {
                *self.0 = Some((key.into_owned(), known));
                return Err(A::Error::custom("a key of another case"));
            }
            // Those in it are people's own.
            if key == "annotations" {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(Keys(&mut *self.0))?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Keys(&mut *self.0))?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Borrowed where nothing in it is escaped.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
        Text::deserialize(deserializer).map(|Text(text)| Self(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_go_would_take_for_others_are_found() {
        for (json, key) in [
            (r#"{"layers":[],"Manifests":[]}"#, "Manifests"),
            (r#"{"layers":[{"digest":"a","DIGEST":"b"}]}"#, "DIGEST"),
            (r#"{"config":{"\u004dediaType":"x"}}"#, "MediaType"),
            ("{\"layer\u{17f}\":[]}", "layer\u{17f}"),
            (r#"{"subject":[[{"Size":1}]]}"#, "Size"),
        ] {
            let Err(ManifestError::AlmostKey { key: found, .. }) = require_exact(json.as_bytes()) else {
                panic!("{json} was taken")
            };
            assert_eq!(found, key);
        }
        for json in [
            r#"{"schemaVersion":2,"annotations":{"Digest":"x"},"os.Features":[1,-1,1.5,null,true,"Size"]}"#,
            r#"{"layers":[{"annotations":{"mediatype":"x"}}],"layer":1,"platform":{"os":"linux"}}"#,
        ] {
            require_exact(json.as_bytes()).unwrap();
        }
    }
}
