//! Does what a provider's handshake asks for: visits an address, keeps a secret.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

use super::Gateway;
use crate::ingress::refusal::Refusal;
use crate::secret::Secret;
use crate::signature::handshake::{Effect, HandshakeRefusal};

/// What the name of a file begins with that is being written: no name of a route is encoded like this.
const UNFINISHED: &str = ".";

impl Gateway {
    /// Says where secrets that handshakes bring are kept, and reads those that were; without it, none
    /// can be.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn keep_secrets_in(&self, folder: PathBuf) -> io::Result<()> {
        // Said once, before the first request.
        let _ = self.kept.set(folder);
        self.recall_secrets()
    }

    /// Reads the secrets that handshakes have brought: who runs the gateway may have taken one away.
    ///
    /// # Errors
    /// When one cannot be read. Then those that were known still are.
    pub fn recall_secrets(&self) -> io::Result<()> {
        if let Some(folder) = self.kept.get() {
            self.keys.known().bring_all(kept_in(folder)?);
        }
        Ok(())
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
                let brought = secret.clone();
                let kept = spawn_blocking(move || keep(&path, &secret)).await;
                match kept.unwrap_or_else(|error| Err(io::Error::other(error))) {
                    Ok(true) => {
                        self.keys.known().bring(route, &brought);
                        tracing::warn!(
                            route,
                            file = shown,
                            "a handshake has brought the secret of this route: it verifies from now \
                             on, unless there are `secrets`"
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

/// The secrets that are kept in a folder, by their route.
fn kept_in(folder: &Path) -> io::Result<HashMap<String, Secret>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(error),
    };
    let mut kept = HashMap::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(UNFINISHED) {
            continue;
        }
        let route = percent_decode_str(&name).decode_utf8_lossy().into_owned();
        let read = fs::read_to_string(&path);
        let text =
            read.map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
        kept.insert(route, Secret::new(text));
    }
    Ok(kept)
}

/// Writes a secret for its owner alone, whole or not at all; `false` = another one is there.
fn keep(path: &Path, secret: &Secret) -> io::Result<bool> {
    let folder = path.parent().unwrap_or(path);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let mut file = NamedTempFile::with_prefix_in(UNFINISHED, folder)?;
    file.write_all(secret.expose().as_bytes())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => fs::File::open(folder)?.sync_all().map(|()| true),
        Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => {
            Ok(secret.matches(&fs::read(path)?))
        }
        Err(refused) => Err(refused.error),
    }
}
