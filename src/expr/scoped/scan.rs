//! Takes an expression apart into its signs and words, and finds where it ends in a text.
//!
//! Reads what MiniJinja reads and refuses the rest, so that nothing which is checked here means
//! something else there. What the words mean is decided by `source`.

use super::super::OPEN;
use super::ExpressionError;

/// The longest text with expressions in it, in bytes.
const TEMPLATE_BYTES_MAX: usize = 64 * 1024;
/// The longest expression, in bytes.
const SOURCE_BYTES_MAX: usize = 4 * 1024;
/// The most signs and words of an expression: the engine goes one call deeper for many of them.
const TOKENS_MAX: usize = 512;
/// How deep brackets may be nested.
const BRACKETS_MAX: usize = 32;

/// Longer ones first.
const SIGNS: [&str; 26] = [
    "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "|", ".", ",",
    ":", "(", ")", "[", "]", "{", "}", "!",
];

/// One piece of a text.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    /// It stands for itself.
    Text(&'a str),
    /// What is between `${{` and `}}`.
    Expression(Scanned<'a>),
}

/// An expression, taken apart.
#[derive(Debug)]
pub(super) struct Scanned<'a> {
    /// All of it.
    pub(super) text: &'a str,
    /// The line on which it begins, from 1.
    pub(super) line: usize,
    /// Its signs and words, in order.
    pub(super) tokens: Vec<Token<'a>>,
}

/// A sign or a word, and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) what: What<'a>,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What<'a> {
    Word(&'a str),
    /// What is between the quotes, as written.
    Quoted(&'a str),
    Number,
    Sign(&'static str),
}

/// The pieces of a text.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, ExpressionError> {
    if text.len() > TEMPLATE_BYTES_MAX {
        return Err(ExpressionError::TooLong {
            max: TEMPLATE_BYTES_MAX,
        });
    }
    let mut pieces = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some((before, inside)) = rest.split_once(OPEN) {
        put_text(&mut pieces, before, line)?;
        line += newlines(before);
        let (tokens, end) = scan(inside, End::Braces, line)?;
        let (text, after) = inside.split_at_checked(end).unwrap_or((inside, ""));
        pieces.push(Piece::Expression(Scanned { text, line, tokens }));
        line += newlines(text);
        rest = after.strip_prefix("}}").unwrap_or(after);
    }
    put_text(&mut pieces, rest, line)?;
    Ok(pieces)
}

fn put_text<'a>(
    pieces: &mut Vec<Piece<'a>>,
    text: &'a str,
    line: usize,
) -> Result<(), ExpressionError> {
    for mark in ["${%", "${#"] {
        if let Some((before, _)) = text.split_once(mark) {
            let line = line + newlines(before);
            return Err(ExpressionError::Statement { line });
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(())
}

/// A text that is an expression without marks around it.
pub(super) fn bare(text: &str) -> Result<Scanned<'_>, ExpressionError> {
    let (tokens, _) = scan(text, End::Text, 1)?;
    Ok(Scanned {
        text,
        line: 1,
        tokens,
    })
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|&byte| byte == b'\n').count()
}

/// What ends an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// `}}` outside all brackets.
    Braces,
    /// The end of the text.
    Text,
}

/// The signs and words of a text, and where it ends.
fn scan(text: &str, end: End, line: usize) -> Result<(Vec<Token<'_>>, usize), ExpressionError> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let mut open: Vec<&'static str> = Vec::new();
    let mut rest = text.trim_start();
    loop {
        let start = text.len() - rest.len();
        let before = text.get(..start).unwrap_or_default();
        let syntax = |detail: &str| ExpressionError::Syntax {
            line: line + newlines(before),
            detail: detail.to_owned(),
        };
        let is_end = end == End::Braces && open.is_empty() && rest.starts_with("}}");
        if is_end && tokens.is_empty() || rest.is_empty() && end == End::Text && tokens.is_empty() {
            return Err(ExpressionError::Empty);
        }
        if is_end || (rest.is_empty() && end == End::Text && open.is_empty()) {
            return Ok((tokens, start));
        }
        if rest.is_empty() && end == End::Braces {
            return Err(ExpressionError::NoEnd);
        }
        let Some((what, length)) = token(rest) else {
            return Err(syntax(trouble(rest)));
        };
        if let What::Sign(sign) = what {
            nest(&mut open, sign).map_err(syntax)?;
        }
        let end = start + length;
        if tokens.len() >= TOKENS_MAX || end > SOURCE_BYTES_MAX {
            return Err(ExpressionError::TooLong {
                max: SOURCE_BYTES_MAX,
            });
        }
        tokens.push(Token { what, start, end });
        rest = text.get(end..).unwrap_or_default().trim_start();
    }
}

fn trouble(rest: &str) -> &'static str {
    match rest.chars().next() {
        None => "a bracket is not closed",
        Some('"' | '\'') => "a text has no closing quote",
        Some(_) => "there is a character that no expression has",
    }
}

/// Keeps account of the brackets that are open.
fn nest(open: &mut Vec<&'static str>, sign: &'static str) -> Result<(), &'static str> {
    let closing = match sign {
        "(" => ")",
        "[" => "]",
        "{" => "}",
        ")" | "]" | "}" => {
            let is_pair = open.pop() == Some(sign);
            return is_pair
                .then_some(())
                .ok_or("a bracket closes what is not open");
        }
        _ => return Ok(()),
    };
    open.push(closing);
    match open.len() {
        ..=BRACKETS_MAX => Ok(()),
        _ => Err("brackets are nested too deep"),
    }
}

/// The first token of a text and its length.
fn token(text: &str) -> Option<(What<'_>, usize)> {
    let first = text.chars().next()?;
    if first == '"' || first == '\'' {
        return quoted(text, first);
    }
    if first.is_ascii_digit() {
        return Some((What::Number, number_length(text)));
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let word = text.split(|c| !is_part(c)).next()?;
        return Some((What::Word(word), word.len()));
    }
    let sign = SIGNS.iter().find(|sign| text.starts_with(**sign))?;
    Some((What::Sign(sign), sign.len()))
}

fn quoted(text: &str, quote: char) -> Option<(What<'_>, usize)> {
    let inside = text.get(1..)?;
    let mut is_escaped = false;
    let end = inside.char_indices().find_map(|(at, c)| {
        let is_end = c == quote && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end.then_some(at)
    })?;
    Some((What::Quoted(inside.get(..end)?), end + 2))
}

fn number_length(text: &str) -> usize {
    let run = |text: &str, is_part: fn(char) -> bool| {
        text.find(|c| !is_part(c)).unwrap_or(text.len()) // the bytes before the first other one
    };
    let is_digit: fn(char) -> bool = |c| c.is_ascii_digit() || c == '_';
    let at = |from: usize| text.get(from..).unwrap_or_default();
    if ["0x", "0X", "0o", "0O", "0b", "0B"]
        .iter()
        .any(|radix| text.starts_with(radix))
    {
        return 2 + run(at(2), |c| c.is_ascii_hexdigit() || c == '_');
    }
    let mut length = run(text, is_digit);
    let fraction = at(length).strip_prefix('.');
    if fraction.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
        length += 1 + run(at(length + 1), is_digit);
    }
    if let Some(exponent) = at(length).strip_prefix(['e', 'E']) {
        let signed = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if signed.starts_with(|c: char| c.is_ascii_digit()) {
            length += 1 + (exponent.len() - signed.len()) + run(signed, is_digit);
        }
    }
    length
}
