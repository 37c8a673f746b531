//! The query of a request to the API: every key known, none twice.

use std::collections::BTreeMap;

use super::filter::Filter;
use super::operation::Keys;
use super::problem::Problem;

/// The pairs of a query.
#[derive(Debug, Default)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn parse(text: &[u8], keys: Keys) -> Result<Self, Problem> {
        let known = known(keys);
        let mut pairs = BTreeMap::new();
        for (key, value) in form_urlencoded::parse(text) {
            if !known.contains(&&*key) {
                let hint = match known.is_empty() {
                    true => "this takes no query".to_owned(),
                    false => format!("known are: {}", known.join(", ")),
                };
                return Err(Problem::bad(format!("unknown key `{key}`; {hint}")));
            }
            if pairs.insert(key.to_string(), value.into_owned()).is_some() {
                return Err(Problem::bad(format!("`{key}` stands there twice")));
            }
        }
        Ok(Self(pairs))
    }

    /// A query of these pairs, for a log that is read without the API.
    pub fn of(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    /// The value of a key.
    pub fn text(&self, key: &str) -> Option<String> {
        self.0.get(key).cloned()
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<usize>, Problem> {
        let bad = |_| Problem::bad(format!("`{key}` is a number"));
        self.0
            .get(key)
            .map(|text| text.parse().map_err(bad))
            .transpose()
    }

    /// The same with a value that nobody may set.
    pub(super) fn with(mut self, key: &str, value: &str) -> Result<Self, Problem> {
        match self.0.insert(key.to_owned(), value.to_owned()) {
            Some(other) if other != value => {
                Err(Problem::bad(format!("`{key}` can only be `{value}` here")))
            }
            Some(_) | None => Ok(self),
        }
    }
}

pub(super) fn known(keys: Keys) -> Vec<&'static str> {
    let pages = ["limit", "page"];
    match keys {
        Keys::None => Vec::new(),
        Keys::Pages => pages.to_vec(),
        Keys::Tail => vec!["route", "verdict"],
        Keys::Events => Filter::KEYS
            .iter()
            .map(|(key, _)| *key)
            .chain(pages)
            .collect(),
    }
}
