//! Who may ask the API for what.
//!
//! With tokens, everybody needs one. Without, only whoever is on this machine may ask; a web page
//! that he looks at is on this machine, too, and is told apart by what it cannot send.

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::StatusCode;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::ADMIN_HEADER;
use super::problem::Problem;
use crate::access::{LOCAL, Level, Token, Tokens};
use crate::ingress::service::desk::Question;

/// How many requests of the API are answered in a second.
const PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(199);
/// How many wrong tokens are looked at in a second.
const WRONG_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

/// Somebody who was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visitor {
    /// The name of the token, or `local`.
    pub name: String,
    level: Level,
}

/// Lets in who may ask.
pub(super) struct Access {
    tokens: Arc<Tokens>,
    all: DefaultDirectRateLimiter,
    wrong: DefaultDirectRateLimiter,
}

impl Access {
    pub(super) fn new(tokens: Arc<Tokens>) -> Self {
        Self {
            tokens,
            all: RateLimiter::direct(Quota::per_second(PER_SECOND)),
            wrong: RateLimiter::direct(Quota::per_second(WRONG_PER_SECOND)),
        }
    }

    /// Lets somebody in who may do what is on this level.
    ///
    /// # Errors
    /// 401, 403 or 429.
    pub(super) fn admit(&self, question: &Question, level: Level) -> Result<Visitor, Problem> {
        let visitor = match self.tokens.now().as_slice() {
            [] => local(question, level)?,
            tokens => self.bearer(question, tokens)?,
        };
        if self.all.check().is_err() {
            return Err(too_many("too many requests"));
        }
        match visitor.level >= level {
            true => Ok(visitor),
            false => Err(forbidden("this token may only look")),
        }
    }

    fn bearer(&self, question: &Question, tokens: &[Token]) -> Result<Visitor, Problem> {
        let presented = question.head.headers.first("authorization");
        let presented = presented.and_then(|value| {
            let (scheme, token) = value.split_at_checked(7)?;
            scheme
                .eq_ignore_ascii_case(b"bearer ")
                .then(|| token.trim_ascii())
        });
        let wrong = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, detail);
        let Some(presented) = presented else {
            return Err(wrong(
                "send `Authorization: Bearer TOKEN`, with one of admin.tokens",
            ));
        };
        // All are compared, so that time tells nothing about which was near.
        let matching = tokens
            .iter()
            .filter(|known| known.token.matches(presented))
            .collect::<Vec<_>>();
        if let Some(known) = matching.first() {
            return Ok(Visitor {
                name: known.name.clone(),
                level: known.level,
            });
        }
        match self.wrong.check() {
            Ok(()) => Err(wrong("this is none of admin.tokens")),
            Err(_) => Err(too_many("too many wrong tokens")),
        }
    }
}

fn local(question: &Question, level: Level) -> Result<Visitor, Problem> {
    if !question.is_local() {
        return Err(forbidden(
            "without admin.tokens, only this machine may ask; add a token to the file",
        ));
    }
    // A page of a foreign name that leads here could otherwise read everything.
    let host = question.head.hostname();
    let is_ours = host.as_deref().is_none_or(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost"
            || bare
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.to_canonical().is_loopback())
    });
    if question.peer.is_some() && !is_ours {
        return Err(forbidden(
            "the Host header names another machine; ask for 127.0.0.1 or localhost, or use a token",
        ));
    }
    if level > Level::Read && question.head.headers.first(ADMIN_HEADER).is_none() {
        return Err(forbidden(
            "send the header `Hookgate-Admin: 1`, or use a token",
        ));
    }
    Ok(Visitor {
        name: LOCAL.to_owned(),
        level: Level::Full,
    })
}

fn forbidden(detail: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, detail)
}

fn too_many(detail: &str) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
}
