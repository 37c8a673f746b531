//! The hash of the body as a request states it, for messages without the body.

use std::borrow::Cow;

use constant_time_eq::constant_time_eq;
use sha2::{Digest, Sha256};

use super::found::read_one;
use super::place::Place;
use super::reason::Reason;
use super::request::Request;

/// The SHA-256 of the body in hexadecimal, as the request states it.
pub(super) struct BodyHash<'r> {
    place: &'r Place,
    text: Cow<'r, [u8]>,
}

impl<'r> BodyHash<'r> {
    /// What stands in the place.
    pub(super) fn read(place: &'r Place, request: &'r Request<'_>) -> Result<Self, Reason> {
        let text = read_one(place, request)?.ok_or_else(|| Reason::InputMissing {
            what: place.describe(),
        })?;
        Ok(Self { place, text })
    }

    /// Whether it is the body's.
    pub(super) fn check(&self, request: &Request<'_>) -> Result<(), Reason> {
        let stated = hex::decode(&self.text).unwrap_or_default();
        if constant_time_eq(&stated, &Sha256::digest(request.body())) {
            Ok(())
        } else {
            Err(Reason::BodyHashMismatch {
                place: self.place.describe(),
            })
        }
    }
}
