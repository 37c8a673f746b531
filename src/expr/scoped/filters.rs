//! The filters, tests and functions that expressions of `poll:` may use, and what they may cost.
//!
//! A chosen list: what the engine brings besides, like `range`, `indent` or `batch`, makes much of
//! little, with numbers that upstream sends. What is missing (undefined or none) stays missing
//! through every filter but `default`: half a value must not look like a whole one.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use minijinja::value::{Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, filters};
use serde_json_path::JsonPath;
use sha2::{Digest, Sha256};

use super::{DEPTH_MAX, FUEL, PART_BYTES_MAX, Room, VALUE_BYTES_MAX, percent, time};

/// The filters that there are.
pub(super) const FILTERS: [&str; 49] = [
    "abs",
    "attr",
    "base64",
    "bool",
    "capitalize",
    "count",
    "d",
    "date",
    "default",
    "dictsort",
    "first",
    "float",
    "hash",
    "hmac_sha256",
    "int",
    "items",
    "join",
    "jsonpath",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "minus",
    "plus",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "rfc3339",
    "round",
    "select",
    "selectattr",
    "sha256",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "unix",
    "unix_ms",
    "upper",
    "urlencode",
];

/// The tests that there are.
pub(super) const TESTS: [&str; 24] = [
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "even",
    "false",
    "float",
    "ge",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sequence",
    "startingwith",
    "string",
];

/// The functions that there are.
pub(super) const FUNCTIONS: [&str; 1] = ["random"];

/// Lets through what may stand beside an arithmetic sign.
pub(super) const GUARD_NUMBER: &str = "guard_number";
/// Lets through what may stand beside `+` and `~`.
pub(super) const GUARD_PART: &str = "guard_part";

/// The variable in which a scope keeps its chance; no expression may name it.
pub(super) const CHANCE: &str = "chance";

/// Why a filter cannot do its work; the words hold nothing of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Its argument is wrong, whatever the value is.
    #[error("{0}")]
    Argument(&'static str),
    /// It has no answer for this value.
    #[error("{0}")]
    Value(&'static str),
    /// It would make or take more than one part of an expression may have.
    #[error("a value in the middle of the expression is too long")]
    TooLong,
}

pub(super) fn refuse(reason: FilterError) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason.to_string()).with_source(reason)
}

/// An environment for the expressions of `poll:`.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(DEPTH_MAX);
    add_builtins(&mut environment);
    add_texts(&mut environment);
    add_digests(&mut environment);
    time::add_to(&mut environment);
    environment.add_filter(GUARD_NUMBER, guard_number);
    environment.add_filter(GUARD_PART, guard_part);
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("map", map);
    environment.add_filter("jsonpath", jsonpath);
    // The engine's own ends the process when it is asked about zero.
    environment.add_test("divisibleby", |value: &Value, by: &Value| {
        let whole = |value: &Value| i64::try_from(value.clone()).ok();
        let rest = |value: i64| value.checked_rem(whole(by)?);
        whole(value).and_then(rest) == Some(0)
    });
    environment.add_function("random", random);
    environment
}

/// Whether a value is undefined or none.
pub(super) fn is_missing(value: &Value) -> bool {
    value.is_undefined() || value.is_none()
}

/// Filters of the engine that make no more than a few times what they are given.
fn add_builtins(environment: &mut Environment<'static>) {
    let builtins = [
        ("abs", Value::from_function(filters::abs)),
        ("attr", Value::from_function(filters::attr)),
        ("bool", Value::from_function(filters::bool)),
        ("capitalize", Value::from_function(filters::capitalize)),
        ("count", Value::from_function(filters::length)),
        ("dictsort", Value::from_function(filters::dictsort)),
        ("first", Value::from_function(filters::first)),
        ("float", Value::from_function(filters::float)),
        ("int", Value::from_function(filters::int)),
        ("items", Value::from_function(filters::items)),
        ("last", Value::from_function(filters::last)),
        ("length", Value::from_function(filters::length)),
        ("list", Value::from_function(filters::list)),
        ("lower", Value::from_function(filters::lower)),
        ("max", Value::from_function(filters::max)),
        ("min", Value::from_function(filters::min)),
        ("reject", Value::from_function(filters::reject)),
        ("rejectattr", Value::from_function(filters::rejectattr)),
        ("reverse", Value::from_function(filters::reverse)),
        ("round", Value::from_function(filters::round)),
        ("select", Value::from_function(filters::select)),
        ("selectattr", Value::from_function(filters::selectattr)),
        ("sort", Value::from_function(filters::sort)),
        ("sum", Value::from_function(filters::sum)),
        ("title", Value::from_function(filters::title)),
        ("trim", Value::from_function(filters::trim)),
        ("unique", Value::from_function(filters::unique)),
        ("upper", Value::from_function(filters::upper)),
    ];
    for (name, filter) in builtins {
        environment.add_filter(name, passing(filter, usize::MAX));
    }
    // A list costs many times the text that it is made of.
    environment.add_filter(
        "lines",
        passing(Value::from_function(filters::lines), PART_BYTES_MAX),
    );
    environment.add_filter(
        "split",
        passing(Value::from_function(filters::split), PART_BYTES_MAX),
    );
}

/// A filter of the engine that passes on what is missing, and takes no longer text than this.
fn passing(
    filter: Value,
    bytes_max: usize,
) -> impl Fn(&State, Rest<Value>) -> Result<Value, Error> + Send + Sync + 'static {
    move |state: &State, arguments: Rest<Value>| match arguments.first() {
        Some(value) if is_missing(value) => Ok(Value::UNDEFINED),
        Some(value) if value.as_str().is_some_and(|text| text.len() > bytes_max) => {
            Err(refuse(FilterError::TooLong))
        }
        _ => filter.call(state, &arguments),
    }
}

/// Filters from texts to texts.
fn add_texts(environment: &mut Environment<'static>) {
    environment.add_filter("urlencode", |value: &Value| {
        text(value, |bytes| {
            let text = std::str::from_utf8(bytes).ok();
            let refused = || refuse(FilterError::Value("`urlencode` takes text, not bytes"));
            text.map(percent).ok_or_else(refused)
        })
    });
    environment.add_filter("base64", |value: &Value| {
        text(value, |bytes| Ok(STANDARD.encode(bytes)))
    });
    environment.add_filter("string", |value: &Value| {
        text(value, |bytes| {
            let text = std::str::from_utf8(bytes).map(str::to_owned);
            text.map_err(|_| refuse(FilterError::Value("`string` takes no bytes")))
        })
    });
    environment.add_filter("replace", replace);
    environment.add_filter("join", join);
    environment.add_filter("tojson", |value: &Value| {
        let json = json(value).map(|json| json.to_string());
        json.map(Value::from)
    });
}

/// Filters that make a digest, in hexadecimal.
fn add_digests(environment: &mut Environment<'static>) {
    environment.add_filter("sha256", |value: &Value| {
        text(value, |bytes| Ok(hex::encode(Sha256::digest(bytes))))
    });
    environment.add_filter("hmac_sha256", |value: &Value, key: &Value| {
        let refused = || refuse(FilterError::Value("`hmac_sha256` takes a key"));
        let key = bytes_of(key).ok_or_else(refused)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| refused())?;
        text(value, |bytes| {
            mac.update(bytes);
            Ok(hex::encode(mac.finalize().into_bytes()))
        })
    });
    environment.add_filter("hash", |value: &Value| {
        if is_missing(value) {
            return Ok(Value::UNDEFINED);
        }
        let canonical = sorted(json(value)?).to_string();
        Ok(Value::from(hex::encode(Sha256::digest(canonical))))
    });
}

/// A text made of a text or bytes; what is missing stays missing.
fn text(
    value: &Value,
    filter: impl FnOnce(&[u8]) -> Result<String, Error>,
) -> Result<Value, Error> {
    if is_missing(value) {
        return Ok(Value::UNDEFINED);
    }
    let refused = || {
        refuse(FilterError::Value(
            "the filter takes a text: `tojson` makes one of a list",
        ))
    };
    let bytes = bytes_of(value).ok_or_else(refused)?;
    filter(&bytes).map(Value::from)
}

/// The bytes of what has some: a list or a mapping has none before it is written as JSON.
fn bytes_of(value: &Value) -> Option<Vec<u8>> {
    match value.kind() {
        ValueKind::String | ValueKind::Bytes => value.as_bytes().map(<[u8]>::to_vec),
        ValueKind::Number | ValueKind::Bool => Some(value.to_string().into_bytes()),
        _ => None,
    }
}

fn json(value: &Value) -> Result<serde_json::Value, Error> {
    let refused = |error: serde_json::Error| {
        refuse(match error.is_io() {
            true => FilterError::TooLong,
            false => FilterError::Value("the value cannot be written as JSON"),
        })
    };
    serde_json::to_writer(Room(VALUE_BYTES_MAX), value).map_err(refused)?;
    serde_json::to_value(value).map_err(refused)
}

/// The document with the keys of every mapping in the order of their bytes.
fn sorted(json: serde_json::Value) -> serde_json::Value {
    match json {
        serde_json::Value::Object(fields) => {
            let mut fields: Vec<_> = fields.into_iter().collect();
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            let fields = fields.into_iter().map(|(key, value)| (key, sorted(value)));
            serde_json::Value::Object(fields.collect())
        }
        serde_json::Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

fn replace(value: &Value, from: &str, to: &str) -> Result<Value, Error> {
    if is_missing(value) {
        return Ok(Value::UNDEFINED);
    }
    let refused = || refuse(FilterError::Value("`replace` takes a text"));
    let text = value.as_str().ok_or_else(refused)?;
    let found = text.matches(from).count();
    let grown = to.len().saturating_sub(from.len()).saturating_mul(found);
    match text.len().saturating_add(grown) {
        ..=PART_BYTES_MAX => Ok(Value::from(text.replace(from, to))),
        _ => Err(refuse(FilterError::TooLong)),
    }
}

fn join(value: &Value, between: Option<&str>) -> Result<Value, Error> {
    if is_missing(value) {
        return Ok(Value::UNDEFINED);
    }
    let refused = |_| refuse(FilterError::Value("`join` takes a list"));
    let items = value.try_iter().map_err(refused)?;
    let mut joined = Part::default();
    for (index, item) in items.enumerate() {
        let separator = between.filter(|_| index > 0).unwrap_or_default();
        write!(joined, "{separator}{item}").map_err(|_| refuse(FilterError::TooLong))?;
    }
    Ok(Value::from(joined.0))
}

/// Takes so many bytes and no more.
#[derive(Default)]
struct Part(String);

impl std::fmt::Write for Part {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if self.0.len() + text.len() > PART_BYTES_MAX {
            return Err(std::fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// `list | map(attribute='a.b')`. Filters are not applied to each item: their steps are not counted.
fn map(value: &Value, arguments: Rest<Value>) -> Result<Value, Error> {
    let reason = "`map` takes an attribute, like `map(attribute='id')`";
    let named = match arguments.as_slice() {
        [named] if named.is_kwargs() && named.len() == Some(1) => named.get_attr("attribute")?,
        _ => Value::UNDEFINED,
    };
    let refused = || refuse(FilterError::Argument(reason));
    let path = named.as_str().ok_or_else(refused)?;
    if is_missing(value) {
        return Ok(Value::UNDEFINED);
    }
    let refused = |_| refuse(FilterError::Value("`map` takes a list"));
    let items = value.try_iter().map_err(refused)?;
    let found = items.map(|item| {
        path.split('.').fold(item, |item, name| {
            item.get_attr(name).unwrap_or(Value::UNDEFINED)
        })
    });
    Ok(found.collect::<Vec<_>>().into())
}

/// All that a path finds, as a list; `first` takes the only one.
fn jsonpath(value: &Value, text: &str) -> Result<Value, Error> {
    let path = path(text).map_err(refuse)?;
    if is_missing(value) {
        return Ok(Value::UNDEFINED);
    }
    let json = json(value)?;
    let found = path.query(&json).all();
    // What is deep in a document may be found once for each level above it.
    let mut room = Room(VALUE_BYTES_MAX);
    for node in &found {
        let written = serde_json::to_writer(&mut room, node);
        written.map_err(|_| refuse(FilterError::TooLong))?;
    }
    Ok(Value::from_serialize(found))
}

/// A path that finds no more than there is: with two descents it finds the same again and again, and
/// upstream says how often.
pub(super) fn path(text: &str) -> Result<JsonPath, FilterError> {
    if text.matches("..").count() > 1 {
        let reason = "`jsonpath` takes a path with one `..` at most";
        return Err(FilterError::Argument(reason));
    }
    JsonPath::parse(text)
        .map_err(|_| FilterError::Argument("`jsonpath` has no JSONPath in its quotes"))
}

/// `value | default(other)`, also for none: JSON writes what is missing as null.
fn default(value: &Value, other: Option<Value>) -> Value {
    match is_missing(value) {
        true => other.unwrap_or_else(|| Value::from("")),
        false => value.clone(),
    }
}

/// A whole number below `n`.
fn random(state: &State, n: u32) -> Result<Value, Error> {
    if n == 0 {
        let reason = "`random(n)` chooses among the whole numbers below `n`, which is at least 1";
        return Err(refuse(FilterError::Argument(reason)));
    }
    let chance = state
        .lookup(CHANCE)
        .and_then(|chance| f64::try_from(chance).ok());
    let chance = chance.ok_or_else(|| refuse(FilterError::Value("there is no chance here")))?;
    // A duration cuts the fraction off, within the limits of both kinds of number.
    let cut = std::time::Duration::try_from_secs_f64(f64::from(n) * chance);
    let whole = cut.map_or(0, |cut| cut.as_secs());
    Ok(Value::from(whole.min(u64::from(n - 1))))
}

/// What is missing on one side of an operator makes the whole expression missing.
fn missing() -> Error {
    Error::from(ErrorKind::UndefinedError)
}

fn guard_number(value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => Err(missing()),
        ValueKind::Number | ValueKind::Bool => Ok(value.clone()),
        _ => Err(refuse(FilterError::Value(
            "`* / // % ** -` take numbers: `value | int` makes one of a text",
        ))),
    }
}

fn guard_part(value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => Err(missing()),
        ValueKind::Number | ValueKind::Bool => Ok(value.clone()),
        ValueKind::String
            if value
                .as_str()
                .is_some_and(|text| text.len() <= PART_BYTES_MAX) =>
        {
            Ok(value.clone())
        }
        ValueKind::String => Err(refuse(FilterError::TooLong)),
        _ => Err(refuse(FilterError::Value(
            "`+` and `~` take texts and numbers: write a list with `join` or `tojson`",
        ))),
    }
}
