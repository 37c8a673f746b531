//! What the file's expressions see of a source: which variables each place has, and their values.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::conditions::Holds;
use super::errors::{AnswerCondition, AnswerContext, ReadCursor, ReadWait};
use super::items::{ItemCondition, ItemContext};
use crate::expr::scoped::{Condition, Name, Names, Scope, ValueTemplate};

/// In requests.
pub const IN_REQUESTS: Names = Names::new(&[
    Name::Cursor,
    Name::Partition,
    Name::Session,
    Name::Now,
    Name::PollStarted,
    Name::State,
    Name::Env,
    Name::Secret,
]);
/// In the request that comes before the others.
pub const IN_LOGINS: Names = Names::new(&[Name::Partition, Name::Now, Name::Env, Name::Secret]);
/// In what authenticates requests.
pub const IN_AUTH: Names = Names::new(&[
    Name::Partition,
    Name::Session,
    Name::Now,
    Name::Env,
    Name::Secret,
]);
/// In what is signed, and in the headers that carry a signature.
pub const IN_SIGNATURES: Names = Names::new(&[
    Name::Method,
    Name::Url,
    Name::Path,
    Name::Body,
    Name::Signature,
    Name::Partition,
    Name::Session,
    Name::Now,
    Name::Env,
    Name::Secret,
]);
/// In conditions on items.
pub const OF_ITEMS: Names = Names::new(&[
    Name::Item,
    Name::Body,
    Name::Partition,
    Name::PollStarted,
    Name::Env,
]);
/// In rules about answers.
pub const OF_ANSWERS: Names = Names::new(&[
    Name::Body,
    Name::Headers,
    Name::Status,
    Name::Session,
    Name::Cursor,
    Name::Env,
]);
/// In the cursor behind the last item.
pub const OF_NEXT: Names = Names::new(&[Name::Last]);
/// In what says whether there is more.
pub const OF_MORE: Names = Names::new(&[Name::Body, Name::Headers, Name::Status]);

/// The longest wait that a rule may make of an answer.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A condition on items.
pub fn item_condition(condition: Condition) -> ItemCondition {
    Arc::new(OfItem(condition))
}

struct OfItem(Condition);

impl<'a> Holds<ItemContext<'a>> for OfItem {
    fn holds(&self, context: &ItemContext<'a>) -> Result<bool, String> {
        let scope = Scope::default()
            .with(Name::Item, context.item)
            .with(Name::Body, context.page.body)
            .with(Name::Partition, &context.page.partition)
            .with_time(Name::PollStarted, context.page.poll_started);
        self.0.holds(&scope).map_err(|error| error.to_string())
    }
}

/// A condition on answers.
pub fn answer_condition(condition: Condition) -> AnswerCondition {
    Arc::new(OfAnswer(condition))
}

struct OfAnswer(Condition);

impl<'a> Holds<AnswerContext<'a>> for OfAnswer {
    fn holds(&self, context: &AnswerContext<'a>) -> Result<bool, String> {
        let held = self.0.holds(&of_answer(context));
        held.map_err(|error| error.to_string())
    }
}

/// How long an answer asks to wait: `30s`, or a number of seconds.
pub fn read_wait(template: ValueTemplate) -> ReadWait {
    Arc::new(move |context| {
        let text = template.text(&of_answer(context));
        let text = text.map_err(|error| error.to_string())?;
        wait(text.as_deref().unwrap_or_default()).ok_or_else(|| "it is no length of time".into())
    })
}

/// Which cursor an answer gives.
pub fn read_cursor(template: ValueTemplate) -> ReadCursor {
    Arc::new(move |context| {
        let value = template.value(&of_answer(context));
        Ok(value
            .map_err(|error| error.to_string())?
            .unwrap_or_default())
    })
}

fn of_answer(context: &AnswerContext<'_>) -> Scope {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = context.headers.iter();
    let mut scope = Scope::default()
        .with(Name::Status, &context.status)
        .with_headers(headers.map(|(name, value)| (name.to_string(), text(value))))
        .with_chance(context.chance);
    for (name, value) in [
        (Name::Body, context.body),
        (Name::Session, context.session),
        (Name::Cursor, context.cursor),
    ] {
        if let Some(value) = value {
            scope = scope.with(name, value);
        }
    }
    scope
}

/// Whether an answer says that there is more.
pub fn says_more(
    condition: &Condition,
    body: &Value,
    headers: &[(String, String)],
    status: u16,
) -> Result<bool, String> {
    let scope = Scope::default()
        .with(Name::Body, body)
        .with(Name::Status, &status)
        .with_headers(headers.iter().cloned());
    condition.holds(&scope).map_err(|error| error.to_string())
}

/// What is asked for behind the last item.
pub fn next_id(template: &ValueTemplate, last: &Value) -> Result<Value, String> {
    let scope = Scope::default().with(Name::Last, last);
    let value = template.value(&scope).map_err(|error| error.to_string())?;
    value.ok_or_else(|| "it makes nothing of the last item".to_owned())
}

fn wait(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, unit) = text.split_at(
        text.find(|c: char| c.is_ascii_alphabetic())
            .unwrap_or(text.len()),
    );
    let seconds = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let number = f64::from_str(number.trim()).ok()?;
    let wait = Duration::try_from_secs_f64(number * seconds).ok()?;
    Some(wait.min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_a_length_of_time_or_a_number_of_seconds() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(wait(text), expected.map(Duration::from_millis), "{text}");
        };
        check("30s", Some(30_000));
        check("7", Some(7_000));
        check("7.5s", Some(7_500));
        check(" 250ms ", Some(250));
        check("2m", Some(120_000));
        check("1h", Some(3_600_000));
        check("99h", Some(86_400_000));
        for text in ["", "s", "-1", "1 fortnight", "NaN", "inf"] {
            check(text, None);
        }
    }
}
