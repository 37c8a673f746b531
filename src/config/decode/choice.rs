//! Enums: a variant is named by a text, by the only key of a mapping, or by a key among others.

use serde::Deserializer;
use serde::de::{
    DeserializeSeed, EnumAccess, IgnoredAny, IntoDeserializer, VariantAccess, Visitor,
};

use super::decoder::Decoder;
use super::error::Error;
use super::words;
use crate::config::fault::Fault;
use crate::config::yaml::Kind;

/// Stands between an enum's name and the key that names its variant.
const BY: &str = " by ";

/// A chosen variant and what belongs to it.
pub(super) struct Choice<'a> {
    variant: &'static str,
    content: Content<'a>,
}

enum Content<'a> {
    /// The name stands alone.
    Nothing(Decoder<'a>),
    /// The value under the name.
    Value(Decoder<'a>),
    /// The other keys of the mapping in which the name is a value.
    Rest(Decoder<'a>),
}

impl<'a> Choice<'a> {
    /// Finds the variant of the enum `name` that a value stands for.
    pub(super) fn find(
        decoder: &Decoder<'a>,
        name: &'static str,
        variants: &'static [&'static str],
    ) -> Result<Self, Error> {
        match (name.split_once(BY), &decoder.node.kind) {
            (Some((_, tag)), _) => Self::by_tag(decoder, tag, variants),
            (None, Kind::Scalar { .. }) => Self::by_text(decoder, variants),
            (None, _) => Self::by_key(decoder, variants),
        }
    }

    fn by_text(decoder: &Decoder<'a>, variants: &'static [&'static str]) -> Result<Self, Error> {
        let variant = named_variant(decoder, variants)?;
        Ok(Self {
            variant,
            content: Content::Nothing(decoder.clone()),
        })
    }

    fn by_key(decoder: &Decoder<'a>, variants: &'static [&'static str]) -> Result<Self, Error> {
        let entries = decoder.entries().unwrap_or_default();
        let [(key, value)] = entries.as_slice() else {
            return Err(decoder.unexpected(&one_of(variants)));
        };
        let Some(variant) = find(variants, &key.name) else {
            decoder.hide(value);
            return Err(not_one_of(decoder, variants, Some(&key.name))
                .at(key.span)
                .into());
        };
        let decoder = decoder.at(value, decoder.place.under(key));
        Ok(Self {
            variant,
            content: Content::Value(decoder),
        })
    }

    fn by_tag(
        decoder: &Decoder<'a>,
        tag: &'static str,
        variants: &'static [&'static str],
    ) -> Result<Self, Error> {
        let Some(entries) = decoder.entries() else {
            return Err(decoder.unexpected_whole(&format!("a mapping with the key `{tag}`")));
        };
        let mut rest = decoder.clone();
        rest.place.tag = Some(tag);
        let Some((key, value)) = entries.into_iter().find(|(key, _)| key.name == tag) else {
            rest.hide_entries();
            rest.record_missing(tag);
            return Err(Error::Reported);
        };
        let named = decoder.at(value, decoder.place.under(key));
        let variant = named_variant(&named, variants).inspect_err(|_| rest.hide_entries())?;
        Ok(Self {
            variant,
            content: Content::Rest(rest),
        })
    }

    fn needs_value(&self, decoder: &Decoder<'_>) -> Error {
        let variant = self.variant;
        let fault = decoder.fault(format!("`{variant}` needs a value"));
        fault.help(format!("write `{variant}: …`")).into()
    }
}

fn named_variant(
    decoder: &Decoder<'_>,
    variants: &'static [&'static str],
) -> Result<&'static str, Error> {
    let name = decoder.scalar(&one_of(variants).as_str())?.text;
    find(variants, &name).ok_or_else(|| {
        let written = decoder
            .written()
            .filter(|text| *text == name && !decoder.is_secret());
        not_one_of(decoder, variants, written).into()
    })
}

fn find(variants: &'static [&'static str], name: &str) -> Option<&'static str> {
    variants.iter().copied().find(|variant| *variant == name)
}

fn one_of(variants: &[&str]) -> String {
    format!("one of {}", words::quoted_list(variants))
}

/// `written` is the wrong name, if it may be shown.
fn not_one_of(decoder: &Decoder<'_>, variants: &[&str], written: Option<&str>) -> Fault {
    let found = written.map_or_else(|| decoder.found(), words::quoted);
    let list = words::quoted_list(variants);
    let fault = decoder.fault(format!("{found} is not one of: {list}"));
    match written.and_then(|name| words::nearest(name, variants)) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault,
    }
}

impl<'de, 'a> EnumAccess<'de> for Choice<'a> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let name: serde::de::value::StrDeserializer<'_, Error> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Choice<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content {
            Content::Nothing(_) => Ok(()),
            Content::Value(decoder) if decoder.node.is_null() => Ok(()),
            Content::Value(decoder) => Err(decoder.unexpected("nothing")),
            Content::Rest(decoder) => decoder.members(&[], IgnoredAny).map(drop),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        match &self.content {
            Content::Nothing(decoder) => Err(self.needs_value(decoder)),
            Content::Value(decoder) | Content::Rest(decoder) => seed.deserialize(decoder.clone()),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        match &self.content {
            Content::Nothing(decoder) => Err(self.needs_value(decoder)),
            Content::Value(decoder) | Content::Rest(decoder) => {
                decoder.clone().deserialize_seq(visitor)
            }
        }
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.content {
            Content::Nothing(decoder) => Err(self.needs_value(decoder)),
            Content::Value(decoder) | Content::Rest(decoder) => decoder.members(fields, visitor),
        }
    }
}
