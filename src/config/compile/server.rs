//! Compiles `server`, `admin` and `log`.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use serde_json_path::JsonPath;

use super::{AdminSettings, Compiler, HEADER_SHAPE, LogSettings, ServerSettings, value};
use crate::access::{LOCAL, Level, Token};
use crate::app::ListenAddress;
use crate::config::decode::{Field, OneOrMany, TextOr};
use crate::config::raw::server::{
    self as raw, Admin, Limits, Listen, ListenTls, Log, LogFormat, Server, Timeouts,
};
use crate::config::units::{Period, Size};
use crate::config::yaml::Span;
use crate::ingress::head::HEADERS_CEILING;
use crate::ingress::service::listener::Origin;
use crate::ingress::service::{ConnectionLimits, Listener};
use crate::ingress::source_addr::TrustedProxies;
use crate::redaction::Redaction;
use crate::request_log::HeaderChoice;

const LISTEN: &str = "127.0.0.1:8080";
/// Where the admin listener is when the file does not say.
pub const ADMIN_LISTEN: &str = "127.0.0.1:9464";
const LISTEN_SHAPE: &str =
    "write HOST:PORT with a port up to 65535 (0.0.0.0:8080, [::]:8080), or unix:PATH";
const ADMIN_LISTEN_SHAPE: &str =
    "write HOST:PORT with a port up to 65535 (127.0.0.1:9464), unix:PATH, or `off`";
/// A shorter token could be guessed.
const TOKEN_CHARS_MIN: usize = 16;
const HEAD: Duration = Duration::from_secs(10);
const BODY: Duration = Duration::from_secs(30);
const PIECE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(60);
const WRITE: Duration = Duration::from_secs(10);
const REQUEST: Duration = Duration::from_secs(60);
const DRAIN: Duration = Duration::from_secs(30);
const CONNECTIONS: usize = 20_000;
const CONNECTIONS_PER_ADDRESS: usize = 200;
const REQUESTS_PER_CONNECTION: usize = 1000;
const HEAD_BYTES: usize = 64 * 1024;
/// Less is not enough for what honest senders say.
const HEAD_BYTES_FLOOR: usize = 1024;
/// The HTTP parser underneath reads no longer head.
const HEAD_BYTES_CEILING: usize = 1023 * 1024;
const HEADERS: usize = 100;
const BODY_RATE_MIN: NonZeroU64 = NonZeroU64::MIN.saturating_add(1023);

impl Compiler<'_> {
    pub(super) fn server(&mut self, server: Option<&Server>) -> ServerSettings {
        let listen = match server.and_then(|server| server.listen.as_ref()) {
            None => vec![(ListenAddress::Tcp(LISTEN.to_owned()), Listener::default())],
            Some(field) => self.listeners(field, server),
        };
        let threads = server.and_then(|server| server.threads.as_ref());
        if let Some(field) = threads.filter(|field| field.get() == Some(&0)) {
            let help = "leave `threads` out for one for each core";
            self.fault_with_help(field.span, "there must be at least one thread", help);
        }
        ServerSettings {
            listen,
            limits: self.limits(server),
            drain: server.map_or(DRAIN, |server| self.period(&server.drain, DRAIN)),
            threads: threads
                .and_then(|field| field.get())
                .copied()
                .map(usize::from),
        }
    }

    fn listeners(
        &mut self,
        field: &Field<OneOrMany<TextOr<Listen>>>,
        server: Option<&Server>,
    ) -> Vec<(ListenAddress, Listener)> {
        let trusted = server.and_then(|server| value(&server.trusted_proxies));
        let nobody_trusted = trusted.is_none_or(OneOrMany::is_empty);
        let mut listeners: Vec<(ListenAddress, Listener)> = Vec::new();
        for field in field.get().into_iter().flatten() {
            let Some(raw) = field.get() else { continue };
            let (span, text, proxied, tls) = match raw {
                TextOr::Text(text) => (field.span, Some(text), None, None),
                TextOr::Full(full) => {
                    let proxied = full.proxy_protocol.as_ref();
                    let proxied = proxied.filter(|field| field.get() == Some(&true));
                    let address = &full.address;
                    (address.span, address.get(), proxied, full.tls.as_ref())
                }
            };
            self.certificates_asked |= tls.is_some_and(asks_certificates);
            let tls = tls.and_then(|field| self.listener_tls(field));
            let address = text.and_then(|text| self.listen_address(span, text, LISTEN_SHAPE));
            if let Some(field) = proxied.filter(|_| nobody_trusted) {
                let message = "no proxy is trusted: every connection would be closed";
                let help = "write the proxy's addresses under `server.trusted_proxies`";
                self.fault_with_help(field.span, message, help);
            }
            let origin = match proxied {
                Some(_) => Origin::ProxyProtocol,
                None => Origin::Peer,
            };
            if let Some(address) = address {
                self.not_taken(span, &address, listeners.iter().map(|(taken, _)| taken));
                listeners.push((address, Listener { origin, tls }));
            }
        }
        if field.get().is_some_and(OneOrMany::is_empty) {
            let message = "`server.listen` is an empty list: nothing could come in";
            let help = format!("leave `listen` out for the default, {LISTEN}");
            self.fault_with_help(field.span, message, help);
        }
        listeners
    }

    /// Port 0 is a free port, and another one each time.
    fn not_taken<'t>(
        &mut self,
        span: Span,
        address: &ListenAddress,
        mut taken: impl Iterator<Item = &'t ListenAddress>,
    ) {
        let is_any_port = address.to_string().ends_with(":0");
        if !is_any_port && taken.any(|taken| taken == address) {
            let message = format!("`{address}` is listened on already, by `server.listen`");
            self.fault_with_help(span, message, "choose another port, or take it away");
        }
    }

    fn limits(&mut self, server: Option<&Server>) -> ConnectionLimits {
        let timeouts = server.and_then(|server| value(&server.timeout));
        let mut time = |pick: fn(&Timeouts) -> &Option<Field<Period>>, default| {
            timeouts.map_or(default, |timeouts| self.period(pick(timeouts), default))
        };
        let (head, body) = (time(|t| &t.head, HEAD), time(|t| &t.body, BODY));
        let (piece, idle) = (time(|t| &t.piece, PIECE), time(|t| &t.idle, IDLE));
        let (write, request) = (time(|t| &t.write, WRITE), time(|t| &t.request, REQUEST));
        let limits = server.and_then(|server| value(&server.limits));
        let number = |pick: fn(&Limits) -> &Option<Field<NonZeroU32>>, default| {
            let number = limits.and_then(|limits| value(pick(limits)));
            number.map_or(default, |number| {
                usize::try_from(number.get()).unwrap_or(usize::MAX)
            })
        };
        ConnectionLimits {
            head,
            body,
            piece,
            idle,
            write,
            request,
            connections: number(|l| &l.connections, CONNECTIONS),
            connections_per_address: number(
                |l| &l.connections_per_address,
                CONNECTIONS_PER_ADDRESS,
            ),
            requests_per_connection: number(
                |l| &l.requests_per_connection,
                REQUESTS_PER_CONNECTION,
            ),
            head_bytes: self.head_bytes(limits),
            headers: self.headers(limits),
            body_rate_min: limits
                .and_then(|limits| value(&limits.body_rate_min))
                .map_or(BODY_RATE_MIN, |rate| rate.bytes_per_second()),
        }
    }

    fn head_bytes(&mut self, limits: Option<&Limits>) -> usize {
        let Some(field) = limits.and_then(|limits| limits.head_bytes.as_ref()) else {
            return HEAD_BYTES;
        };
        let bytes = field.get().map_or(HEAD_BYTES, |size| size.as_usize());
        if !(HEAD_BYTES_FLOOR..=HEAD_BYTES_CEILING).contains(&bytes) {
            let (least, most) = (
                Size::new(HEAD_BYTES_FLOOR as u64),
                Size::new(HEAD_BYTES_CEILING as u64),
            );
            self.fault(field.span, format!("a head may be {least} to {most} long"));
        }
        bytes
    }

    fn headers(&mut self, limits: Option<&Limits>) -> usize {
        let Some(field) = limits.and_then(|limits| limits.headers.as_ref()) else {
            return HEADERS;
        };
        let count = field.get().map_or(HEADERS, |count| {
            usize::try_from(count.get()).unwrap_or(usize::MAX)
        });
        if count > HEADERS_CEILING {
            self.fault(
                field.span,
                format!("no more than {HEADERS_CEILING} headers can be read"),
            );
        }
        count
    }

    fn listen_address(&mut self, span: Span, text: &str, shape: &str) -> Option<ListenAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                let help = "write unix:/run/hookgate.sock, or a path relative to this file";
                self.fault_with_help(span, "`unix:` needs the path of a socket", help);
                return None;
            }
            return Some(ListenAddress::Unix(self.base.join(PathBuf::from(path))));
        }
        let port = text
            .rsplit_once(':')
            .filter(|(host, _)| is_host(host))
            .map(|(_, port)| port);
        if port.is_some_and(|port| port.parse::<u16>().is_ok()) {
            return Some(ListenAddress::Tcp(text.to_owned()));
        }
        let message = format!("`{text}` is not an address to listen on");
        self.fault_with_help(span, message, shape);
        None
    }

    pub(super) fn trusted_proxies(&mut self, server: Option<&Server>) -> TrustedProxies {
        let fields = server.and_then(|server| value(&server.trusted_proxies));
        let is_unix = |field: &&Field<String>| field.get().is_some_and(|text| text == "unix");
        let (unix, ranges): (Vec<_>, Vec<_>) = fields.into_iter().flatten().partition(is_unix);
        TrustedProxies {
            ranges: self.ranges(ranges),
            unix: !unix.is_empty(),
        }
    }

    pub(super) fn admin(
        &mut self,
        admin: Option<&Admin>,
        taken: &[(ListenAddress, Listener)],
    ) -> AdminSettings {
        let field = admin.and_then(|admin| admin.listen.as_ref());
        let listen = match field.map(|field| (field.span, field.get())) {
            None => Some(ListenAddress::Tcp(ADMIN_LISTEN.to_owned())),
            Some((_, None)) => None,
            Some((_, Some(text))) if text == "off" => None,
            Some((span, Some(text))) => {
                let address = self.listen_address(span, text, ADMIN_LISTEN_SHAPE);
                if let Some(address) = &address {
                    self.not_taken(span, address, taken.iter().map(|(taken, _)| taken));
                }
                address
            }
        };
        let tokens = admin.and_then(|admin| admin.tokens.as_ref());
        AdminSettings {
            listen,
            tokens: tokens.map_or(Vec::new(), |tokens| self.tokens(tokens)),
        }
    }

    fn tokens(&mut self, field: &Field<OneOrMany<raw::Token>>) -> Vec<Token> {
        let mut tokens: Vec<Token> = Vec::new();
        for field in field.get().into_iter().flatten() {
            let Some(raw) = field.get() else { continue };
            let (Some(name), Some(token)) = (raw.name.get(), raw.token.get()) else {
                continue;
            };
            if name.is_empty() || name == LOCAL {
                let help = "write whose token it is";
                self.fault_with_help(raw.name.span, "this cannot name a token", help);
            }
            if tokens.iter().any(|known| known.name == *name) {
                let message = format!("there are two tokens of `{name}`");
                self.fault_with_help(raw.name.span, message, "give each a name of its own");
            }
            if token.expose().len() < TOKEN_CHARS_MIN {
                let help = "make one with `openssl rand -hex 32`";
                self.fault_with_help(raw.token.span, "this token can be guessed", help);
            }
            self.secrets.push(token.clone());
            tokens.push(Token {
                name: name.clone(),
                token: token.clone(),
                level: match value(&raw.access) {
                    Some(raw::TokenAccess::Full) => Level::Full,
                    Some(raw::TokenAccess::Read) | None => Level::Read,
                },
            });
        }
        if field.get().is_some_and(OneOrMany::is_empty) {
            let help = "leave `tokens` out if whoever is on this machine may ask";
            self.fault_with_help(field.span, "an empty list lets nobody in", help);
        }
        tokens
    }

    pub(super) fn log(&mut self, log: Option<&Log>) -> LogSettings {
        let Some(log) = log else {
            let redaction = Redaction::new(Vec::new(), Vec::new(), self.secrets.clone());
            return LogSettings {
                format: LogFormat::Auto,
                headers: HeaderChoice::default(),
                redaction,
            };
        };
        let mut names = |field: &Option<Field<_>>| -> Vec<String> {
            let fields = value(field).into_iter().flatten();
            let mut names = Vec::new();
            for field in fields {
                let field: &Field<String> = field;
                let Some(name) = field.get() else { continue };
                if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                    let message = format!("`{name}` is not the name of a header");
                    self.fault_with_help(field.span, message, HEADER_SHAPE);
                }
                names.push(name.clone());
            }
            names
        };
        let (shown, hidden) = (names(&log.headers), names(&log.redact));
        let mut paths = Vec::new();
        for field in value(&log.redact_body).into_iter().flatten() {
            let Some(text) = field.get() else { continue };
            match JsonPath::parse(text) {
                Ok(path) => paths.push(path),
                Err(error) => {
                    let message = format!("`{text}` is not a JSONPath: {error}");
                    let help = "write a path as in RFC 9535 ($.card.number, $..email)";
                    self.fault_with_help(field.span, message, help);
                }
            }
        }
        let redaction = Redaction::new(hidden, paths, self.secrets.clone());
        LogSettings {
            format: value(&log.format).copied().unwrap_or_default(),
            headers: HeaderChoice::new(shown, redaction.clone()),
            redaction,
        }
    }
}

/// Whether clients are asked for certificates, as far as what is written can be read.
fn asks_certificates(tls: &Field<ListenTls>) -> bool {
    tls.get().is_none_or(|tls| tls.client_ca.is_some())
}

/// A name or an address; of version 6 only in brackets, where its end cannot be mistaken.
fn is_host(text: &str) -> bool {
    let inside = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    inside.is_some_and(|inside| inside.contains(':')) || !(text.is_empty() || text.contains(':'))
}
