//! The tests that stand in a configuration file: a sample request and the expected decision.

use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::raw::tests::ExpectedVerdict;
use super::yaml::Span;
use crate::delivery::request::{Via, write_head};
use crate::event::{ClientAddr, Fingerprint, Head, Verdict};
use crate::ingress::gate::{Admitted, Judgement};
use crate::ingress::{Gate, Refusal};
use crate::secret::Secret;
use crate::signature::key::Key;
use crate::signature::known_keys::KnownKeys;
use crate::signature::sign::Stamp;

/// The id that signed samples carry where the scheme signs one.
const SAMPLE_ID: &str = "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W";

/// One test of the file.
pub struct RouteTest {
    /// What it shows.
    pub name: String,
    /// Where it stands in the file.
    pub span: Span,
    /// The head of the request.
    pub head: Head,
    /// Its body.
    pub body: String,
    /// Who sends it.
    pub from: ClientAddr,
    /// The certificate that the sender shows.
    pub certificate: Option<Fingerprint>,
    /// The moment of judging; `None` = the moment of the run.
    pub at: Option<Timestamp>,
    /// How it is signed; `None` = as it stands.
    pub sign: Option<SignSample>,
    /// What must be decided.
    pub expected: Expected,
}

/// How a sample is signed.
#[derive(Debug)]
pub struct SignSample {
    /// How long ago.
    pub age: Duration,
    /// With which secret; `None` = the route's first.
    pub secret: Option<Secret>,
}

/// What must be decided.
#[derive(Debug)]
pub struct Expected {
    /// The verdict.
    pub verdict: ExpectedVerdict,
    /// The route.
    pub route: Option<String>,
    /// The reason of a refusal.
    pub reason: Option<String>,
    /// The status of a refusal or a handshake.
    pub status: Option<u16>,
    /// The event's id.
    pub event_id: Option<String>,
    /// The event's type.
    pub event_type: Option<String>,
    /// The path and query that the backend would get.
    pub backend_path: Option<String>,
}

/// What was decided.
#[derive(Debug, Default)]
struct Decision {
    verdict: Option<Verdict>,
    route: Option<String>,
    reason: Option<String>,
    status: Option<u16>,
    event_id: Option<String>,
    event_type: Option<String>,
    backend_path: Option<String>,
    detail: Option<String>,
}

impl RouteTest {
    /// Runs the test; answers with what was not as expected, in sentences.
    pub fn run(&self, gate: &Gate, now: Timestamp) -> Vec<String> {
        let now = self.at.unwrap_or(now);
        let mut head = self.head.clone();
        let mut body = self.body.clone().into_bytes();
        if let Some(sign) = &self.sign
            && let Err(problem) = self.sign(&mut head, &mut body, sign, gate, now)
        {
            return vec![format!("cannot be signed: {problem}")];
        }
        self.compare(&self.decide(gate, &head, &body, now))
    }

    fn sign(
        &self,
        head: &mut Head,
        body: &mut Vec<u8>,
        sign: &SignSample,
        gate: &Gate,
        now: Timestamp,
    ) -> Result<(), String> {
        let admitted = gate
            .admit(head, self.from, None)
            .map_err(|refused| format!("the request is refused before ({})", refused.refusal))?;
        let check = admitted
            .route
            .check
            .as_ref()
            .ok_or("the route verifies nothing")?;
        let (scheme, key) = check.verifier.signer().ok_or("the route has no secret")?;
        let other = match &sign.secret {
            None => None,
            Some(secret) => Some(
                Key::new(scheme.parts().algorithm, &scheme.parts().key, secret)
                    .map_err(|error| error.to_string())?,
            ),
        };
        let age = SignedDuration::try_from(sign.age).map_err(|error| error.to_string())?;
        let at = now.checked_sub(age).map_err(|error| error.to_string())?;
        let stamp = Stamp { at, id: SAMPLE_ID };
        scheme
            .sign(
                other.as_ref().unwrap_or(key),
                head,
                body,
                &stamp,
                check.verifier.terms(),
            )
            .map_err(|error| error.to_string())
    }

    fn compare(&self, found: &Decision) -> Vec<String> {
        let expected = &self.expected;
        let mut problems = Vec::new();
        let verdict = match expected.verdict {
            ExpectedVerdict::Accepted => Verdict::Accepted,
            ExpectedVerdict::Refused => Verdict::Refused,
            ExpectedVerdict::Handshake => Verdict::Handshake,
        };
        if found.verdict != Some(verdict) {
            let word = found.verdict.map_or("nothing", Verdict::label);
            let detail = found
                .detail
                .as_ref()
                .map(|text| format!(" ({text})"))
                .unwrap_or_default();
            problems.push(format!(
                "expected {}, found {word}{detail}",
                verdict.label()
            ));
        }
        let mut same = |what: &str, expected: &Option<String>, found: &Option<String>| {
            if let Some(expected) = expected
                && found.as_ref() != Some(expected)
            {
                let found = found.as_deref().unwrap_or("none");
                problems.push(format!("expected {what} {expected}, found {found}"));
            }
        };
        let status = |status: Option<u16>| status.map(|status| status.to_string());
        same("route", &expected.route, &found.route);
        same("reason", &expected.reason, &found.reason);
        same("status", &status(expected.status), &status(found.status));
        same("event_id", &expected.event_id, &found.event_id);
        same("event_type", &expected.event_type, &found.event_type);
        same("backend_path", &expected.backend_path, &found.backend_path);
        problems
    }

    fn decide(&self, gate: &Gate, head: &Head, body: &[u8], now: Timestamp) -> Decision {
        let refused = |route: Option<&str>, refusal: &Refusal| Decision {
            verdict: Some(Verdict::Refused),
            route: route.map(str::to_owned),
            reason: Some(refusal.label().to_owned()),
            status: Some(refusal.status()),
            detail: Some(refusal.to_string()),
            ..Decision::default()
        };
        let admitted = match gate.admit(head, self.from, Some(body.len() as u64)) {
            Ok(admitted) => admitted,
            Err(error) => {
                return refused(error.route.map(|route| route.name.as_str()), &error.refusal);
            }
        };
        let route = admitted.route;
        match route.judge(
            head,
            body,
            self.certificate.as_ref(),
            &KnownKeys::default(),
            now,
        ) {
            Err(refusal) => refused(Some(&route.name), &refusal),
            Ok(Judgement::Handshake { answer, .. }) => Decision {
                verdict: Some(Verdict::Handshake),
                route: Some(route.name.clone()),
                status: Some(answer.status),
                ..Decision::default()
            },
            Ok(Judgement::Event(_)) => Decision {
                verdict: Some(Verdict::Accepted),
                route: Some(route.name.clone()),
                event_id: route.event_id(head, body),
                event_type: route.event_type(head, body),
                backend_path: backend_path(head, &admitted),
                ..Decision::default()
            },
        }
    }
}

/// The target in the first line of the request that the backend would get.
fn backend_path(head: &Head, admitted: &Admitted<'_>) -> Option<String> {
    let route = admitted.route;
    let deliver = route.live().or(route.deliver.first().map(AsRef::as_ref))?;
    let path = admitted.rewritten_path(deliver);
    let via = Via {
        peer: ClientAddr::Ip(IpAddr::from([127, 0, 0, 1])),
        peer_is_trusted: false,
        scheme: "http",
        request_id: "",
        route: &admitted.route.name,
        verified: true,
        attempt: None,
        found: None,
    };
    let wire = write_head(head, 0, deliver, path.as_deref(), via);
    let text = String::from_utf8_lossy(&wire).into_owned();
    text.split(' ').nth(1).map(str::to_owned)
}
