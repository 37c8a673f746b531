//! How the commands print: colour when a person reads, plain when a program does.

use std::fmt::Display;

use crate::config::LoadError;

const RESET: &str = "\x1b[0m";
/// How long a bar is that shows progress.
const BAR_CELLS: usize = 30;

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

/// How far something is, in one line.
pub(super) fn bar(done: u64, all: u64) -> String {
    let share = done.saturating_mul(100).checked_div(all).unwrap_or(100);
    let share = usize::try_from(share).map_or(100, |share| share.min(100));
    let full = share * BAR_CELLS / 100;
    format!(
        "[{}{}] {share:>3} %  {done} of {all}",
        "#".repeat(full),
        "-".repeat(BAR_CELLS - full)
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_full_as_the_work_is_done() {
        let check = |done, all, cells, text: &str| {
            let bar = bar(done, all);
            assert_eq!(bar.matches('#').count(), cells, "{bar}");
            assert!(bar.ends_with(text), "{bar}");
        };
        check(0, 10, 0, "  0 %  0 of 10");
        check(5, 10, 15, " 50 %  5 of 10");
        check(10, 10, 30, "100 %  10 of 10");
        check(11, 10, 30, "100 %  11 of 10");
        check(0, 0, 30, "100 %  0 of 0");
    }
}
