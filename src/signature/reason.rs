//! Why a request is not authentic, in words and in labels.

use jiff::SignedDuration;

use super::algorithm::Algorithm;
use crate::event::Fingerprint;

/// Why a request is not authentic. Shown in the log and in metrics, never to the sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The sender's connection has shown no certificate.
    #[error("no client certificate was shown")]
    CertificateMissing,
    /// A genuine certificate, of somebody else.
    #[error("the client certificate {shown} is none of the {listed} that are listed")]
    CertificateUnlisted {
        /// The certificate that was shown.
        shown: Fingerprint,
        /// How many are listed.
        listed: usize,
    },
    /// There is no signature where it should stand.
    #[error("no signature: {place} is missing")]
    SignatureMissing {
        /// Where it was looked for.
        place: String,
    },
    /// What stands there cannot be a signature of this scheme.
    #[error("malformed signature in {place}: {problem}")]
    SignatureMalformed {
        /// Where it stands.
        place: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The signature was made with another key or over another text.
    #[error("no match: {tried} signature(s) compared with {keys} secret(s)")]
    SignatureMismatch {
        /// How many signatures the request carried.
        tried: usize,
        /// How many secrets are configured.
        keys: usize,
    },
    /// The signature is genuine, but the hash of the body that it binds is of another body.
    #[error("the body is not the one whose SHA-256 stands in {place}")]
    BodyHashMismatch {
        /// Where the hash stands.
        place: String,
    },
    /// The token is genuine, but for another URL.
    #[error("the public URL is not the one whose SHA-256 stands in {place}")]
    UrlHashMismatch {
        /// Where the hash stands.
        place: String,
    },
    /// The token is genuine, but of another issuer, or for somebody else.
    #[error("the token's claim `{claim}` is not as it should be")]
    TokenClaim {
        /// The claim.
        claim: &'static str,
    },
    /// The token is genuine, and says itself that it is too old.
    #[error("expired: the token was good until {} ago", whole(.skew))]
    TokenExpired {
        /// How long ago it expired.
        skew: SignedDuration,
    },
    /// Something that is signed along is not in the request.
    #[error("{what} is missing, and is part of what is signed")]
    InputMissing {
        /// What is missing.
        what: String,
    },
    /// Something that is signed along stands in the request more than once.
    #[error("{what} stands in the request more than once")]
    InputAmbiguous {
        /// What stands there twice.
        what: String,
    },
    /// The address of the key that the request names is not one of the provider's.
    #[error("the key's address in {place} is not one of the provider's")]
    KeyAddress {
        /// Where the address stands.
        place: String,
    },
    /// The provider's key is to be fetched first.
    #[error("the key at {url} is not known, and could not be fetched")]
    KeyUnknown {
        /// Where it is published.
        url: String,
        /// What it is to verify.
        algorithm: Algorithm,
    },
    /// The provider's handshake has not come yet, or was forgotten.
    #[error("no secret yet: the provider's handshake has not brought one")]
    SecretUnknown,
    /// There is no timestamp where it should stand.
    #[error("no timestamp: {place} is missing")]
    TimestampMissing {
        /// Where it was looked for.
        place: String,
    },
    /// The timestamp is no time in the unit of the scheme.
    #[error("malformed timestamp: not {expected}")]
    TimestampMalformed {
        /// How it should be written.
        expected: &'static str,
    },
    /// Genuine, but older than the tolerance: it may be replayed.
    #[error("stale: signed {} ago, {} allowed{}", whole(.skew), whole(.tolerance), unit_hint(*.looks_like))]
    TimestampStale {
        /// Its age.
        skew: SignedDuration,
        /// The greatest age allowed.
        tolerance: SignedDuration,
        /// The unit that would make it fresh.
        looks_like: Option<&'static str>,
    },
    /// Genuine, but further ahead of our clock than allowed.
    #[error("from the future: signed {} ahead of our clock, {} allowed{}", whole(.skew), whole(.tolerance), unit_hint(*.looks_like))]
    TimestampFuture {
        /// How far ahead.
        skew: SignedDuration,
        /// How far ahead is allowed.
        tolerance: SignedDuration,
        /// The unit that would make it fresh.
        looks_like: Option<&'static str>,
    },
}

impl Reason {
    /// The word for metrics and JSON.
    pub fn label(&self) -> &'static str {
        match self {
            Self::CertificateMissing | Self::CertificateUnlisted { .. } => "client_certificate",
            Self::SignatureMissing { .. } => "signature_missing",
            Self::SignatureMalformed { .. } => "signature_malformed",
            Self::SignatureMismatch { .. } => "signature_mismatch",
            Self::BodyHashMismatch { .. } => "body_hash_mismatch",
            Self::UrlHashMismatch { .. } => "url_hash_mismatch",
            Self::TokenClaim { .. } => "token_claim",
            Self::TokenExpired { .. } => "token_expired",
            Self::InputMissing { .. } => "signed_input_missing",
            Self::InputAmbiguous { .. } => "signed_input_ambiguous",
            Self::KeyAddress { .. } => "key_address",
            Self::KeyUnknown { .. } => "key_unknown",
            Self::SecretUnknown => "secret_unknown",
            Self::TimestampMissing { .. } => "timestamp_missing",
            Self::TimestampMalformed { .. } => "timestamp_malformed",
            Self::TimestampStale { .. } => "timestamp_stale",
            Self::TimestampFuture { .. } => "timestamp_future",
        }
    }

    /// How far the judgement came; of several schemes the furthest tells most.
    pub(super) fn progress(&self) -> u8 {
        match self {
            Self::CertificateMissing | Self::SignatureMissing { .. } | Self::SecretUnknown => 0,
            Self::SignatureMalformed { .. } => 1,
            Self::TimestampMissing { .. } | Self::InputMissing { .. } => 2,
            Self::InputAmbiguous { .. } | Self::KeyAddress { .. } => 3,
            Self::CertificateUnlisted { .. } | Self::SignatureMismatch { .. } => 4,
            Self::KeyUnknown { .. }
            | Self::BodyHashMismatch { .. }
            | Self::UrlHashMismatch { .. }
            | Self::TokenClaim { .. } => 5,
            Self::TimestampMalformed { .. } => 6,
            Self::TimestampStale { .. }
            | Self::TimestampFuture { .. }
            | Self::TokenExpired { .. } => 7,
        }
    }
}

fn whole(duration: &SignedDuration) -> String {
    let duration = SignedDuration::from_secs(duration.as_secs());
    humantime::format_duration(duration.unsigned_abs()).to_string()
}

fn unit_hint(looks_like: Option<&'static str>) -> String {
    looks_like
        .map(|unit| format!(" (the value looks like {unit})"))
        .unwrap_or_default()
}
