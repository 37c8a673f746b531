//! Compiles `poll.items`.

use std::sync::Arc;

use serde_json_path::JsonPath;

use super::texts::{is_known, place};
use super::{SourceCompiler, value};
use crate::config::decode::{Field, OneOrMany, Template, TextOr};
use crate::config::fault::Fault;
use crate::config::raw::poll::items::{self as raw, ItemOrder};
use crate::config::raw::poll::{Decode, Poll};
use crate::config::raw::route::Route;
use crate::config::yaml::Span;
use crate::poll::expressions::{OF_ITEMS, item_condition};
use crate::poll::items::id::IdRule;
use crate::poll::items::select::Selection;
use crate::poll::items::{ItemCondition, ItemRules, ItemRulesError, ItemSpec, ReadTime, WithoutId};
use crate::poll::page::Order;
use crate::poll::selector::Selector;
use crate::poll::times::{TimeFormat, TimeFormatError};

const WHOLE: &str = "$";
const ID: &str = "$.id";
const TIME_FORMAT: &str = "auto";
const ZONE: &str = "UTC";
/// The lanes of items are those of the route's webhooks that go to its first backend.
const SLOT: u16 = 0;

/// What is known of items.
pub(super) struct Items {
    pub(super) rules: ItemRules,
    pub(super) event_type: Option<Selector>,
}

impl SourceCompiler<'_, '_> {
    pub(super) fn items(&mut self, name: &str, route: &Route, poll: &Poll) -> Option<Items> {
        let whole = place(&poll.items).unwrap_or_default();
        let none = raw::Items::default();
        let select = self.selection(whole, poll);
        let raw = full(poll).unwrap_or(&none);
        let id = self.id(whole, raw, poll);
        let time = self.item_time(raw, poll);
        let version = value(&route.dedup).and_then(|dedup| dedup.version.as_ref());
        let version = self.json_paths(version);
        let order_key = self.json_paths(raw.order_key.as_ref());
        let wanted = self.item_condition(&raw.condition);
        let deleted = self.item_condition(&raw.deleted);
        let event_type = match &raw.item_type {
            Some(field) => self.selector(field).map(Some),
            None => Some(None),
        };
        let spec = ItemSpec {
            select: select?,
            id: id?,
            without_id: WithoutId::Fail,
            time: time?,
            version: version?,
            order: order(poll)?,
            wanted: wanted?,
            deleted: deleted?,
            order_key: order_key?,
            lane_of: vec![name.as_bytes().to_vec(), SLOT.to_be_bytes().to_vec()],
        };
        let rules = ItemRules::new(spec);
        let rules = rules.map_err(|error| self.no_items(whole, route, raw, error));
        Some(Items {
            rules: rules.ok()?,
            event_type: event_type?,
        })
    }

    fn no_items(&mut self, whole: Span, route: &Route, raw: &raw::Items, error: ItemRulesError) {
        let (ItemRulesError::NoPath { key } | ItemRulesError::TooManyPaths { key }) = error;
        let span = match key {
            "version" => place(&route.dedup),
            "order_key" => place(&raw.order_key),
            _ => place(&raw.id)
                .or(place(&raw.id_any))
                .or(place(&raw.id_hash)),
        };
        let help = "write a JSONPath, or up to 16 of them";
        self.fault_with_help(span.unwrap_or(whole), error.to_string(), help);
    }

    /// What in an answer is an item.
    fn selection(&mut self, whole: Span, poll: &Poll) -> Option<Selection> {
        let Some(field) = &poll.items else {
            return self.select(whole, WHOLE);
        };
        match field.get()? {
            TextOr::Text(text) => self.select(field.span, text),
            TextOr::Full(raw) => match &raw.select {
                Some(field) => self.select(field.span, field.get()?),
                None => self.select(field.span, WHOLE),
            },
        }
    }

    fn select(&mut self, span: Span, text: &str) -> Option<Selection> {
        self.selected(span, text, Selector::new(text))?;
        self.try_at(span, Selection::new(text))
    }

    fn id(&mut self, whole: Span, raw: &raw::Items, poll: &Poll) -> Option<IdRule> {
        let ways = [
            ("id", &raw.id),
            ("id_any", &raw.id_any),
            ("id_hash", &raw.id_hash),
        ];
        let mut given = ways
            .into_iter()
            .filter_map(|(key, field)| Some((key, field.as_ref()?)));
        let Some((key, field)) = given.next() else {
            if value(&poll.decode) == Some(&Decode::Text) {
                let message = "the text of an answer has no `id`";
                let help = "write `id_hash: $.text`: another text is another item";
                self.fault_with_help(whole, message, help);
            }
            return self.try_at(whole, JsonPath::parse(ID)).map(IdRule::One);
        };
        for (other, field) in given {
            let message = format!("`{key}` and `{other}` both say what an item is known by");
            self.fault_with_help(field.span, message, "take one of them away");
        }
        let mut paths = self.json_paths(Some(field))?;
        Some(match (key, paths.len()) {
            ("id", 1) => IdRule::One(paths.remove(0)),
            ("id", _) => IdRule::All(paths),
            ("id_any", _) => IdRule::Any(paths),
            _ => IdRule::Hash(paths),
        })
    }

    /// Where an item's time stands, and how it is read. That of a timestamp cursor is the same.
    fn item_time(&mut self, raw: &raw::Items, poll: &Poll) -> Option<Option<(JsonPath, ReadTime)>> {
        let of_cursor = super::cursor::time_field(poll);
        let Some(field) = raw.time.as_ref().or(of_cursor) else {
            let keys = [
                ("time_format", place(&raw.time_format)),
                ("time_zone", place(&raw.time_zone)),
            ];
            self.needless(&keys, "is for `time`, which is not there");
            return Some(None);
        };
        let format = value(&raw.time_format).map_or(TIME_FORMAT, String::as_str);
        let span = place(&raw.time_format).unwrap_or(field.span);
        let format = self.time_format(span, format, raw);
        let path = self.json_path(field);
        let (path, format) = (path?, format?);
        let read: ReadTime = Arc::new(move |value| format.read(value));
        Some(Some((path, read)))
    }

    /// How times are written; those without a zone are in that of `items.time_zone`.
    pub(super) fn time_format(
        &mut self,
        span: Span,
        format: &str,
        items: &raw::Items,
    ) -> Option<TimeFormat> {
        if !is_known(&items.time_zone) {
            return None;
        }
        let zone = value(&items.time_zone).map_or(ZONE, String::as_str);
        let error = match TimeFormat::new(format, zone) {
            Ok(format) => return Some(format),
            Err(error) => error,
        };
        let (span, help) = match error {
            TimeFormatError::UnknownZone(_) => (
                place(&items.time_zone).unwrap_or(span),
                "names are listed at https://www.iana.org/time-zones",
            ),
            _ => (
                span,
                "leave it out for times like 2026-01-31T12:00:00Z or numbers of seconds",
            ),
        };
        // The zone is one for all formats: it is told of once.
        let is_told = |fault: &Fault| fault.span == Some(span);
        if !self.faults.iter().any(is_told) {
            self.fault_with_help(span, error.to_string(), help);
        }
        None
    }

    fn item_condition(&mut self, field: &Option<Field<Template>>) -> Option<Option<ItemCondition>> {
        let Some(field) = field else {
            return Some(None);
        };
        let condition = self.condition(field, OF_ITEMS)?;
        Some(Some(item_condition(condition)))
    }
}

/// The full form of `items`, if it is there.
pub(super) fn full(poll: &Poll) -> Option<&raw::Items> {
    match value(&poll.items)? {
        TextOr::Text(_) => None,
        TextOr::Full(raw) => Some(raw),
    }
}

/// The order that is promised; `None` where it has a fault.
pub(super) fn order(poll: &Poll) -> Option<Order> {
    if !is_known(&poll.items) {
        return None;
    }
    let written = match full(poll).and_then(|raw| raw.order.as_ref()) {
        None => ItemOrder::None,
        Some(field) => *field.get()?,
    };
    Some(match written {
        ItemOrder::Asc => Order::Asc,
        ItemOrder::Desc => Order::Desc,
        ItemOrder::None => Order::None,
    })
}

/// What an item is known by, as it is written.
pub(super) fn id_as_written(poll: &Poll) -> Vec<String> {
    let Some(raw) = full(poll) else {
        return vec!["id".to_owned(), ID.to_owned()];
    };
    let ways = [
        ("id", &raw.id),
        ("id_any", &raw.id_any),
        ("id_hash", &raw.id_hash),
    ];
    let texts = |paths: &OneOrMany<String>| -> Vec<String> {
        let texts = paths.iter().filter_map(|field| field.get().cloned());
        texts.collect()
    };
    let mut given = ways
        .into_iter()
        .filter_map(|(key, field)| Some((key, texts(value(field)?))));
    let (key, paths) = given.next().unwrap_or(("id", vec![ID.to_owned()]));
    [key.to_owned()].into_iter().chain(paths).collect()
}
