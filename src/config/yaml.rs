//! Reads YAML text into a tree that keeps the place of every value, and reports what YAML itself
//! does not allow: syntax, repeated keys, a second document, too much depth or too many values.
//!
//! It does not decide what a scalar means. `01234`, `no` and `1.10` stay as they were written; the
//! type that asks for them decides (see [`super::decode`]).

mod broken;
mod build;
pub mod hidden;
mod syntax;

use granit_parser::Parser;

use super::fault::Fault;
use build::Builder;

/// Largest nesting of lists and mappings, aliases included.
pub const DEPTH_MAX: usize = 64;

/// Largest number of values in one file, counting what aliases repeat; a long text counts as
/// several.
pub const VALUES_MAX: usize = 100_000;

/// A range of bytes in the source, end not included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// Byte after the last one.
    pub end: usize,
}

/// A value and its place. Values repeated by an alias keep the place of their definition.
///
/// It has no `Debug`, because its texts may be secrets.
#[derive(Clone)]
pub struct Node {
    /// Where the value stands.
    pub span: Span,
    /// What the value is.
    pub kind: Kind,
}

/// The three forms of a YAML value.
#[derive(Clone)]
pub enum Kind {
    /// A single value, as text.
    Scalar {
        /// The text after YAML's own escapes; no value at all is the empty plain text.
        text: String,
        /// Whether it was written without quotes, so that it may be a number, a boolean or null.
        plain: bool,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping, in the order of the file.
    Mapping(Vec<(Key, Node)>),
}

/// The name of an entry of a mapping, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The name, after YAML's own escapes.
    pub name: String,
    /// Where the name stands.
    pub span: Span,
    /// Whether a fault was already reported for this key (it is repeated, or no text). Decoding
    /// passes over the entry; its value still counts for what must be hidden.
    pub refused: bool,
}

/// What [`parse`] found in a text.
#[derive(Default)]
pub struct Parsed {
    /// The document, unless the text is empty or its syntax is broken.
    pub root: Option<Node>,
    /// Every fault, in the order of the file.
    pub faults: Vec<Fault>,
    /// Places of values that must not be shown, also when there is no document.
    pub hidden: Vec<Span>,
}

impl Node {
    /// Whether this is YAML's null: nothing at all, `~`, or `null` without quotes.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if is_null_text(text))
    }
}

fn is_null_text(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Reads exactly one YAML document.
///
/// Repeated keys, tags and merge keys are faults that do not stop the reading; after a syntax
/// error or a passed limit there is no document.
pub fn parse(source: &str) -> Parsed {
    let mut builder = Builder::default();
    let read = feed(source, &mut builder);
    let mut parsed = builder.finish(source);
    match read {
        Err(fault) => {
            let at = fault.span.map_or(0, |span| span.start);
            parsed.hidden.extend(broken::hidden(source, at));
            parsed.faults.push(fault);
            parsed.root = None;
        }
        Ok(()) if parsed.root.is_none() => {
            let fault = Fault::new("the file is empty");
            parsed
                .faults
                .push(fault.help("write `backends` and `routes` at least"));
        }
        Ok(()) => {}
    }
    parsed
}

fn feed(source: &str, builder: &mut Builder) -> Result<(), Fault> {
    let options = granit_parser::options! { emit_comments: false };
    for next in Parser::new_from_str_with_options(source, options) {
        let (event, span) = next.map_err(|error| syntax::fault(source, &error))?;
        if builder.has_second_document(&event, &span) {
            break;
        }
        builder.take(source, event, &span)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
