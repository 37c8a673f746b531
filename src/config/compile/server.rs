//! Compiles `server`, `admin` and `log`.

use std::path::PathBuf;
use std::time::Duration;

use super::{AdminSettings, Compiler, LogSettings, ServerSettings, value};
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
                let addresses: Vec<_> = field
                    .get()
                    .into_iter()
                    .flatten()
                    .filter_map(|field| self.listen_address(field.span, field.get()?))
                    .collect();
                if field.get().is_some_and(|list| list.is_empty()) {
                    self.fault(
                        field.span,
                        "`server.listen` is an empty list: nothing could come in",
                    );
                }
                self.no_address_twice(field.span, &addresses);
                addresses
            }
        };
        let timeouts = server.and_then(|server| value(&server.timeout));
        let threads = server.and_then(|server| server.threads.as_ref());
        if let Some(field) = threads.filter(|field| field.get() == Some(&0)) {
            self.fault(field.span, "there must be at least one thread");
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

    fn no_address_twice(&mut self, span: Span, addresses: &[ListenAddress]) {
        let is_any_port = |address: &ListenAddress| address.to_string().ends_with(":0");
        for (index, address) in addresses.iter().enumerate() {
            if !is_any_port(address)
                && addresses
                    .iter()
                    .skip(index + 1)
                    .any(|other| other == address)
            {
                self.fault(span, format!("{address} stands in `server.listen` twice"));
            }
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

    fn listen_address(&mut self, span: Span, text: &str) -> Option<ListenAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                self.fault(
                    span,
                    "`unix:` needs the path of a socket (unix:/run/hookgate.sock)",
                );
                return None;
            }
            return Some(ListenAddress::Unix(self.base.join(PathBuf::from(path))));
        }
        let port = text
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty())
            .map(|(_, port)| port);
        if port.is_some_and(|port| port.parse::<u16>().is_ok()) {
            return Some(ListenAddress::Tcp(text.to_owned()));
        }
        let help = "write HOST:PORT (0.0.0.0:8080, [::]:8080) or unix:PATH";
        self.fault_with_help(
            span,
            format!("`{text}` is not an address to listen on"),
            help,
        );
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

    pub(super) fn admin(&mut self, admin: Option<&Admin>) -> AdminSettings {
        let field = admin.and_then(|admin| admin.listen.as_ref());
        let listen = match field.map(|field| (field.span, field.get())) {
            None => Some(ListenAddress::Tcp(ADMIN_LISTEN.to_owned())),
            Some((_, None)) => None,
            Some((_, Some(text))) if text == "off" => None,
            Some((span, Some(text))) => self.listen_address(span, text),
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
                    self.fault(field.span, format!("`{name}` is not the name of a header"));
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
