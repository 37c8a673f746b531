//! serde's view of a value: which question of a type is answered by which part of this module.

use serde::de::{Expected, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

use super::access::{Content, Items, Pairs, Spanned};
use super::choice::Choice;
use super::decoder::Decoder;
use super::error::Error;
use super::scalar::{Boolean, Number};
use super::shapes::{FIELD, ONE_OR_MANY, SECRET_TEMPLATE, TEMPLATE, TEMPLATE_OR, TEXT_OR, TREE};
use crate::config::yaml::Kind;

macro_rules! whole_numbers {
    ($($deserialize:ident $visit:ident $number:ty),+ $(,)?) => {
        $(fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.parsed(visitor, |visitor, number: $number| visitor.$visit(number))
        })+
    };
}

impl<'de> Deserializer<'de> for Decoder<'_> {
    type Error = Error;

    whole_numbers! {
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.parsed(visitor, |visitor, Number(number)| visitor.visit_f64(number))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.parsed(visitor, |visitor, Boolean(value)| visitor.visit_bool(value))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.text(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.text(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.text(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.text(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Sequence(_) => self.deserialize_seq(visitor),
            Kind::Mapping(_) => self.deserialize_map(visitor),
            Kind::Scalar { .. } if self.node.is_null() => visitor
                .visit_unit()
                .map_err(|error| self.placed_whole(error)),
            Kind::Scalar { .. } => self.untyped(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        if self.node.is_null() && !self.place.member {
            return visitor.visit_none();
        }
        self.place.member = false;
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.node.is_null() {
            visitor.visit_unit()
        } else {
            Err(self.unexpected("nothing"))
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.place.member = false;
        match (name, &self.node.kind) {
            (FIELD, _) => visitor.visit_seq(Spanned::new(self.span(), Content::Value(self))),
            (ONE_OR_MANY, Kind::Sequence(items)) => {
                visitor.visit_seq(Items::new(self.clone(), items))
            }
            (TEXT_OR, Kind::Scalar { .. }) => self.text(visitor),
            (TEMPLATE_OR, Kind::Scalar { .. }) | (TEMPLATE, _) => self.template(visitor),
            (SECRET_TEMPLATE, _) => {
                self.hide(self.node);
                self.template(visitor)
            }
            (TREE, _) => self.tree(visitor),
            _ => {
                let whole = self.clone();
                visitor
                    .visit_newtype_struct(self)
                    .map_err(|error| whole.placed_whole(error))
            }
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Sequence(items) => {
                let access = Items::new(self.clone(), items);
                visitor
                    .visit_seq(access)
                    .map_err(|error| self.placed_whole(error))
            }
            _ => Err(self.unexpected_whole(&(&visitor as &dyn Expected).to_string())),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.entries() {
            Some(entries) => {
                let access = Pairs::free(self.clone(), entries);
                visitor
                    .visit_map(access)
                    .map_err(|error| self.placed_whole(error))
            }
            None => Err(self.unexpected_whole(&(&visitor as &dyn Expected).to_string())),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.members(fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let choice = Choice::find(&self, name, variants)?;
        visitor
            .visit_enum(choice)
            .map_err(|error| self.placed_whole(error))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { i128 u128 identifier }
}
