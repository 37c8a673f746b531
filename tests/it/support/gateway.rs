//! The gateway as its users run it: the real binary as a child process.
//!
//! What it prints is kept line by line, from both streams. Its addresses come from what it
//! announces on stderr before `ready`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::client::{self, Request};
use super::{within, within_or};

/// The longest wait for `ready`.
const READY_WAIT_MAX: Duration = Duration::from_secs(30);
/// The longest wait for the process to end.
const EXIT_WAIT_MAX: Duration = Duration::from_secs(30);
/// The longest wait for a log line or a metric.
const SIGN_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often a metric is read while it is awaited: nothing announces its change.
const METRIC_PERIOD: Duration = Duration::from_millis(20);

/// A running gateway. Dropping it kills it.
pub struct Gateway {
    process: Process,
    addrs: Vec<SocketAddr>,
    unix_paths: Vec<PathBuf>,
    admin: Option<SocketAddr>,
}

/// What is left of a gateway: give `dir` to [`Gateway::start_in`] to start it again on its data.
pub struct Stopped {
    pub status: ExitStatus,
    pub logs: Vec<String>,
    pub dir: TempDir,
}

impl Gateway {
    /// Runs `hookgate serve -c hookgate.yaml` in a directory of its own and waits for `ready`.
    ///
    /// # Panics
    ///
    /// When the process ends before, or is not ready within 30 s; the message has its output.
    pub async fn start(yaml: &str) -> Self {
        Self::start_with_env(yaml, &[]).await
    }

    pub async fn start_with_env(yaml: &str, env: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        Self::start_in(dir, yaml, env).await
    }

    /// Starts in `dir`, which is also the process's working directory.
    pub async fn start_in(dir: TempDir, yaml: &str, env: &[(&str, &str)]) -> Self {
        Self::start_as(hookgate(env), dir, yaml).await
    }

    /// Starts where no file may grow beyond so many bytes, until [`Gateway::let_files_grow`]. Each
    /// write beyond fails as on a disk that has no more room.
    pub async fn start_with_files_of(bytes: u64, yaml: &str) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg("trap '' XFSZ; exec prlimit --fsize=\"$0\":unlimited \"$@\"")
            .arg(bytes.to_string())
            .arg(env!("CARGO_BIN_EXE_hookgate"));
        Self::start_as(quiet(command), dir, yaml).await
    }

    /// Takes the limit of [`Gateway::start_with_files_of`] away.
    pub async fn let_files_grow(&self) {
        let pid = self.process.pid().to_string();
        let mut prlimit = Command::new("prlimit");
        prlimit.args(["--fsize=unlimited", "--pid", &pid]);
        let status = within(EXIT_WAIT_MAX, "the prlimit command", prlimit.status()).await;
        assert!(status.is_ok_and(|status| status.success()));
    }

    async fn start_as(command: Command, dir: TempDir, yaml: &str) -> Self {
        let config = dir.path().join("hookgate.yaml");
        std::fs::write(&config, yaml).expect("the config can be written");
        let mut process = Process::spawn(command, dir, &config);
        let lines = process.ready().await;
        let after = |prefix| {
            lines
                .iter()
                .filter_map(move |line| line.strip_prefix(prefix))
        };
        let (unix_paths, addrs): (Vec<_>, Vec<_>) =
            after("listening on ").partition(|place| place.starts_with("unix:"));
        Self {
            process,
            addrs: addrs.into_iter().map(socket_addr).collect(),
            unix_paths: unix_paths
                .iter()
                .map(|place| PathBuf::from(place.trim_start_matches("unix:")))
                .collect(),
            admin: after("admin on ").next().map(socket_addr),
        }
    }

    /// The first TCP listener for webhooks.
    pub fn addr(&self) -> SocketAddr {
        *self.addrs.first().expect("the config has a TCP listener")
    }

    /// The TCP listeners for webhooks, in the order they were announced.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The unix listeners for webhooks, in the order they were announced.
    pub fn unix_paths(&self) -> &[PathBuf] {
        &self.unix_paths
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin.expect("the config has an admin listener")
    }

    /// The directory that holds the config and is the process's working directory.
    pub fn dir(&self) -> &Path {
        self.process.dir.path()
    }

    /// The memory that the process has, as the system counts it.
    ///
    /// # Panics
    ///
    /// When the process has ended.
    pub fn resident_bytes(&self) -> usize {
        let pid = self.process.child.id().expect("the gateway still runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
        kilobytes.expect("the system tells the memory of a process") * 1024
    }

    /// Every line printed so far, on stdout and stderr.
    pub fn logs(&self) -> Vec<String> {
        self.process.logs.borrow().clone()
    }

    /// Awaits a line, also among those already printed.
    ///
    /// # Panics
    ///
    /// When none comes within 10 s; the message has the output.
    pub async fn wait_for_log(&self, matches: impl Fn(&str) -> bool) -> String {
        let line = self.process.line(matches);
        let late = || {
            let output = self.process.output();
            format!("no such log line within {SIGN_WAIT_MAX:?}; the output:\n{output}")
        };
        within_or(SIGN_WAIT_MAX, line, late).await
    }

    /// What `/metrics` on the admin listener says.
    pub async fn metrics(&self) -> String {
        let response = client::send(self.admin(), &Request::get("/metrics")).await;
        assert_eq!(response.status, 200, "{response:?}");
        response.text().to_owned()
    }

    /// The sum of the samples of `name` that carry all these labels; `None` when there is none.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        sum(&self.metrics().await, name, labels)
    }

    /// Awaits that the metric is at least `value` and returns what it then is.
    ///
    /// # Panics
    ///
    /// When it is still less after 10 s.
    pub async fn wait_for_metric(&self, name: &str, labels: &[(&str, &str)], value: f64) -> f64 {
        let mut period = tokio::time::interval(METRIC_PERIOD);
        let reached = async {
            loop {
                period.tick().await;
                let seen = self.metric(name, labels).await;
                if let Some(seen) = seen.filter(|seen| *seen >= value) {
                    return seen;
                }
            }
        };
        let what = format!("{name} with {labels:?} to reach {value}");
        within(SIGN_WAIT_MAX, &what, reached).await
    }

    /// Awaits that the metric is at most `value`.
    ///
    /// # Panics
    ///
    /// When it is still more after 10 s.
    pub async fn wait_for_fall(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let mut period = tokio::time::interval(METRIC_PERIOD);
        let reached = async {
            loop {
                period.tick().await;
                let seen = self.metric(name, labels).await;
                if seen.is_some_and(|seen| seen <= value) {
                    return;
                }
            }
        };
        let what = format!("{name} with {labels:?} to fall to {value}");
        within(SIGN_WAIT_MAX, &what, reached).await;
    }

    /// Sends a signal by its name without `SIG`, such as `HUP`.
    pub async fn signal(&self, name: &str) {
        self.process.signal(name).await;
    }

    /// Sends `SIGTERM` and waits for the end, at most 30 s.
    pub async fn stop(self) -> Stopped {
        self.process.signal("TERM").await;
        self.process.ended().await
    }

    /// Sends `SIGKILL`, as a crash, and waits for the end.
    pub async fn kill(self) -> Stopped {
        self.process.signal("KILL").await;
        self.process.ended().await
    }

    /// Waits for the process to end by itself, at most 30 s.
    pub async fn ended(self) -> Stopped {
        self.process.ended().await
    }
}

type Logs = Arc<watch::Sender<Vec<String>>>;

struct Process {
    child: Child,
    dir: TempDir,
    logs: Logs,
    readers: JoinSet<()>,
}

impl Process {
    fn spawn(mut command: Command, dir: TempDir, config: &Path) -> Self {
        let mut child = command
            .arg("serve")
            .arg("-c")
            .arg(config)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let logs = Logs::default();
        let mut readers = JoinSet::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        readers.spawn(keep_lines(stdout, Arc::clone(&logs)));
        readers.spawn(keep_lines(stderr, Arc::clone(&logs)));
        Self {
            child,
            dir,
            logs,
            readers,
        }
    }

    /// Waits for `ready` and returns the lines up to it.
    async fn ready(&mut self) -> Vec<String> {
        let mut logs = self.logs.subscribe();
        let ready = logs.wait_for(|lines| lines.iter().any(|line| line == "ready"));
        let failure = tokio::select! {
            biased;
            lines = tokio::time::timeout(READY_WAIT_MAX, ready) => match lines {
                Ok(lines) => return lines.expect("the process keeps its sender").clone(),
                Err(_) => format!("is not ready after {READY_WAIT_MAX:?}"),
            },
            status = self.child.wait() => match status {
                Ok(status) => format!("ended before it was ready ({status})"),
                Err(fault) => format!("cannot be waited for ({fault})"),
            },
        };
        self.drain().await;
        panic!("the gateway {failure}; its output:\n{}", self.output());
    }

    async fn line(&self, matches: impl Fn(&str) -> bool) -> String {
        let mut logs = self.logs.subscribe();
        let found = |lines: &Vec<String>| lines.iter().find(|line| matches(line)).cloned();
        let lines = logs.wait_for(|lines| found(lines).is_some()).await;
        found(&lines.expect("the process keeps its sender")).expect("the line was just seen")
    }

    fn pid(&self) -> u32 {
        self.child.id().expect("the gateway still runs")
    }

    async fn signal(&self, name: &str) {
        let pid = self.pid();
        let kill = Command::new("kill")
            .args(["-s", name, &pid.to_string()])
            .status();
        let status = within(EXIT_WAIT_MAX, "the kill command", kill).await;
        assert!(
            status.is_ok_and(|status| status.success()),
            "kill -s {name} failed"
        );
    }

    async fn ended(mut self) -> Stopped {
        let logs = Arc::clone(&self.logs);
        let late = || {
            let output = logs.borrow().join("\n");
            format!("the gateway still runs after {EXIT_WAIT_MAX:?}; its output:\n{output}")
        };
        let status = within_or(EXIT_WAIT_MAX, self.child.wait(), late).await;
        self.drain().await;
        Stopped {
            status: status.expect("a child can be waited for"),
            logs: self.logs.borrow().clone(),
            dir: self.dir,
        }
    }

    /// Waits for the last lines of an ended process, but not for ever: a child of it may live on
    /// and hold the pipes.
    async fn drain(&mut self) {
        let drained = async { while self.readers.join_next().await.is_some() {} };
        let limit = Duration::from_secs(1);
        // Too few lines are a poorer message, not a failure of their own.
        let _ = tokio::time::timeout(limit, drained).await;
    }

    fn output(&self) -> String {
        self.logs.borrow().join("\n")
    }
}

async fn keep_lines<R: AsyncRead + Unpin>(stream: R, logs: Logs) {
    let mut lines = BufReader::new(stream).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        logs.send_modify(|lines| lines.push(line));
    }
}

fn socket_addr(place: &str) -> SocketAddr {
    place
        .parse()
        .unwrap_or_else(|_| panic!("{place:?} is announced but is no address"))
}

/// The binary with piped output; the environment of the test run does not set its log level.
pub fn hookgate(env: &[(&str, &str)]) -> Command {
    let mut command = quiet(Command::new(env!("CARGO_BIN_EXE_hookgate")));
    command.envs(env.iter().copied());
    command
}

fn quiet(mut command: Command) -> Command {
    command
        .env_remove("RUST_LOG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// How a command of the binary ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `hookgate` with these arguments to its end.
///
/// # Panics
///
/// When it runs longer than 30 s.
pub async fn run(args: &[&str], stdin: &[u8], env: &[(&str, &str)]) -> Finished {
    let mut child = hookgate(env)
        .args(args)
        .stdin(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut input = child.stdin.take().expect("stdin is piped");
    let feed = async move {
        // A command may end without reading what it is given.
        let _ = input.write_all(stdin).await;
    };
    let finish = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = within(EXIT_WAIT_MAX, &format!("hookgate {args:?} to end"), finish)
        .await
        .expect("a child can be waited for");
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn sum(exposition: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    exposition
        .lines()
        .filter_map(Sample::parse)
        .filter(|sample| sample.name == name && sample.carries(labels))
        .map(|sample| sample.value)
        .reduce(|total, value| total + value)
}

/// One line of the Prometheus text format.
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
}

impl<'a> Sample<'a> {
    /// `None` for comments and blank lines.
    fn parse(line: &'a str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let (name, rest) = line.split_at(line.find(['{', ' '])?);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(inside) => parse_labels(inside)?,
            None => (Vec::new(), rest),
        };
        let value = rest.split_whitespace().next()?.parse().ok()?;
        Some(Self {
            name,
            labels,
            value,
        })
    }

    fn carries(&self, wanted: &[(&str, &str)]) -> bool {
        wanted.iter().all(|(name, value)| {
            self.labels
                .iter()
                .any(|(n, v)| n == name && v.as_str() == *value)
        })
    }
}

type Labels<'a> = Vec<(&'a str, String)>;

/// Parses `a="b",c="d"} …` and returns what follows the brace.
fn parse_labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, after) = parse_quoted(quoted)?;
        labels.push((name, value));
        rest = after;
    }
}

/// Parses up to the closing quote and returns what follows it.
fn parse_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => value.push(match chars.next()? {
                'n' => '\n',
                escaped => escaped,
            }),
            plain => value.push(plain),
        }
    }
}
