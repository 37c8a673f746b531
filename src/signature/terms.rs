//! What was agreed on with a provider, besides secrets.

use super::request::{Options, Request};
use crate::event::Head;

/// What was agreed on with a provider, besides secrets.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// The URL that the provider calls.
    pub public_url: Option<String>,
    /// What else it needs, by name.
    pub options: Options,
}

impl Terms {
    /// A request to be judged or signed on these terms.
    pub fn request<'a>(&'a self, head: &'a Head, body: &'a [u8]) -> Request<'a> {
        Request::new(head, body)
            .with_public_url(self.public_url.as_deref())
            .with_options(&self.options)
    }
}

impl From<Option<String>> for Terms {
    fn from(public_url: Option<String>) -> Self {
        Self {
            public_url,
            options: Options::new(),
        }
    }
}
