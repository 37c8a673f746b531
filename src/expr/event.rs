//! Expressions that are evaluated for each event: predicates and templates.
//!
//! Compiled once, when the file is loaded. Steps and length are limited, so that no event makes
//! one run away.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, LazyLock};

use minijinja::value::{Enumerator, Object, Value};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Expression, Output, State, UndefinedBehavior,
};
use serde::Serialize;

use super::{OPEN, is_left_open, syntax};

/// How many steps one evaluation may take.
const FUEL: u64 = 100_000;
/// How deep values and calls may be nested.
const DEPTH_MAX: usize = 64;
/// The longest text one evaluation may make, in bytes.
const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The most numbers of a range.
const RANGE_MAX: u32 = 10_000;
/// The variables there are.
const VARIABLES: [&str; 9] = [
    "body",
    "raw",
    "headers",
    "query",
    "event",
    "item",
    "change",
    "previous",
    "partition",
];

/// What an expression may ask about an event.
#[derive(Debug, Serialize)]
pub struct EventView<'a> {
    /// The body, taken apart if it is JSON or a form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<serde_json::Value>,
    /// The body as text.
    pub raw: std::borrow::Cow<'a, str>,
    /// The first value of each header, by its name in any case; [`headers`] makes it.
    pub headers: Value,
    /// The first value of each query parameter.
    pub query: BTreeMap<String, String>,
    /// What the gateway knows.
    pub event: EventFacts<'a>,
    /// What only an event that a poll has found has.
    #[serde(flatten)]
    pub found: Option<FoundFacts<'a>>,
}

/// What an event has that a poll has found.
#[derive(Debug, Serialize)]
pub struct FoundFacts<'a> {
    /// The item.
    pub item: Option<serde_json::Value>,
    /// What has happened to it.
    pub change: Option<&'a str>,
    /// What it was before.
    pub previous: Option<&'a serde_json::Value>,
    /// What its source was asked for.
    pub partition: Option<&'a serde_json::Value>,
}

/// What the gateway knows about an event.
#[derive(Debug, Serialize)]
pub struct EventFacts<'a> {
    /// Its id.
    pub id: String,
    /// The provider's id of it.
    pub provider_event_id: Option<&'a str>,
    /// The provider's type of it.
    #[serde(rename = "type")]
    pub event_type: Option<&'a str>,
    /// The route that took it.
    pub route: &'a str,
    /// When it was received, in RFC 3339.
    pub received_at: String,
}

/// Why an expression cannot be used, in words about the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// It is no expression.
    #[error("line {line} of the expression: {detail}")]
    Syntax {
        /// The line within it, from 1.
        line: usize,
        /// What was found.
        detail: String,
    },
    /// Its end is missing.
    #[error("the expression has no end: write `}}}}` after it")]
    NoEnd,
    /// There is nothing in it: no event would be wanted.
    #[error("the expression is empty")]
    Empty,
    /// Something stands beside the expression: it would be a text, neither true nor false.
    #[error("text stands beside the expression: together they are neither true nor false")]
    NotOne,
    /// A variable that no event has: it would hold for none.
    #[error("there is no variable `{0}`")]
    Unknown(String),
    /// The engine cannot be set up.
    #[error("{0}")]
    Engine(String),
}

/// Why an expression has no value for an event, in words that hold nothing of the event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    /// It uses something that the event does not have.
    #[error("line {line} of the expression uses something that the event does not have")]
    Missing {
        /// The line within it, from 1.
        line: usize,
    },
    /// It takes too many steps.
    #[error("the expression takes too many steps")]
    TooManySteps,
    /// It makes more than may be sent.
    #[error("the expression makes more than {TEXT_BYTES_MAX} bytes")]
    TooLong,
    /// It should make JSON, and makes something else of this event.
    #[error("what the expression makes of the event is not JSON")]
    NotJson,
    /// It does something that does not go with the event.
    #[error("line {line} of the expression: {kind}")]
    Failed {
        /// The line within it, from 1.
        line: usize,
        /// The kind of the trouble. The engine's own details may quote the event.
        kind: String,
    },
}

/// A condition on an event.
pub struct Predicate {
    source: String,
    expression: Expression<'static, 'static>,
}

/// What an event lacks is not an error but something that does not hold.
static PREDICATES: LazyLock<Environment<'static>> =
    LazyLock::new(|| limited(UndefinedBehavior::Chainable));

impl Predicate {
    /// Compiles `body.type == 'x'`, in `${{ … }}` or without.
    ///
    /// # Errors
    /// [`ExpressionError`] says what is wrong with it.
    pub fn compile(text: &str) -> Result<Self, ExpressionError> {
        let source = alone(text)?.to_owned();
        let expression = PREDICATES
            .compile_expression_owned(source.clone())
            .map_err(|error| refused(&error))?;
        check_variables(&PREDICATES, expression.undeclared_variables(false))?;
        check_calls(expression.eval(EventView::nothing()).err())?;
        Ok(Self { source, expression })
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// [`ExprError`] when it cannot be said.
    pub fn holds(&self, event: &EventView<'_>) -> Result<bool, ExprError> {
        let found = self.expression.eval(event);
        found
            .map(|value| value.is_true())
            .map_err(|error| failed(&error))
    }
}

/// An expression whose value is a text.
pub struct EventFormula(Predicate);

impl EventFormula {
    /// Compiles `'150s' if item.callback_query else '24h'`, in `${{ … }}` or without.
    ///
    /// # Errors
    /// [`ExpressionError`] says what is wrong with it.
    pub fn compile(text: &str) -> Result<Self, ExpressionError> {
        Predicate::compile(text).map(Self)
    }

    /// What it says of an event.
    ///
    /// # Errors
    /// [`ExprError`] when it cannot be said.
    pub fn text(&self, event: &EventView<'_>) -> Result<String, ExprError> {
        let found = self.0.expression.eval(event);
        let value = found.map_err(|error| failed(&error))?;
        Ok(value.to_string())
    }
}

impl fmt::Debug for EventFormula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EventFormula").field(&self.0.source).finish()
    }
}

/// A text with expressions in it.
pub struct EventTemplate {
    source: String,
    environment: Environment<'static>,
}

/// What a template makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Any text; values are written as they are.
    Text,
    /// JSON. A text of the event is escaped as it must be between quotes, and lists and mappings are
    /// written as JSON, so that no value breaks out of its place.
    Json,
}

impl Form {
    /// The form of a media type.
    pub fn of(content_type: &[u8]) -> Self {
        let media = content_type.split(|&byte| byte == b';').next();
        let media = media.unwrap_or_default().trim_ascii().to_ascii_lowercase();
        if media == b"application/json" || media.ends_with(b"+json") {
            Self::Json
        } else {
            Self::Text
        }
    }

    /// The name under which the engine knows a template that is written in this form.
    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => JSON,
        }
    }
}

const JSON: &str = "json";

impl EventTemplate {
    /// Compiles a text with `${{ … }}` in it.
    ///
    /// # Errors
    /// [`ExpressionError`] says what is wrong with it.
    pub fn compile(text: &str) -> Result<Self, ExpressionError> {
        let mut environment = limited(UndefinedBehavior::SemiStrict);
        environment.set_syntax(syntax().map_err(ExpressionError::Engine)?);
        environment.set_keep_trailing_newline(true);
        environment.set_auto_escape_callback(|name| match name {
            JSON => AutoEscape::Json,
            _ => AutoEscape::None,
        });
        environment.set_formatter(write_value);
        if is_left_open(text) {
            return Err(ExpressionError::NoEnd);
        }
        for form in [Form::Text, Form::Json] {
            environment
                .add_template_owned(form.name(), text.to_owned())
                .map_err(|error| refused(&error))?;
        }
        let template = environment
            .get_template(Form::Text.name())
            .map_err(|error| refused(&error))?;
        check_variables(&environment, template.undeclared_variables(false))?;
        check_calls(template.render(EventView::nothing()).err())?;
        Ok(Self {
            source: text.to_owned(),
            environment,
        })
    }

    /// The text for one event.
    ///
    /// # Errors
    /// [`ExprError`], also when the event lacks something that the text asks for: half a body must
    /// not look like a whole one.
    pub fn render(&self, event: &EventView<'_>, form: Form) -> Result<Vec<u8>, ExprError> {
        let template = self.environment.get_template(form.name());
        let template = template.map_err(|error| failed(&error))?;
        let mut text = Capped::default();
        let rendered = template.render_captured_to(Value::from_serialize(event), &mut text);
        if text.is_over {
            return Err(ExprError::TooLong);
        }
        rendered.map_err(|error| failed(&error))?;
        let is_json = |bytes| serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
        if form == Form::Json && !is_json(&text.bytes) {
            return Err(ExprError::NotJson);
        }
        Ok(text.bytes)
    }
}

impl EventView<'_> {
    /// An event that has nothing, to try an expression with.
    fn nothing() -> Self {
        Self {
            body: Some(serde_json::json!({})),
            raw: "{}".into(),
            headers: headers([]),
            query: BTreeMap::new(),
            event: EventFacts {
                id: String::new(),
                provider_event_id: None,
                event_type: None,
                route: "",
                received_at: String::new(),
            },
            found: None,
        }
    }
}

/// Headers as expressions see them: the first value of each, by its name in any case.
pub fn headers(lines: impl IntoIterator<Item = (String, String)>) -> Value {
    let mut first = BTreeMap::new();
    for (name, value) in lines {
        first.entry(name.to_ascii_lowercase()).or_insert(value);
    }
    Value::from_object(Named(first))
}

#[derive(Debug)]
struct Named(BTreeMap<String, String>);

impl Object for Named {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?.to_ascii_lowercase();
        self.0.get(&name).map(|value| Value::from(value.as_str()))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let names = self.0.keys().map(|name| Value::from(name.as_str()));
        Enumerator::Values(names.collect())
    }
}

/// Filters of the engine that a number of an event would make allocate without end, or panic.
const UNBOUNDED_FILTERS: [&str; 3] = ["indent", "batch", "slice"];

fn limited(undefined: UndefinedBehavior) -> Environment<'static> {
    let mut environment = Environment::new();
    for name in UNBOUNDED_FILTERS {
        environment.remove_filter(name);
    }
    environment.remove_test("divisibleby");
    environment.add_function("range", range);
    environment.set_undefined_behavior(undefined);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(DEPTH_MAX);
    environment
}

/// Numbers one after the other. The engine's own function takes steps too, and panics on some.
fn range(from: u32, to: Option<u32>) -> Result<Vec<u32>, Error> {
    let (from, to) = to.map_or((0, from), |to| (from, to));
    if to.saturating_sub(from) > RANGE_MAX {
        let detail = format!("a range of more than {RANGE_MAX} numbers");
        return Err(Error::new(ErrorKind::InvalidOperation, detail));
    }
    Ok((from..to).collect())
}

/// The one expression of a text, without the `${{ … }}` around it.
fn alone(text: &str) -> Result<&str, ExpressionError> {
    let text = text.trim();
    let source = match text.split_once(OPEN) {
        None => text,
        Some(_) if is_left_open(text) => return Err(ExpressionError::NoEnd),
        Some(("", rest)) if !rest.contains(OPEN) => {
            rest.strip_suffix("}}").ok_or(ExpressionError::NotOne)?
        }
        Some(_) => return Err(ExpressionError::NotOne),
    };
    match source.trim() {
        "" => Err(ExpressionError::Empty),
        source => Ok(source),
    }
}

fn check_variables(
    environment: &Environment<'_>,
    used: impl IntoIterator<Item = String>,
) -> Result<(), ExpressionError> {
    let is_known = |name: &String| {
        let mut functions = environment.globals();
        VARIABLES.contains(&name.as_str()) || functions.any(|(known, _)| known == name)
    };
    // The first by name, so that a file has the same fault each time.
    let unknown = used.into_iter().filter(|name| !is_known(name)).min();
    unknown.map_or(Ok(()), |name| Err(ExpressionError::Unknown(name)))
}

/// The engine looks filters, tests and functions up when it comes to them: one try finds those that
/// every event comes to.
fn check_calls(error: Option<Error>) -> Result<(), ExpressionError> {
    match error {
        Some(error)
            if matches!(
                error.kind(),
                ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction
            ) =>
        {
            Err(refused(&error))
        }
        Some(_) | None => Ok(()),
    }
}

fn refused(error: &Error) -> ExpressionError {
    ExpressionError::Syntax {
        line: error.line().unwrap_or(1),
        detail: error
            .detail()
            .map_or_else(|| error.kind().to_string(), str::to_owned),
    }
}

fn failed(error: &Error) -> ExprError {
    let line = error.line().unwrap_or(1);
    match error.kind() {
        ErrorKind::UndefinedError => ExprError::Missing { line },
        ErrorKind::OutOfFuel => ExprError::TooManySteps,
        kind => ExprError::Failed {
            line,
            kind: kind.to_string(),
        },
    }
}

fn write_value(out: &mut Output<'_>, state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    // What `tojson` made is JSON already.
    if !matches!(state.auto_escape(), AutoEscape::Json) || value.is_safe() {
        return write!(out, "{value}").map_err(Error::from);
    }
    let json = serde_json::to_string(value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    let between_quotes = json
        .strip_prefix('"')
        .and_then(|json| json.strip_suffix('"'));
    write!(out, "{}", between_quotes.unwrap_or(&json)).map_err(Error::from)
}

impl fmt::Debug for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl fmt::Debug for EventTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// Takes so many bytes and no more.
#[derive(Default)]
struct Capped {
    bytes: Vec<u8>,
    is_over: bool,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > TEXT_BYTES_MAX {
            self.is_over = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
