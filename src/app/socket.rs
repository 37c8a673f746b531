//! Binds sockets before anything else, so that a port in use is an error with a key.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::StartError;

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// Host and port.
    Tcp(String),
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A socket that is bound and waits for its service.
pub struct Socket {
    pub(super) address: ListenAddress,
    pub(super) fd: RawFd,
}

impl Socket {
    /// Binds an address; `key` is where the file says it.
    ///
    /// # Errors
    /// [`StartError`] names the address that cannot be had.
    pub fn bind(address: &ListenAddress, key: &'static str) -> Result<Self, StartError> {
        let bound = match address {
            ListenAddress::Tcp(text) => bind_tcp(text),
            ListenAddress::Unix(path) => bind_unix(path),
        };
        bound.map_err(|reason| bind_error(address, reason, key))
    }

    /// Where it listens; a port 0 has become a real one.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }
}

fn bind_error(address: &ListenAddress, reason: io::Error, key: &'static str) -> StartError {
    if reason.kind() != io::ErrorKind::AddrInUse {
        return StartError::Bind {
            address: address.to_string(),
            reason,
            key,
        };
    }
    let what = match address {
        ListenAddress::Tcp(text) => format!("port {}", text.rsplit(':').next().unwrap_or_default()),
        ListenAddress::Unix(_) => "socket".to_owned(),
    };
    StartError::InUse {
        address: address.to_string(),
        what,
        key,
    }
}

fn bind_tcp(text: &str) -> io::Result<Socket> {
    let addresses: Vec<SocketAddr> = text.to_socket_addrs()?.collect();
    let listener = TcpListener::bind(&addresses[..])?;
    listener.set_nonblocking(true)?;
    let address = ListenAddress::Tcp(listener.local_addr()?.to_string());
    Ok(Socket {
        address,
        fd: listener.into_raw_fd(),
    })
}

/// A socket file that nobody listens on any more is left over from a crash, and replaced.
fn bind_unix(path: &Path) -> io::Result<Socket> {
    let is_socket = std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(Socket {
        address: ListenAddress::Unix(path.to_owned()),
        fd: listener.into_raw_fd(),
    })
}
