//! Compiles `server`, `admin` and `log`.

use std::path::PathBuf;
use std::time::Duration;

use super::{AdminSettings, Compiler, HEADER_SHAPE, LogSettings, ServerSettings, value};
use crate::app::ListenAddress;
use crate::config::decode::Field;
use crate::config::raw::server::{Admin, Log, LogFormat, Server, Timeouts};
use crate::config::yaml::Span;
use crate::ingress::service::ConnectionLimits;
use crate::ingress::source_addr::TrustedProxies;
use crate::request_log::HeaderChoice;

const LISTEN: &str = "127.0.0.1:8080";
/// Where the admin listener is when the file does not say.
pub const ADMIN_LISTEN: &str = "127.0.0.1:9464";
const LISTEN_SHAPE: &str =
    "write HOST:PORT with a port up to 65535 (0.0.0.0:8080, [::]:8080), or unix:PATH";
const ADMIN_LISTEN_SHAPE: &str =
    "write HOST:PORT with a port up to 65535 (127.0.0.1:9464), unix:PATH, or `off`";
const HEAD: Duration = Duration::from_secs(10);
const BODY: Duration = Duration::from_secs(30);
const PIECE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(60);
const WRITE: Duration = Duration::from_secs(10);
const DRAIN: Duration = Duration::from_secs(30);

impl Compiler<'_> {
    pub(super) fn server(&mut self, server: Option<&Server>) -> ServerSettings {
        let listen = match server.and_then(|server| server.listen.as_ref()) {
            None => vec![ListenAddress::Tcp(LISTEN.to_owned())],
            Some(field) => {
                let mut addresses = Vec::new();
                for field in field.get().into_iter().flatten() {
                    let Some(text) = field.get() else { continue };
                    let Some(address) = self.listen_address(field.span, text, LISTEN_SHAPE) else {
                        continue;
                    };
                    self.not_taken(field.span, &address, &addresses);
                    addresses.push(address);
                }
                if field.get().is_some_and(|list| list.is_empty()) {
                    let message = "`server.listen` is an empty list: nothing could come in";
                    let help = format!("leave `listen` out for the default, {LISTEN}");
                    self.fault_with_help(field.span, message, help);
                }
                addresses
            }
        };
        let timeouts = server.and_then(|server| value(&server.timeout));
        let threads = server.and_then(|server| server.threads.as_ref());
        if let Some(field) = threads.filter(|field| field.get() == Some(&0)) {
            let help = "leave `threads` out for one for each core";
            self.fault_with_help(field.span, "there must be at least one thread", help);
        }
        ServerSettings {
            listen,
            limits: self.limits(timeouts),
            drain: server.map_or(DRAIN, |server| self.period(&server.drain, DRAIN)),
            threads: threads
                .and_then(|field| field.get())
                .copied()
                .map(usize::from),
        }
    }

    /// Port 0 is a free port, and another one each time.
    fn not_taken(&mut self, span: Span, address: &ListenAddress, taken: &[ListenAddress]) {
        let is_any_port = address.to_string().ends_with(":0");
        if !is_any_port && taken.contains(address) {
            let message = format!("`{address}` is listened on already, by `server.listen`");
            self.fault_with_help(span, message, "choose another port, or take it away");
        }
    }

    fn limits(&mut self, timeouts: Option<&Timeouts>) -> ConnectionLimits {
        let mut limits = ConnectionLimits {
            head: HEAD,
            body: BODY,
            piece: PIECE,
            idle: IDLE,
            write: WRITE,
        };
        if let Some(timeouts) = timeouts {
            limits.head = self.period(&timeouts.head, HEAD);
            limits.body = self.period(&timeouts.body, BODY);
            limits.piece = self.period(&timeouts.piece, PIECE);
            limits.idle = self.period(&timeouts.idle, IDLE);
            limits.write = self.period(&timeouts.write, WRITE);
        }
        limits
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
        taken: &[ListenAddress],
    ) -> AdminSettings {
        let field = admin.and_then(|admin| admin.listen.as_ref());
        let listen = match field.map(|field| (field.span, field.get())) {
            None => Some(ListenAddress::Tcp(ADMIN_LISTEN.to_owned())),
            Some((_, None)) => None,
            Some((_, Some(text))) if text == "off" => None,
            Some((span, Some(text))) => {
                let address = self.listen_address(span, text, ADMIN_LISTEN_SHAPE);
                if let Some(address) = &address {
                    self.not_taken(span, address, taken);
                }
                address
            }
        };
        AdminSettings { listen }
    }

    pub(super) fn log(&mut self, log: Option<&Log>) -> LogSettings {
        let Some(log) = log else {
            return LogSettings {
                format: LogFormat::Auto,
                headers: HeaderChoice::default(),
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
        let headers = HeaderChoice::new(names(&log.headers), names(&log.redact));
        LogSettings {
            format: value(&log.format).copied().unwrap_or_default(),
            headers,
        }
    }
}

/// A name or an address; of version 6 only in brackets, where its end cannot be mistaken.
fn is_host(text: &str) -> bool {
    let inside = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    inside.is_some_and(|inside| inside.contains(':')) || !(text.is_empty() || text.contains(':'))
}
