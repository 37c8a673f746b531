//! A fault is something wrong in a configuration file; a report shows all faults of one file, each
//! with its line, its place in the line and how to mend it.
//!
//! A report shows source lines, so it decides here what must not be shown: every hidden place is
//! masked before a line is rendered.

mod excerpt;

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::yaml::Span;
use excerpt::Excerpt;

/// One thing that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, in one line; never a secret.
    pub message: String,
    /// Where it is wrong; `None` if the file as a whole is.
    pub span: Option<Span>,
    /// How to mend it.
    pub hint: Option<String>,
}

impl Fault {
    /// A fault without a place or a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            span: None,
            hint: None,
        }
    }

    /// The same fault at a place.
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// The same fault with a hint.
    pub fn help(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A place as people count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
}

/// All faults of one file. `Display` shows them in the order of the file, without colour.
#[derive(Clone)]
pub struct Report {
    file: String,
    source: String,
    faults: Vec<Fault>,
    hidden: Vec<Span>,
}

impl Report {
    /// A report without faults for a file and its text.
    pub fn new(file: impl Into<String>, source: impl Into<String>) -> Self {
        let (file, source) = (file.into(), source.into());
        Self {
            file,
            source,
            faults: Vec::new(),
            hidden: Vec::new(),
        }
    }

    /// Adds faults. Those without a place stand after all others.
    pub fn add(&mut self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.extend(faults);
        self.faults
            .sort_by_key(|fault| (fault.span.is_none(), fault.span));
    }

    /// Masks places of the source wherever they would be shown.
    pub fn hide(&mut self, spans: impl IntoIterator<Item = Span>) {
        self.hidden.extend(spans);
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// The faults in the order of the file.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Line and column of a fault that has a place.
    pub fn position(&self, fault: &Fault) -> Option<Position> {
        fault
            .span
            .map(|span| excerpt::position(&self.source, span.start))
    }

    /// The same text as `Display`, with terminal colours.
    pub fn coloured(&self) -> String {
        self.render(&Renderer::styled())
    }

    fn render(&self, renderer: &Renderer) -> String {
        let mut text = String::new();
        for fault in &self.faults {
            text.push_str(&self.render_fault(renderer, fault));
            text.push_str("\n\n");
        }
        text + &self.summary()
    }

    fn render_fault(&self, renderer: &Renderer, fault: &Fault) -> String {
        let title = Level::ERROR.primary_title(fault.message.as_str());
        let hint = fault.hint.as_deref().map(|hint| Level::HELP.message(hint));
        let Some(span) = fault.span else {
            let group = Group::with_title(title).element(Origin::path(self.file.as_str()));
            return renderer.render(&[group.elements(hint)]);
        };
        let excerpt = Excerpt::new(&self.source, span, &self.hidden);
        let snippet = Snippet::source(excerpt.text.as_str())
            .path(self.file.as_str())
            .line_start(excerpt.position.line)
            .annotation(AnnotationKind::Primary.span(excerpt.marked.clone()));
        let group = Group::with_title(title).element(snippet).elements(hint);
        self.with_true_column(renderer.render(&[group]), &excerpt)
    }

    /// A mask before the marked place moves it, and the renderer counts in the masked line.
    fn with_true_column(&self, rendered: String, excerpt: &Excerpt) -> String {
        let Position { line, column } = excerpt.position;
        let shown = format!("{}:{line}:{}", self.file, excerpt.shown_column());
        let meant = format!("{}:{line}:{column}", self.file);
        match rendered.split_once('\n') {
            Some((title, rest)) => format!("{title}\n{}", rest.replacen(&shown, &meant, 1)),
            None => rendered,
        }
    }

    fn summary(&self) -> String {
        match self.faults.len() {
            1 => format!("1 fault in {}", self.file),
            count => format!("{count} faults in {}", self.file),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Report {}

#[cfg(test)]
mod tests;
