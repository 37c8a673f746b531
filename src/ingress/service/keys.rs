//! Fetches the public keys that providers publish, when a judgement lacks one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use crate::event::{Fingerprint, Head};
use crate::ingress::gate::{Judgement, Route};
use crate::ingress::refusal::Refusal;
use crate::poll::fetch::{FetchRules, Fetcher, HostPattern, Origin, Redirects, Request, UrlFault};
use crate::signature::algorithm::Algorithm;
use crate::signature::known_keys::KnownKeys;
use crate::signature::{Reason, Verifier};

/// How long a request waits for a key.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// The longest document that is read: a set of keys has a few kilobytes.
const BYTES_MAX: usize = 256 * 1024;
/// How many fetches run at once: a stranger may name any address of a provider's hosts.
const FETCHES_MAX: usize = 8;
/// How long an address that gave nothing is left alone.
const LEFT_ALONE: SignedDuration = SignedDuration::from_secs(30);
/// The most addresses that are remembered for having given nothing.
const FAILED_MAX: usize = 256;

/// The keys of providers: those that are known, and the way to the others.
pub(super) struct Keys {
    known: Arc<KnownKeys>,
    fetches: Semaphore,
    failed: Mutex<HashMap<String, Timestamp>>,
    /// One fetch at a time of each address; the others wait for it.
    under_way: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            known: Arc::default(),
            fetches: Semaphore::new(FETCHES_MAX),
            failed: Mutex::default(),
            under_way: Mutex::default(),
        }
    }
}

impl Keys {
    /// The keys that were fetched.
    pub(super) fn known(&self) -> &Arc<KnownKeys> {
        &self.known
    }

    /// Judges a request; where that lacks a key, fetches it and judges once more.
    pub(super) async fn judge(
        &self,
        route: &Route,
        head: &Head,
        body: &[u8],
        certificate: Option<&Fingerprint>,
        now: Timestamp,
    ) -> Result<Judgement, Refusal> {
        let judge = || route.judge(head, body, certificate, &self.known, now);
        let judgement = judge();
        let Some((url, algorithm)) = lacked(&judgement) else {
            return judgement;
        };
        if let Some(check) = &route.check {
            let fetch = self.fetch(&check.verifier, url, algorithm, now);
            // Whatever came of it, the second judgement says so.
            let _ = timeout(WAIT_MAX, fetch).await;
        }
        judge()
    }

    async fn fetch(&self, verifier: &Verifier, url: &str, algorithm: Algorithm, now: Timestamp) {
        let before = self.known.find(url, algorithm, now);
        let turn = {
            let mut under_way = self.under_way.lock().await;
            under_way.retain(|_, turn| Arc::strong_count(turn) > 1);
            under_way.entry(url.to_owned()).or_default().clone()
        };
        let _turn = turn.lock().await;
        let is_new = match (self.known.find(url, algorithm, now), before) {
            (Some(after), Some(before)) => !Arc::ptr_eq(&after, &before),
            (after, _) => after.is_some(),
        };
        if is_new || self.is_left_alone(url, now).await {
            return;
        }
        let Ok(_permit) = self.fetches.try_acquire() else {
            tracing::warn!(url, "too many keys are being fetched");
            return;
        };
        let learnt = match self.get(url).await {
            Ok(text) => verifier
                .read_keys(algorithm, &text, now)
                .map_err(|error| error.to_string()),
            Err(error) => Err(error),
        };
        match learnt {
            Ok(keys) => {
                tracing::info!(url, "fetched a provider's key");
                self.known.learn(url, algorithm, keys);
            }
            Err(error) => {
                tracing::warn!(url, error, "a provider's key cannot be fetched");
                self.known.keep(url, algorithm, now);
                self.leave_alone(url, now).await;
            }
        }
    }

    /// Visits an address, for nothing but that it was visited.
    pub(super) async fn visit(&self, url: &str) -> Result<(), String> {
        let Ok(_permit) = self.fetches.try_acquire() else {
            return Err("too many addresses are being visited".to_owned());
        };
        let visited = timeout(WAIT_MAX, self.get(url)).await;
        visited
            .map_err(|_| "it does not answer".to_owned())?
            .map(drop)
    }

    async fn get(&self, url: &str) -> Result<Bytes, String> {
        let fetcher = fetcher(url)?;
        let request = Request {
            method: Method::GET,
            url: url.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let answer = fetcher.fetch(request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        match answer.status {
            200 => Ok(answer.body),
            status => Err(format!("it answers {status}")),
        }
    }

    async fn is_left_alone(&self, url: &str, now: Timestamp) -> bool {
        let failed = self.failed.lock().await;
        let at = failed.get(url);
        at.is_some_and(|at| now.duration_since(*at) < LEFT_ALONE)
    }

    async fn leave_alone(&self, url: &str, now: Timestamp) {
        let mut failed = self.failed.lock().await;
        failed.retain(|_, at| now.duration_since(*at) < LEFT_ALONE);
        if failed.len() < FAILED_MAX {
            failed.insert(url.to_owned(), now);
        }
    }
}

/// What asks one address, which the file or a provider's preset has named.
fn fetcher(url: &str) -> Result<Fetcher, String> {
    let origin: Origin = url.parse().map_err(|fault: UrlFault| fault.to_string())?;
    let host: HostPattern = origin
        .host()
        .parse()
        .map_err(|_| "it has no host".to_owned())?;
    let fetcher = Fetcher::new(FetchRules {
        origins: vec![origin],
        trusted_hosts: vec![host],
        redirects: Redirects::None,
        body_bytes_max: BYTES_MAX,
        unpacked_bytes_max: BYTES_MAX,
        timeout: WAIT_MAX,
        connect_timeout: WAIT_MAX,
        ..FetchRules::default()
    });
    fetcher.map_err(|error| error.to_string())
}

/// The key that a judgement lacked.
fn lacked(judgement: &Result<Judgement, Refusal>) -> Option<(&str, Algorithm)> {
    let reason = match judgement {
        Err(Refusal::Signature { reason, .. }) => reason,
        Ok(Judgement::Event(permit)) => permit.observed()?,
        _ => return None,
    };
    match reason {
        Reason::KeyUnknown { url, algorithm } => Some((url, *algorithm)),
        _ => None,
    }
}
