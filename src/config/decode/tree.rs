//! Values of any form, with their places and with their expressions kept: JSON that is made anew for
//! each request.

use std::fmt;
use std::iter;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Number;

use super::decoder::Decoder;
use super::error::Error;
use super::scalar::visit_plain;
use super::shapes::{Entries, Field, TREE, Template};
use crate::config::yaml::Kind;

/// A value of any form. What is written without quotes is null, a truth value or a number if JSON
/// would read it as one (`01234` and `0x1F` are texts); what is written with quotes, or holds
/// `${{ … }}`, is a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text, whose expressions are kept.
    Text(Template),
    /// A list.
    List(Vec<Field<Tree>>),
    /// A mapping, in the order of the file. Its keys are names: they hold no expressions.
    Map(Entries<Tree>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(TREE, TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
        Ok(Tree::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
        Ok(Tree::Number(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Tree, E> {
        let number = Number::from_f64(number);
        number
            .map(Tree::Number)
            .ok_or_else(|| E::custom("JSON has no such number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(Template(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let next = || items.next_element().transpose();
        iter::from_fn(next)
            .collect::<Result<_, _>>()
            .map(Tree::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Tree, A::Error> {
        Entries::deserialize(MapAccessDeserializer::new(map)).map(Tree::Map)
    }
}

impl Decoder<'_> {
    /// The value as what it is written as, with its expressions left in it.
    pub(super) fn tree<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Scalar { text, plain } if !self.node.is_null() => {
                let visited = if *plain && !self.is_expression() {
                    visit_plain(text, visitor)
                } else {
                    visitor.visit_str(text)
                };
                visited.map_err(|error| self.placed(error, text))
            }
            _ => self.deserialize_any(visitor),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::decode;
    use super::*;
    use crate::config::fault::Fault;
    use crate::config::yaml;

    #[derive(Deserialize)]
    struct File {
        tree: Field<Tree>,
    }

    /// The tree of a file, and what is wrong with it.
    fn read(source: &str) -> (Field<Tree>, Vec<Fault>) {
        let parsed = yaml::parse(source);
        let (mut faults, root) = (parsed.faults, parsed.root.expect("YAML"));
        let expand = |text: &str| -> Result<String, String> { panic!("`{text}` was evaluated") };
        let (file, found, _) = decode::<File>(&root, &expand);
        faults.extend(found);
        (file.expect("a file").tree, faults)
    }

    fn tree(written: &str) -> Tree {
        let (tree, faults) = read(&format!("tree: {written}\n"));
        assert_eq!(faults.len(), 0, "{written}");
        tree.into_inner().expect("a tree")
    }

    fn json_of(tree: &Tree) -> Value {
        let inner = |field: &Field<Tree>| json_of(field.get().expect("a value"));
        match tree {
            Tree::Null => Value::Null,
            Tree::Bool(value) => (*value).into(),
            Tree::Number(number) => number.clone().into(),
            Tree::Text(Template(text)) => text.as_str().into(),
            Tree::List(items) => items.iter().map(inner).collect(),
            Tree::Map(entries) => {
                let entries = entries.iter();
                entries
                    .map(|(key, field)| (key.name.clone(), inner(field)))
                    .collect()
            }
        }
    }

    #[test]
    fn a_value_is_what_it_is_written_as() {
        let check = |written: &str, expected: Value| {
            assert_eq!(json_of(&tree(written)), expected, "{written}");
        };
        check("~", Value::Null);
        check("null", Value::Null);
        check("", Value::Null);
        check("true", json!(true));
        check("False", json!(false));
        check("100", json!(100));
        check("-7", json!(-7));
        check("1.5", json!(1.5));
        check("18446744073709551615", json!(u64::MAX));
        check("[1, [true, ~], {}]", json!([1, [true, null], {}]));
        check("{z: 1, a: {b: x}}", json!({"z": 1, "a": {"b": "x"}}));
    }

    #[test]
    fn what_json_would_not_read_as_a_number_is_a_text() {
        for written in [
            "01234", "0x1F", "1_000", "+1", ".5", ".inf", "5.199.1", "yes", "no",
        ] {
            let expected = Tree::Text(Template(written.to_owned()));
            assert_eq!(tree(written), expected, "{written}");
        }
    }

    #[test]
    fn quotes_make_a_text() {
        for text in ["1", "true", "null", "~", ""] {
            let expected = Tree::Text(Template(text.to_owned()));
            assert_eq!(tree(&format!("'{text}'")), expected, "{text}");
            assert_eq!(tree(&format!("\"{text}\"")), expected, "{text}");
        }
    }

    #[test]
    fn expressions_are_kept_as_they_are() {
        let check = |written: &str, text: &str| {
            assert_eq!(tree(written), Tree::Text(Template(text.to_owned())));
        };
        check("${{ cursor }}", "${{ cursor }}");
        check("'${{ last + 1 }}'", "${{ last + 1 }}");
        check("1${{ cursor }}", "1${{ cursor }}");
        let Tree::Map(entries) = tree("{a: ['${{ secret.gone }}']}") else {
            panic!("no mapping");
        };
        let Some(Tree::List(items)) = entries.get("a").and_then(Field::get) else {
            panic!("no list");
        };
        let kept = Tree::Text(Template("${{ secret.gone }}".to_owned()));
        assert_eq!(items.first().and_then(Field::get), Some(&kept));
    }

    #[test]
    fn every_value_has_its_place() {
        let source = "tree: {a: [x, ' y ']}\n";
        let (tree, _) = read(source);
        let at = |field: &Field<Tree>| &source[field.span.start..field.span.end];
        assert_eq!(at(&tree), "{a: [x, ' y ']}");
        let Some(Tree::Map(entries)) = tree.get() else {
            panic!("no mapping");
        };
        let list = entries.get("a").expect("a list");
        assert_eq!(at(list), "[x, ' y ']");
        let Some(Tree::List(items)) = list.get() else {
            panic!("no list");
        };
        assert_eq!(items.iter().map(at).collect::<Vec<_>>(), ["x", "' y '"]);
    }

    #[test]
    fn a_repeated_key_is_a_fault_and_its_first_value_counts() {
        let (tree, faults) = read("tree: {a: 1, b: 2, a: 3}\n");
        let tree = tree.into_inner().expect("a tree");
        assert_eq!(json_of(&tree), json!({"a": 1, "b": 2}));
        assert_eq!(faults.len(), 1);
    }
}
