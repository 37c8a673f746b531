//! Feeds of every kind, and what only looks like one.

use serde_json::{Value, json};

use super::super::DecodeError;
use super::read;

fn check(text: &str, expected: Value) {
    assert_eq!(read(text), Ok(expected), "{text}");
}

#[test]
fn an_atom_feed_is_read_whole() {
    check(
        r#"<?xml version="1.0" encoding="utf-8"?>
<feed xmlns="http://www.w3.org/2005/Atom" xmlns:media="http://search.yahoo.com/mrss/">
  <title type="text">Advisories &amp; more</title>
  <subtitle>all of them</subtitle>
  <id>urn:feed</id>
  <updated>2026-01-15T12:00:00+01:00</updated>
  <link rel="self" href="https://a.example/feed.atom"/>
  <link href="https://a.example/"/>
  <author><name>Team</name></author>
  <entry>
    <id>urn:1</id>
    <title type="html">&lt;b&gt;One&lt;/b&gt;</title>
    <published>2026-01-14T00:00:00Z</published>
    <updated>2026-01-15T00:00:00.5Z</updated>
    <link rel="alternate" type="text/html" href="https://a.example/1"/>
    <author><name>Ann</name><email>ann@a.example</email><uri>https://ann.example</uri></author>
    <author><name>Bob</name></author>
    <category term="urgent" label="Urgent"/>
    <summary>short</summary>
    <content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>long</p></div></content>
    <media:title>not this one</media:title>
  </entry>
  <entry/>
</feed>"#,
        json!({
            "feed": {
                "id": "urn:feed",
                "title": "Advisories & more",
                "updated": "2026-01-15T11:00:00Z",
                "links": [
                    {"href": "https://a.example/feed.atom", "rel": "self"},
                    {"href": "https://a.example/", "rel": "alternate"},
                ],
                "authors": [{"name": "Team"}],
                "categories": [],
                "description": "all of them",
            },
            "entries": [
                {
                    "id": "urn:1",
                    "title": "<b>One</b>",
                    "updated": "2026-01-15T00:00:00.5Z",
                    "published": "2026-01-14T00:00:00Z",
                    "links": [
                        {"href": "https://a.example/1", "rel": "alternate", "type": "text/html"},
                    ],
                    "authors": [
                        {"name": "Ann", "email": "ann@a.example", "uri": "https://ann.example"},
                        {"name": "Bob"},
                    ],
                    "categories": ["urgent"],
                    "summary": "short",
                    "content": "<p>long</p>",
                },
                {"links": [], "authors": [], "categories": []},
            ],
        }),
    );
}

#[test]
fn an_rss_feed_is_read_whole() {
    check(
        r#"<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"
  xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:atom="http://www.w3.org/2005/Atom">
<channel>
  <title>News</title>
  <link>https://a.example/</link>
  <atom:link rel="self" href="https://a.example/rss"/>
  <description>d</description>
  <language>ja</language>
  <lastBuildDate>Thu, 15 Jan 2026 12:00:00 GMT</lastBuildDate>
  <item>
    <enclosure url="https://a.example/1.mp3" type="audio/mpeg" length="1"/>
    <guid isPermaLink="false"> 1 </guid>
    <title><![CDATA[One & only]]></title>
    <link>https://a.example/1?a=1&amp;b=2</link>
    <pubDate>Wed, 14 Jan 2026 01:00:00 +0100</pubDate>
    <author>mail@a.example（名前）</author>
    <dc:creator>Ann</dc:creator>
    <category>c1</category><category>c2</category>
    <description>short</description>
    <content:encoded><![CDATA[<p>long</p>]]></content:encoded>
  </item>
  <item><guid></guid><title>  </title><pubDate>yesterday</pubDate></item>
</channel></rss>"#,
        json!({
            "feed": {
                "title": "News",
                "updated": "2026-01-15T12:00:00Z",
                "links": [
                    {"href": "https://a.example/", "rel": "alternate"},
                    {"href": "https://a.example/rss", "rel": "self"},
                ],
                "authors": [],
                "categories": [],
                "description": "d",
                "language": "ja",
            },
            "entries": [
                {
                    "id": "1",
                    "title": "One & only",
                    "updated": "2026-01-14T00:00:00Z",
                    "published": "2026-01-14T00:00:00Z",
                    "links": [
                        {"href": "https://a.example/1?a=1&b=2", "rel": "alternate"},
                        {
                            "href": "https://a.example/1.mp3",
                            "rel": "enclosure",
                            "type": "audio/mpeg",
                        },
                    ],
                    "authors": [{"name": "mail@a.example（名前）"}, {"name": "Ann"}],
                    "categories": ["c1", "c2"],
                    "summary": "short",
                    "content": "<p>long</p>",
                },
                {"links": [], "authors": [], "categories": []},
            ],
        }),
    );
}

#[test]
fn the_items_of_rss_1_stand_beside_the_channel() {
    check(
        r#"<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
  xmlns="http://purl.org/rss/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/">
  <channel rdf:about="urn:c"><title>t</title><dc:date>2026-01-15</dc:date></channel>
  <item rdf:about="urn:1"><title>one</title><dc:date>2026-01-14T00:00:00Z</dc:date>
    <dc:subject>s</dc:subject></item>
</rdf:RDF>"#,
        json!({
            "feed": {
                "id": "urn:c",
                "title": "t",
                "updated": "2026-01-15T00:00:00Z",
                "published": "2026-01-15T00:00:00Z",
                "links": [], "authors": [], "categories": [],
            },
            "entries": [{
                "id": "urn:1",
                "title": "one",
                "updated": "2026-01-14T00:00:00Z",
                "published": "2026-01-14T00:00:00Z",
                "links": [], "authors": [], "categories": ["s"],
            }],
        }),
    );
}

#[test]
fn a_json_feed_has_the_same_shape() {
    check(
        r#"{"version": "https://jsonfeed.org/version/1.1", "title": "t",
            "home_page_url": "https://a.example/", "feed_url": "https://a.example/feed.json",
            "authors": [{"name": "Ann", "url": "https://ann.example"}],
            "author": {"name": "Ann", "url": "https://ann.example"},
            "items": [
              {"id": 7, "url": "https://a.example/7", "title": "seven", "content_html": "<p>",
               "content_text": "p", "date_published": "2026-01-15T01:00:00+01:00", "tags": ["x", 1],
               "attachments": [{"url": "https://a.example/7.mp3", "mime_type": "audio/mpeg"}, 3]},
              {"id": "", "summary": "s", "date_modified": "soon"}, 3
            ]}"#,
        json!({
            "feed": {
                "id": "https://a.example/feed.json",
                "title": "t",
                "links": [
                    {"href": "https://a.example/", "rel": "alternate"},
                    {"href": "https://a.example/feed.json", "rel": "self"},
                ],
                "authors": [{"name": "Ann", "uri": "https://ann.example"}],
                "categories": [],
            },
            "entries": [
                {
                    "id": "7",
                    "title": "seven",
                    "updated": "2026-01-15T00:00:00Z",
                    "published": "2026-01-15T00:00:00Z",
                    "links": [
                        {"href": "https://a.example/7", "rel": "alternate"},
                        {
                            "href": "https://a.example/7.mp3",
                            "rel": "enclosure",
                            "type": "audio/mpeg",
                        },
                    ],
                    "authors": [],
                    "categories": ["x"],
                    "content": "<p>",
                },
                {"links": [], "authors": [], "categories": [], "summary": "s"},
                {"links": [], "authors": [], "categories": []},
            ],
        }),
    );
}

#[test]
fn what_is_no_feed_is_refused() {
    let check = |text: &str, expected: &str| {
        let found = read(text).map_err(DecodeError::label);
        assert_eq!(found, Err(expected), "{text}");
    };
    check("<a/>", "not_feed");
    check("<rss/>", "not_feed");
    check("<rdf:RDF/>", "not_feed");
    check("{}", "not_feed");
    check(
        r#"{"version": "https://jsonfeed.org/version/2", "items": []}"#,
        "not_feed",
    );
    check(
        r#"{"version": "https://jsonfeed.org/version/1"}"#,
        "not_feed",
    );
    check("{", "not_json");
    check("<rss><channel>", "not_xml");
    check("plain", "not_xml");
}

#[test]
fn no_change_of_a_feed_makes_it_panic() {
    let feed = r#"<?xml version="1.0"?><rss xmlns:dc="http://purl.org/dc/elements/1.1/"><channel>
        <title>&#233;&amp;é</title><item><guid>1</guid><author>a@b.example（名）</author>
        <pubDate>Thu, 15 Jan 2026 12:00:00 GMT</pubDate><dc:date>2026-01-15T00:00:00Z</dc:date>
        <description type='xhtml'><div><b c="d&quot;">x</b></div></description></item>
        </channel></rss>"#;
    let mut seed = 7_u64;
    let mut below = |limit: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(seed >> 33).unwrap() % limit
    };
    for _ in 0..5_000 {
        let mut bytes = feed.as_bytes().to_vec();
        for _ in 0..=below(6) {
            let at = below(bytes.len().max(1));
            bytes.extend(bytes.is_empty().then_some(b'<'));
            match below(3) {
                0 => bytes[at] = b"<>&;'\"/:! \xc3\x81"[below(12)],
                1 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let _ = read(&String::from_utf8_lossy(&bytes));
    }
}
