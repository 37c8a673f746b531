//! Turns the body of an answer into a value.
//!
//! Pure. What was packed is unpacked before, and what the value means is decided elsewhere. Errors
//! say where, never what: a body may hold anything.

use serde_json::{Value, json};

use self::charset::Charset;

mod charset;
mod feed;
pub mod table;

/// The most values of one body. A value takes up to thirty times its bytes in memory.
const VALUES_MAX: usize = 2_000_000;

/// How a body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON (RFC 8259).
    Json,
    /// One JSON value a line: they become a list. No lines are an empty list.
    Ndjson,
    /// RSS, Atom or JSON Feed: `{feed: {…}, entries: […]}`. Texts that are missing are absent,
    /// lists that are missing are empty. Times are in RFC 3339.
    Feed,
    /// A table of values between commas (RFC 4180): a list of mappings of texts, by the names in its
    /// first line.
    Csv,
    /// Any text: `{text}`.
    Text,
}

/// Why a body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There is nothing in it.
    #[error("the body is empty")]
    Empty,
    /// It is a page for people: a login, an error, a captive portal.
    #[error("the body is an HTML page")]
    LooksLikeHtml,
    /// It is not text in the encoding that it says.
    #[error("the body is not text in the encoding that it says")]
    NotText,
    /// It is not JSON.
    #[error("line {line}, column {column} of the body: {fault}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column in it, in bytes, from 1.
        column: usize,
        /// What is wrong there.
        fault: JsonFault,
    },
    /// It holds more values than are taken.
    #[error("the body holds more than {VALUES_MAX} values")]
    TooManyValues,
    /// It is not XML.
    #[error("line {line} of the body: {fault}")]
    Xml {
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        fault: XmlFault,
    },
    /// A row of a table has more or fewer values than its first line has names.
    #[error("line {line}: another number of values than the first line has names")]
    Table {
        /// The line, from 1.
        line: u64,
    },
    /// It is neither RSS nor Atom nor JSON Feed.
    #[error("the body is neither RSS nor Atom nor JSON Feed")]
    NotFeed,
}

/// What is wrong with JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// It is not JSON.
    #[error("not JSON")]
    Syntax,
    /// It ends in the middle of a value.
    #[error("the JSON ends in the middle")]
    CutShort,
    /// Its values are nested too deep.
    #[error("the JSON is nested too deep")]
    TooDeep,
}

/// What is wrong with XML.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XmlFault {
    /// It is not XML.
    #[error("not XML")]
    Syntax,
    /// It ends in the middle.
    #[error("the XML ends in the middle")]
    CutShort,
    /// Its elements are nested too deep.
    #[error("the XML is nested too deep")]
    TooDeep,
    /// It has more elements than are taken.
    #[error("the XML has too many elements")]
    TooMany,
}

impl DecodeError {
    /// The word for metrics, JSON and the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Empty => "empty_body",
            Self::LooksLikeHtml => "html_page",
            Self::NotText => "not_text",
            Self::Json { .. } => "not_json",
            Self::TooManyValues => "too_many_values",
            Self::Xml { .. } => "not_xml",
            Self::Table { .. } => "not_csv",
            Self::NotFeed => "not_feed",
        }
    }
}

impl Format {
    /// The value of a body that came with a `Content-Type`.
    ///
    /// # Errors
    /// [`DecodeError`] says why there is none.
    pub fn decode(self, body: &[u8], content_type: Option<&str>) -> Result<Value, DecodeError> {
        let charset = Charset::of(body, content_type);
        if self == Self::Text {
            return Ok(json!({ "text": charset.read_lossy(body) }));
        }
        let text = charset.read(body).ok_or(DecodeError::NotText)?;
        let text = text.as_ref();
        if text.trim().is_empty() && self != Self::Ndjson {
            return Err(DecodeError::Empty);
        }
        if is_html(text) {
            return Err(DecodeError::LooksLikeHtml);
        }
        let decoded = match self {
            Self::Json => json_value(text, 1),
            Self::Ndjson => ndjson(text),
            Self::Feed => feed::read(text),
            Self::Csv => table::rows(text).map(Value::Array),
            Self::Text => return Ok(json!({ "text": text })),
        };
        // Some servers call JSON HTML, so this is asked last.
        decoded.map_err(|error| match content_type {
            Some(found) if is_html_type(found) => DecodeError::LooksLikeHtml,
            _ => error,
        })
    }
}

fn is_html(text: &str) -> bool {
    let begins = |word: &str| {
        let start = text.trim_start().get(..word.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    begins("<!doctype html") || begins("<html")
}

fn is_html_type(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case("text/html")
}

/// Reads one value that begins on `first_line`.
fn json_value(text: &str, first_line: usize) -> Result<Value, DecodeError> {
    check_values(text)?;
    serde_json::from_str(text).map_err(|error| json_error(&error, first_line))
}

fn ndjson(text: &str) -> Result<Value, DecodeError> {
    check_values(text)?;
    let lines = text.split('\n').zip(1..);
    let values: Result<Vec<Value>, _> = lines
        .filter(|(line, _)| !line.trim().is_empty())
        .map(|(line, number)| {
            serde_json::from_str(line).map_err(|error| json_error(&error, number))
        })
        .collect();
    values.map(Value::Array)
}

/// Every value but the first comes after one of these. Those in texts are counted as well: the
/// limit is far above what a page of items holds.
fn check_values(text: &str) -> Result<(), DecodeError> {
    let begins = |&byte: &u8| matches!(byte, b',' | b'[' | b'{' | b'\n');
    if text.bytes().filter(begins).count() > VALUES_MAX {
        return Err(DecodeError::TooManyValues);
    }
    Ok(())
}

fn json_error(error: &serde_json::Error, first_line: usize) -> DecodeError {
    use serde_json::error::Category;
    let fault = match error.classify() {
        Category::Eof => JsonFault::CutShort,
        // The library tells this only in words.
        _ if error.to_string().starts_with("recursion limit") => JsonFault::TooDeep,
        _ => JsonFault::Syntax,
    };
    DecodeError::Json {
        line: error.line().saturating_add(first_line).saturating_sub(1),
        column: error.column(),
        fault,
    }
}

#[cfg(test)]
mod tests;
