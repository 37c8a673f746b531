//! How the commands print: colour when a person reads, plain when a program does.

use std::fmt::Display;

use crate::config::LoadError;

const RESET: &str = "\x1b[0m";

/// A colour or weight of text.
#[derive(Debug, Clone, Copy)]
pub(super) enum Paint {
    Bold,
    Dim,
    Green,
    Red,
    Yellow,
    Cyan,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "\x1b[1m",
            Self::Dim => "\x1b[2m",
            Self::Green => "\x1b[32m",
            Self::Red => "\x1b[31m",
            Self::Yellow => "\x1b[33m",
            Self::Cyan => "\x1b[36m",
        }
    }

    /// The text in this colour; [`print`] takes the colour off where nobody would see it.
    pub(super) fn on(self, text: impl Display) -> String {
        format!("{}{text}{RESET}", self.code())
    }
}

/// Prints a line to standard output.
pub(super) fn print(line: impl Display) {
    anstream::println!("{line}");
}

/// Prints a line to standard error.
pub(super) fn note(line: impl Display) {
    anstream::eprintln!("{line}");
}

/// Writes to standard error what is written over, or answered in the same line.
pub(super) fn unfinished(text: impl Display) {
    anstream::eprint!("{text}");
}

/// Says what went wrong.
pub(super) fn error(message: &str) {
    note(format!("{}: {message}", Paint::Red.on("error")));
}

/// Says why a configuration file cannot be used; faults keep their excerpts.
pub(super) fn load_error(failure: &LoadError) {
    match failure {
        LoadError::Faults(report) => note(report.coloured()),
        LoadError::Read { .. } | LoadError::Presets(_) => error(&failure.to_string()),
    }
}
