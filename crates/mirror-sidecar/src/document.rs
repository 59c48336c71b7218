//! A line as a document, for what cannot be made by putting text behind text: sorted keys, other
//! spacing, keys that stand twice. Values keep the bytes that they have in the line.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::facts::Facts;

/// The members of a sidecar, sorted by key.
pub(crate) struct Document<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

enum Value<'a> {
    Field(Sorted<'a>),
    Fact(&'a str),
}

impl<'a> Document<'a> {
    /// Reads the object that a line is, and puts the facts in; they win over fields of the line that are called the same.
    pub(crate) fn new(line: &'a str, facts: &Facts<'a>) -> serde_json::Result<Self> {
        let Members(fields) = serde_json::from_str(line)?;
        let fields = fields.into_iter().map(|(key, value)| (key, Value::Field(Sorted(value))));
        let mut members: Vec<_> = fields.collect();
        for (key, value) in facts.known() {
            let value = Value::Fact(value);
            match members.binary_search_by(|(found, _)| found.as_ref().cmp(key)) {
                Ok(at) => members[at].1 = value,
                Err(at) => members.insert(at, (Cow::Borrowed(key), value)),
            }
        }
        Ok(Self(members))
    }
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Field(value) => value.serialize(serializer),
            Self::Fact(text) => serializer.serialize_str(text),
        }
    }
}

/// A value as it stands in the line, but for the order of keys and the spacing. It is parsed where it is written, level
/// by level: a tree of all levels would take more memory and no less time.
struct Sorted<'a>(&'a RawValue);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0.get();
        match text.as_bytes().first() {
            Some(b'{') => {
                let Members(members) = serde_json::from_str(text).map_err(S::Error::custom)?;
                serializer.collect_map(members.iter().map(|(key, value)| (key, Sorted(value))))
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(S::Error::custom)?;
                serializer.collect_seq(items.into_iter().map(Sorted))
            }
            _ => self.0.serialize(serializer),
        }
    }
}

/// The members of an object, sorted by key; of equal keys the last one counts.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::with_capacity(10);
        while let Some((Key(key), value)) = map.next_entry()? {
            members.push((key, value));
        }
        members.reverse();
        members.sort_by(|a, b| a.0.cmp(&b.0));
        members.dedup_by(|later, first| later.0 == first.0);
        Ok(Members(members))
    }
}
