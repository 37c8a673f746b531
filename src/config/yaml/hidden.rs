//! Decides which parts of a file must never be shown, because they are or may be secrets.
//!
//! A text with `${{ … }}` is safe to show: the secret itself stands elsewhere.

use super::{Key, Kind, Node, Span};

/// Keys whose literal values are secrets, together with everything below them.
const SECRET_KEYS: [&str; 12] = [
    "secret",
    "secrets",
    "encryption",
    "password",
    "token",
    "verify_token",
    "username",
    "api_key",
    "private_key",
    "passphrase",
    "authorization",
    "cookie",
];

/// Ends of other key names that are treated in the same way.
const SECRET_ENDINGS: [&str; 4] = ["_secret", "_secrets", "_password", "_token"];

/// Marks a text whose secret part stands outside the file.
pub const EXPRESSION_START: &str = "${{";

/// Ends such an expression.
pub(super) const EXPRESSION_END: &str = "}}";

/// Whether what stands under a key of this name is hidden; headers are keys too (`X-Api-Token`).
pub fn is_secret_key(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    SECRET_KEYS.contains(&name.as_str())
        || SECRET_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Places of all literal values under secret keys, and under keys that were refused: nothing will
/// tell which keys below those are unknown.
pub fn secrets(root: &Node) -> Vec<Span> {
    let mut spans = Vec::new();
    collect_secrets(root, &mut spans);
    spans
}

fn collect_secrets(node: &Node, spans: &mut Vec<Span>) {
    match &node.kind {
        Kind::Scalar { .. } => {}
        Kind::Sequence(items) => items.iter().for_each(|item| collect_secrets(item, spans)),
        Kind::Mapping(entries) => {
            for (key, value) in entries {
                if key.refused || is_secret_key(&key.name) {
                    spans.extend(literals(value));
                } else {
                    collect_secrets(value, spans);
                }
            }
        }
    }
}

/// Places of all literal texts in a tree. Keys are among them: `{a, b}` may be a mistaken `[a, b]`.
pub fn literals(node: &Node) -> Vec<Span> {
    match &node.kind {
        Kind::Scalar { text, .. } if is_safe(text) => Vec::new(),
        Kind::Scalar { .. } => vec![node.span],
        Kind::Sequence(items) => items.iter().flat_map(literals).collect(),
        Kind::Mapping(entries) => entries.iter().flat_map(literals_of_entry).collect(),
    }
}

/// A lone `$` is what syntax errors leave of `${{ … }}` without quotes.
fn is_safe(text: &str) -> bool {
    has_expression(text) || text == "$"
}

/// Whether a text holds a whole `${{ … }}`.
pub fn has_expression(text: &str) -> bool {
    let inside = text.split_once(EXPRESSION_START);
    inside.is_some_and(|(_, inside)| inside.contains(EXPRESSION_END))
}

fn literals_of_entry((key, value): &(Key, Node)) -> Vec<Span> {
    let mut spans = literals(value);
    spans.push(key.span);
    spans
}

/// Offset just after the `:` of the first secret key that a line of a file seems to hold.
pub(super) fn after_secret_key(line: &str) -> Option<usize> {
    line.match_indices(':').find_map(|(colon, _)| {
        let before = line.get(..colon)?.trim_end_matches(['"', '\'', ' ']);
        let word = before
            .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
            .next()?;
        is_secret_key(word).then_some(colon + 1)
    })
}
