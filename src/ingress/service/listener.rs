//! What the file says about each listener, found again by the address that a connection came to.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use pingora_core::protocols::SocketDigest;

use super::tls::Tls;

/// How a listener takes connections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listener {
    /// Who says where a connection comes from.
    pub origin: Origin,
    /// The handshakes that connections begin with; `None` = cleartext.
    pub tls: Option<Tls>,
}

/// Who says where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// The network.
    #[default]
    Peer,
    /// The header of the PROXY protocol that each connection begins with.
    ProxyProtocol,
}

/// All listeners by their addresses.
#[derive(Debug, Default)]
pub struct Listeners {
    tcp: Vec<(SocketAddr, Listener)>,
    unix: Vec<(PathBuf, Listener)>,
}

impl Listeners {
    /// Adds a listener that is bound to this address.
    pub fn add_tcp(&mut self, bound: SocketAddr, listener: Listener) {
        self.tcp.push((bound, listener));
    }

    /// Adds a listener on a unix socket.
    pub fn add_unix(&mut self, path: PathBuf, listener: Listener) {
        self.unix.push((path, listener));
    }

    /// The listener that a connection came to.
    pub fn of(&self, socket: &SocketDigest) -> Option<&Listener> {
        let local = socket.local_addr()?;
        match local.as_inet() {
            Some(local) => self.by_address(*local),
            None => self.by_path(local.as_unix()?.as_pathname()?),
        }
    }

    /// A listener on one address comes before one on all of them.
    fn by_address(&self, local: SocketAddr) -> Option<&Listener> {
        let ip = local.ip().to_canonical();
        let same = |bound: IpAddr| bound.to_canonical() == ip;
        let any_of_family =
            |bound: IpAddr| bound.is_unspecified() && bound.is_ipv4() == ip.is_ipv4();
        let find = |fits: &dyn Fn(IpAddr) -> bool| {
            self.tcp
                .iter()
                .find(|(bound, _)| bound.port() == local.port() && fits(bound.ip()))
        };
        find(&same)
            .or_else(|| find(&any_of_family))
            .or_else(|| find(&|bound| bound.is_unspecified()))
            .map(|(_, listener)| listener)
    }

    fn by_path(&self, path: &Path) -> Option<&Listener> {
        let mut listeners = self.unix.iter();
        listeners
            .find(|(bound, _)| bound == path)
            .map(|(_, listener)| listener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_address_is_found() {
        let proxied = Listener {
            origin: Origin::ProxyProtocol,
            tls: None,
        };
        let plain = Listener::default();
        let mut listeners = Listeners::default();
        listeners.add_tcp("0.0.0.0:80".parse().unwrap(), plain.clone());
        listeners.add_tcp("10.0.0.1:80".parse().unwrap(), proxied.clone());
        listeners.add_tcp("[::]:81".parse().unwrap(), proxied.clone());
        listeners.add_tcp("[::1]:82".parse().unwrap(), plain.clone());
        let check = |local: &str, expected: Option<&Listener>| {
            let found = listeners.by_address(local.parse().unwrap());
            assert_eq!(found, expected, "{local}");
        };
        check("10.0.0.1:80", Some(&proxied));
        check("[::ffff:10.0.0.1]:80", Some(&proxied));
        check("10.0.0.2:80", Some(&plain));
        check("10.0.0.2:81", Some(&proxied));
        check("[::ffff:10.0.0.2]:81", Some(&proxied));
        check("[2001:db8::1]:81", Some(&proxied));
        check("[::1]:82", Some(&plain));
        check("[::2]:82", None);
        check("10.0.0.1:83", None);
    }
}
