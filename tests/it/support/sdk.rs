//! The providers' official SDKs, as child processes: `tests/sdk` says what they are asked and how.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::within;

/// The longest wait for a process to start and for one whole batch of answers.
const WAIT_MAX: Duration = Duration::from_secs(30);

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
        let mut child = self.spawn("backend", &env);
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let line = within(
            WAIT_MAX,
            &format!("{self:?} backend to listen"),
            lines.next_line(),
        )
        .await
        .expect("stdout can be read")
        .expect("the backend announces its port");
        let port = parse(&line).get("port").and_then(Value::as_u64);
        let port = port
            .and_then(|port| u16::try_from(port).ok())
            .expect("a port");
        SdkBackend {
            addr: SocketAddr::from(([127, 0, 0, 1], port)),
            _child: child,
            _stdin: stdin,
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

/// A backend whose requests an official SDK verifies. Dropping it ends it.
pub struct SdkBackend {
    addr: SocketAddr,
    _child: Child,
    /// The backend lives until this is closed.
    _stdin: ChildStdin,
}

impl SdkBackend {
    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}
