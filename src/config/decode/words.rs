//! The words of messages: what was expected, what was found, which known name is near.

use crate::config::yaml::hidden::has_expression;
use crate::config::yaml::{Kind, Node};

/// Longest quotation of a value, in characters.
const QUOTED_MAX: usize = 40;

/// Most names listed in one message or hint.
const LISTED_MAX: usize = 16;

/// Length from which a piece of a secret is recognised in a message, in characters.
const PIECE_MIN: usize = 4;

/// Length from which the beginning of a name is recognised, in characters.
const BEGINNING_MIN: usize = 3;

/// What a serde visitor expects, in words for people who write YAML.
pub(super) fn expected(serde: &str) -> String {
    match serde {
        "a boolean" => "true or false".to_owned(),
        "a string" | "a borrowed string" | "string" => "a text".to_owned(),
        "path string" => "a path".to_owned(),
        "a character" => "a single character".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a mapping".to_owned(),
        "unit" => "nothing".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        other => whole_number(other).unwrap_or_else(|| other.to_owned()),
    }
}

fn whole_number(serde: &str) -> Option<String> {
    let (least, name) = match serde.strip_prefix("a nonzero ") {
        Some(name) => ("1", name),
        None => ("0", serde),
    };
    let range = match name {
        "u8" => format!(" between {least} and {}", u8::MAX),
        "u16" => format!(" between {least} and {}", u16::MAX),
        "u32" => format!(" between {least} and {}", u32::MAX),
        "u64" | "u128" | "usize" => format!(", {least} or more"),
        "i8" => format!(" between {} and {}", i8::MIN, i8::MAX),
        "i16" => format!(" between {} and {}", i16::MIN, i16::MAX),
        "i32" => format!(" between {} and {}", i32::MIN, i32::MAX),
        "i64" | "i128" | "isize" => String::new(),
        _ => return None,
    };
    Some(format!("a whole number{range}"))
}

/// What stands in the file, without showing a secret.
pub(super) fn found(node: &Node, secret: bool) -> String {
    match &node.kind {
        Kind::Sequence(_) => "a list".to_owned(),
        Kind::Mapping(_) => "a mapping".to_owned(),
        Kind::Scalar { .. } if node.is_null() => "nothing".to_owned(),
        Kind::Scalar { text, .. } if has_expression(text) && !has_user_info(text) => {
            format!("the value of {}", quoted(text))
        }
        Kind::Scalar { .. } if secret => "a text that is not shown".to_owned(),
        Kind::Scalar { text, plain: true } => quoted(text),
        Kind::Scalar { text, plain: false } => format!("`\"{}\"`", shortened(text)),
    }
}

/// A value between backticks, cut when it is long.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", shortened(text))
}

fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let short: String = line.chars().take(QUOTED_MAX).collect();
    if short.len() < text.len() {
        short + "…"
    } else {
        short
    }
}

/// How to write a value that is of the right type only in someone's mind.
pub(super) fn type_hint(node: &Node, expected: &str) -> Option<String> {
    let Kind::Scalar { text, plain } = &node.kind else {
        return None;
    };
    let is_boolean = expected == "true or false";
    let hint = match text.to_lowercase().as_str() {
        "yes" | "on" if is_boolean => "write `true`",
        "no" | "off" if is_boolean => "write `false`",
        "true" | "false" if is_boolean && !plain => "remove the quotes",
        digits if expected.contains("number") && !plain && digits.parse::<f64>().is_ok() => {
            "remove the quotes"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Whether a text holds a URL with a password in it.
pub(super) fn has_user_info(text: &str) -> bool {
    text.split_once("://")
        .is_some_and(|(_, rest)| rest.contains('@'))
}

/// A message about a text that must not be shown: the quoted text is replaced by what stands in
/// for it. `None` if a piece of the text is left.
pub(super) fn without_text(message: &str, text: &str, stand_in: &str) -> Option<String> {
    let cleaned = message.replace(&format!("`{text}`"), stand_in);
    let rest = cleaned.replace(stand_in, "");
    (!holds_piece(&rest, text)).then_some(cleaned)
}

fn holds_piece(message: &str, text: &str) -> bool {
    let starts: Vec<usize> = text
        .char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .collect();
    starts.windows(PIECE_MIN + 1).any(|window| match window {
        [start, .., end] => text
            .get(*start..*end)
            .is_some_and(|piece| message.contains(piece)),
        _ => false,
    })
}

/// A hint for a name that is not known: the nearest known one, or all of them.
pub(super) fn name_hint(name: &str, known: &[&str]) -> Option<String> {
    match nearest(name, known) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if known.is_empty() => None,
        None => Some(format!("known keys: {}", list(known))),
    }
}

/// The known name that was most likely meant, if one is near enough.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let spelled = name.to_lowercase().replace(['-', ' '], "_");
    let distances = known
        .iter()
        .map(|&candidate| (distance(&spelled, candidate), candidate));
    let near = distances.filter_map(|(distance, candidate)| Some((distance?, candidate)));
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters are wrong, if a name can be meant by what is spelled: one letter in three is
/// wrong at most, or its end is missing.
fn distance(spelled: &str, name: &str) -> Option<usize> {
    let distance = strsim::damerau_levenshtein(spelled, name);
    let letters = spelled.chars().count();
    let is_beginning = letters >= BEGINNING_MIN && name.starts_with(spelled);
    let is_near = distance <= (letters / 3).max(1) && distance < name.chars().count();
    (is_near || is_beginning).then_some(distance)
}

/// Names with commas between, cut when there are many.
fn list(names: &[&str]) -> String {
    match names.get(..LISTED_MAX) {
        Some(first) if first.len() < names.len() => format!("{}, …", first.join(", ")),
        _ => names.join(", "),
    }
}

/// Names between backticks with commas between.
pub(super) fn quoted_list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    list(&quoted.iter().map(String::as_str).collect::<Vec<_>>())
}
