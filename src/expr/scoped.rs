//! Expressions of `poll:`: values of requests, conditions on items and answers, and what may be
//! known where.
//!
//! Compiled once, when the file is read, and evaluated for every request and item. Each is one
//! expression, without statements, so it has no loops. What bounds it:
//!
//! - its length, its nesting and its operators, when it is compiled;
//! - the operands of operators: the engine would repeat a text up to 100 MB at once, so `*` takes
//!   numbers only, and `+` and `~` take no long text (`source` says how);
//! - the filters, a list of those that make little more than they are given (`filters`);
//! - steps of the engine, and the length of the result.
//!
//! Where a value comes from (a row, a clock, an answer) is not decided here: it stands in a [`Scope`].

mod error;
mod filters;
mod mask;
mod scan;
mod scope;
mod source;
#[cfg(test)]
mod tests;
mod time;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex};

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Expression};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub use error::{ExprError, ExpressionError};
pub use filters::FilterError;
pub use mask::Masker;
pub use scope::{Name, Names, Scope};

use crate::secret::Secret;
use error::{failed, filter_error, refused};
use scan::{Piece, Scanned};
use scope::{Constants, Root};
use source::Otherwise;

/// How many steps one evaluation may take.
const FUEL: u64 = 100_000;
/// How deep values and calls may be nested.
const DEPTH_MAX: usize = 64;
/// The longest text or JSON that one evaluation may make, in bytes.
const VALUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The longest text in the middle of an expression, where it is joined to another, in bytes.
const PART_BYTES_MAX: usize = 1024 * 1024;

/// What kind of name is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `env.NAME`.
    Variable,
    /// `secret.NAME`.
    Secret,
}

/// Finds the value of an environment variable or a secret, or says in words without secrets why
/// there is none.
pub type Lookup = dyn Fn(Kind, &str) -> Result<String, String> + Send + Sync;

/// Compiles the expressions of one file.
///
/// `secret.NAME` and `env.NAME` are looked up then, once: a changed secret is known after the file
/// is loaded again.
pub struct Engine {
    lookup: Arc<Lookup>,
    revealed: Mutex<Vec<Secret>>,
}

impl Engine {
    /// Looks variables and secrets up with this.
    pub fn new(lookup: Arc<Lookup>) -> Self {
        Self {
            lookup,
            revealed: Mutex::default(),
        }
    }

    /// Masks every secret that the expressions compiled so far name.
    pub fn masker(&self) -> Masker {
        let revealed = self.revealed.lock().map(|revealed| revealed.clone());
        Masker::new(revealed.unwrap_or_default())
    }

    fn formula(&self, scanned: &Scanned<'_>, names: Names) -> Result<Formula, ExpressionError> {
        let checked = source::check(scanned, names)?;
        let mut constants = Constants::default();
        let mut found = [BTreeMap::new(), BTreeMap::new()];
        let [variables, secrets] = &mut found;
        for ask in checked.asks {
            let value = match ((self.lookup)(ask.kind, &ask.name), ask.otherwise) {
                (Ok(value), _) => value,
                (Err(_), Otherwise::Default) => continue,
                (Err(reason), Otherwise::Refuse) => return Err(ExpressionError::Lookup(reason)),
            };
            match ask.kind {
                Kind::Variable => variables.insert(ask.name, value),
                Kind::Secret => {
                    self.reveal(&value);
                    secrets.insert(ask.name, value)
                }
            };
        }
        constants.env = Value::from_serialize(variables);
        constants.secret = Value::from_serialize(secrets);
        let formula = Formula {
            expression: MACHINE
                .compile_expression_owned(checked.source)
                .map_err(|error| refused(&error, checked.line))?,
            constants: Arc::new(constants),
            line: checked.line,
            uses: checked.uses,
            parts: checked.parts,
        };
        formula.check_arguments()?;
        Ok(formula)
    }

    fn reveal(&self, secret: &str) {
        if let Ok(mut revealed) = self.revealed.lock() {
            revealed.push(Secret::new(secret));
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine")
    }
}

/// A text with expressions in it.
pub struct ValueTemplate {
    text: String,
    parts: Vec<Part>,
}

enum Part {
    Text(String),
    Formula(Formula),
}

impl ValueTemplate {
    /// Compiles a text with `${{ … }}` in it; without one it stands for itself.
    ///
    /// # Errors
    /// [`ExpressionError`] says what is wrong with it.
    pub fn compile(text: &str, names: Names, engine: &Engine) -> Result<Self, ExpressionError> {
        // A block of YAML ends with a line break, which does not make a number a text.
        let trimmed = text.trim();
        let is_alone = matches!(scan::pieces(trimmed)?.as_slice(), [Piece::Expression(_)]);
        let text = if is_alone { trimmed } else { text };
        let parts = scan::pieces(text)?.into_iter().map(|piece| match piece {
            Piece::Text(text) => Ok(Part::Text(text.to_owned())),
            Piece::Expression(scanned) => engine.formula(&scanned, names).map(Part::Formula),
        });
        Ok(Self {
            text: text.to_owned(),
            parts: parts.collect::<Result<_, _>>()?,
        })
    }

    /// The value: of any type for a single expression, else a text. `None` when something that it
    /// needs is missing or null: the parameter is left out.
    ///
    /// # Errors
    /// [`ExprError`] when it has none.
    pub fn value(&self, scope: &Scope) -> Result<Option<serde_json::Value>, ExprError> {
        match self.parts.as_slice() {
            [Part::Formula(formula)] => match formula.value(scope)? {
                Some(value) => json(&value, formula.line),
                None => Ok(None),
            },
            _ => Ok(self.text(scope)?.map(serde_json::Value::String)),
        }
    }

    /// The value as a text; lists and mappings are written as JSON. `None` as in [`Self::value`].
    ///
    /// # Errors
    /// [`ExprError`] when it has none.
    pub fn text(&self, scope: &Scope) -> Result<Option<String>, ExprError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Formula(formula) => {
                    let Some(value) = formula.value(scope)? else {
                        return Ok(None);
                    };
                    match text_of(&value, formula.line)? {
                        Some(part) if text.len() + part.len() > VALUE_BYTES_MAX => {
                            return Err(ExprError::TooLong);
                        }
                        Some(part) => text.push_str(&part),
                        None => return Ok(None),
                    }
                }
            }
        }
        Ok(Some(text))
    }

    /// Whether an expression in it names a variable.
    pub fn uses(&self, name: Name) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Text(_) => false,
            Part::Formula(formula) => formula.uses.contains(&name),
        })
    }
}

impl ValueTemplate {
    /// The parts of a variable that it names: `token` of `session.token`.
    pub fn parts_of(&self, name: Name) -> impl Iterator<Item = &str> {
        let formulas = self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Formula(formula) => Some(formula),
        });
        let parts = formulas.flat_map(|formula| &formula.parts);
        parts.filter_map(move |(of, part)| (*of == name).then_some(&**part))
    }
}

/// A condition.
pub struct Condition {
    text: String,
    formula: Formula,
}

impl Condition {
    /// Compiles `item.status == 'paid'`, in `${{ … }}` or without.
    ///
    /// # Errors
    /// [`ExpressionError`] says what is wrong with it.
    pub fn compile(text: &str, names: Names, engine: &Engine) -> Result<Self, ExpressionError> {
        let text = text.trim();
        let formula = if text.contains(super::OPEN) {
            match scan::pieces(text)?.as_slice() {
                [Piece::Expression(scanned)] => engine.formula(scanned, names)?,
                _ => return Err(ExpressionError::NotOne),
            }
        } else {
            engine.formula(&scan::bare(text)?, names)?
        };
        Ok(Self {
            text: text.to_owned(),
            formula,
        })
    }

    /// Whether it holds. What is missing is not an error but something that does not hold.
    ///
    /// # Errors
    /// [`ExprError`] when it cannot be said.
    pub fn holds(&self, scope: &Scope) -> Result<bool, ExprError> {
        let value = self.formula.value(scope)?;
        Ok(value.is_some_and(|value| value.is_true()))
    }
}

impl fmt::Debug for ValueTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

static MACHINE: LazyLock<Environment<'static>> = LazyLock::new(filters::environment);

/// One expression.
struct Formula {
    expression: Expression<'static, 'static>,
    constants: Arc<Constants>,
    line: usize,
    uses: BTreeSet<Name>,
    parts: BTreeSet<(Name, String)>,
}

impl Formula {
    fn value(&self, scope: &Scope) -> Result<Option<Value>, ExprError> {
        match self.eval(scope) {
            Ok(value) => Ok(Some(value).filter(|value| !filters::is_missing(value))),
            Err(error) if error.kind() == ErrorKind::UndefinedError => Ok(None),
            Err(error) => Err(failed(&error, self.line)),
        }
    }

    fn eval(&self, scope: &Scope) -> Result<Value, Error> {
        let root = Root::new(scope, self.constants.clone());
        self.expression.eval(Value::from_object(root))
    }

    /// The engine looks at arguments when it comes to them: one try without any value finds the
    /// faults that every evaluation comes to. Without variables every fault is one of those.
    fn check_arguments(&self) -> Result<(), ExpressionError> {
        let Err(error) = self.eval(&Scope::default().with_chance(0.5)) else {
            return Ok(());
        };
        let mut uses = self.uses.iter();
        let is_constant = uses.all(|name| matches!(name, Name::Secret | Name::Env));
        let is_fault = match (error.kind(), filter_error(&error)) {
            (_, Some(FilterError::Argument(_))) => true,
            (ErrorKind::TooManyArguments | ErrorKind::MissingArgument, _) => true,
            (kind, _) => is_constant && kind != ErrorKind::UndefinedError,
        };
        match is_fault {
            true => Err(refused(&error, self.line)),
            false => Ok(()),
        }
    }
}

/// A value as JSON; `None` for null, which is also what JSON makes of a number that is none.
fn json(value: &Value, line: usize) -> Result<Option<serde_json::Value>, ExprError> {
    if value.kind() == ValueKind::Bytes {
        return Err(ExprError::NotText);
    }
    let mut room = Room(VALUE_BYTES_MAX);
    let not_json = |_| ExprError::Failed {
        line,
        kind: ErrorKind::BadSerialization.to_string(),
    };
    match serde_json::to_writer(&mut room, value) {
        Err(error) if error.is_io() => return Err(ExprError::TooLong),
        written => written.map_err(not_json)?,
    }
    let json = serde_json::to_value(value).map_err(not_json)?;
    Ok(Some(json).filter(|json| !json.is_null()))
}

fn text_of(value: &Value, line: usize) -> Result<Option<String>, ExprError> {
    match value.kind() {
        ValueKind::String => Ok(value.as_str().map(str::to_owned)),
        ValueKind::Number | ValueKind::Bool => Ok(Some(value.to_string())),
        _ => Ok(json(value, line)?.map(|json| json.to_string())),
    }
}

/// Counts bytes down, until there is no room.
struct Room(usize);

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.0.checked_sub(bytes.len());
        self.0 = left.ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All but letters, digits and `-._~`, as RFC 3986 has it.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A text as it stands in a path or a query.
pub(crate) fn percent(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}
