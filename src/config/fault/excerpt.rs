//! Cuts the line of a fault out of the source and masks what must not be shown.

use std::ops::Range;

use super::Position;
use crate::config::yaml::Span;

/// What stands in place of a hidden value, whatever its length.
const MASK: &str = "***";

/// The line a fault begins on, ready to be shown.
pub(super) struct Excerpt {
    /// The masked line.
    pub text: String,
    /// The bytes of `text` to point at.
    pub marked: Range<usize>,
    /// Where the fault is in the source.
    pub position: Position,
}

impl Excerpt {
    /// Cuts the first line of `span` out of `source`.
    pub(super) fn new(source: &str, span: Span, hidden: &[Span]) -> Self {
        let line = line_around(source, span.start);
        let text = source.get(line.start..line.end).unwrap_or_default();
        let marked = within(text, line, span);
        let text = without_comment(text, &marked);
        let masked = Masked::new(text, &masks(text, line, hidden));
        let marked = masked.offset_of(marked.start)..masked.end_offset_of(marked.end);
        Self {
            text: masked.text,
            marked,
            position: position(source, span.start),
        }
    }

    /// The column of the marked place in the masked line, from 1.
    pub(super) fn shown_column(&self) -> usize {
        let before = self.text.get(..self.marked.start).unwrap_or_default();
        before.chars().count() + 1
    }
}

/// Line and column of a byte of the source.
pub(super) fn position(source: &str, at: usize) -> Position {
    let line = line_around(source, at);
    let before = source.get(..line.start).unwrap_or_default();
    let text = source.get(line.start..line.end).unwrap_or_default();
    let inside = floor(text, at.saturating_sub(line.start));
    let column = text.get(..inside).unwrap_or_default().chars().count() + 1;
    Position {
        line: before.matches('\n').count() + 1,
        column,
    }
}

/// The line that holds a byte, without its line break.
fn line_around(source: &str, at: usize) -> Span {
    let at = floor(source, at);
    let before = source.get(..at).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let rest = source.get(start..).unwrap_or_default();
    let text = rest.lines().next().unwrap_or_default();
    Span {
        start,
        end: start + text.len(),
    }
}

/// The largest character boundary that is not beyond `at`.
fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at)
        .rev()
        .find(|&index| text.is_char_boundary(index))
        .unwrap_or(0)
}

/// The parts of a line to mask, in order and apart from each other.
fn masks(text: &str, line: Span, hidden: &[Span]) -> Vec<Range<usize>> {
    let mut ranges: Vec<_> = hidden
        .iter()
        .filter(|span| span.start < line.end && span.end > line.start)
        .map(|span| within(text, line, *span))
        .chain(user_info(text))
        .filter(|range| !range.is_empty())
        .collect();
    ranges.sort_by_key(|range| (range.start, range.end));
    ranges.into_iter().fold(Vec::new(), joined)
}

/// The part of a line that belongs to a span, without white space around it.
fn within(text: &str, line: Span, span: Span) -> Range<usize> {
    let start = floor(text, span.start.saturating_sub(line.start));
    let end = floor(text, span.end.saturating_sub(line.start)).max(start);
    let part = text.get(start..end).unwrap_or_default();
    let leading = part.len() - part.trim_start().len();
    start + leading..start + part.trim_end().len().max(leading)
}

/// A line up to its comment, which may be a secret that was turned off. What is marked is no
/// comment, but there may be nothing to mark.
fn without_comment<'a>(text: &'a str, marked: &Range<usize>) -> &'a str {
    let begins_comment = |at: &usize| {
        let before = text.get(..*at).unwrap_or_default();
        let is_apart = before.is_empty() || before.ends_with(char::is_whitespace);
        is_apart && (marked.is_empty() || *at >= marked.end)
    };
    let comment = text
        .match_indices('#')
        .map(|(at, _)| at)
        .find(begins_comment);
    let shown = comment.and_then(|at| text.get(..at)).unwrap_or(text);
    shown.trim_end()
}

fn joined(mut ranges: Vec<Range<usize>>, next: Range<usize>) -> Vec<Range<usize>> {
    match ranges.last_mut() {
        Some(last) if next.start < last.end => last.end = last.end.max(next.end),
        _ => ranges.push(next),
    }
    ranges
}

/// The `name:password` part of each URL of a line.
fn user_info(text: &str) -> Vec<Range<usize>> {
    text.match_indices("://")
        .filter_map(|(at, mark)| {
            let start = at + mark.len();
            let rest = text.get(start..)?;
            let length =
                rest.find(|c: char| c == '@' || c == '/' || c == '"' || c.is_whitespace())?;
            rest.get(length..)?
                .starts_with('@')
                .then_some(start..start + length)
        })
        .collect()
}

/// A line with masks in it, and how far they moved the rest.
struct Masked {
    text: String,
    moves: Vec<Move>,
}

/// A part of the line and the part of the masked line that stands for it.
struct Move {
    from: Range<usize>,
    to: Range<usize>,
}

impl Masked {
    fn new(line: &str, masks: &[Range<usize>]) -> Self {
        let mut masked = Self {
            text: String::new(),
            moves: Vec::new(),
        };
        let mut shown = 0;
        for mask in masks {
            masked.push(
                shown..mask.start,
                line.get(shown..mask.start).unwrap_or_default(),
            );
            masked.push(mask.clone(), MASK);
            shown = mask.end;
        }
        masked.push(shown..line.len(), line.get(shown..).unwrap_or_default());
        masked
    }

    fn push(&mut self, from: Range<usize>, text: &str) {
        let start = self.text.len();
        self.text.push_str(text);
        self.moves.push(Move {
            from,
            to: start..self.text.len(),
        });
    }

    /// Where a byte of the line now stands; a masked byte is moved to the start of its mask.
    fn offset_of(&self, at: usize) -> usize {
        let part = self.moves.iter().find(|part| at < part.from.end);
        part.map_or(self.text.len(), |part| part.start_for(at))
    }

    /// Where a range that ends at a byte of the line now ends; a mask is covered as a whole.
    fn end_offset_of(&self, end: usize) -> usize {
        let part = self.moves.iter().find(|part| end <= part.from.end);
        part.map_or(self.text.len(), |part| part.end_for(end))
    }
}

impl Move {
    fn is_mask(&self) -> bool {
        self.from.len() != self.to.len()
    }

    fn start_for(&self, at: usize) -> usize {
        let inside = if self.is_mask() {
            0
        } else {
            at.saturating_sub(self.from.start)
        };
        self.to.start + inside
    }

    fn end_for(&self, end: usize) -> usize {
        if self.is_mask() {
            self.to.end
        } else {
            self.to.start + end.saturating_sub(self.from.start)
        }
    }
}
