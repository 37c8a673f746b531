//! `${{ … }}`: expressions in the file, evaluated when it is loaded; [`event`] has those that are
//! evaluated for each event.
//!
//! MiniJinja with a fuel limit; `env.NAME` and `secret.NAME` are the only variables.

pub mod event;
pub mod scoped;

use std::fmt;
use std::sync::{Arc, Mutex};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Enumerator, Object, Value};
use minijinja::{Environment, UndefinedBehavior};

use crate::secret::{Secret, SecretSource};

/// What begins an expression.
pub const OPEN: &str = "${{";

/// How many steps one expression may take.
const FUEL: u64 = 10_000;
/// The longest text an expression may make, in bytes.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// The shortest secret that is looked for in other texts, in bytes: a shorter one would be found in
/// every sentence, and keeps nothing secret.
const MASKED_BYTES_MIN: usize = 4;

/// Evaluates the expressions of one file.
pub struct Expander {
    environment: Environment<'static>,
    trouble: Arc<Mutex<Option<String>>>,
    revealed: Arc<Mutex<Vec<Secret>>>,
}

impl Expander {
    /// Looks variables and secrets up in `source`.
    ///
    /// # Errors
    /// When the template engine refuses the delimiters.
    pub fn new(source: Arc<SecretSource>) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_syntax(syntax()?);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_keep_trailing_newline(true);
        let trouble = Arc::new(Mutex::new(None));
        let revealed = Arc::new(Mutex::new(Vec::new()));
        let lookup = |kind| Lookup {
            kind,
            source: source.clone(),
            trouble: trouble.clone(),
            revealed: revealed.clone(),
        };
        environment.add_global("env", Value::from_object(lookup(Kind::Variable)));
        environment.add_global("secret", Value::from_object(lookup(Kind::Secret)));
        Ok(Self {
            environment,
            trouble,
            revealed,
        })
    }

    /// The text with its expressions evaluated.
    ///
    /// # Errors
    /// What went wrong, in words that never hold a secret.
    pub fn expand(&self, text: &str) -> Result<String, String> {
        self.note(None);
        let expanded = self.environment.render_str(text, ());
        let trouble = self
            .trouble
            .lock()
            .ok()
            .and_then(|mut trouble| trouble.take());
        match expanded {
            Ok(text) if text.len() > TEXT_BYTES_MAX => Err(format!(
                "the expression makes more than {TEXT_BYTES_MAX} bytes"
            )),
            Ok(text) => Ok(text),
            Err(_) if is_left_open(text) => {
                Err("the expression has no end: write `}}` after it".to_owned())
            }
            Err(error) => Err(trouble.unwrap_or_else(|| describe(&error))),
        }
    }

    /// A text about the file, with every secret masked that an expression named so far. A secret may
    /// have been named in a place whose values are quoted.
    pub fn masked(&self, text: &str) -> String {
        let Ok(revealed) = self.revealed.lock() else {
            return "***".to_owned();
        };
        let long = revealed.iter().map(Secret::expose);
        long.filter(|secret| secret.len() >= MASKED_BYTES_MIN)
            .fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }

    fn note(&self, text: Option<String>) {
        if let Ok(mut trouble) = self.trouble.lock() {
            *trouble = text;
        }
    }
}

/// How expressions are set apart from the text around them.
fn syntax() -> Result<SyntaxConfig, String> {
    SyntaxConfig::builder()
        .variable_delimiters(OPEN, "}}")
        .block_delimiters("${%", "%}")
        .comment_delimiters("${#", "#}")
        .build()
        .map_err(|error| error.to_string())
}

/// Whether the last expression of a text has no end.
fn is_left_open(text: &str) -> bool {
    text.rsplit_once(OPEN)
        .is_some_and(|(_, inside)| !inside.contains("}}"))
}

fn describe(error: &minijinja::Error) -> String {
    use minijinja::ErrorKind;
    match error.kind() {
        ErrorKind::UndefinedError => {
            "the expression uses something that is not there: `env.NAME` and `secret.NAME` are \
             the only variables"
                .to_owned()
        }
        ErrorKind::OutOfFuel => "the expression takes too many steps".to_owned(),
        kind => describe_as(kind, error.detail()),
    }
}

fn describe_as(kind: minijinja::ErrorKind, detail: Option<&str>) -> String {
    match detail {
        Some(detail) => format!("the expression cannot be evaluated: {detail}"),
        None => format!("the expression cannot be evaluated: {kind}"),
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Variable,
    Secret,
}

/// `env` or `secret`: looks a name up when an expression asks for it.
struct Lookup {
    kind: Kind,
    source: Arc<SecretSource>,
    trouble: Arc<Mutex<Option<String>>>,
    revealed: Arc<Mutex<Vec<Secret>>>,
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl Lookup {
    /// The text of a secret, which is remembered, so that it can be masked later.
    fn reveal(&self, secret: Secret) -> String {
        let text = secret.expose().to_owned();
        if let Ok(mut revealed) = self.revealed.lock() {
            revealed.push(secret);
        }
        text
    }
}

impl Object for Lookup {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        let found = match self.kind {
            Kind::Variable => self.source.variable(name).ok_or_else(|| {
                format!(
                    "the environment variable {name} is not set: set it, or write \
                         `env.{name} | default('…')`"
                )
            }),
            Kind::Secret => self
                .source
                .secret(name)
                .map(|secret| self.reveal(secret))
                .map_err(|error| error.to_string()),
        };
        match found {
            Ok(text) => Some(Value::from(text)),
            Err(text) => {
                if let Ok(mut trouble) = self.trouble.lock() {
                    *trouble = Some(text);
                }
                None
            }
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expander() -> Expander {
        let variable = |name: &str| match name {
            "PORT" => Some("8080".to_owned()),
            "HOOKGATE_SECRET_STRIPE" => Some("whsec_x".to_owned()),
            _ => None,
        };
        Expander::new(Arc::new(SecretSource::with_environment(variable, None))).unwrap()
    }

    #[test]
    fn expressions_are_replaced_where_they_stand() {
        let check = |text: &str, expected: &str| {
            assert_eq!(expander().expand(text).unwrap(), expected);
        };
        check("127.0.0.1:${{ env.PORT }}", "127.0.0.1:8080");
        check("${{ secret.stripe }}", "whsec_x");
        check("${{ env.NONE | default('d') }}", "d");
        check(
            "{{ untouched }} {% x %} {# y #}",
            "{{ untouched }} {% x %} {# y #}",
        );
    }

    #[test]
    fn an_expression_that_fails_says_what_is_missing() {
        let check = |text: &str, part: &str| {
            let message = expander().expand(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        };
        check(
            "${{ env.NONE }}",
            "the environment variable NONE is not set",
        );
        check(
            "${{ secret.none }}",
            "set the environment variable HOOKGATE_SECRET_NONE",
        );
        check(
            "${{ now }}",
            "`env.NAME` and `secret.NAME` are the only variables",
        );
        check("${{ env.PORT ", "the expression has no end");
        check(
            "${{ env.PORT | shout }}",
            "cannot be evaluated: filter shout",
        );
        check("${{ range(1000000) | join }}", "too many");
        check(
            "${% for i in range(9999) %}${% for j in range(9999) %}x${% endfor %}${% endfor %}",
            "steps",
        );
    }
}
