//! `hookgate demo`: everything on one machine in one terminal, told as it happens.

mod killed;
mod recovered;

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use anyhow::{Context, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use clap::Args;
use http::Response;
use jiff::{SignedDuration, Timestamp};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use tokio::runtime::Runtime;

use super::style::{self, Paint};
use super::{Outcome, logging, send};
use crate::app::{App, ListenAddress, Progress, Socket};
use crate::clock::{Clock, SystemClock};
use crate::config::raw::server::LogFormat;
use crate::config::{self, Surroundings, presets};
use crate::event::{Head, Headers};
use crate::ingress::rate_limit::Limiters;
use crate::outbound::Received;
use crate::secret::{Secret, SecretSource};
use crate::signature::{Preset, Presets};

/// Good for nothing but this demo.
const GITHUB_SECRET: &str = "demo-only-github-secret";
/// Good for nothing but this demo.
const STRIPE_SECRET: &str = "whsec_demo_only_stripe_secret";
/// How long starting may take.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// See everything work on one machine, in one terminal.
#[derive(Args)]
pub(super) struct Demo {
    /// End after the story: exit code 0 only if every step happened
    #[arg(long)]
    once: bool,
}

impl Demo {
    pub(super) fn run(self) -> Outcome {
        let story = Story::begin()?;
        let told = story.tell();
        if let Err(problem) = &told {
            style::error(&format!("the story broke off: {problem:#}"));
            return Ok(ExitCode::FAILURE);
        }
        if self.once {
            return Ok(ExitCode::SUCCESS);
        }
        story.invite()?;
        let _logging = logging::start(LogFormat::Human);
        // The gateway's own thread ends the process on Ctrl-C.
        loop {
            std::thread::park();
        }
    }
}

/// What the toy backend got.
#[derive(Debug)]
struct Got {
    path: String,
    signature: String,
    body: Vec<u8>,
}

/// A backend that nobody changed: it notes what it gets and says thank you.
struct ToyBackend {
    got: Arc<Mutex<Vec<Got>>>,
}

#[async_trait]
impl ServeHttp for ToyBackend {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let mut body = Vec::new();
        while let Ok(Some(piece)) = session.read_request_body().await {
            body.extend_from_slice(&piece);
        }
        let header = session.req_header();
        let text = |name: &str| {
            let value = header
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let got = Got {
            path: header.uri.path().to_owned(),
            signature: text("stripe-signature") + &text("x-hub-signature-256"),
            body,
        };
        if let Ok(mut list) = self.got.lock() {
            list.push(got);
        }
        let body = b"thank you, says the backend".to_vec();
        let mut response = Response::new(body);
        let length = response.body().len().into();
        response
            .headers_mut()
            .insert(http::header::CONTENT_LENGTH, length);
        response
    }
}

/// A running gateway, a toy backend behind it, and somebody who tells what happens.
struct Story {
    runtime: Runtime,
    presets: &'static Presets,
    gateway: String,
    admin: String,
    backend: String,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Story {
    fn begin() -> anyhow::Result<Self> {
        let presets = presets::builtin().map_err(anyhow::Error::msg)?;
        let any_port = ListenAddress::Tcp("127.0.0.1:0".into());
        let toy = Socket::bind(&any_port, "the demo")?;
        let backend = toy.address().to_string();
        let text = configuration(&backend);
        let surroundings = Surroundings {
            base: Path::new(""),
            presets,
            limiters: &Limiters::default(),
        };
        let secrets = |_| SecretSource::with_environment(|_| None, None);
        let config = config::parse("demo.yaml", &text, surroundings, secrets)
            .map_err(|report| anyhow::anyhow!("{report}"))?;
        let mut app = App::new(config, None, Arc::new(SystemClock))?;
        let got = Arc::new(Mutex::new(Vec::new()));
        app.add("toy backend", toy, ToyBackend { got: got.clone() });
        let gateway = app
            .listening()
            .first()
            .context("nothing listens")?
            .to_string();
        let admin = app.admin().context("no admin listener")?.to_string();
        let (ready, wait) = mpsc::channel();
        std::thread::spawn(move || {
            app.run(move |progress| {
                if progress == Progress::Ready {
                    let _ = ready.send(());
                }
            });
        });
        wait.recv_timeout(START_TIME_MAX)
            .context("the gateway did not start")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self {
            runtime,
            presets,
            gateway,
            admin,
            backend,
            got,
        })
    }

    fn tell(&self) -> anyhow::Result<()> {
        style::print(format!(
            "\n{}\n  A gateway on {}, in front of a backend on {} that nobody changed.\n",
            Paint::Bold.on("Hookgate, in eight steps"),
            Paint::Cyan.on(&self.gateway),
            Paint::Cyan.on(&self.backend),
        ));
        let now = SystemClock.now();
        let stale = now.checked_sub(SignedDuration::from_mins(10))?;
        self.accepted(1, "GitHub pushes, signed", "github", GITHUB_SECRET)?;
        self.accepted(
            2,
            "Stripe reports a payment, signed",
            "stripe",
            STRIPE_SECRET,
        )?;
        self.refused(
            3,
            "A forger raises the amount after signing",
            "stripe",
            now,
            true,
            "signature_mismatch",
        )?;
        self.refused(
            4,
            "A thief replays a genuine request of ten minutes ago",
            "stripe",
            stale,
            false,
            "timestamp_stale",
        )?;
        self.unknown_route(5)?;
        self.metrics(6)?;
        self.killed(7)?;
        self.recovered(8)
    }

    /// The backend is down, events come, the gateway is killed; nothing is missing.
    fn killed(&self, step: u8) -> anyhow::Result<()> {
        self.title(step, "The backend is down, and then the gateway is killed");
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("hookgate.yaml");
        let backend = killed::unused_address()?;
        std::fs::write(&file, killed::configuration(backend, GITHUB_SECRET))?;
        let gateway = killed::Process::start(&file)?;
        let url = format!("http://{}/hooks/github", gateway.address);
        let sent: Vec<String> = (1..=5)
            .map(|order| format!(r#"{{"shop":"a","order":{order}}}"#))
            .collect();
        for body in &sent {
            let head = send::sign(
                self.preset("github")?,
                &Secret::new(GITHUB_SECRET),
                &url,
                body.as_bytes(),
                SystemClock.now(),
            )?;
            let body = Bytes::from(body.clone());
            let received = self.runtime.block_on(send::send(&url, &head, &body))?;
            ensure!(
                received.status == 202,
                "expected 202, found {}",
                received.status
            );
        }
        self.say("nobody listens at the backend; five events come, and each is answered 202");
        gateway.kill()?;
        self.say("the gateway is killed (SIGKILL)");
        let _gateway = killed::Process::start(&file)?;
        self.say("the gateway is started again, and the backend comes up");
        let asked = killed::come_up(backend)?;
        let arrived = killed::next(&asked, sent.len())?;
        for one in &arrived {
            self.say(&format!("attempt {} brings {}", one.attempt, one.body));
        }
        let bodies: Vec<&String> = arrived.iter().map(|one| &one.body).collect();
        ensure!(
            bodies.iter().copied().eq(&sent),
            "they came in another order: {bodies:?}"
        );
        style::print(format!(
            "   {}",
            Paint::Green.on("all five, in their order, each once")
        ));
        Ok(())
    }

    /// Half of the webhooks never come; a poll finds what is missing, and nothing comes twice.
    fn recovered(&self, step: u8) -> anyhow::Result<()> {
        self.title(
            step,
            "Half of Stripe's webhooks never come, and a poll finds them",
        );
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("hookgate.yaml");
        let toy = recovered::ToyStripe::default();
        let (api, backend) = (toy.start()?, killed::unused_address()?);
        std::fs::write(&file, recovered::configuration(api, backend, STRIPE_SECRET))?;
        let asked = killed::come_up(backend)?;
        let gateway = killed::Process::start(&file)?;
        toy.wait()?;
        let url = format!("http://{}/hooks/stripe", gateway.address);
        for number in 1..=6 {
            let now = SystemClock.now();
            let body = toy.happens(&format!("evt_{number}"), now);
            if number % 2 == 0 {
                continue;
            }
            let secret = Secret::new(STRIPE_SECRET);
            let head = send::sign(self.preset("stripe")?, &secret, &url, body.as_bytes(), now)?;
            let received = self
                .runtime
                .block_on(send::send(&url, &head, &body.into()))?;
            // What a poll has found first is known.
            ensure!(
                matches!(received.status, 200 | 202),
                "expected 202, found {}",
                received.status
            );
        }
        self.say("six payments are refunded; the webhooks of three of them are lost on the way");
        let arrived = killed::next(&asked, 6)?;
        let found = arrived.iter().filter(|one| one.is_found).count();
        for number in 1..=6 {
            let id = format!("\"evt_{number}\"");
            let times = arrived.iter().filter(|one| one.body.contains(&id)).count();
            ensure!(times == 1, "evt_{number} arrived {times} times");
        }
        ensure!(found >= 3, "a poll has found {found} of them");
        self.say(&format!(
            "the backend has all six, {found} of them found by the poll, signed as Stripe signs"
        ));
        style::print(format!(
            "   {}",
            Paint::Green.on("none is missing, none came twice")
        ));
        Ok(())
    }

    /// A signed sample comes through, byte for byte.
    fn accepted(&self, step: u8, title: &str, provider: &str, secret: &str) -> anyhow::Result<()> {
        self.title(step, title);
        let preset = self.preset(provider)?;
        let body = preset.sample.body.clone().into_bytes();
        let head = send::sign(
            preset,
            &Secret::new(secret),
            &self.url(provider),
            body.as_slice(),
            SystemClock.now(),
        )?;
        let received = self.send(provider, &head, &body)?;
        ensure!(
            received.status == 200,
            "expected 200, found {}",
            received.status
        );
        let got = self.last_got().context("the backend got nothing")?;
        ensure!(got.body == body, "the backend got another body");
        ensure!(!got.signature.is_empty(), "the backend got no signature");
        self.tell_answer(&received, &Paint::Green.on("accepted"));
        self.say(&format!(
            "the backend got the same {} bytes at {}, with the provider's own signature header",
            got.body.len(),
            got.path,
        ));
        Ok(())
    }

    /// A request is turned away for a reason, and leaves no trace at the backend.
    fn refused(
        &self,
        step: u8,
        title: &str,
        provider: &str,
        signed_at: Timestamp,
        forged: bool,
        reason: &str,
    ) -> anyhow::Result<()> {
        self.title(step, title);
        let preset = self.preset(provider)?;
        let mut body = preset.sample.body.clone();
        let url = self.url(provider);
        let head = send::sign(
            preset,
            &Secret::new(STRIPE_SECRET),
            &url,
            body.as_bytes(),
            signed_at,
        )?;
        if forged {
            body = body.replace("1999", "9999");
            ensure!(
                body != preset.sample.body,
                "the sample has no amount to forge"
            );
        }
        let before = (self.count(provider, "refused", reason)?, self.got_count());
        let received = self.send(provider, &head, body.as_bytes())?;
        ensure!(
            received.status == 401,
            "expected 401, found {}",
            received.status
        );
        let after = self.count(provider, "refused", reason)?;
        ensure!(
            after == before.0 + 1,
            "the metrics do not count the reason {reason}"
        );
        ensure!(
            self.got_count() == before.1,
            "the refused request reached the backend"
        );
        self.tell_answer(&received, &Paint::Red.on(format!("refused: {reason}")));
        self.say("the sender is told no more than the status; the backend saw nothing");
        Ok(())
    }

    fn unknown_route(&self, step: u8) -> anyhow::Result<()> {
        self.title(step, "Somebody guesses an address");
        let head = self.bare("POST", "/hooks/paypal", &self.gateway);
        let received =
            self.runtime
                .block_on(send::send(&self.url("paypal"), &head, &Bytes::new()))?;
        ensure!(
            received.status == 404,
            "expected 404, found {}",
            received.status
        );
        self.tell_answer(&received, &Paint::Red.on("refused: no_route"));
        Ok(())
    }

    fn metrics(&self, step: u8) -> anyhow::Result<()> {
        self.title(step, "What it left in the metrics");
        let text = self.exposition()?;
        let counted =
            |line: &&str| line.starts_with("hookgate_requests_total{") && !line.ends_with(" 0");
        let lines: Vec<_> = text.lines().filter(counted).collect();
        ensure!(
            lines.len() == 5,
            "expected five series of requests, found {}",
            lines.len()
        );
        for line in lines {
            self.say(line);
        }
        Ok(())
    }

    /// Shows how to go on by hand.
    fn invite(&self) -> anyhow::Result<()> {
        let hookgate = std::env::args().next().unwrap_or_else(|| "hookgate".into());
        let preset = self.preset("github")?;
        let body = r#"{"zen":"Keep it logically awesome."}"#;
        let url = self.url("github");
        let now = SystemClock.now();
        let head = send::sign(
            preset,
            &Secret::new(GITHUB_SECRET),
            &url,
            body.as_bytes(),
            now,
        )?;
        let signature = head
            .headers
            .first("x-hub-signature-256")
            .cloned()
            .unwrap_or_default();
        let stripe = format!(
            "{hookgate} send stripe --to {} --secret {STRIPE_SECRET}",
            self.url("stripe")
        );
        style::print(format!(
            "\n{}  (Ctrl-C ends it; each request shows below)",
            Paint::Bold.on("Now you")
        ));
        for (what, line) in [
            ("a genuine payment", stripe.clone()),
            ("a forged one", format!("{stripe} --forge")),
            ("an old one", format!("{stripe} --age 10m")),
            (
                "GitHub, by hand",
                format!(
                    "curl -i {url} -H 'X-Hub-Signature-256: {}' -d '{body}'",
                    String::from_utf8_lossy(&signature),
                ),
            ),
            ("unsigned", format!("curl -i {url} -d '{body}'")),
            ("the metrics", format!("curl http://{}/metrics", self.admin)),
        ] {
            style::print(format!("  {} {line}", Paint::Dim.on(format!("{what:18}"))));
        }
        style::print("");
        Ok(())
    }

    fn title(&self, step: u8, title: &str) {
        style::print(format!(
            "{} {}",
            Paint::Bold.on(format!("{step}.")),
            Paint::Bold.on(title)
        ));
    }

    fn say(&self, text: &str) {
        style::print(format!("   {}", Paint::Dim.on(text)));
    }

    fn tell_answer(&self, received: &Received, verdict: &str) {
        let status = http::StatusCode::from_u16(received.status).ok();
        let words = status
            .and_then(|status| status.canonical_reason())
            .unwrap_or_default();
        style::print(format!("   {} {words}  {verdict}", received.status));
    }

    fn preset(&self, name: &str) -> anyhow::Result<&'static Preset> {
        self.presets
            .find(name)
            .with_context(|| format!("no preset {name}"))
    }

    fn url(&self, provider: &str) -> String {
        format!("http://{}/hooks/{provider}", self.gateway)
    }

    fn bare(&self, method: &str, target: &str, host: &str) -> Head {
        let mut headers = Headers::default();
        headers.push("Host", host.to_owned());
        Head {
            method: method.into(),
            target: Bytes::from(target.to_owned()),
            host: None,
            headers,
        }
    }

    fn send(&self, provider: &str, head: &Head, body: &[u8]) -> anyhow::Result<Received> {
        let body = Bytes::copy_from_slice(body);
        self.runtime
            .block_on(send::send(&self.url(provider), head, &body))
    }

    fn exposition(&self) -> anyhow::Result<String> {
        let url = format!("http://{}/metrics", self.admin);
        let head = self.bare("GET", "/metrics", &self.admin);
        let received = self.runtime.block_on(send::read_all(&url, &head))?;
        Ok(String::from_utf8_lossy(&received.body).into_owned())
    }

    fn count(&self, route: &str, verdict: &str, reason: &str) -> anyhow::Result<u64> {
        let text = self.exposition()?;
        let labels = [
            format!("route=\"{route}\""),
            format!("verdict=\"{verdict}\""),
            format!("reason=\"{reason}\""),
        ];
        let line = text.lines().find(|line| {
            line.starts_with("hookgate_requests_total{")
                && labels.iter().all(|label| line.contains(label))
        });
        let value = line.and_then(|line| line.rsplit(' ').next());
        Ok(value.and_then(|value| value.parse().ok()).unwrap_or(0))
    }

    fn got_count(&self) -> usize {
        self.got.lock().map_or(0, |got| got.len())
    }

    fn last_got(&self) -> Option<Got> {
        self.got.lock().ok()?.pop()
    }
}

fn configuration(backend: &str) -> String {
    format!(
        r#"
server: {{listen: "127.0.0.1:0"}}
admin: {{listen: "127.0.0.1:0"}}
backends:
  toy: {{url: "http://{backend}"}}
routes:
  github:
    webhook:
      path: /hooks/github
      verify: {{provider: github, secrets: ["{GITHUB_SECRET}"]}}
    deliver: {{to: toy}}
  stripe:
    webhook:
      path: /hooks/stripe
      verify: {{provider: stripe, secrets: ["{STRIPE_SECRET}"]}}
    deliver: {{to: toy, path: /stripe/webhook}}
"#
    )
}
