//! Which certificates of clients authenticate a request.
//!
//! Whether a certificate is genuine is decided by the listener, in the handshake; what stands here
//! only ever sees the fingerprint of one that is.

use super::reason::Reason;
use crate::event::Fingerprint;

/// The certificates that authenticate: any that a listener has let in, or some of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRule {
    /// Empty = any.
    fingerprints: Vec<Fingerprint>,
}

/// A list that would let nobody in, and must not come to mean everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the list of fingerprints is empty: nothing could ever be accepted")]
pub struct NoFingerprints;

impl CertificateRule {
    /// Takes every certificate that a listener has let in.
    pub fn any() -> Self {
        Self {
            fingerprints: Vec::new(),
        }
    }

    /// Takes only these.
    ///
    /// # Errors
    /// [`NoFingerprints`].
    pub fn one_of(fingerprints: Vec<Fingerprint>) -> Result<Self, NoFingerprints> {
        if fingerprints.is_empty() {
            return Err(NoFingerprints);
        }
        Ok(Self { fingerprints })
    }

    /// Judges the certificate that the sender's connection has shown.
    ///
    /// # Errors
    /// The [`Reason`] to refuse it.
    pub fn check(&self, shown: Option<&Fingerprint>) -> Result<(), Reason> {
        let shown = shown.ok_or(Reason::CertificateMissing)?;
        if self.fingerprints.is_empty() || self.fingerprints.contains(shown) {
            return Ok(());
        }
        Err(Reason::CertificateUnlisted {
            shown: *shown,
            listed: self.fingerprints.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_shown_and_is_listed_authenticates() {
        let [a, b, c] = [1, 2, 3].map(|byte| Fingerprint::new([byte; 32]));
        let two = CertificateRule::one_of(vec![a, b]).unwrap();
        let check = |rule: &CertificateRule, shown: Option<&Fingerprint>, expected| {
            assert_eq!(rule.check(shown), expected, "{rule:?} {shown:?}");
        };
        check(&CertificateRule::any(), Some(&c), Ok(()));
        check(
            &CertificateRule::any(),
            None,
            Err(Reason::CertificateMissing),
        );
        check(&two, Some(&a), Ok(()));
        check(&two, Some(&b), Ok(()));
        check(&two, None, Err(Reason::CertificateMissing));
        let unlisted = Reason::CertificateUnlisted {
            shown: c,
            listed: 2,
        };
        check(&two, Some(&c), Err(unlisted));
        assert_eq!(CertificateRule::one_of(Vec::new()), Err(NoFingerprints));
    }
}
