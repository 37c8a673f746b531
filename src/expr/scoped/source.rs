//! Checks an expression before it ever runs: every variable, filter, test and function is known,
//! also in a branch that is seldom taken, and no operator gets more than it can bear.
//!
//! The engine repeats a text up to 100 MB at once for `text * n` and takes one step of fuel for it.
//! It has no way to forbid that, so the operands of operators are guarded: behind each of them a
//! filter is written that passes on what the operator may have. `a * b` becomes
//! `a|number * b|number`; a filter binds tighter than any operator.

use std::collections::BTreeSet;

use super::filters::{self, FILTERS, FUNCTIONS, FilterError, GUARD_NUMBER, GUARD_PART, TESTS};
use super::scan::{Scanned, Token, What};
use super::{ExpressionError, Kind, Name, Names};

/// The most operators of one expression: each may copy what it joins.
const OPERATORS_MAX: usize = 64;

/// Words that mean something to the engine.
const KEYWORDS: [&str; 13] = [
    "and", "or", "not", "in", "is", "if", "else", "true", "True", "false", "False", "none", "None",
];

/// An expression that passed.
#[derive(Debug)]
pub(super) struct Checked {
    /// The text for the engine.
    pub(super) source: String,
    /// The line on which it begins, from 1.
    pub(super) line: usize,
    /// The variables it uses.
    pub(super) uses: BTreeSet<Name>,
    /// The parts of variables that it names, like `session.token`.
    pub(super) parts: BTreeSet<(Name, String)>,
    /// The environment variables and secrets it uses.
    pub(super) asks: Vec<Ask>,
}

/// A name that an expression looks up.
#[derive(Debug)]
pub(super) struct Ask {
    /// Where.
    pub(super) kind: Kind,
    /// The name.
    pub(super) name: String,
    /// What happens where there is none.
    pub(super) otherwise: Otherwise,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Otherwise {
    /// The expression says what to take.
    Default,
    /// It is a fault of the file.
    Refuse,
}

/// Checks an expression in a place that has these variables.
pub(super) fn check(scanned: &Scanned<'_>, names: Names) -> Result<Checked, ExpressionError> {
    let mut reader = Reader {
        scanned,
        names,
        uses: BTreeSet::new(),
        parts: BTreeSet::new(),
        asks: Vec::new(),
        guards: BTreeSet::new(),
        operators: 0,
    };
    for (at, token) in scanned.tokens.iter().enumerate() {
        match token.what {
            What::Word(word) => reader.word(at, word)?,
            What::Sign(sign) => reader.sign(at, sign)?,
            What::Quoted(_) | What::Number => {}
        }
    }
    Ok(Checked {
        source: guarded(scanned.text, &reader.guards),
        line: scanned.line,
        uses: reader.uses,
        parts: reader.parts,
        asks: reader.asks,
    })
}

/// The text with guards behind the operands.
fn guarded(text: &str, guards: &BTreeSet<(usize, &'static str)>) -> String {
    let mut source = String::with_capacity(text.len() + guards.len() * 16);
    let mut from = 0;
    for &(at, guard) in guards {
        source.push_str(text.get(from..at).unwrap_or_default());
        source.push('|');
        source.push_str(guard);
        from = at;
    }
    source.push_str(text.get(from..).unwrap_or_default());
    source
}

/// What a word is, by what stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Attribute,
    Filter,
    Test,
    Keyword,
    Argument,
    Function,
    Variable,
}

/// Whether a word stands between two values.
fn is_infix(word: &str) -> bool {
    matches!(word, "and" | "or" | "in" | "is" | "if" | "else")
}

struct Reader<'a> {
    scanned: &'a Scanned<'a>,
    names: Names,
    uses: BTreeSet<Name>,
    parts: BTreeSet<(Name, String)>,
    asks: Vec<Ask>,
    guards: BTreeSet<(usize, &'static str)>,
    operators: usize,
}

impl<'a> Reader<'a> {
    fn token(&self, at: usize) -> Option<&Token<'a>> {
        self.scanned.tokens.get(at)
    }

    fn what(&self, at: usize) -> Option<What<'a>> {
        self.token(at).map(|token| token.what)
    }

    fn is_sign(&self, at: usize, sign: &str) -> bool {
        matches!(self.what(at), Some(What::Sign(found)) if found == sign)
    }

    fn before(&self, at: usize) -> Option<What<'a>> {
        at.checked_sub(1).and_then(|at| self.what(at))
    }

    fn syntax(&self, at: usize, detail: &str) -> ExpressionError {
        let start = self.token(at).map_or(0, |token| token.start);
        let before = self.scanned.text.get(..start).unwrap_or_default();
        ExpressionError::Syntax {
            line: self.scanned.line + before.matches('\n').count(),
            detail: detail.to_owned(),
        }
    }

    fn role(&self, at: usize, word: &str) -> Role {
        let is_test = |at: usize| {
            self.what(at) == Some(What::Word("is")) && !self.is_sign(at.wrapping_sub(1), ".")
        };
        match self.before(at) {
            Some(What::Sign(".")) => return Role::Attribute,
            Some(What::Sign("|")) => return Role::Filter,
            Some(What::Word("is")) if is_test(at - 1) && word != "not" => return Role::Test,
            Some(What::Word("not")) if at >= 2 && is_test(at - 2) => return Role::Test,
            _ => {}
        }
        if KEYWORDS.contains(&word) {
            Role::Keyword
        } else if self.is_sign(at + 1, "=") {
            Role::Argument
        } else if self.is_sign(at + 1, "(") {
            Role::Function
        } else {
            Role::Variable
        }
    }

    fn word(&mut self, at: usize, word: &str) -> Result<(), ExpressionError> {
        let unknown = |what, known: &[&str]| {
            let is_known = known.contains(&word);
            let error = || ExpressionError::unknown(what, word, known);
            is_known.then_some(()).ok_or_else(error)
        };
        match self.role(at, word) {
            // The engine reads `x == and` as a comparison with a variable of that name.
            Role::Keyword if is_infix(word) && !self.is_value_before(at) => {
                let is_not_in = word == "in" && self.before(at) == Some(What::Word("not"));
                let error = || self.syntax(at, "a value is missing before a word");
                is_not_in.then_some(()).ok_or_else(error)
            }
            Role::Keyword | Role::Argument => Ok(()),
            Role::Attribute if self.is_sign(at + 1, "(") => Err(self.syntax(
                at,
                "values have no methods: use a filter, like `value | lower`",
            )),
            Role::Attribute => Ok(()),
            Role::Filter => {
                unknown("filter", &FILTERS)?;
                self.path(at, word)
            }
            Role::Test => unknown("test", &TESTS),
            Role::Function => unknown("function", &FUNCTIONS),
            Role::Variable => {
                let known: Vec<&str> = self.names.iter().map(Name::as_str).collect();
                unknown("variable", &known)?;
                self.variable(at, word)
            }
        }
    }

    fn variable(&mut self, at: usize, word: &str) -> Result<(), ExpressionError> {
        let kind = match word {
            "secret" => Kind::Secret,
            "env" => Kind::Variable,
            _ => {
                let name = self.names.find(word);
                self.uses.extend(name);
                let part = match (self.is_sign(at + 1, "."), self.what(at + 2)) {
                    (true, Some(What::Word(part))) => name.map(|name| (name, part.to_owned())),
                    _ => None,
                };
                self.parts.extend(part);
                return Ok(());
            }
        };
        self.uses.extend(self.names.find(word));
        let (true, Some(What::Word(name))) = (self.is_sign(at + 1, "."), self.what(at + 2)) else {
            // What is sent must not depend on a name that somebody else chose.
            return Err(self.syntax(at, "write the name out, like `secret.NAME` or `env.NAME`"));
        };
        let has_default = self.is_sign(at + 3, "|")
            && matches!(self.what(at + 4), Some(What::Word("default" | "d")));
        self.asks.push(Ask {
            kind,
            name: name.to_owned(),
            otherwise: match has_default {
                true => Otherwise::Default,
                false => Otherwise::Refuse,
            },
        });
        Ok(())
    }

    /// The argument of `jsonpath` is written out, so that it can be checked, and nobody else chooses
    /// what is looked for.
    fn path(&self, at: usize, filter: &str) -> Result<(), ExpressionError> {
        if self.is_sign(at + 1, ".") {
            return Err(self.syntax(at, "a filter has no parts"));
        }
        if filter != "jsonpath" {
            return Ok(());
        }
        match (self.what(at + 2), self.is_sign(at + 3, ")")) {
            // What is escaped is read when it is tried.
            (Some(What::Quoted(path)), true) if path.contains('\\') => Ok(()),
            (Some(What::Quoted(path)), true) if self.is_sign(at + 1, "(") => {
                let error = |reason: FilterError| self.syntax(at, &reason.to_string());
                filters::path(path).map(drop).map_err(error)
            }
            _ => Err(self.syntax(at, "`jsonpath` takes one path in quotes")),
        }
    }

    fn sign(&mut self, at: usize, sign: &'static str) -> Result<(), ExpressionError> {
        match sign {
            "[" => self.subscript(at),
            "(" if self.is_value(at) => Err(self.syntax(at, "a value cannot be called")),
            "." if !matches!(self.what(at + 1), Some(What::Word(_) | What::Number)) => {
                Err(self.syntax(at, "a name is missing after `.`"))
            }
            "-" if !self.is_operand(at) => self.negative(at),
            "+" | "~" => self.operator(at, GUARD_PART),
            "*" | "**" | "/" | "//" | "%" | "-" => self.operator(at, GUARD_NUMBER),
            _ => Ok(()),
        }
    }

    /// The engine reads `-item.price` as the price of minus the item.
    fn negative(&self, at: usize) -> Result<(), ExpressionError> {
        let is_name = matches!(self.what(at + 1), Some(What::Word(_)));
        let is_longer = matches!(self.what(at + 2), Some(What::Sign("." | "[" | "(")));
        match is_name && is_longer {
            true => Err(self.syntax(at, "write brackets after the sign, like `-(item.price)`")),
            false => Ok(()),
        }
    }

    /// Whether what ends before a bracket is a value, and not the name of a filter, test or function.
    fn is_value(&self, at: usize) -> bool {
        matches!(
            self.before(at),
            Some(What::Sign(")" | "]" | "}") | What::Quoted(_) | What::Number)
        )
    }

    /// Whether an operand ends before a token.
    fn is_operand(&self, at: usize) -> bool {
        match self.before(at) {
            Some(What::Sign(sign)) => matches!(sign, ")" | "]" | "}"),
            // `x is eq -1`: what follows a test is its argument.
            Some(What::Word(word)) => match self.role(at - 1, word) {
                Role::Keyword => word != "not" && !is_infix(word),
                Role::Test => false,
                _ => true,
            },
            Some(What::Quoted(_) | What::Number) => true,
            None => false,
        }
    }

    /// Whether a value ends before a token; that of a test may lack the argument.
    fn is_value_before(&self, at: usize) -> bool {
        let is_test = |word| self.role(at - 1, word) == Role::Test;
        self.is_operand(at) || matches!(self.before(at), Some(What::Word(word)) if is_test(word))
    }

    fn operator(&mut self, at: usize, guard: &'static str) -> Result<(), ExpressionError> {
        if !self.is_value_before(at) {
            return Err(self.syntax(at, "a value is missing before an operator"));
        }
        self.operators += 1;
        if self.operators > OPERATORS_MAX {
            return Err(ExpressionError::TooManyOperators { max: OPERATORS_MAX });
        }
        let left = at.checked_sub(1).and_then(|at| self.token(at));
        let left = left.map(|token| token.end);
        let right = self.operand_end(at + 1);
        self.guards.extend(left.map(|at| (at, guard)));
        self.guards.extend(right.map(|at| (at, guard)));
        Ok(())
    }

    /// Where the operand that begins at a token ends, before any filter.
    fn operand_end(&self, mut at: usize) -> Option<usize> {
        while self.is_sign(at, "-") {
            at += 1;
        }
        at = match self.what(at)? {
            What::Sign("(" | "[" | "{") => self.closing(at)?,
            What::Quoted(_) => {
                // Texts side by side are one.
                while matches!(self.what(at + 1), Some(What::Quoted(_))) {
                    at += 1;
                }
                at
            }
            _ => at,
        };
        loop {
            at = match self.what(at + 1) {
                Some(What::Sign(".")) => at + 2,
                Some(What::Sign("(" | "[")) => self.closing(at + 1)?,
                _ => break,
            };
        }
        self.token(at).map(|token| token.end)
    }

    /// The bracket that closes the one at a token.
    fn closing(&self, at: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for (index, token) in self.scanned.tokens.iter().enumerate().skip(at) {
            match token.what {
                What::Sign("(" | "[" | "{") => depth += 1,
                What::Sign(")" | "]" | "}") => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return Some(index);
            }
        }
        None
    }

    /// The engine ends the process on some slices with a step, such as `text[0:5:-1]`.
    fn subscript(&self, at: usize) -> Result<(), ExpressionError> {
        let mut depth = 0_usize;
        let mut colons = 0;
        for token in self.scanned.tokens.iter().skip(at) {
            match token.what {
                What::Sign("(" | "[" | "{") => depth += 1,
                What::Sign(")" | "]" | "}") => depth = depth.saturating_sub(1),
                What::Sign(":") if depth == 1 => colons += 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        match colons {
            0 | 1 => Ok(()),
            _ => Err(self.syntax(at, "a slice has no step: write `[from:to]`")),
        }
    }
}
