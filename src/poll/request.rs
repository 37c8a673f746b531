//! Makes the request to a provider of what the file says and of how far the source is read.
//!
//! Pure. Everything that a request is made of is handed in; nothing of an earlier request is
//! remembered here.

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value};

use super::auth::PreparedRequest;
use super::pagination::PageRequest;
use crate::expr::scoped::{ExprError, Scope, ValueTemplate};

/// Names and values; several values repeat the name.
pub type Parameters = Vec<(String, Vec<ValueTemplate>)>;

/// What is asked.
pub struct RequestRules {
    /// The method.
    pub method: Method,
    /// The URL.
    pub url: ValueTemplate,
    /// Parameters behind the URL.
    pub query: Parameters,
    /// Headers.
    pub headers: Vec<(String, ValueTemplate)>,
    /// The body.
    pub body: BodyRule,
    /// Whether an answer is only asked for if it is another than the one before.
    pub conditional: Conditional,
}

/// The body of a request.
pub enum BodyRule {
    /// None.
    None,
    /// JSON.
    Json(JsonRule),
    /// A form.
    Form(Parameters),
    /// A text.
    Raw(ValueTemplate),
}

/// A JSON value with templates in it.
pub enum JsonRule {
    /// Always the same.
    Constant(Value),
    /// What a template makes; nothing = it is left out.
    Template(ValueTemplate),
    /// A list.
    List(Vec<JsonRule>),
    /// A mapping.
    Map(Vec<(String, JsonRule)>),
}

/// Whether an answer is only asked for if it is another than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conditional {
    /// If the provider says by what to tell.
    Auto,
    /// Never.
    Off,
}

/// Why there is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// An expression has no value.
    #[error("`{key}`: {error}")]
    Expression {
        /// The key under `request`.
        key: &'static str,
        /// Why.
        error: ExprError,
    },
    /// Without it there is nothing to ask.
    #[error("`url` is nothing: something that it needs is missing")]
    NoUrl,
    /// A value cannot stand in a header.
    #[error("the value of the header `{0}` has characters that no header may have")]
    Header(String),
}

impl RequestRules {
    /// The request for a page.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn prepare(
        &self,
        scope: &Scope,
        page: &PageRequest,
    ) -> Result<PreparedRequest, RequestError> {
        let mut query = Vec::new();
        let url = match &page.url {
            Some(url) => url.clone(),
            None => {
                query = pairs("query", &self.query, scope)?;
                query.extend(page.query.iter().cloned());
                let url = self.url.text(scope).map_err(of("url"))?;
                url.ok_or(RequestError::NoUrl)?
            }
        };
        let mut headers = Vec::new();
        for (name, template) in &self.headers {
            if let Some(value) = template.text(scope).map_err(of("headers"))? {
                if http::HeaderValue::from_str(&value).is_err() {
                    return Err(RequestError::Header(name.clone()));
                }
                headers.push((name.clone(), value));
            }
        }
        let (body, media) = self.body(scope, page)?;
        let has_type = |(name, _): &(String, String)| name.eq_ignore_ascii_case("content-type");
        if let Some(media) = media
            && !headers.iter().any(has_type)
        {
            headers.push(("Content-Type".to_owned(), media.to_owned()));
        }
        Ok(PreparedRequest {
            method: self.method.clone(),
            url,
            query,
            headers,
            body,
        })
    }

    fn body(
        &self,
        scope: &Scope,
        page: &PageRequest,
    ) -> Result<(Bytes, Option<&'static str>), RequestError> {
        Ok(match &self.body {
            BodyRule::None if page.body.is_empty() => (Bytes::new(), None),
            BodyRule::None => json(Value::Object(Map::new()), page),
            BodyRule::Json(rule) => json(rule.value(scope)?.unwrap_or_default(), page),
            BodyRule::Form(parameters) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                form.extend_pairs(pairs("body", parameters, scope)?);
                let media = "application/x-www-form-urlencoded";
                (form.finish().into(), Some(media))
            }
            BodyRule::Raw(template) => {
                let text = template.text(scope).map_err(of("body"))?;
                (text.unwrap_or_default().into(), None)
            }
        })
    }
}

fn json(mut value: Value, page: &PageRequest) -> (Bytes, Option<&'static str>) {
    for (path, token) in &page.body {
        path.put(&mut value, token.clone());
    }
    (value.to_string().into(), Some("application/json"))
}

impl JsonRule {
    fn value(&self, scope: &Scope) -> Result<Option<Value>, RequestError> {
        Ok(match self {
            Self::Constant(value) => Some(value.clone()),
            Self::Template(template) => template.value(scope).map_err(of("body"))?,
            Self::List(items) => {
                let values = items
                    .iter()
                    .filter_map(|item| item.value(scope).transpose());
                Some(values.collect::<Result<_, _>>()?)
            }
            Self::Map(entries) => {
                let mut map = Map::new();
                for (name, rule) in entries {
                    if let Some(value) = rule.value(scope)? {
                        map.insert(name.clone(), value);
                    }
                }
                Some(Value::Object(map))
            }
        })
    }
}

/// Names and values, of which those without a value are left out.
fn pairs(
    key: &'static str,
    parameters: &Parameters,
    scope: &Scope,
) -> Result<Vec<(String, String)>, RequestError> {
    let mut pairs = Vec::new();
    for (name, templates) in parameters {
        for template in templates {
            match template.value(scope).map_err(of(key))? {
                None | Some(Value::Null) => {}
                Some(Value::Array(values)) => {
                    pairs.extend(values.iter().map(|value| (name.clone(), plain(value))));
                }
                Some(value) => pairs.push((name.clone(), plain(&value))),
            }
        }
    }
    Ok(pairs)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn of(key: &'static str) -> impl Fn(ExprError) -> RequestError {
    move |error| RequestError::Expression { key, error }
}
