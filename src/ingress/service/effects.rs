//! Does what a provider's handshake asks for: visits an address, keeps a secret.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::task::spawn_blocking;

use super::Gateway;
use crate::ingress::refusal::Refusal;
use crate::secret::Secret;
use crate::signature::handshake::{Effect, HandshakeRefusal};

impl Gateway {
    /// Says where secrets that handshakes bring are kept; without it, none can be.
    pub fn keep_secrets_in(&self, folder: PathBuf) {
        // Said once, before the first request.
        let _ = self.kept.set(folder);
    }

    /// Does what a handshake of a route asks for.
    ///
    /// # Errors
    /// The [`Refusal`] to answer instead.
    pub(super) async fn carry_out(
        &self,
        route: &str,
        effect: Option<Effect>,
    ) -> Result<(), Refusal> {
        match effect {
            None => Ok(()),
            Some(Effect::Visit(url)) => {
                self.keys
                    .visit(&url)
                    .await
                    .map_err(Refusal::HandshakeFailed)?;
                tracing::info!(route, "a handshake's address was visited");
                Ok(())
            }
            Some(Effect::Keep(secret)) => {
                let none =
                    || Refusal::HandshakeFailed("there is no store to keep it in".to_owned());
                let name = utf8_percent_encode(route, NON_ALPHANUMERIC).to_string();
                let path = self.kept.get().ok_or_else(none)?.join(name);
                let shown = path.display().to_string();
                let kept = spawn_blocking(move || keep(&path, &secret)).await;
                match kept.unwrap_or_else(|error| Err(io::Error::other(error))) {
                    Ok(true) => {
                        tracing::warn!(
                            route,
                            file = shown,
                            "a handshake has brought the secret of \
                            this route: put it into `secrets`"
                        );
                        Ok(())
                    }
                    Ok(false) => Err(Refusal::Handshake(HandshakeRefusal::Kept(shown))),
                    Err(error) => Err(Refusal::HandshakeFailed(error.to_string())),
                }
            }
        }
    }
}

/// Writes a secret for its owner alone; `false` = another one is there.
fn keep(path: &Path, secret: &Secret) -> io::Result<bool> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match opened {
        Ok(mut file) => {
            file.write_all(secret.expose().as_bytes())?;
            file.sync_all()?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok(secret.matches(&fs::read(path)?))
        }
        Err(error) => Err(error),
    }
}
