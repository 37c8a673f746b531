//! Expressions, JSONPaths and names: the texts that every section is made of.

use http::HeaderName;
use serde_json_path::JsonPath;

use super::super::HEADER_SHAPE;
use super::SourceCompiler;
use crate::config::decode::{Field, OneOrMany, SecretTemplate, Template};
use crate::config::yaml::Span;
use crate::expr::OPEN;
use crate::expr::scoped::{Condition, ExpressionError, Name, Names, ValueTemplate};
use crate::poll::selector::{Origin, Selector, SelectorError};
use crate::secret::Secret;

impl SourceCompiler<'_, '_> {
    /// A text with expressions in it.
    pub(super) fn template(
        &mut self,
        span: Span,
        text: &str,
        names: Names,
    ) -> Option<ValueTemplate> {
        let compiled = ValueTemplate::compile(text, names, self.engine);
        let template = self.expression(span, compiled)?;
        let uses = &mut self.uses;
        for (name, spans) in [
            (Name::Session, &mut uses.session),
            (Name::Partition, &mut uses.partition),
            (Name::Cursor, &mut uses.cursor),
        ] {
            if template.uses(name) {
                spans.push(span);
            }
        }
        let parts = template.parts_of(Name::Session);
        uses.session_parts
            .extend(parts.map(|part| (span, part.to_owned())));
        Some(template)
    }

    /// The same of a field.
    pub(super) fn template_of(
        &mut self,
        field: &Field<Template>,
        names: Names,
    ) -> Option<ValueTemplate> {
        self.template(field.span, &field.get()?.0, names)
    }

    /// A credential. One that stands in the file itself is masked like those that do not.
    pub(super) fn credential(
        &mut self,
        field: &Field<SecretTemplate>,
        names: Names,
    ) -> Option<ValueTemplate> {
        let text = &field.get()?.0;
        if !text.contains(OPEN) && !text.is_empty() {
            self.uses.literals.push(Secret::new(text));
            self.secrets.push(Secret::new(text));
        }
        self.template(field.span, text, names)
    }

    /// What is an expression with or without `${{ }}`.
    pub(super) fn formula(
        &mut self,
        field: &Field<Template>,
        names: Names,
    ) -> Option<ValueTemplate> {
        let text = &field.get()?.0;
        if text.contains(OPEN) {
            return self.template(field.span, text, names);
        }
        if text.trim().is_empty() {
            return self.expression(field.span, Err(ExpressionError::Empty));
        }
        self.template(field.span, &format!("{OPEN} {text} }}}}"), names)
    }

    /// A condition.
    pub(super) fn condition(&mut self, field: &Field<Template>, names: Names) -> Option<Condition> {
        let compiled = Condition::compile(&field.get()?.0, names, self.engine);
        self.expression(field.span, compiled)
    }

    fn expression<T>(&mut self, span: Span, compiled: Result<T, ExpressionError>) -> Option<T> {
        let error = match compiled {
            Ok(compiled) => return Some(compiled),
            Err(error) => error,
        };
        let message = error.to_string();
        let help = match error {
            // These say themselves what to write.
            ExpressionError::Unknown { .. } | ExpressionError::Lookup(_) => {
                self.fault(span, message);
                return None;
            }
            ExpressionError::NoEnd => "an expression stands in ${{ and }}",
            ExpressionError::Empty => "write an expression, or leave the key out",
            ExpressionError::NotOne => {
                "write one expression, like ${{ item.status == 'PAID' or item.total > 0 }}"
            }
            ExpressionError::Syntax { .. } | ExpressionError::Statement { .. } => {
                "write it like ${{ cursor }} within a text, or body.code == 5 for a condition"
            }
            ExpressionError::TooLong { .. } | ExpressionError::TooManyOperators { .. } => {
                "make it shorter"
            }
        };
        self.fault_with_help(span, message, help);
        None
    }

    /// A JSONPath.
    pub(super) fn selector(&mut self, field: &Field<String>) -> Option<Selector> {
        let text = field.get()?;
        self.selected(field.span, text, Selector::new(text))
    }

    /// A JSONPath or `header:NAME`.
    pub(super) fn origin(&mut self, field: &Field<String>) -> Option<Origin> {
        let text = field.get()?;
        self.selected(field.span, text, Origin::new(text))
    }

    /// What a text selects, or a fault.
    pub(super) fn selected<T>(
        &mut self,
        span: Span,
        text: &str,
        made: Result<T, SelectorError>,
    ) -> Option<T> {
        let error = match made {
            Ok(made) => return Some(made),
            Err(error) => error,
        };
        let help = match error {
            SelectorError::NoRoot(_) => format!("write `$.{}`", text.trim_start_matches('.')),
            SelectorError::Syntax { .. } => {
                "write a JSONPath (RFC 9535), like `$.data[*]` or `$.links[0].href`".to_owned()
            }
            SelectorError::Header(_) => "write it like `header:X-Next`".to_owned(),
            SelectorError::BodyPath(_) => "write it like `$.page.cursor`".to_owned(),
            SelectorError::TooLong | SelectorError::TooDeep => "write a shorter one".to_owned(),
        };
        self.fault_with_help(span, error.to_string(), help);
        None
    }

    /// A JSONPath for the library.
    pub(super) fn json_path(&mut self, field: &Field<String>) -> Option<JsonPath> {
        let selector = self.selector(field)?;
        // What a selector was made of is a path.
        self.try_at(field.span, JsonPath::parse(selector.as_str()))
    }

    /// All JSONPaths of a list; `None` if one of them is none.
    pub(super) fn json_paths(
        &mut self,
        field: Option<&Field<OneOrMany<String>>>,
    ) -> Option<Vec<JsonPath>> {
        let Some(field) = field else {
            return Some(Vec::new());
        };
        let paths: Vec<_> = field
            .get()?
            .iter()
            .map(|field| self.json_path(field))
            .collect();
        paths.into_iter().collect()
    }

    /// The name of a header.
    pub(super) fn header_name(&mut self, span: Span, name: &str) -> Option<HeaderName> {
        let parsed = HeaderName::from_bytes(name.as_bytes());
        if parsed.is_err() {
            let message = format!("`{name}` is not the name of a header");
            self.fault_with_help(span, message, HEADER_SHAPE);
        }
        parsed.ok()
    }

    /// Finds keys that do nothing where they stand.
    pub(super) fn needless(&mut self, keys: &[(&str, Option<Span>)], why: &str) {
        for (key, span) in keys {
            let Some(span) = span else { continue };
            self.fault_with_help(*span, format!("`{key}` {why}"), "take it away");
        }
    }
}

/// Where a key stands, if it is there.
pub(super) fn place<T>(field: &Option<Field<T>>) -> Option<Span> {
    field.as_ref().map(|field| field.span)
}

/// Whether a key has no fault of its own: it is absent, or has a value.
pub(super) fn is_known<T>(field: &Option<Field<T>>) -> bool {
    field.as_ref().is_none_or(|field| field.get().is_some())
}
