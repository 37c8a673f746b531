//! Expressions that are evaluated for each event: predicates and templates.
//!
//! Compiled once, when the file is loaded. Steps and length are limited, so that no event makes
//! one run away.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use minijinja::value::Value;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

use super::{OPEN, syntax};

/// How many steps one evaluation may take.
const FUEL: u64 = 100_000;
/// How deep values and calls may be nested.
const DEPTH_MAX: usize = 64;
/// The longest text one evaluation may make, in bytes.
const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Each environment holds one program.
const NAME: &str = "program";

/// What an expression may ask about an event.
#[derive(Debug, Serialize)]
pub struct EventView<'a> {
    /// The body, taken apart if it is JSON or a form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<serde_json::Value>,
    /// The body as text.
    pub raw: std::borrow::Cow<'a, str>,
    /// The first value of each header, by its name in lower case.
    pub headers: BTreeMap<String, String>,
    /// The first value of each query parameter.
    pub query: BTreeMap<String, String>,
    /// What the gateway knows.
    pub event: EventFacts<'a>,
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

/// Why an expression has no value, in words that hold nothing of the event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExprError(String);

/// A condition on an event.
pub struct Predicate(Program);

impl Predicate {
    /// Compiles `body.type == 'x'`, in `${{ … }}` or without.
    ///
    /// # Errors
    /// [`ExprError`] says what is wrong with it.
    pub fn compile(text: &str) -> Result<Self, ExprError> {
        let inner = text.trim();
        let inner = inner
            .strip_prefix(OPEN)
            .and_then(|inner| inner.strip_suffix("}}"))
            .unwrap_or(inner);
        let source = format!("${{% if ({inner}) %}}1${{% endif %}}");
        // What an event lacks is not an error but something that does not hold.
        Program::compile(source, UndefinedBehavior::Chainable).map(Self)
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// [`ExprError`] when it cannot be said.
    pub fn holds(&self, event: &EventView<'_>) -> Result<bool, ExprError> {
        self.0.render(event).map(|text| !text.is_empty())
    }
}

/// A text with expressions in it.
pub struct EventTemplate(Program);

impl EventTemplate {
    /// Compiles a text with `${{ … }}` in it.
    ///
    /// # Errors
    /// [`ExprError`] says what is wrong with it.
    pub fn compile(text: &str) -> Result<Self, ExprError> {
        Program::compile(text.to_owned(), UndefinedBehavior::Strict).map(Self)
    }

    /// The text for one event.
    ///
    /// # Errors
    /// [`ExprError`], also when the event lacks something that the text asks for: half a body must
    /// not look like a whole one.
    pub fn render(&self, event: &EventView<'_>) -> Result<Vec<u8>, ExprError> {
        self.0.render(event)
    }
}

/// In words that hold nothing of the event: the engine's own may quote it.
fn describe(error: &minijinja::Error) -> ExprError {
    use minijinja::ErrorKind;
    ExprError(match error.kind() {
        ErrorKind::UndefinedError => {
            "the expression uses something that the event does not have".to_owned()
        }
        ErrorKind::OutOfFuel => "the expression takes too many steps".to_owned(),
        kind => super::describe_as(kind, error.detail()),
    })
}

struct Program {
    source: String,
    environment: Environment<'static>,
}

impl Program {
    fn compile(source: String, undefined: UndefinedBehavior) -> Result<Self, ExprError> {
        let mut environment = Environment::new();
        environment.set_syntax(syntax().map_err(ExprError)?);
        environment.set_undefined_behavior(undefined);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(DEPTH_MAX);
        environment.set_keep_trailing_newline(true);
        environment
            .add_template_owned(NAME, source.clone())
            .map_err(|error| describe(&error))?;
        Ok(Self {
            source,
            environment,
        })
    }

    fn render(&self, event: &EventView<'_>) -> Result<Vec<u8>, ExprError> {
        let failed = |error: minijinja::Error| describe(&error);
        let template = self.environment.get_template(NAME).map_err(failed)?;
        let mut text = Capped::default();
        let rendered = template.render_captured_to(Value::from_serialize(event), &mut text);
        if text.is_over {
            let message = format!("the expression makes more than {TEXT_BYTES_MAX} bytes");
            return Err(ExprError(message));
        }
        rendered.map_err(failed)?;
        Ok(text.bytes)
    }
}

/// The environment says nothing to people.
impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl fmt::Debug for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for EventTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
mod tests {
    use super::*;

    fn view(body: serde_json::Value) -> EventView<'static> {
        EventView {
            raw: body.to_string().into(),
            body: Some(body),
            headers: BTreeMap::from([("x-kind".to_owned(), "push".to_owned())]),
            query: BTreeMap::from([("a".to_owned(), "1".to_owned())]),
            event: EventFacts {
                id: "0199".into(),
                provider_event_id: Some("evt_1"),
                event_type: Some("paid"),
                route: "stripe",
                received_at: "2026-11-26T10:00:00Z".into(),
            },
        }
    }

    #[test]
    fn a_predicate_sees_the_event() {
        let check = |text: &str, expected: bool| {
            let predicate = Predicate::compile(text).unwrap();
            let event = view(serde_json::json!({"type": "paid", "amount": 5, "tags": ["a"]}));
            assert_eq!(predicate.holds(&event), Ok(expected), "{text}");
        };
        check("body.type == 'paid'", true);
        check("${{ body.type == 'paid' }}", true);
        check("body.amount > 5 or 'a' in body.tags", true);
        check("body.nothing.at.all == 1", false);
        check("headers['x-kind'] == 'push' and query.a == '1'", true);
        check("event.type == 'paid' and event.route == 'stripe'", true);
        check("event.provider_event_id != 'evt_1'", false);
    }

    #[test]
    fn a_template_makes_a_body() {
        let template =
            EventTemplate::compile(r#"{"id": ${{ body.id | tojson }}, "at": "${{ event.id }}"}"#);
        let text = template
            .unwrap()
            .render(&view(serde_json::json!({"id": "a\"b"})));
        assert_eq!(
            String::from_utf8(text.unwrap()).unwrap(),
            r#"{"id": "a\"b", "at": "0199"}"#
        );
    }

    #[test]
    fn what_runs_away_or_lacks_something_fails() {
        let check = |text: &str, part: &str| {
            let template = EventTemplate::compile(text).unwrap();
            let error = template
                .render(&view(serde_json::json!({"n": 1})))
                .unwrap_err();
            assert!(error.to_string().contains(part), "{text}: {error}");
        };
        check("${{ body.missing }}", "does not have");
        check(
            "${% for i in range(9999) %}${% for j in range(9999) %}x${% endfor %}${% endfor %}",
            "steps",
        );
        assert!(Predicate::compile("body.type ==").is_err());
        assert!(EventTemplate::compile("${{ body.a ").is_err());
    }
}
