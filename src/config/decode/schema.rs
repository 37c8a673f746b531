//! The JSON Schema of the shapes: that of the value inside, with what the shape adds.

use std::borrow::Cow;

use schemars::transform::transform_subschemas;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::shapes::{Entries, Field, OneOrMany, SecretTemplate, Template, TemplateOr, TextOr};
use super::tree::Tree;

/// Takes `null` out of the optional properties of a schema: in a file, a key without a value is a
/// fault, while schemars lets every `Option` be null.
pub fn forbid_null_members(schema: &mut Schema) {
    let optional = optional_members(schema);
    if let Some(Value::Object(members)) = schema.get_mut("properties") {
        let members = members
            .iter_mut()
            .filter(|(name, _)| optional.contains(name));
        members.for_each(|(_, member)| forbid_null(member));
    }
    transform_subschemas(&mut forbid_null_members, schema);
}

fn optional_members(schema: &Schema) -> Vec<String> {
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|names| names.contains(&name.into()));
    let members = schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    members
        .map(|(name, _)| name.clone())
        .filter(|name| !is_required(name))
        .collect()
}

fn forbid_null(member: &mut Value) {
    if let Some(Value::Array(types)) = member.get_mut("type") {
        types.retain(|name| name != "null");
    }
    if let Some(Value::Array(choices)) = member.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
    }
}

/// Lets `${{ … }}` stand where a number, a truth value, a unit or one of several words is asked
/// for: an expression can make any of them.
pub fn allow_expressions(schema: &mut Schema) {
    transform_subschemas(&mut allow_expressions, schema);
    let expression = json!({"type": "string", "pattern": r"\$\{\{"});
    let is_scalar = |name: &Value| matches!(name.as_str(), Some("integer" | "number" | "boolean"));
    let types = match schema.get("type") {
        Some(Value::Array(types)) => types.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    };
    let is_word = |choice: &Value| choice.get("const").is_some_and(Value::is_string);
    let words = schema.get("oneOf").and_then(Value::as_array);
    if words.is_some_and(|choices| choices.iter().any(is_word)) {
        if let Some(Value::Array(choices)) = schema.get_mut("oneOf") {
            choices.push(expression);
        }
        return;
    }
    let is_closed_text = schema.get("pattern").is_some() || schema.get("enum").is_some();
    if types.iter().any(is_scalar) || is_closed_text {
        let description = schema.remove("description");
        let plain = std::mem::take(schema);
        *schema = json_schema!({"anyOf": [plain, expression]});
        if let Some(description) = description {
            schema.insert("description".to_owned(), description);
        }
    }
}

impl<T: JsonSchema> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn schema_id() -> Cow<'static, str> {
        format!("OneOrMany<{}>", T::schema_id()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

impl<T: JsonSchema> JsonSchema for Entries<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Entries_{}", T::schema_name()).into()
    }

    fn schema_id() -> Cow<'static, str> {
        format!("Entries<{}>", T::schema_id()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "type": "object", "additionalProperties": value })
    }
}

impl<T: JsonSchema> JsonSchema for TextOr<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("TextOr_{}", T::schema_name()).into()
    }

    fn schema_id() -> Cow<'static, str> {
        format!("TextOr<{}>", T::schema_id()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let full = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "type": "string" }, full] })
    }
}

impl JsonSchema for Template {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

impl<T: JsonSchema> JsonSchema for TemplateOr<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("TemplateOr_{}", T::schema_name()).into()
    }

    fn schema_id() -> Cow<'static, str> {
        format!("TemplateOr<{}>", T::schema_id()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        TextOr::<T>::json_schema(generator)
    }
}

impl JsonSchema for SecretTemplate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SecretTemplate".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Template::json_schema(generator)
    }
}

impl JsonSchema for Tree {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Tree".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!(true)
    }
}
