//! Turns a YAML tree into typed values through serde, and keeps going after a fault.
//!
//! Each value that is wrapped in a [`Field`] stands for itself: a fault inside it is recorded and
//! its neighbours are still decoded. Keys of structs are checked here, so that every unknown and
//! every missing key is reported; the types do not use `deny_unknown_fields`. This module does not
//! judge values beyond their types.
//!
//! A struct as it is written in the file:
//!
//! ```text
//! #[derive(Deserialize, JsonSchema)]
//! struct Backend {
//!     url: Field<String>,                  // must be there
//!     timeout: Option<Field<Period>>,      // may be absent, but not empty
//!     headers: Option<Field<Entries<Option<Template>>>>, // names are free, a value may be null
//! }
//! ```
//!
//! An enum whose variant is named by a key of the mapping itself, like `{type: basic, …}`, is
//! declared with that key in its name: `#[serde(rename = "Auth by type")]`. serde's own
//! `tag`, `flatten` and `untagged` lose the places of values.

mod access;
mod choice;
mod decoder;
mod deserializer;
mod error;
mod mapping;
mod place;
mod scalar;
mod schema;
mod shapes;
mod tree;
mod words;

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::de::DeserializeOwned;

use super::fault::Fault;
use super::yaml::{Node, Span, hidden};
use decoder::Decoder;
use error::Error;
use place::Place;

pub use error::hinted;
pub use schema::{allow_expressions, forbid_null_members};
pub use shapes::{Entries, Field, OneOrMany, SecretTemplate, Template, TemplateOr, TextOr};
pub use tree::Tree;

/// Replaces the `${{ … }}` expressions of a text, or says why it cannot.
pub type Expand<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// What all decoders of one run share.
struct Context<'a> {
    expand: Expand<'a>,
    faults: RefCell<Vec<Fault>>,
    /// Places that must not be shown. They are compared with the places of values, so that an
    /// alias of a secret is a secret too.
    hidden: RefCell<BTreeSet<Span>>,
}

impl Context<'_> {
    fn record(&self, error: Error) {
        self.faults.borrow_mut().extend(error.into_fault());
    }
}

/// Decodes a document. Returns the value if there is one at all, every fault, and the places that
/// a report must hide: secrets, and what stands under unknown keys.
///
/// A fault in a [`Field`] leaves that field without a value; a fault outside of all fields leaves
/// no value. `expand` sees each text with `${{` in it, except in a [`Template`] and its like.
pub fn decode<T: DeserializeOwned>(
    root: &Node,
    expand: Expand<'_>,
) -> (Option<T>, Vec<Fault>, Vec<Span>) {
    let secrets = hidden::secrets(root).into_iter().collect();
    let context = Context {
        expand,
        faults: RefCell::default(),
        hidden: RefCell::new(secrets),
    };
    let decoder = Decoder::new(&context, root, Place::default());
    let value = T::deserialize(decoder)
        .map_err(|error| context.record(error))
        .ok();
    (
        value,
        context.faults.into_inner(),
        context.hidden.into_inner().into_iter().collect(),
    )
}

#[cfg(test)]
mod tests;
