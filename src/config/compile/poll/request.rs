//! Compiles `poll.request`, and every other request to a provider.

use http::{HeaderValue, Method};
use serde_json::{Map, Value};

use super::texts::place;
use super::{SourceCompiler, value};
use crate::config::compile::deliver::FIXED_HEADERS;
use crate::config::decode::{Entries, Field, Template, TemplateOr, Tree};
use crate::config::raw::poll::request as raw;
use crate::config::yaml::Span;
use crate::expr::OPEN;
use crate::expr::scoped::{Names, ValueTemplate};
use crate::poll::request::{BodyRule, Conditional, JsonRule, Parameters, RequestRules};

/// A request in its short or its full form.
#[derive(Clone, Copy)]
pub(super) struct Written<'r> {
    /// The URL; `None` where it is missing.
    pub(super) url: Option<(Span, &'r str)>,
    /// Everything else.
    pub(super) full: Option<&'r raw::Request>,
}

impl<'r> Written<'r> {
    /// What a field says; `None` where it has a fault.
    pub(super) fn of(field: &'r Field<TemplateOr<raw::Request>>) -> Option<Self> {
        Some(match field.get()? {
            TemplateOr::Text(Template(text)) => Self {
                url: Some((field.span, text)),
                full: None,
            },
            TemplateOr::Full(full) => Self {
                url: full.url.get().map(|text| (full.url.span, text.0.as_str())),
                full: Some(full),
            },
        })
    }
}

impl SourceCompiler<'_, '_> {
    /// A request whose expressions may have these names.
    pub(super) fn request(
        &mut self,
        field: &Field<TemplateOr<raw::Request>>,
        names: Names,
    ) -> Option<RequestRules> {
        let written = Written::of(field)?;
        let url = written
            .url
            .and_then(|(span, text)| self.template(span, text, names));
        let Some(full) = written.full else {
            return Some(RequestRules {
                method: Method::GET,
                url: url?,
                query: Vec::new(),
                headers: Vec::new(),
                body: BodyRule::None,
                conditional: Conditional::Auto,
            });
        };
        let method = self.method(full);
        let query = match &full.query {
            Some(field) => field.get().and_then(|query| self.parameters(query, names)),
            None => Some(Vec::new()),
        };
        let headers = self.headers(full, names);
        let body = self.body(full, names);
        if let (Some(Method::GET), Some(field)) = (&method, &full.body)
            && field.get().is_some()
        {
            let message = "a GET has no body";
            self.fault_with_help(field.span, message, "write `method: POST`, or use `query`");
        }
        Some(RequestRules {
            method: method?,
            url: url?,
            query: query?,
            headers: headers?,
            body: body?,
            conditional: match value(&full.conditional) {
                None | Some(raw::Conditional::Auto) => Conditional::Auto,
                Some(raw::Conditional::Off) => Conditional::Off,
            },
        })
    }

    /// A request beside the source's own: what is said once for all requests stands there.
    pub(super) fn further_request(
        &mut self,
        field: &Field<TemplateOr<raw::Request>>,
        names: Names,
    ) -> Option<RequestRules> {
        if let Some(Written {
            full: Some(full), ..
        }) = Written::of(field)
        {
            let keys = [
                ("timeout", place(&full.timeout)),
                ("max_body", place(&full.max_body)),
                ("redirects", place(&full.redirects)),
                ("allow_hosts", place(&full.allow_hosts)),
                ("tls", place(&full.tls)),
            ];
            for (key, span) in keys {
                let Some(span) = span else { continue };
                let message = format!("all requests of a source have one `{key}`");
                self.fault_with_help(span, message, format!("write it as `poll.request.{key}`"));
            }
            let keys = [("conditional", place(&full.conditional))];
            self.needless(&keys, "is for what is asked again and again");
        }
        self.request(field, names)
    }

    fn method(&mut self, raw: &raw::Request) -> Option<Method> {
        let Some(field) = &raw.method else {
            return Some(Method::GET);
        };
        let text = field.get()?;
        let is_good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase());
        match Method::from_bytes(text.as_bytes()) {
            Ok(method) if is_good && method != Method::CONNECT => Some(method),
            Ok(_) | Err(_) => {
                let help = "methods are written in capitals (GET, POST, PUT)";
                self.fault_with_help(field.span, format!("`{text}` is not a method"), help);
                None
            }
        }
    }

    /// Names and values, without those that are left out.
    fn parameters(&mut self, raw: &raw::Parameters, names: Names) -> Option<Parameters> {
        let mut parameters = Vec::new();
        for (key, field) in raw {
            let Some(Some(values)) = field.get() else {
                continue;
            };
            let values: Vec<_> = values
                .iter()
                .map(|field| self.template_of(field, names))
                .collect();
            parameters.push(
                values
                    .into_iter()
                    .collect::<Option<Vec<_>>>()
                    .map(|values| (key.name.clone(), values)),
            );
        }
        parameters.into_iter().collect()
    }

    fn headers(
        &mut self,
        raw: &raw::Request,
        names: Names,
    ) -> Option<Vec<(String, ValueTemplate)>> {
        let Some(field) = &raw.headers else {
            return Some(Vec::new());
        };
        let mut headers = Vec::new();
        for (key, field) in field.get()? {
            self.header_name(key.span, &key.name);
            if FIXED_HEADERS
                .iter()
                .any(|fixed| fixed.eq_ignore_ascii_case(&key.name))
            {
                let help = "the host is the URL's, and framing is the gateway's";
                let message = format!("`{}` cannot be set here", key.name);
                self.fault_with_help(key.span, message, help);
            }
            let Some(Some(Template(text))) = field.get() else {
                continue;
            };
            if !text.contains(OPEN) && HeaderValue::from_str(text).is_err() {
                // It may be a secret that was pasted with its line break.
                self.hidden.push(field.span);
                let message = format!("the value of `{}` cannot stand in a header", key.name);
                let help = "take line breaks and other control characters out of it";
                self.fault_with_help(field.span, message, help);
            }
            let template = self.template(field.span, text, names);
            headers.push(template.map(|template| (key.name.clone(), template)));
        }
        headers.into_iter().collect()
    }

    fn body(&mut self, raw: &raw::Request, names: Names) -> Option<BodyRule> {
        let Some(field) = &raw.body else {
            return Some(BodyRule::None);
        };
        match field.get()? {
            raw::Body::Json(tree) => self.json(tree, names).map(BodyRule::Json),
            raw::Body::Form(parameters) => self.parameters(parameters, names).map(BodyRule::Form),
            raw::Body::Raw(text) => self.template_of(text, names).map(BodyRule::Raw),
        }
    }

    /// JSON with templates in it. The file's own limits keep it from being too deep.
    fn json(&mut self, field: &Field<Tree>, names: Names) -> Option<JsonRule> {
        Some(match field.get()? {
            Tree::Null => JsonRule::Constant(Value::Null),
            Tree::Bool(value) => JsonRule::Constant(Value::Bool(*value)),
            Tree::Number(number) => JsonRule::Constant(Value::Number(number.clone())),
            Tree::Text(Template(text)) if !text.contains(OPEN) => {
                JsonRule::Constant(Value::String(text.clone()))
            }
            Tree::Text(Template(text)) => {
                JsonRule::Template(self.template(field.span, text, names)?)
            }
            Tree::List(items) => {
                let rules: Vec<_> = items.iter().map(|item| self.json(item, names)).collect();
                JsonRule::List(rules.into_iter().collect::<Option<_>>()?)
            }
            Tree::Map(entries) => JsonRule::Map(self.json_entries(entries, names)?),
        })
    }

    fn json_entries(
        &mut self,
        entries: &Entries<Tree>,
        names: Names,
    ) -> Option<Vec<(String, JsonRule)>> {
        let rules: Vec<_> = entries
            .iter()
            .map(|(key, field)| Some((key.name.clone(), self.json(field, names)?)))
            .collect();
        rules.into_iter().collect()
    }

    /// JSON that is always the same: its expressions are evaluated now.
    pub(super) fn constant(&mut self, field: &Field<Tree>, names: Names) -> Option<Value> {
        Some(match field.get()? {
            Tree::Null => Value::Null,
            Tree::Bool(value) => Value::Bool(*value),
            Tree::Number(number) => Value::Number(number.clone()),
            Tree::Text(Template(text)) => {
                let template = self.template(field.span, text, names)?;
                let value = template.value(&Default::default());
                self.try_at(field.span, value)?.unwrap_or_default()
            }
            Tree::List(items) => {
                let values: Vec<_> = items
                    .iter()
                    .map(|item| self.constant(item, names))
                    .collect();
                Value::Array(values.into_iter().collect::<Option<_>>()?)
            }
            Tree::Map(entries) => Value::Object(self.constants(entries, names)?),
        })
    }

    /// The same of a mapping.
    pub(super) fn constants(
        &mut self,
        entries: &Entries<Tree>,
        names: Names,
    ) -> Option<Map<String, Value>> {
        let values: Vec<_> = entries
            .iter()
            .map(|(key, field)| Some((key.name.clone(), self.constant(field, names)?)))
            .collect();
        values.into_iter().collect()
    }
}
