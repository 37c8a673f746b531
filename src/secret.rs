//! Bytes that are never shown.
//!
//! A [`Secret`] prints as `***` in every format, is compared in constant time, and is wiped from
//! memory when it is dropped. Where a secret comes from is decided by [`SecretSource`].

use std::fmt;
use std::path::{Path, PathBuf};

use constant_time_eq::constant_time_eq;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// A secret text: a signing key, a token, a password.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a text so that it is never shown again.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text itself, for the one line of code that must use it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether there is nothing in it (an empty secret protects nothing).
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }

    /// Compares with what a sender presented, without telling through time how much was right,
    /// not even the length: both sides are hashed first.
    pub fn matches(&self, presented: &[u8]) -> bool {
        let ours = Sha256::digest(self.expose().as_bytes());
        let theirs = Sha256::digest(presented);
        constant_time_eq(&ours, &theirs)
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl schemars::JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "minLength": 1})
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why a secret could not be had. Names the secret and the place, never the content.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Neither the environment nor `secrets_dir` has it.
    #[error("secret `{name}` is not set: set the environment variable {variable}{file}", file = file_hint(.path.as_deref()))]
    Missing {
        /// The name as written in the file.
        name: String,
        /// The environment variable that was looked up.
        variable: String,
        /// The file that was looked up, when there is a `secrets_dir`.
        path: Option<PathBuf>,
    },
    /// The file is there but cannot be read as UTF-8 text.
    #[error("secret `{name}`: cannot read the file {}: {reason}", .path.display())]
    Unreadable {
        /// The name as written in the file.
        name: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// It is there and empty.
    #[error("secret `{name}` is empty in {place}")]
    Empty {
        /// The name as written in the file.
        name: String,
        /// The variable or the file.
        place: String,
    },
    /// The name could leave `secrets_dir` or cannot be an environment variable.
    #[error("`{name}` is not a secret's name: use letters, digits and `_`")]
    Name {
        /// The name as written in the file.
        name: String,
    },
}

fn file_hint(path: Option<&Path>) -> String {
    path.map(|path| format!(" or write the file {}", path.display()))
        .unwrap_or_default()
}

/// Finds the value of an environment variable.
type Environment = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Where secrets come from: `HOOKGATE_SECRET_NAME` in the environment, else `secrets_dir/name`.
pub struct SecretSource {
    environment: Environment,
    directory: Option<PathBuf>,
}

impl SecretSource {
    /// Reads the process's environment, then files in `directory`.
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self::with_environment(|name| std::env::var(name).ok(), directory)
    }

    /// Reads from a given environment, then files in `directory`.
    pub fn with_environment(
        environment: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
        directory: Option<PathBuf>,
    ) -> Self {
        Self {
            environment: Box::new(environment),
            directory,
        }
    }

    /// Looks a variable up in the environment (for `env.X`).
    pub fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name)
    }

    /// Finds the secret called `name`. A trailing line break of a file is not part of the secret.
    ///
    /// # Errors
    /// [`SecretError`] when it is missing, empty or unreadable, or the name is not one.
    pub fn secret(&self, name: &str) -> Result<Secret, SecretError> {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(SecretError::Name {
                name: name.to_owned(),
            });
        }
        let variable = format!("HOOKGATE_SECRET_{}", name.to_ascii_uppercase());
        if let Some(text) = self.variable(&variable) {
            return not_empty(name, &text, variable);
        }
        let Some(directory) = &self.directory else {
            return Err(SecretError::Missing {
                name: name.to_owned(),
                variable,
                path: None,
            });
        };
        let path = directory.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => not_empty(
                name,
                text.trim_end_matches(['\r', '\n']),
                path.display().to_string(),
            ),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(SecretError::Missing {
                    name: name.to_owned(),
                    variable,
                    path: Some(path),
                })
            }
            Err(error) => Err(SecretError::Unreadable {
                name: name.to_owned(),
                path,
                reason: match error.kind() {
                    std::io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
                    _ => error.to_string(),
                },
            }),
        }
    }
}

fn not_empty(name: &str, text: &str, place: String) -> Result<Secret, SecretError> {
    if text.is_empty() {
        return Err(SecretError::Empty {
            name: name.to_owned(),
            place,
        });
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(directory: Option<PathBuf>) -> SecretSource {
        SecretSource::with_environment(
            |name| match name {
                "HOOKGATE_SECRET_STRIPE" => Some("whsec_from_env".into()),
                "HOOKGATE_SECRET_BLANK" => Some(String::new()),
                _ => None,
            },
            directory,
        )
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "*** Some(***)");
    }

    #[test]
    fn equal_secrets_match_and_others_do_not() {
        let secret = Secret::new("hunter2");
        assert!(secret.matches(b"hunter2"));
        for wrong in [&b"hunter"[..], b"hunter22", b"Hunter2", b""] {
            assert!(!secret.matches(wrong));
        }
    }

    #[test]
    fn the_environment_wins_over_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("stripe"), "whsec_from_file\n").unwrap();
        std::fs::write(dir.path().join("github"), "from_file\r\n").unwrap();
        let source = source(Some(dir.path().to_owned()));
        assert_eq!(source.secret("stripe").unwrap().expose(), "whsec_from_env");
        assert_eq!(source.secret("github").unwrap().expose(), "from_file");
    }

    #[test]
    fn errors_name_the_place_and_not_the_content() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("binary"), b"top\xffsecret").unwrap();
        let source = source(Some(dir.path().to_owned()));
        let check = |name: &str, part: &str| {
            let message = source.secret(name).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
            assert!(!message.contains("top"), "{message}");
        };
        check(
            "missing",
            "set the environment variable HOOKGATE_SECRET_MISSING or write the file",
        );
        check("blank", "secret `blank` is empty in HOOKGATE_SECRET_BLANK");
        check("binary", "cannot read the file");
        check("../etc/passwd", "not a secret's name");
    }
}
