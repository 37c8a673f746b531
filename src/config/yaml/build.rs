//! Builds the tree from the parser's events, without recursion and within the limits.

use std::collections::HashMap;

use granit_parser::{Event, ScalarStyle};

use super::{DEPTH_MAX, Key, Kind, Node, Parsed, Span, VALUES_MAX, hidden};
use crate::config::fault::Fault;

/// Bytes of text that count as one more value.
const TEXT_UNIT_BYTES: usize = 64;

/// A list or mapping whose end has not been read yet.
struct Open {
    start: usize,
    anchor: usize,
    items: Items,
}

enum Items {
    Sequence(Vec<Node>),
    Mapping {
        entries: Vec<(Key, Node)>,
        pending: Option<Key>,
        seen: HashMap<String, Span>,
    },
}

/// Takes events and grows the tree.
#[derive(Default)]
pub(super) struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    spent: usize,
    documents: usize,
    faults: Vec<Fault>,
    hidden: Vec<Span>,
}

impl Builder {
    /// Whether the event begins a document after the first; that is one fault for the whole rest.
    pub(super) fn has_second_document(
        &mut self,
        event: &Event<'_>,
        span: &granit_parser::Span,
    ) -> bool {
        self.documents += usize::from(matches!(event, Event::DocumentStart(..)));
        let second = self.documents > 1;
        if second {
            let fault = Fault::new("the file holds a second document")
                .at(bytes_of(span))
                .help("keep one document; remove the `---` line");
            self.faults.push(fault);
        }
        second
    }

    /// Adds what one event says. An error ends the reading.
    pub(super) fn take(
        &mut self,
        source: &str,
        event: Event<'_>,
        span: &granit_parser::Span,
    ) -> Result<(), Fault> {
        let place = bytes_of(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.check_tag(tag.is_some(), span);
                let node = scalar(source, &text, style, place);
                self.spend(&node, place)?;
                self.complete(source, node, anchor)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.is_some(), span);
                self.begin(place, anchor, Items::Sequence(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.is_some(), span);
                self.begin(place, anchor, Items::mapping())?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(source, place)?,
            Event::Alias(anchor) => self.repeat(source, anchor, place)?,
            _ => {}
        }
        Ok(())
    }

    /// Hands over the tree, or as much of it as was read, with what must be hidden in it.
    pub(super) fn finish(mut self, source: &str) -> Parsed {
        while let Some(open) = self.open.pop() {
            let node = open.into_node(source, 0);
            self.attach(source, node);
        }
        let secrets = self.root.as_ref().map(hidden::secrets);
        self.hidden.extend(secrets.unwrap_or_default());
        let root = self.root.filter(|root| !root.is_null());
        Parsed {
            root,
            faults: self.faults,
            hidden: self.hidden,
        }
    }

    fn check_tag(&mut self, tagged: bool, span: &granit_parser::Span) {
        if tagged {
            let place = span
                .tag_span()
                .map_or_else(|| bytes_of(span), |tag| bytes_of(&tag));
            let fault = Fault::new("tags are not supported").at(place);
            self.faults
                .push(fault.help("remove the tag; the key decides the type of its value"));
        }
    }

    fn begin(&mut self, place: Span, anchor: usize, items: Items) -> Result<(), Fault> {
        self.check_depth(1, place)?;
        self.charge(1, place)?;
        self.open.push(Open {
            start: place.start,
            anchor,
            items,
        });
        Ok(())
    }

    fn end(&mut self, source: &str, place: Span) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let anchor = open.anchor;
        self.complete(source, open.into_node(source, place.end), anchor)
    }

    fn repeat(&mut self, source: &str, anchor: usize, place: Span) -> Result<(), Fault> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            return Err(Fault::new("this alias stands inside the value it repeats").at(place));
        };
        self.check_depth(depth(&node), place)?;
        self.spend(&node, place)?;
        self.complete(source, node, 0)
    }

    fn complete(&mut self, source: &str, node: Node, anchor: usize) -> Result<(), Fault> {
        if anchor != 0 {
            self.spend(&node, node.span)?;
            self.anchors.insert(anchor, node.clone());
        }
        self.attach(source, node);
        Ok(())
    }

    /// Puts a whole value where it belongs: it is a key, a value, an item or the document.
    fn attach(&mut self, source: &str, node: Node) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut open.items {
            Items::Sequence(items) => items.push(node),
            Items::Mapping {
                entries,
                pending,
                seen,
            } => match pending.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    if !matches!(node.kind, Kind::Scalar { .. }) {
                        self.hidden.extend(hidden::literals(&node));
                    }
                    let (key, fault) = key_of(source, node, seen);
                    self.faults.extend(fault);
                    *pending = Some(key);
                }
            },
        }
    }

    fn check_depth(&self, more: usize, place: Span) -> Result<(), Fault> {
        if self.open.len() + more > DEPTH_MAX {
            return Err(Fault::new(format!("nested deeper than {DEPTH_MAX} levels")).at(place));
        }
        Ok(())
    }

    fn spend(&mut self, node: &Node, place: Span) -> Result<(), Fault> {
        self.charge(size(node), place)
    }

    fn charge(&mut self, values: usize, place: Span) -> Result<(), Fault> {
        self.spent = self.spent.saturating_add(values);
        if self.spent > VALUES_MAX {
            let message = format!("the file holds more than {VALUES_MAX} values");
            let help = "aliases repeat their value each time they are used";
            return Err(Fault::new(message).at(place).help(help));
        }
        Ok(())
    }
}

impl Open {
    fn into_node(self, source: &str, end: usize) -> Node {
        let span = Span {
            start: self.start,
            end: trimmed(source, self.start, end),
        };
        Node {
            span,
            kind: self.items.into_kind(),
        }
    }
}

impl Items {
    fn mapping() -> Self {
        Self::Mapping {
            entries: Vec::new(),
            pending: None,
            seen: HashMap::new(),
        }
    }

    fn into_kind(self) -> Kind {
        match self {
            Self::Sequence(items) => Kind::Sequence(items),
            Self::Mapping { entries, .. } => Kind::Mapping(entries),
        }
    }
}

fn scalar(source: &str, text: &str, style: ScalarStyle, place: Span) -> Node {
    let plain = style == ScalarStyle::Plain;
    // The parser spells a value that is not there as `~` without any width.
    let text = if plain && place.start == place.end {
        ""
    } else {
        text
    };
    Node {
        span: Span {
            start: place.start,
            end: trimmed(source, place.start, place.end),
        },
        kind: Kind::Scalar {
            text: text.to_owned(),
            plain,
        },
    }
}

fn key_of(source: &str, node: Node, seen: &mut HashMap<String, Span>) -> (Key, Option<Fault>) {
    let span = node.span;
    let is_null = node.is_null();
    let (name, fault) = match node.kind {
        Kind::Scalar { .. } if is_null => (String::new(), Some(Fault::new("a key has no name"))),
        Kind::Scalar { text, plain: true } if text == "<<" => (text, Some(merge_key())),
        Kind::Scalar { text, .. } => {
            let fault = seen.get(&text).map(|first| repeated(source, &text, *first));
            seen.entry(text.clone()).or_insert(span);
            (text, fault)
        }
        _ => (String::new(), Some(braces_as_key())),
    };
    let refused = fault.is_some();
    (
        Key {
            name,
            span,
            refused,
        },
        fault.map(|fault| fault.at(span)),
    )
}

fn merge_key() -> Fault {
    Fault::new("merge keys (`<<`) are not supported")
        .help("write the keys out, or repeat a whole value with an alias: `retry: *retry`")
}

fn braces_as_key() -> Fault {
    Fault::new("a key must be a text, found a list or a mapping")
        .help("a value that begins with `{` or `[` needs quotes")
}

fn repeated(source: &str, name: &str, first: Span) -> Fault {
    let before = source.get(..first.start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    Fault::new(format!(
        "key `{name}` is repeated; the first is on line {line}"
    ))
    .help("keep one of them")
}

fn depth(node: &Node) -> usize {
    match &node.kind {
        Kind::Scalar { .. } => 0,
        Kind::Sequence(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Kind::Mapping(entries) => {
            1 + entries
                .iter()
                .map(|(_, value)| depth(value))
                .max()
                .unwrap_or(0)
        }
    }
}

fn size(node: &Node) -> usize {
    match &node.kind {
        Kind::Scalar { text, .. } => 1 + text.len() / TEXT_UNIT_BYTES,
        Kind::Sequence(items) => 1 + items.iter().map(size).sum::<usize>(),
        Kind::Mapping(entries) => 1 + entries.iter().map(entry_size).sum::<usize>(),
    }
}

fn entry_size((key, value): &(Key, Node)) -> usize {
    1 + key.name.len() / TEXT_UNIT_BYTES + size(value)
}

/// The end of a value without the white space that the parser counts in.
fn trimmed(source: &str, start: usize, end: usize) -> usize {
    source
        .get(start..end)
        .map_or(start.max(end), |text| start + text.trim_end().len())
}

fn bytes_of(span: &granit_parser::Span) -> Span {
    let range = span.byte_range().unwrap_or_default();
    Span {
        start: range.start,
        end: range.end,
    }
}
