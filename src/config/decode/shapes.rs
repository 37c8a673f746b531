//! Types that raw structs are made of, beside the value types themselves.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::error::is_collecting;
use crate::config::yaml::{Key, Span};

/// Names by which these types ask the decoder for more than serde knows of. No Rust type has such
/// a name.
pub(super) const FIELD: &str = "$hookgate::Field";
pub(super) const ONE_OR_MANY: &str = "$hookgate::OneOrMany";
pub(super) const TEXT_OR: &str = "$hookgate::TextOr";
pub(super) const TEMPLATE: &str = "$hookgate::Template";
pub(super) const TEMPLATE_OR: &str = "$hookgate::TemplateOr";
pub(super) const SECRET_TEMPLATE: &str = "$hookgate::SecretTemplate";
pub(super) const TREE: &str = "$hookgate::Tree";

/// A value with its place. A fault inside is recorded, and leaves the field without a value.
///
/// As a member of a struct it must be there; `Option<Field<T>>` may be absent, but not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Field<T> {
    /// Where the value stands; its key's place if there is nothing, and zero if the key is missing.
    pub span: Span,
    value: Option<T>,
}

impl<T> Field<T> {
    /// A field with a value.
    pub fn new(span: Span, value: T) -> Self {
        Self {
            span,
            value: Some(value),
        }
    }

    /// The value, unless a fault was recorded for it.
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// The value itself, unless a fault was recorded for it.
    pub fn into_inner(self) -> Option<T> {
        self.value
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let field = deserializer.deserialize_newtype_struct(FIELD, FieldVisitor(PhantomData));
        // The decoder gives no errors for a field, so this one is of serde's stand-in for a
        // missing key. The decoder of the struct reports it.
        let missing = Self {
            span: Span::default(),
            value: None,
        };
        field.or_else(|error| {
            if is_collecting() {
                Ok(missing)
            } else {
                Err(error)
            }
        })
    }
}

struct FieldVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FieldVisitor<T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its place")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
        let start = parts.next_element()?.unwrap_or_default();
        let end = parts.next_element()?.unwrap_or_default();
        Ok(Field {
            span: Span { start, end },
            value: parts.next_element()?,
        })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (start, end, name) = Deserialize::deserialize(deserializer)?;
        Ok(Self {
            name,
            span: Span { start, end },
            refused: false,
        })
    }
}

/// A list, or a single value that stands for a list of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOrMany<T>(Vec<Field<T>>);

impl<T> OneOrMany<T> {
    /// The items in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Field<T>> {
        self.0.iter()
    }

    /// How many items there are, those with faults included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> IntoIterator for OneOrMany<T> {
    type Item = Field<T>;
    type IntoIter = std::vec::IntoIter<Field<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a OneOrMany<T> {
    type Item = &'a Field<T>;
    type IntoIter = std::slice::Iter<'a, Field<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(ONE_OR_MANY, OneOrManyVisitor(PhantomData))
    }
}

struct OneOrManyVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or a list")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, one: D) -> Result<Self::Value, D::Error> {
        Ok(OneOrMany(vec![Field::deserialize(one)?]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let next = || items.next_element().transpose();
        std::iter::from_fn(next)
            .collect::<Result<_, _>>()
            .map(OneOrMany)
    }
}

/// A mapping whose keys are free names, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries<T>(Vec<(Key, Field<T>)>);

impl<T> Entries<T> {
    /// The entries in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, (Key, Field<T>)> {
        self.0.iter()
    }

    /// The value under a name.
    pub fn get(&self, name: &str) -> Option<&Field<T>> {
        self.0
            .iter()
            .find(|(key, _)| key.name == name)
            .map(|(_, field)| field)
    }

    /// How many entries there are, those with faults included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> IntoIterator for Entries<T> {
    type Item = (Key, Field<T>);
    type IntoIter = std::vec::IntoIter<(Key, Field<T>)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Entries<T> {
    type Item = &'a (Key, Field<T>);
    type IntoIter = std::slice::Iter<'a, (Key, Field<T>)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping of names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let next = || map.next_entry().transpose();
        std::iter::from_fn(next)
            .collect::<Result<_, _>>()
            .map(Entries)
    }
}

/// A text for the common case, or a mapping that says everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextOr<T> {
    /// The short form.
    Text(String),
    /// The full form.
    Full(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(TEXT_OR, TextOrVisitor(PhantomData))
    }
}

struct TextOrVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for TextOrVisitor<T> {
    type Value = TextOr<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a mapping")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(TextOr::Text(text.to_owned()))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, full: D) -> Result<Self::Value, D::Error> {
        T::deserialize(full).map(TextOr::Full)
    }
}

/// A text whose `${{ … }}` expressions are kept, to be evaluated for each event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub String);

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(TEMPLATE, TemplateVisitor)
    }
}

struct TemplateVisitor;

impl Visitor<'_> for TemplateVisitor {
    type Value = Template;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Template(text.to_owned()))
    }
}

/// A [`Template`] for the common case, or a mapping that says everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateOr<T> {
    /// The short form.
    Text(Template),
    /// The full form.
    Full(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TemplateOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(TEMPLATE_OR, TemplateOrVisitor(PhantomData))
    }
}

struct TemplateOrVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for TemplateOrVisitor<T> {
    type Value = TemplateOr<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a mapping")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(TemplateOr::Text(Template(text.to_owned())))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, full: D) -> Result<Self::Value, D::Error> {
        T::deserialize(full).map(TemplateOr::Full)
    }
}

/// A [`Template`] that is a secret where it holds no expression: a report hides it, whatever the key
/// that it stands under.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretTemplate(pub String);

impl fmt::Debug for SecretTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for SecretTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let template = deserializer.deserialize_newtype_struct(SECRET_TEMPLATE, TemplateVisitor);
        template.map(|Template(text)| Self(text))
    }
}
