//! Replaces secrets in texts that are shown, also where they were encoded on their way.
//!
//! Finds a secret as it is, percent-encoded, as a field of a form, and inside base64, wherever it
//! begins there. Not: compressed, hashed, or cut in two.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::percent;
use crate::secret::Secret;

/// The shortest secret that is looked for, in bytes: a shorter one is found in every sentence.
const MASKED_BYTES_MIN: usize = 4;
/// What stands in its place.
const MASK: &str = "***";

/// Knows secrets, and replaces them in texts.
#[derive(Debug, Clone, Default)]
pub struct Masker(Arc<[Secret]>);

impl Masker {
    /// Looks for these secrets.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        Self::default().with(secrets)
    }

    /// Looks for these secrets too: tokens that were learned on the way.
    #[must_use]
    pub fn with(&self, secrets: impl IntoIterator<Item = Secret>) -> Self {
        let forms = secrets.into_iter().flat_map(|secret| forms(&secret));
        let mut all: Vec<Secret> = self.0.iter().cloned().chain(forms).collect();
        // A secret may be the beginning of another.
        all.sort_by(|a, b| {
            let order = b.expose().len().cmp(&a.expose().len());
            order.then_with(|| a.expose().cmp(b.expose()))
        });
        all.dedup_by(|a, b| a.expose() == b.expose());
        Self(all.into())
    }

    /// The text with `***` in the place of every secret.
    pub fn mask(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| {
            match text.contains(secret.expose()) {
                true => text.replace(secret.expose(), MASK),
                false => text,
            }
        })
    }
}

/// How a secret may look in a request.
fn forms(secret: &Secret) -> Vec<Secret> {
    let plain = secret.expose();
    if plain.len() < MASKED_BYTES_MIN {
        return Vec::new();
    }
    let encoded = percent(plain);
    let form: String = form_urlencoded::byte_serialize(plain.as_bytes()).collect();
    let mut forms = vec![
        plain.to_owned(),
        lower_hex(&encoded),
        lower_hex(&form),
        encoded,
        form,
        STANDARD.encode(plain),
    ];
    forms.extend(inside_base64(plain.as_bytes()));
    forms.into_iter().map(Secret::new).collect()
}

/// Percent-encoded with small letters.
fn lower_hex(encoded: &str) -> String {
    let mut lower = String::with_capacity(encoded.len());
    let mut digits = 0;
    for c in encoded.chars() {
        lower.push(if digits > 0 {
            c.to_ascii_lowercase()
        } else {
            c
        });
        digits = if c == '%' {
            2_usize
        } else {
            digits.saturating_sub(1)
        };
    }
    lower
}

/// What bytes look like inside base64 that begins none, one or two bytes before them (modulo three),
/// without the letters that their neighbours have a part in.
fn inside_base64(bytes: &[u8]) -> impl Iterator<Item = String> {
    let shifted = |before: usize| {
        let all = [vec![0; before].as_slice(), bytes].concat();
        let from = (before * 8).div_ceil(6);
        let to = all.len() * 8 / 6;
        [STANDARD_NO_PAD.encode(&all), URL_SAFE_NO_PAD.encode(&all)]
            .map(|encoded| encoded.get(from..to).unwrap_or_default().to_owned())
    };
    let cores = (0..3).flat_map(shifted).collect::<Vec<_>>();
    cores
        .into_iter()
        .filter(|core| core.len() >= MASKED_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_masked_in_every_form_it_travels_in() {
        let masker = Masker::new(["s3cr/et+1", "abc", "s3cr/et+1long"].map(Secret::new));
        let check = |text: &str, expected: &str| assert_eq!(masker.mask(text), expected);
        check("https://x/bots3cr/et+1/get", "https://x/bot***/get");
        check("a=s3cr%2Fet%2B1&b", "a=***&b");
        check("a=s3cr%2fet%2b1&b", "a=***&b");
        check("a longer one: s3cr/et+1long.", "a longer one: ***.");
        check("abc is too short", "abc is too short");
        check("nothing here", "nothing here");
        check("", "");
    }

    #[test]
    fn a_secret_is_found_inside_base64_wherever_it_begins() {
        let masker = Masker::new([Secret::new("sk_live_51Habc")]);
        for before in ["", "u", "us", "use", "user:"] {
            let text = STANDARD.encode(format!("{before}sk_live_51Habc:x"));
            let masked = masker.mask(&text);
            let hidden = text.len() - masked.len() + MASK.len();
            assert!(hidden >= 17, "{before}: {masked}");
        }
    }

    #[test]
    fn what_is_learned_later_is_masked_too_and_never_shown() {
        let masker = Masker::new([Secret::new("first one")]).with([Secret::new("second one")]);
        assert_eq!(masker.mask("first one, second+one"), "***, ***");
        assert!(!format!("{masker:?}").contains("one"));
    }
}
