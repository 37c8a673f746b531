//! RSS, Atom and JSON Feed as one shape.
//!
//! The reading is our own: feed-rs 3.0 goes down with the whole process on elements nested deep
//! enough, and panics on an author like `mail@example.com（名前）`.
//!
//! Links stay as they are written. A time that cannot be read is absent, and so is an id that is
//! not there: nothing is made up.

use serde_json::{Map, Value, json};

use self::time::time;
use self::xml::{Element, Space};
use super::DecodeError;

mod time;
mod xml;

/// Reads a feed of any kind.
pub(super) fn read(text: &str) -> Result<Value, DecodeError> {
    if text.trim_start().starts_with('{') {
        return json_feed(&super::json_value(text, 1)?).ok_or(DecodeError::NotFeed);
    }
    let root = xml::read(text)?;
    let (channel, entries) = match root.local_name() {
        "feed" => (&root, root.all("entry")),
        "rss" => {
            let channel = root.first("channel").ok_or(DecodeError::NotFeed)?;
            (channel, channel.all("item"))
        }
        // RSS 0.9 and 1.0 have the items beside the channel.
        "RDF" => (
            root.first("channel").ok_or(DecodeError::NotFeed)?,
            root.all("item"),
        ),
        _ => return Err(DecodeError::NotFeed),
    };
    let mut feed = facts(channel);
    put(
        &mut feed,
        "description",
        first_text(channel, &["description", "subtitle", "tagline"]),
    );
    put(&mut feed, "language", first_text(channel, &["language"]));
    Ok(json!({ "feed": feed, "entries": entries.map(entry).collect::<Vec<_>>() }))
}

fn entry(item: &Element) -> Value {
    let mut entry = facts(item);
    let short = || other_text(item, Space::DublinCore, "description");
    let summary = first_text(item, &["summary", "description"]).or_else(short);
    put(&mut entry, "summary", summary);
    let long = other_text(item, Space::Content, "encoded");
    let content = long.or_else(|| first_text(item, &["content"]));
    put(&mut entry, "content", content);
    Value::Object(entry)
}

/// What feeds and entries have in common.
fn facts(of: &Element) -> Map<String, Value> {
    let mut facts = Map::new();
    let about = || of.attribute("rdf:about").map(str::to_owned);
    put(
        &mut facts,
        "id",
        first_text(of, &["guid", "id"]).or_else(about),
    );
    put(&mut facts, "title", first_text(of, &["title"]));
    let published = first_time(of, &["published", "pubDate", "issued", "created"]).or_else(|| {
        of.first_in(Space::DublinCore, "date")
            .and_then(|date| time(&date.text()))
    });
    let updated = first_time(of, &["updated", "modified", "lastBuildDate"]);
    // RSS tells one time only; a selector of either finds it.
    put(&mut facts, "updated", updated.or_else(|| published.clone()));
    put(&mut facts, "published", published);
    // The page comes before what is enclosed.
    let mut links: Vec<_> = of.elements().filter_map(link).collect();
    links.sort_by_key(|link| link.get("rel").is_some_and(|rel| rel == "enclosure"));
    put_list(&mut facts, "links", links);
    put_list(&mut facts, "authors", of.elements().filter_map(author));
    put_list(&mut facts, "categories", of.elements().filter_map(category));
    facts
}

/// Texts that say nothing are absent.
fn put(map: &mut Map<String, Value>, name: &str, text: Option<String>) {
    if let Some(text) = text.filter(|text| !text.trim().is_empty()) {
        map.insert(name.to_owned(), text.trim().into());
    }
}

fn put_list(map: &mut Map<String, Value>, name: &str, list: impl IntoIterator<Item = Value>) {
    map.insert(name.to_owned(), list.into_iter().collect());
}

/// The text of the first of these names that says something.
fn first_text(of: &Element, names: &[&str]) -> Option<String> {
    let texts = names.iter().filter_map(|name| Some(of.first(name)?.text()));
    texts.into_iter().find(|text| !text.trim().is_empty())
}

fn other_text(of: &Element, space: Space, name: &str) -> Option<String> {
    of.first_in(space, name).map(Element::text)
}

fn first_time(of: &Element, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| time(&of.first(name)?.text()))
}

/// `link` of Atom has its place in an attribute, that of RSS in its text.
fn link(element: &Element) -> Option<Value> {
    let (place, usual) = match (element.space, element.local_name()) {
        (Space::Feed, "link") => ("href", "alternate"),
        (Space::Feed, "enclosure") => ("url", "enclosure"),
        _ => return None,
    };
    let href = match element.attribute(place) {
        Some(href) => href.to_owned(),
        None => element.text(),
    };
    let rel = element.attribute("rel").unwrap_or(usual).trim();
    let mut link = Map::new();
    put(&mut link, "href", Some(href));
    if link.is_empty() {
        return None;
    }
    put(&mut link, "rel", Some(rel.to_owned()));
    put(
        &mut link,
        "type",
        element.attribute("type").map(str::to_owned),
    );
    Some(Value::Object(link))
}

fn author(element: &Element) -> Option<Value> {
    match (element.space, element.local_name()) {
        (Space::Feed, "author" | "managingEditor") | (Space::DublinCore, "creator") => {}
        _ => return None,
    }
    let mut author = Map::new();
    if element.elements().next().is_none() {
        put(&mut author, "name", Some(element.text()));
    }
    for name in ["name", "email", "uri", "url"] {
        let key = if name == "url" { "uri" } else { name };
        let text = element.first(name).map(Element::text);
        put(&mut author, key, text);
    }
    (!author.is_empty()).then_some(Value::Object(author))
}

fn category(element: &Element) -> Option<Value> {
    match (element.space, element.local_name()) {
        (Space::Feed, "category") | (Space::DublinCore, "subject") => {}
        _ => return None,
    }
    let term = element.attribute("term").map(str::to_owned);
    let term = term.unwrap_or_else(|| element.text());
    let term = term.trim();
    (!term.is_empty()).then(|| term.into())
}

/// JSON Feed 1 and 1.1.
fn json_feed(value: &Value) -> Option<Value> {
    let version = value.get("version")?.as_str()?;
    let (_, version) = version.split_once("://jsonfeed.org/version/")?;
    if !version.starts_with('1') {
        return None;
    }
    let items = value.get("items")?.as_array()?;
    let mut feed = Map::new();
    put(&mut feed, "id", text_at(value, "feed_url"));
    put(&mut feed, "title", text_at(value, "title"));
    put(&mut feed, "description", text_at(value, "description"));
    put(&mut feed, "language", text_at(value, "language"));
    let links = [("home_page_url", "alternate"), ("feed_url", "self")];
    feed.insert("links".to_owned(), json_links(value, &links));
    feed.insert("authors".to_owned(), json_authors(value));
    feed.insert("categories".to_owned(), Value::Array(Vec::new()));
    Some(json!({ "feed": feed, "entries": items.iter().map(json_entry).collect::<Vec<_>>() }))
}

fn json_entry(item: &Value) -> Value {
    let mut entry = Map::new();
    put(&mut entry, "id", text_at(item, "id"));
    put(&mut entry, "title", text_at(item, "title"));
    let published = text_at(item, "date_published").and_then(|text| time(&text));
    let updated = text_at(item, "date_modified").and_then(|text| time(&text));
    put(&mut entry, "updated", updated.or_else(|| published.clone()));
    put(&mut entry, "published", published);
    let links = [("url", "alternate"), ("external_url", "related")];
    entry.insert("links".to_owned(), json_links(item, &links));
    entry.insert("authors".to_owned(), json_authors(item));
    let tags = list_at(item, "tags").filter(|tag| tag.is_string());
    entry.insert("categories".to_owned(), tags.cloned().collect());
    put(&mut entry, "summary", text_at(item, "summary"));
    let html = text_at(item, "content_html");
    put(
        &mut entry,
        "content",
        html.or_else(|| text_at(item, "content_text")),
    );
    Value::Object(entry)
}

fn json_links(of: &Value, places: &[(&str, &str)]) -> Value {
    let links = places
        .iter()
        .filter_map(|&(name, rel)| Some(json!({ "href": text_at(of, name)?, "rel": rel })));
    let enclosures = list_at(of, "attachments").filter_map(|attachment| {
        let mut link = Map::new();
        put(&mut link, "href", Some(text_at(attachment, "url")?));
        put(&mut link, "rel", Some("enclosure".to_owned()));
        put(&mut link, "type", text_at(attachment, "mime_type"));
        Some(Value::Object(link))
    });
    links.chain(enclosures).collect()
}

/// Version 1 has one author, version 1.1 a list.
fn json_authors(of: &Value) -> Value {
    let authors = list_at(of, "authors").chain(of.get("author"));
    let author = |author: &Value| {
        let mut found = Map::new();
        put(&mut found, "name", text_at(author, "name"));
        put(&mut found, "uri", text_at(author, "url"));
        (!found.is_empty()).then_some(Value::Object(found))
    };
    let mut found: Vec<_> = authors.filter_map(author).collect();
    // A feed for readers of both versions names the same one twice.
    found.dedup();
    found.into()
}

/// Ids are texts; some feeds write numbers.
fn text_at(of: &Value, name: &str) -> Option<String> {
    match of.get(name)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn list_at<'v>(of: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    of.get(name).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests;
