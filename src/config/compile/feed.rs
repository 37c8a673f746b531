//! Compiles `feeds`, and the names of feeds where addresses stand.

use std::sync::Arc;
use std::time::Duration;

use super::{Compiler, value};
use crate::config::decode::Field;
use crate::config::raw::File;
use crate::config::raw::feed as raw;
use crate::feed::pointer::Pointer;
use crate::feed::{Feed, FeedError};
use crate::ingress::ranges::{FeedRanges, OnMissing};
use crate::signature::Preset;
use crate::signature::preset::PublishedFeed;

/// What stands before the name of a feed in a list of addresses.
const PREFIX: &str = "feed.";
/// What the names of feeds begin with that presets know.
const PUBLISHED: &str = "provider.";
const REFRESH: Duration = Duration::from_secs(6 * 60 * 60);

impl Compiler<'_> {
    pub(super) fn all_feeds(&mut self, file: &File) {
        self.feeds_known = file
            .feeds
            .as_ref()
            .is_none_or(|feeds| feeds.get().is_some());
        for (key, field) in value(&file.feeds).into_iter().flatten() {
            self.name(&key.name, key.span, "feed");
            if key.name.starts_with(PUBLISHED) {
                let message =
                    format!("names with `{PUBLISHED}` are those of the providers' own feeds");
                self.fault_with_help(key.span, message, "give the feed another name");
            }
            let feed = self.feed(&key.name, field).map(Arc::new);
            self.feeds.push((key.name.clone(), feed));
        }
    }

    fn feed(&mut self, name: &str, field: &Field<raw::Feed>) -> Option<Feed> {
        let raw = field.get()?;
        let pointers = self.pointers(raw);
        let refresh = self.period(&raw.refresh, REFRESH);
        let on_missing = match value(&raw.on_missing) {
            None | Some(raw::OnMissing::Refuse) => OnMissing::Refuse,
            Some(raw::OnMissing::Allow) => OnMissing::Allow,
        };
        let error = match Feed::new(name, raw.url.get()?, pointers?, refresh, on_missing) {
            Ok(feed) => return Some(feed),
            Err(error) => error,
        };
        let (span, help) = match error {
            FeedError::BadUrl(_) => {
                if raw.url.get()?.contains('@') {
                    self.hidden.push(raw.url.span);
                }
                let help = "write one like `https://example.com/ranges.json`";
                (raw.url.span, help)
            }
            FeedError::Plain => (
                raw.url.span,
                "write https://: who can change the list on its way says who may send",
            ),
            FeedError::TooOften => {
                let place = raw.refresh.as_ref().map_or(field.span, |field| field.span);
                (place, "leave `refresh` out for the default, 6h")
            }
        };
        // A time of zero has a fault of its own.
        if !(error == FeedError::TooOften && refresh.is_zero()) {
            self.fault_with_help(span, error.to_string(), help);
        }
        None
    }

    fn pointers(&mut self, raw: &raw::Feed) -> Option<Vec<Pointer>> {
        let Some(field) = &raw.pointer else {
            return Some(Vec::new());
        };
        let list = field.get()?;
        if list.is_empty() {
            let help = "leave `pointer` out if the body is plain lines";
            self.fault_with_help(field.span, "an empty list points to nothing", help);
            return None;
        }
        let mut pointers = Vec::new();
        for field in list {
            let Some(text) = field.get() else { continue };
            match text.parse() {
                Ok(pointer) => pointers.push(pointer),
                Err(error) => {
                    let message = format!("`{text}` is not a JSON pointer: {error}");
                    let help = "write one like `/hooks` or `/prefixes/*/ip_prefix` (RFC 6901)";
                    self.fault_with_help(field.span, message, help);
                }
            }
        }
        (pointers.len() == list.len()).then_some(pointers)
    }

    /// Where a preset says that its provider publishes ranges: as good a feed as one of a file.
    pub(super) fn published_feed(
        &mut self,
        name: &str,
        field: &Field<raw::Feed>,
    ) -> Option<PublishedFeed> {
        self.feed(name, field)?;
        let raw = field.get()?;
        let pointers = value(&raw.pointer).into_iter().flatten();
        Some(PublishedFeed {
            url: raw.url.get()?.clone(),
            pointers: pointers.filter_map(|field| field.get()).cloned().collect(),
        })
    }

    /// The ranges that a route's provider publishes, if they change. All of its routes share them.
    pub(super) fn feed_of(&mut self, preset: &Preset) -> Option<Arc<FeedRanges>> {
        let published = preset.feed.as_ref()?;
        let name = format!("{PUBLISHED}{}", preset.name);
        if let Some(feed) = self.published.iter().find(|feed| feed.name() == name) {
            return Some(feed.ranges().clone());
        }
        let pointers = published.pointers.iter().map(|text| text.parse());
        let pointers: Vec<Pointer> = pointers.collect::<Result<_, _>>().ok()?;
        let feed = Feed::new(&name, &published.url, pointers, REFRESH, OnMissing::Refuse).ok()?;
        let ranges = feed.ranges().clone();
        self.published.push(Arc::new(feed));
        Some(ranges)
    }

    /// Every feed without a fault: those of the file, then those of providers that are in use.
    pub(super) fn feeds_in_use(&mut self) -> Vec<Arc<Feed>> {
        let written = self.feeds.drain(..).filter_map(|(_, feed)| feed);
        written.chain(self.published.drain(..)).collect()
    }

    /// The ranges of the feed that an entry of `allow` names, if it names one.
    pub(super) fn feed_named(&mut self, field: &Field<String>) -> Option<Arc<FeedRanges>> {
        let text = field.get()?;
        let Some(name) = text.strip_prefix(PREFIX) else {
            let name = text.strip_prefix("feeds.").unwrap_or("NAME");
            let help = format!("write `{PREFIX}{name}`");
            self.fault_with_help(field.span, format!("`{text}` names no feed"), help);
            return None;
        };
        if let Some((_, feed)) = self.feeds.iter().find(|(known, _)| known == name) {
            return Some(feed.as_ref()?.ranges().clone());
        }
        if self.feeds_known {
            if self.feeds.is_empty() {
                let help = format!("write it down: `feeds: {{{name}: {{url: https://…}}}}`");
                self.fault_with_help(field.span, format!("there is no feed `{name}`"), help);
                return None;
            }
            let known: Vec<String> = self.feeds.iter().map(|(name, _)| name.clone()).collect();
            self.unknown(field.span, "feed", name, known.iter().map(String::as_str));
        }
        None
    }
}

/// Whether an entry of a list of addresses means a feed, if not in the right words.
pub(super) fn is_feed(field: &Field<String>) -> bool {
    let mut words = field.get().into_iter().flat_map(|text| text.split('.'));
    matches!(words.next(), Some("feed" | "feeds"))
}
