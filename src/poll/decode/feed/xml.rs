//! Reads XML into a small tree.
//!
//! Depth and number of elements are bounded. There are no entities but those of XML itself: what a
//! document defines is not looked at, so it cannot grow. Names and texts are taken as they stand
//! where that is possible, because feeds are written by hand.

use quick_xml::NsReader;
use quick_xml::escape::{minimal_escape, resolve_predefined_entity, unescape};
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::ResolveResult;

use super::super::{DecodeError, XmlFault};

/// How deep elements may be nested.
const DEPTH_MAX: usize = 64;
/// The most elements of a document.
const ELEMENTS_MAX: usize = 200_000;
/// The most attributes of an element that are read.
const ATTRIBUTES_MAX: usize = 32;

/// Whose word an element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// A word of feeds: those of RSS and Atom do not get into each other's way.
    Feed,
    /// The content module of RSS.
    Content,
    /// Dublin Core.
    DublinCore,
    /// Somebody else's.
    Other,
}

impl Space {
    fn of(found: &ResolveResult<'_>) -> Self {
        match found {
            ResolveResult::Unbound => Self::Feed,
            ResolveResult::Bound(space) => match space.as_ref() {
                "http://www.w3.org/2005/Atom"
                | "http://purl.org/atom/ns#"
                | "http://purl.org/rss/1.0/"
                | "http://my.netscape.com/rdf/simple/0.9/"
                | "http://channel.netscape.com/rdf/simple/0.9/"
                | "http://backend.userland.com/rss2" => Self::Feed,
                "http://purl.org/rss/1.0/modules/content/" => Self::Content,
                "http://purl.org/dc/elements/1.1/" => Self::DublinCore,
                _ => Self::Other,
            },
            // A prefix that nobody explained means what it usually does.
            ResolveResult::Unknown(prefix) => match prefix.as_str() {
                "content" => Self::Content,
                "dc" => Self::DublinCore,
                "atom" => Self::Feed,
                _ => Self::Other,
            },
        }
    }
}

/// An element and all that is in it.
#[derive(Debug)]
pub(super) struct Element {
    /// Whose word it is.
    pub(super) space: Space,
    /// With its prefix.
    name: String,
    attributes: Vec<(String, String)>,
    nodes: Vec<Node>,
}

#[derive(Debug)]
enum Node {
    Element(Element),
    Text(String),
}

impl Element {
    /// Its name without prefix.
    pub(super) fn local_name(&self) -> &str {
        let parts = self.name.rsplit_once(':');
        parts.map_or(&self.name, |(_, local)| local)
    }

    /// The value of an attribute, by its name with prefix.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        let named = |(found, _): &&(String, String)| found == name;
        Some(&self.attributes.iter().find(named)?.1)
    }

    /// The elements in it.
    pub(super) fn elements(&self) -> impl Iterator<Item = &Self> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The elements in it with this word of feeds.
    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &Self> {
        self.elements()
            .filter(move |element| element.is(Space::Feed, name))
    }

    /// The first of them.
    pub(super) fn first(&self, name: &str) -> Option<&Self> {
        self.first_in(Space::Feed, name)
    }

    /// The first element in it with this word of `space`.
    pub(super) fn first_in(&self, space: Space, name: &str) -> Option<&Self> {
        self.elements().find(|element| element.is(space, name))
    }

    fn is(&self, space: Space, name: &str) -> bool {
        self.space == space && self.local_name() == name
    }

    /// Its text; its markup if there are elements in it. The `div` around XHTML is no part of that
    /// (RFC 4287, 3.1.1.3).
    pub(super) fn text(&self) -> String {
        let mut elements = self.elements();
        let mut written = String::new();
        match (elements.next(), elements.next()) {
            (None, _) => self.write_text(&mut written),
            (Some(div), None) if self.is_xhtml() && div.local_name() == "div" => {
                div.write_nodes(&mut written);
            }
            _ => self.write_nodes(&mut written),
        }
        written
    }

    fn is_xhtml(&self) -> bool {
        self.attribute("type") == Some("xhtml")
    }

    fn write_text(&self, out: &mut String) {
        for node in &self.nodes {
            if let Node::Text(text) = node {
                out.push_str(text);
            }
        }
    }

    fn write_nodes(&self, out: &mut String) {
        for node in &self.nodes {
            match node {
                Node::Text(text) => out.push_str(&minimal_escape(text.as_str())),
                Node::Element(element) => element.write(out),
            }
        }
    }

    fn write(&self, out: &mut String) {
        out.push('<');
        out.push_str(&self.name);
        for (name, value) in &self.attributes {
            let value = minimal_escape(value.as_str()).replace('"', "&quot;");
            out.extend([" ", name, "=\"", &value, "\""]);
        }
        if self.nodes.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        self.write_nodes(out);
        out.extend(["</", &self.name, ">"]);
    }

    fn push_text(&mut self, text: &str) {
        match self.nodes.last_mut() {
            Some(Node::Text(before)) => before.push_str(text),
            _ => self.nodes.push(Node::Text(text.to_owned())),
        }
    }
}

/// Reads a document. What comes after its root is not looked at.
pub(super) fn read(text: &str) -> Result<Element, DecodeError> {
    let mut reader = NsReader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    reader.config_mut().allow_dangling_amp = true;
    let mut tree = Tree::default();
    loop {
        let step = match reader.read_resolved_event() {
            Ok((found, event)) => tree.take(Space::of(&found), event),
            Err(quick_xml::Error::Syntax(_)) => Err(XmlFault::CutShort),
            Err(_) => Err(XmlFault::Syntax),
        };
        match step {
            Ok(None) => {}
            Ok(Some(root)) => return Ok(root),
            Err(fault) => {
                let line = line_at(text, reader.buffer_position());
                return Err(DecodeError::Xml { line, fault });
            }
        }
    }
}

fn line_at(text: &str, position: u64) -> usize {
    let before = usize::try_from(position).ok();
    let before = before.and_then(|before| text.as_bytes().get(..before));
    let before = before.unwrap_or(text.as_bytes());
    1 + before.iter().filter(|&&byte| byte == b'\n').count()
}

/// The elements that are open, the root first.
#[derive(Default)]
struct Tree {
    open: Vec<Element>,
    elements: usize,
}

impl Tree {
    /// Takes what comes next; gives the root when it is whole.
    fn take(&mut self, space: Space, event: Event<'_>) -> Result<Option<Element>, XmlFault> {
        match event {
            Event::Start(start) | Event::Empty(start) => self.begin(space, &start)?,
            Event::End(_) => return Ok(self.end()),
            Event::Text(text) => self.push_text(&text.xml10_content()),
            Event::CData(text) => self.push_text(&text.xml10_content()),
            Event::GeneralRef(reference) => self.push_reference(&reference),
            Event::Eof => return Err(XmlFault::CutShort),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
        Ok(None)
    }

    fn begin(&mut self, space: Space, start: &BytesStart<'_>) -> Result<(), XmlFault> {
        self.elements += 1;
        if self.elements > ELEMENTS_MAX {
            return Err(XmlFault::TooMany);
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(XmlFault::TooDeep);
        }
        let mut attributes = start.attributes();
        let attributes = attributes.with_checks(false).flatten().map(|attribute| {
            let raw = attribute.value;
            let value = unescape(&raw).map_or_else(|_| raw.to_string(), String::from);
            (attribute.key.as_ref().to_owned(), value)
        });
        self.open.push(Element {
            space,
            name: start.name().as_ref().to_owned(),
            attributes: attributes.take(ATTRIBUTES_MAX).collect(),
            nodes: Vec::new(),
        });
        Ok(())
    }

    fn end(&mut self) -> Option<Element> {
        let element = self.open.pop()?;
        match self.open.last_mut() {
            Some(parent) => parent.nodes.push(Node::Element(element)),
            None => return Some(element),
        }
        None
    }

    fn push_text(&mut self, text: &str) {
        if let Some(element) = self.open.last_mut() {
            element.push_text(text);
        }
    }

    /// A character, or what XML knows by name. Other names stay as they are written.
    fn push_reference(&mut self, reference: &BytesRef<'_>) {
        let name: &str = reference;
        if let Ok(Some(character)) = reference.resolve_char_ref() {
            self.push_text(character.encode_utf8(&mut [0; 4]));
        } else if let Some(text) = resolve_predefined_entity(name) {
            self.push_text(text);
        } else {
            self.push_text(&format!("&{name};"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Option<(usize, XmlFault)> {
        match read(text) {
            Err(DecodeError::Xml { line, fault }) => Some((line, fault)),
            _ => None,
        }
    }

    #[test]
    fn the_text_of_an_element_is_what_is_written_in_it() {
        let check = |xml: &str, expected: &str| {
            assert_eq!(read(xml).unwrap().text(), expected, "{xml}");
        };
        check("<a/>", "");
        check("<a>x</a>", "x");
        check(
            "<a>a &amp; b &lt; &#233;&#xe9; &nbsp;</a>",
            "a & b < éé &nbsp;",
        );
        check("<a><![CDATA[<b>&amp;</b>]]> c</a>", "<b>&amp;</b> c");
        check("<a>R&D & more</a>", "R&D & more");
        check("<a>x<!-- no --><?no?>y</a>", "xy");
        check("<a>x\r\ny</a>", "x\ny");
        check(
            "<a>1 &lt; 2 <b c='\"&amp;'>x</b><i/></a>",
            "1 &lt; 2 <b c=\"&quot;&amp;\">x</b><i/>",
        );
        check("<a type='xhtml'> <div>x<b>y</b></div> </a>", "x<b>y</b>");
        check("<a type='xhtml'><p>x</p><p/></a>", "<p>x</p><p/>");
        check("<a>&#0;&#xFFFFFFFF;</a>", "&#0;&#xFFFFFFFF;");
    }

    #[test]
    fn words_are_told_apart_by_their_namespace() {
        let xml = "<r xmlns:m='urn:x' xmlns:d='http://purl.org/dc/elements/1.1/' \
                   xmlns:a='http://www.w3.org/2005/Atom'>\
                   <m:t>1</m:t><d:t>2</d:t><dc:u>3</dc:u><a:t>4</a:t><t>5</t><x:v/></r>";
        let root = read(xml).unwrap();
        let check = |space: Space, name: &str, expected: Option<&str>| {
            let found = root.first_in(space, name).map(Element::text);
            assert_eq!(found.as_deref(), expected, "{space:?} {name}");
        };
        check(Space::Other, "t", Some("1"));
        check(Space::DublinCore, "t", Some("2"));
        check(Space::DublinCore, "u", Some("3"));
        check(Space::Feed, "t", Some("4"));
        check(Space::Other, "v", Some(""));
        check(Space::Content, "t", None);
        assert_eq!(root.all("t").count(), 2);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let check = |xml: &str, expected: (usize, XmlFault)| {
            assert_eq!(fault(xml), Some(expected), "{xml:.40}");
        };
        check("", (1, XmlFault::CutShort));
        check("plain\ntext", (2, XmlFault::CutShort));
        check("<a>\n<b>", (2, XmlFault::CutShort));
        check("<a>\n<b", (2, XmlFault::CutShort));
        check("<a>\n</b>", (2, XmlFault::Syntax));
        check("</a>", (1, XmlFault::Syntax));
    }

    #[test]
    fn no_document_is_deeper_or_larger_than_the_limits() {
        let nested = |depth| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert!(read(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(fault(&nested(DEPTH_MAX + 1)), Some((1, XmlFault::TooDeep)));
        assert_eq!(fault(&nested(1_000_000)), Some((1, XmlFault::TooDeep)));
        let many = |count| format!("<r>{}</r>", "<a/>".repeat(count));
        assert!(read(&many(ELEMENTS_MAX - 1)).is_ok());
        assert_eq!(fault(&many(ELEMENTS_MAX)), Some((1, XmlFault::TooMany)));
    }

    #[test]
    fn what_a_document_defines_does_not_grow_it() {
        let bomb =
            "<!DOCTYPE r [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;'>]><r c='&b;'>&b;</r>";
        let root = read(bomb).unwrap();
        assert_eq!(
            (root.text().as_str(), root.attribute("c")),
            ("&b;", Some("&b;"))
        );
    }
}
