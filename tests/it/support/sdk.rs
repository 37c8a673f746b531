//! The providers' official SDKs, as child processes (`tests/sdk` says what they are asked and how), and
//! the two ways past Hookgate: what an SDK signs through a gateway, and what Hookgate signs to an SDK.

#![allow(clippy::print_stdout, reason = "the table is for people")]
#![allow(
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use hookgate::clock::{Clock, SystemClock};
use hookgate::event::Headers;
use hookgate::secret::Secret;
use hookgate::signature::Scheme;
use hookgate::signature::key::Key;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::client::{Client, Request};
use super::gateway::Gateway;
use super::within;

/// The longest wait for a process to start, for one answer, and for one whole batch of them.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Seconds; older than every limit that an SDK or a preset sets, of which two hours are the longest.
pub const STALE_AFTER: i64 = 3 * 3600;

/// The language of the SDKs in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sdk {
    Python,
    Node,
}

impl Sdk {
    /// Asks one process every question and returns its answers in order.
    ///
    /// # Panics
    ///
    /// When it does not answer each of them within 30 s.
    pub async fn ask(self, command: &str, questions: &[Value]) -> Vec<Value> {
        let mut child = self.spawn(command, &[]);
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let lines: String = questions.iter().map(|line| format!("{line}\n")).collect();
        let feed = async move {
            // What was not taken is missing among the answers.
            let _ = stdin.write_all(lines.as_bytes()).await;
        };
        let finish = async { tokio::join!(feed, child.wait_with_output()).1 };
        let output = within(WAIT_MAX, &format!("{self:?} SDKs to {command}"), finish)
            .await
            .expect("a child can be waited for");
        let stdout = String::from_utf8(output.stdout).expect("the answers are UTF-8");
        let answers: Vec<Value> = stdout.lines().map(parse).collect();
        assert_eq!(answers.len(), questions.len(), "{self:?}: {stdout}");
        answers
    }

    /// Starts a backend that verifies `POST /{provider}…` with these secrets.
    pub async fn backend(self, secrets: &[(&str, &str)]) -> SdkBackend {
        self.backend_at(secrets, &[]).await
    }

    /// The same, told which URL the provider has where it signs that.
    pub async fn backend_at(self, secrets: &[(&str, &str)], urls: &[(&str, String)]) -> SdkBackend {
        let mut env: Vec<_> = secrets
            .iter()
            .map(|(provider, secret)| (format!("SDK_SECRET_{}", provider.to_uppercase()), *secret))
            .collect();
        env.extend(
            urls.iter()
                .map(|(provider, url)| (format!("SDK_URL_{}", provider.to_uppercase()), &url[..])),
        );
        let mut process = self.start("backend", &env);
        let port = process.line().await.get("port").and_then(Value::as_u64);
        let port = port
            .and_then(|port| u16::try_from(port).ok())
            .expect("a port");
        SdkBackend {
            addr: SocketAddr::from(([127, 0, 0, 1], port)),
            _process: process,
        }
    }

    fn start(self, command: &str, env: &[(String, &str)]) -> SdkProcess {
        let mut child = self.spawn(command, env);
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        SdkProcess {
            what: format!("{self:?} SDKs to {command}"),
            _child: child,
            stdin,
            lines: BufReader::new(stdout).lines(),
        }
    }

    fn spawn(self, command: &str, env: &[(String, &str)]) -> Child {
        let root = env!("CARGO_MANIFEST_DIR");
        let (program, script) = match self {
            Self::Python => (
                format!("{root}/.venv/bin/python"),
                "tests/sdk/python/sdk.py",
            ),
            Self::Node => ("node".to_owned(), "tests/sdk/node/sdk.mjs"),
        };
        Command::new(program)
            .arg(script)
            .arg(command)
            .current_dir(root)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|fault| panic!("{self:?} SDKs: {fault}; run `make test-deps` first"))
    }
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line)
        .unwrap_or_else(|fault| panic!("an SDK answered {line:?}, which is no JSON: {fault}"))
}

/// SDKs that answer line by line. Dropping it ends them.
pub struct SdkProcess {
    what: String,
    _child: Child,
    /// The process lives until this is closed.
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl SdkProcess {
    /// Asks one question and returns its answer.
    ///
    /// # Panics
    ///
    /// When there is none within 30 s.
    pub async fn ask(&mut self, question: &Value) -> Value {
        let line = format!("{question}\n");
        let written = self.stdin.write_all(line.as_bytes()).await;
        written.expect("a question is taken");
        self.line().await
    }

    async fn line(&mut self) -> Value {
        let line = within(WAIT_MAX, &self.what, self.lines.next_line()).await;
        let line = line.expect("stdout can be read");
        parse(&line.expect("an answer before the process ends"))
    }
}

/// A backend whose requests an official SDK verifies. Dropping it ends it.
pub struct SdkBackend {
    addr: SocketAddr,
    _process: SdkProcess,
}

impl SdkBackend {
    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

/// A key of which one half signs and the other verifies; a shared secret is both.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    pub signs: &'static str,
    pub verifies: &'static str,
}

/// A secret that both sides have.
pub const fn shared(secret: &'static str) -> Pair {
    Pair {
        signs: secret,
        verifies: secret,
    }
}

pub const ED25519: Pair = Pair {
    signs: "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n",
    verifies: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
};
pub const OTHER_ED25519: Pair = Pair {
    signs: "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIL1n2Wx9ZkGT6MMu4HNpCeKVHTRKDsQXwQxFypAgBuTO\n-----END PRIVATE KEY-----\n",
    verifies: "74d7b9610859b6cea6176fa6e0082c89ecb6d660d48f5b9322312e7384d6bf6f",
};
pub const P256: Pair = Pair {
    signs: "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgup1KunaU4fzI/Dsn\nEzvJ7AmC6qHY/zN8j3HCSztxGbKhRANCAATeV9FKiCK6i3d9oMzjSH+FMr87P8c/\nEmnTY6m+nVAKUaSWbdDZsWklC8kQvJnKb5w1LAcJTU7sA5VIw4vuQhkZ\n-----END PRIVATE KEY-----\n",
    verifies: "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE3lfRSogiuot3faDM40h/hTK/Oz/HPxJp02Opvp1QClGklm3Q2bFpJQvJELyZym+cNSwHCU1O7AOVSMOL7kIZGQ==",
};
pub const OTHER_P256: Pair = Pair {
    signs: "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQglFOdD8/629sqOy+6\nWAr4sK+xz6LTQSEGnmFm7aMEIiahRANCAARc8eWGUgdyiLHAIh95YhAH3KedhPtp\nTTfY5j9KlOB/NOzXLb3rCh1K7aiS1z2eptdAfi230HYLGF4OXxZU281j\n-----END PRIVATE KEY-----\n",
    verifies: "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEXPHlhlIHcoixwCIfeWIQB9ynnYT7aU032OY/SpTgfzTs1y296wodSu2oktc9nqbXQH4tt9B2CxheDl8WVNvNYw==",
};
/// A key with a certificate.
pub const RSA: Pair = Pair {
    signs: include_str!("../../sdk/keys/rsa.key.pem"),
    verifies: include_str!("../../sdk/keys/rsa.crt.pem"),
};
pub const OTHER_RSA: Pair = Pair {
    signs: include_str!("../../sdk/keys/other-rsa.key.pem"),
    verifies: include_str!("../../sdk/keys/other-rsa.crt.pem"),
};

/// For how long a signature is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Both the SDK and Hookgate refuse what is [`STALE_AFTER`] old.
    Limited,
    /// Hookgate refuses it, and the SDK does not look.
    LimitedHere,
    /// Neither looks.
    Unlimited,
    /// Both take it as long as the token says: the SDK's names no end, Hookgate's does.
    OfToken,
}

impl Age {
    /// Whether Hookgate refuses what the SDK signed long ago.
    pub fn refuses_what_the_sdk_signed(self) -> bool {
        matches!(self, Self::Limited | Self::LimitedHere)
    }

    /// What is expected of a request that Hookgate signed long ago.
    pub fn verdicts(self) -> Verdicts {
        Verdicts {
            sdk: matches!(self, Self::LimitedHere | Self::Unlimited),
            hookgate: self == Self::Unlimited,
        }
    }
}

/// Whether the two sides accept a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdicts {
    pub sdk: bool,
    pub hookgate: bool,
}

impl Verdicts {
    pub const ACCEPTED: Self = Self {
        sdk: true,
        hookgate: true,
    };
    pub const REFUSED: Self = Self {
        sdk: false,
        hookgate: false,
    };
}

/// A request that an SDK signs and that is sent to a gateway, perhaps changed on its way.
pub trait Trip: Debug {
    /// The name of the SDK in the harness, and of the route.
    fn provider(&self) -> &'static str;

    /// Whether the gateway must refuse it; else the SDK behind it must verify it.
    fn is_refused(&self) -> bool;

    /// What the SDK is asked to sign, at this second.
    fn question(&self, now: i64) -> Value;

    /// What is sent, of the SDK's answer to the question of this second.
    fn request(&self, signed: &Value, now: i64) -> Request;
}

/// Makes every trip, in order, and prints a row for each provider. Each is signed when it is sent, as
/// the shortest of the SDKs' limits are a few seconds.
///
/// # Panics
///
/// When a trip ends in another way than it says, or a refused one arrives at the backend.
pub async fn travel<T: Trip>(sdk: Sdk, backend: SdkBackend, routes: &[Route], trips: &[T]) {
    let gateway = Gateway::start(&configuration(&backend.url(), routes)).await;
    let mut client = Client::connect(gateway.addr()).await;
    let mut signer = sdk.start("sign-many", &[]);
    let mut seen = 0;
    println!("{:18} {:36} accepted  forged", "provider", "SDK");
    for trips in trips.chunk_by(|one, other| one.provider() == other.provider()) {
        let mut by = String::new();
        let mut verified = 0;
        for trip in trips {
            let now = SystemClock.now().as_second();
            let signed = signer.ask(&trip.question(now)).await;
            let response = client.request(&trip.request(&signed, now)).await;
            let what = format!("{trip:?}: {response:?}");
            if trip.is_refused() {
                assert_eq!((response.status, response.text()), (401, ""), "{what}");
                continue;
            }
            seen += 1;
            verified += 1;
            assert_eq!(response.status, 200, "{what}");
            let verdict = response.json();
            assert_eq!(verdict["verified"], true, "{what}");
            assert_eq!(verdict["seen"], seen, "a forgery arrived: {what}");
            by = verdict["sdk"].as_str().unwrap_or_default().to_owned();
        }
        assert!(verified > 0, "{trips:?}: not one is accepted");
        let provider = trips.first().map_or("", Trip::provider);
        let refused = trips.len() - verified;
        println!("{provider:18} {by:36} {verified:8}  {refused} refused");
    }
}

/// A request that Hookgate signed, perhaps changed since, and how it is judged.
pub trait Judged: Debug {
    /// The name of the SDK in the harness.
    fn provider(&self) -> &'static str;

    /// What both sides must say.
    fn expected(&self) -> Verdicts;

    /// What the SDK is asked to verify.
    fn question(&self) -> Value;

    /// What Hookgate says.
    fn hookgate_accepts(&self) -> bool;
}

/// Asks both sides about every request, and prints a row for each provider.
///
/// # Panics
///
/// When one of them says something else than is expected.
pub async fn judge<T: Judged>(sdk: Sdk, judged: &[T]) {
    let mut verifier = sdk.start("verify-many", &[]);
    println!("{:18} {:36} accepted  mutations", "provider", "SDK");
    for judged in judged.chunk_by(|one, other| one.provider() == other.provider()) {
        let mut by = String::new();
        let (mut accepted, mut refused, mut by_one) = (0, 0, 0);
        for judge in judged {
            let answer = verifier.ask(&judge.question()).await;
            let said = Verdicts {
                sdk: answer["verified"] == true,
                hookgate: judge.hookgate_accepts(),
            };
            assert_eq!(said, judge.expected(), "{judge:?}: {answer}");
            if let Some(named) = answer["sdk"].as_str() {
                by = named.to_owned();
            }
            *match said {
                Verdicts::ACCEPTED => &mut accepted,
                Verdicts::REFUSED => &mut refused,
                _ => &mut by_one,
            } += 1;
        }
        assert!(accepted > 0, "{judged:?}: not one is accepted");
        let provider = judged.first().map_or("", Judged::provider);
        let by_one = match by_one {
            0 => String::new(),
            _ => format!(", {by_one} by Hookgate alone"),
        };
        println!("{provider:18} {by:36} {accepted:8}  {refused} refused{by_one}");
    }
}

/// One change of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Of a character in the word behind these names in the body, which are parted by slashes.
    Field(&'static str),
    /// Of every such text in the body to another.
    Text(&'static str, &'static str),
    /// Of a character in the word behind this text in the header.
    Header(&'static str, &'static str),
    Without(&'static str),
    /// Of this text in path and query to another.
    Target(&'static str, &'static str),
    /// It was signed for another URL.
    Url,
    Method,
}

/// A request that was signed, and can be changed.
#[derive(Debug)]
pub struct Signed {
    pub method: &'static str,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Signed {
    /// A body that an SDK signed, with the headers of its answer.
    pub fn by_sdk(signed: &Value, target: String, body: String) -> Self {
        let mut headers = headers_of(signed);
        if !headers.iter().any(|(name, _)| name == "Content-Type") {
            headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
        }
        Self {
            method: "POST",
            target,
            headers,
            body,
        }
    }

    pub fn request(self) -> Request {
        let request = Request::new(self.method, &self.target).body(self.body);
        let headers = self.headers.iter();
        headers.fold(request, |request, (name, value)| {
            request.header(name, value)
        })
    }

    /// # Panics
    ///
    /// When there is nothing to change.
    pub fn change(&mut self, change: Change) {
        let before = format!("{self:?}");
        match change {
            Change::Field(names) => {
                let end = |at: usize, name: &str| {
                    at + self.body[at..]
                        .find(name)
                        .expect("the change has its place")
                        + name.len()
                };
                let at = names.split('/').fold(0, end);
                change_a_word(&mut self.body, at);
            }
            Change::Text(from, to) => self.body = self.body.replace(from, to),
            Change::Header(name, text) => {
                let value = self.header(name);
                let at = value.find(text).expect("the change has its place") + text.len();
                change_a_word(value, at);
            }
            Change::Without(name) => self
                .headers
                .retain(|(one, _)| !one.eq_ignore_ascii_case(name)),
            Change::Target(from, to) => self.target = self.target.replace(from, to),
            Change::Url => self.target = self.target.replace("/in", "/other"),
            Change::Method => self.method = "PUT",
        }
        assert_ne!(format!("{self:?}"), before, "{change:?} changes nothing");
    }

    fn header(&mut self, name: &str) -> &mut String {
        let is_named = |(one, _): &&mut (String, String)| one.eq_ignore_ascii_case(name);
        &mut self
            .headers
            .iter_mut()
            .find(is_named)
            .expect("the change has its place")
            .1
    }
}

/// Changes the last but one character of the first word from there on: the last of base64 holds bits
/// that say nothing, and the first of a time says too much.
fn change_a_word(text: &mut String, from: usize) {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric();
    let bytes = text.as_bytes();
    let start = from
        + bytes[from..]
            .iter()
            .position(is_letter)
            .expect("the change has its place");
    let rest = bytes[start..].iter();
    let length = rest.take_while(|byte| is_letter(byte)).count();
    let at = start + length.saturating_sub(2);
    let other = if bytes[at] == b'0' { "1" } else { "0" };
    text.replace_range(at..=at, other);
}

/// A route whose requests go to the SDKs' backend.
pub struct Route {
    pub name: String,
    pub path: String,
    pub preset: &'static str,
    pub secret: &'static str,
    pub public_url: Option<String>,
    pub options: &'static [(&'static str, &'static str)],
    /// More settings of `webhook`, each after a comma.
    pub more: &'static str,
}

/// A gateway with these routes, in YAML.
pub fn configuration(backend: &str, routes: &[Route]) -> String {
    let mut yaml = format!(
        "server: {{listen: \"127.0.0.1:0\"}}\n\
         admin: {{listen: \"off\"}}\n\
         backends: {{sdk: {{url: \"{backend}\"}}}}\n\
         routes:\n"
    );
    for route in routes {
        let public_url = route
            .public_url
            .as_ref()
            .map(|url| format!(", public_url: \"{url}\""));
        let options: BTreeMap<_, _> = route.options.iter().copied().collect();
        yaml += &format!(
            "  {}:\n    webhook: {{path: {}, verify: {{provider: {}, secrets: [{}], options: {}{}}}{}}}\n    \
             deliver: {{to: sdk}}\n",
            route.name,
            route.path,
            route.preset,
            json!(route.secret),
            json!(options),
            public_url.unwrap_or_default(),
            route.more,
        );
    }
    yaml
}

/// The headers of a signer's answer.
///
/// # Panics
///
/// When it did not sign.
pub fn headers_of(signed: &Value) -> Vec<(String, String)> {
    serde_json::from_value(signed["headers"].clone())
        .unwrap_or_else(|_| panic!("the SDK did not sign: {signed}"))
}

/// Headers as an SDK is asked about them.
pub fn headers_for(headers: &Headers) -> Value {
    let text =
        |bytes: &Bytes| String::from_utf8(bytes.to_vec()).expect("headers of tests are text");
    let pairs = headers
        .iter()
        .map(|header| (text(&header.name), text(&header.value)));
    json!(pairs.collect::<Vec<_>>())
}

/// Whether a header of this name holds a signature, or says how it was made.
pub fn is_signature(name: &str) -> bool {
    let name = name.to_lowercase();
    ["signature", "hmac", "authorization"]
        .iter()
        .any(|word| name.contains(word))
}

/// The key that a scheme makes of a secret.
pub fn key(scheme: &Scheme, secret: &str) -> Key {
    let parts = scheme.parts();
    Key::new(parts.algorithm, &parts.key, &Secret::new(secret)).expect("a secret of the right form")
}
