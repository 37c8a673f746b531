//! What serde visitors pull values from: items of lists, entries of mappings, values with places.

use std::{iter, slice, vec};

use serde::Deserializer;
use serde::de::value::{StrDeserializer, UsizeDeserializer};
use serde::de::{DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::decoder::Decoder;
use super::error::Error;
use super::mapping::Entry;
use crate::config::yaml::{Key, Node, Span};

/// The items of a list.
pub(super) struct Items<'a> {
    list: Decoder<'a>,
    items: iter::Enumerate<slice::Iter<'a, Node>>,
}

impl<'a> Items<'a> {
    pub(super) fn new(list: Decoder<'a>, items: &'a [Node]) -> Self {
        Self {
            list,
            items: items.iter().enumerate(),
        }
    }
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        let Some((index, node)) = self.items.next() else {
            return Ok(None);
        };
        let decoder = self.list.at(node, self.list.place.item(index));
        seed.deserialize(decoder).map(Some)
    }
}

/// The entries of a mapping.
pub(super) struct Pairs<'a> {
    mapping: Decoder<'a>,
    entries: vec::IntoIter<Entry<'a>>,
    current: Option<Entry<'a>>,
    members: bool,
}

impl<'a> Pairs<'a> {
    /// Entries with free keys.
    pub(super) fn free(mapping: Decoder<'a>, entries: Vec<Entry<'a>>) -> Self {
        Self {
            mapping,
            entries: entries.into_iter(),
            current: None,
            members: false,
        }
    }

    /// Entries whose keys are the members of a struct.
    pub(super) fn members(mapping: Decoder<'a>, entries: Vec<Entry<'a>>) -> Self {
        Self {
            members: true,
            ..Self::free(mapping, entries)
        }
    }
}

impl<'de> MapAccess<'de> for Pairs<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        self.current = self.entries.next();
        let Some((key, _)) = self.current else {
            return Ok(None);
        };
        let name = seed.deserialize(KeyDecoder { key });
        name.map(Some).map_err(|error| match error.into_fault() {
            Some(fault) => fault.at(key.span).into(),
            None => Error::Reported,
        })
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let Some((key, value)) = self.current.take() else {
            return Err(Error::Reported);
        };
        let mut decoder = self.mapping.at(value, self.mapping.place.under(key));
        decoder.place.member = self.members;
        seed.deserialize(decoder)
    }
}

/// The name of an entry; as a tuple, with its place: start, end, name.
struct KeyDecoder<'a> {
    key: &'a Key,
}

impl<'de> Deserializer<'de> for KeyDecoder<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(&self.key.name)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Spanned::new(self.key.span, Content::Name(&self.key.name)))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let name: StrDeserializer<'_, Error> = self.key.name.as_str().into_deserializer();
        visitor.visit_enum(name)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple_struct map struct identifier ignored_any
    }
}

/// A place and what stands there: start, end, content.
///
/// A fault in a value is recorded here and ends the sequence early, so that it goes no further.
pub(super) struct Spanned<'a> {
    ends: vec::IntoIter<usize>,
    content: Option<Content<'a>>,
}

pub(super) enum Content<'a> {
    Name(&'a str),
    Value(Decoder<'a>),
}

impl<'a> Spanned<'a> {
    pub(super) fn new(span: Span, content: Content<'a>) -> Self {
        Self {
            ends: vec![span.start, span.end].into_iter(),
            content: Some(content),
        }
    }
}

impl<'de> SeqAccess<'de> for Spanned<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        if let Some(end) = self.ends.next() {
            let end: UsizeDeserializer<Error> = end.into_deserializer();
            return seed.deserialize(end).map(Some);
        }
        match self.content.take() {
            None => Ok(None),
            Some(Content::Name(name)) => {
                let name: StrDeserializer<'_, Error> = name.into_deserializer();
                seed.deserialize(name).map(Some)
            }
            Some(Content::Value(decoder)) => Ok(recovered(decoder, seed)),
        }
    }
}

fn recovered<'de, S: DeserializeSeed<'de>>(decoder: Decoder<'_>, seed: S) -> Option<S::Value> {
    let context = decoder.context;
    seed.deserialize(decoder)
        .map_err(|error| context.record(error))
        .ok()
}
