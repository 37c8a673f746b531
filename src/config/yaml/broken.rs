//! Decides what of a line may be shown when its syntax is broken, so that no tree tells what its
//! parts are: its punctuation, what look like keys, and `${{ … }}`. Any other word may be a secret
//! whose key is broken too.

use super::Span;
use super::hidden::{EXPRESSION_END, EXPRESSION_START, after_secret_key};

/// Places of the words of a line that must not be shown.
pub(super) fn hidden(source: &str, at: usize) -> Vec<Span> {
    let before = source.get(..at).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let (above, rest) = source.split_at_checked(start).unwrap_or_default();
    let line = rest.lines().next().unwrap_or_default();
    let keys_end = if belongs_to_secret(above, line) {
        0
    } else {
        after_secret_key(line).unwrap_or(line.len())
    };
    let may_be_shown = |word: &Span| is_key(line, *word) && word.end <= keys_end;
    let words = words(line).into_iter().filter(|word| !may_be_shown(word));
    words
        .map(|word| Span {
            start: start + word.start,
            end: start + word.end,
        })
        .collect()
}

/// Whether a line above it that is indented less, or that its list may belong to, has a secret key.
fn belongs_to_secret(above: &str, line: &str) -> bool {
    let mut inner = line;
    for outer in above.lines().rev().filter(|line| !line.trim().is_empty()) {
        let less = indentation(outer) < indentation(inner);
        let same = indentation(outer) == indentation(inner) && !starts_with_key(inner);
        if less || same {
            if after_secret_key(outer).is_some() {
                return true;
            }
            inner = outer;
        }
    }
    false
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn starts_with_key(line: &str) -> bool {
    !line.trim_start().starts_with('-') && line.contains(':')
}

fn is_key(line: &str, word: Span) -> bool {
    let name = line
        .get(word.start..word.end)
        .and_then(|word| word.strip_suffix(':'));
    name.is_some_and(|name| {
        name.chars()
            .all(|c| c.is_alphanumeric() || c == '_' || c == '-')
    })
}

/// The words of a line that stand outside of expressions.
fn words(line: &str) -> Vec<Span> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(rest) = line.get(at..).filter(|rest| !rest.is_empty()) {
        let length = match rest.strip_prefix(EXPRESSION_START) {
            Some(inside) => EXPRESSION_START.len() + expression_end(inside),
            None => word_length(rest),
        };
        let word = rest.get(..length).unwrap_or_default();
        if !word.starts_with(EXPRESSION_START) && word.contains(char::is_alphanumeric) {
            words.push(Span {
                start: at,
                end: at + length,
            });
        }
        at += length;
    }
    words
}

/// Length of the rest of an expression; none if it is not closed before the next value.
fn expression_end(inside: &str) -> usize {
    let length = inside.find(EXPRESSION_END).unwrap_or(inside.len());
    let is_whole = !inside
        .get(..length)
        .unwrap_or_default()
        .contains(['"', '\'', '[', ']', '{']);
    if is_whole && length < inside.len() {
        length + EXPRESSION_END.len()
    } else {
        0
    }
}

/// Length of the word a text begins with, or of the single mark.
fn word_length(text: &str) -> usize {
    let is_mark = |c: char| c.is_whitespace() || "[]{},\"'".contains(c);
    if let Some(mark) = text.chars().next().filter(|c| is_mark(*c)) {
        return mark.len_utf8();
    }
    let word = text.split(is_mark).next().unwrap_or_default();
    let opens_expression = text
        .get(word.len()..)
        .is_some_and(|rest| rest.starts_with("{{"));
    let before = word.strip_suffix('$').filter(|_| opens_expression);
    before.unwrap_or(word).len()
}
