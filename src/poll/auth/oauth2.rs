//! OAuth 2.0 (RFC 6749): when a token is fetched, and with which request. What the answer gives, and
//! when it may be used, is decided by `token`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{AuthError, AuthFault, Credential, PreparedRequest, TokenRequest, TokenState};
use crate::expr::scoped::{Scope, ValueTemplate};
use crate::secret::Secret;

/// The most parameters of a request for a token.
const PARAMS_MAX: usize = 32;
/// Parameters that the grant writes itself.
const RESERVED: [&str; 7] = [
    "grant_type",
    "client_id",
    "client_secret",
    "refresh_token",
    "scope",
    "username",
    "password",
];

/// Who the gateway is to the token server.
#[derive(Debug)]
pub struct Client {
    id: Credential,
    secret: Option<Credential>,
    auth: ClientAuth,
}

impl Client {
    /// A client; one without a secret is public, and names itself in the form.
    pub fn new(id: ValueTemplate, secret: Option<ValueTemplate>, auth: ClientAuth) -> Self {
        Self {
            id: Credential::new(id),
            secret: secret.map(Credential::new),
            auth,
        }
    }
}

/// Where the client's secret stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// In `Authorization: Basic`.
    Basic,
    /// In the form.
    Body,
}

/// What a first token is given for.
#[derive(Debug)]
pub enum Grant {
    /// The client itself.
    ClientCredentials,
    /// A refresh token that somebody got by hand.
    RefreshToken(Credential),
    /// A user's name and password.
    Password {
        /// The name.
        username: Credential,
        /// The password.
        password: Credential,
    },
}

/// What some servers want besides.
#[derive(Debug, Default)]
pub struct Extras {
    /// The scopes that are asked for.
    pub scopes: Vec<String>,
    /// Further parameters, such as `audience`.
    pub params: Vec<(String, Credential)>,
    /// How long before its end a token is renewed; at most half of its life.
    pub early_refresh: Duration,
}

/// How tokens are had.
#[derive(Debug)]
pub struct Oauth2 {
    token_url: Credential,
    client: Client,
    grant: Grant,
    extras: Extras,
}

impl Oauth2 {
    /// Fetches tokens from `token_url`.
    ///
    /// # Errors
    /// [`AuthFault`] when a further parameter is one of the grant's own, or there are too many.
    pub fn new(
        token_url: ValueTemplate,
        client: Client,
        grant: Grant,
        extras: Extras,
    ) -> Result<Self, AuthFault> {
        if extras.params.len() > PARAMS_MAX {
            return Err(AuthFault::TooMany {
                what: "parameters",
                max: PARAMS_MAX,
            });
        }
        let mut names = extras.params.iter().map(|(name, _)| name);
        if let Some(name) = names.find(|name| RESERVED.contains(&name.as_str())) {
            return Err(AuthFault::Reserved(name.clone()));
        }
        Ok(Self {
            token_url: Credential::new(token_url),
            client,
            grant,
            extras,
        })
    }

    /// The request for a token, if the held one ends soon or there is none.
    ///
    /// # Errors
    /// [`AuthError`] when the request cannot be made.
    pub fn needs(
        &self,
        held: Option<&TokenState>,
        scope: &Scope,
        now: Timestamp,
    ) -> Result<Option<TokenRequest>, AuthError> {
        match held {
            Some(held) if !held.is_due(now) => Ok(None),
            held => self.renewal(held, scope).map(Some),
        }
    }

    /// The request for a token, also before the held one ends: the upstream refused it. Without a
    /// held one it begins anew.
    ///
    /// # Errors
    /// [`AuthError`] when the request cannot be made.
    pub fn renewal(
        &self,
        held: Option<&TokenState>,
        scope: &Scope,
    ) -> Result<TokenRequest, AuthError> {
        let (mut form, refresh, seed) = self.grant_form(held, scope)?;
        if !self.extras.scopes.is_empty() {
            form.push(("scope".to_owned(), self.extras.scopes.join(" ")));
        }
        for (name, value) in &self.extras.params {
            form.push((name.clone(), value.reveal("params", scope)?));
        }
        let mut request = PreparedRequest {
            method: Method::POST,
            url: self.token_url.reveal("token_url", scope)?,
            query: Vec::new(),
            headers: Vec::new(),
            body: Bytes::new(),
        };
        self.client.identify(&mut request, &mut form, scope)?;
        let encoded = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&form)
            .finish();
        request.body = Bytes::from(encoded);
        let kind = "application/x-www-form-urlencoded".to_owned();
        request.set_header(&CONTENT_TYPE, kind)?;
        request.set_header(&ACCEPT, "application/json".to_owned())?;
        Ok(TokenRequest {
            request,
            refresh,
            seed,
            rotations: held.map_or(0, |held| held.rotations),
            early_refresh: self.extras.early_refresh,
        })
    }

    /// Whether a refused refresh token is no loss, since the configured credentials get another one:
    /// the caller asks for [`Self::renewal`] without a held one. Where not, an operator is needed.
    pub fn can_begin_anew(&self) -> bool {
        match self.grant {
            Grant::ClientCredentials | Grant::Password { .. } => true,
            Grant::RefreshToken(_) => false,
        }
    }

    fn grant_form(&self, held: Option<&TokenState>, scope: &Scope) -> Result<Granted, AuthError> {
        let seed = match &self.grant {
            Grant::RefreshToken(token) => Some(token.reveal("refresh_token", scope)?),
            Grant::ClientCredentials | Grant::Password { .. } => None,
        };
        let mark = seed.as_deref().map(mark);
        // A token that an operator put into the file after the last one wins over what was rotated.
        let kept = held.filter(|held| held.seed == mark);
        let kept = kept.and_then(|held| held.refresh_token.clone());
        if let Some(refresh) = kept.or_else(|| seed.map(Secret::new)) {
            let form = vec![
                pair("grant_type", "refresh_token"),
                pair("refresh_token", refresh.expose()),
            ];
            return Ok((form, Some(refresh), mark));
        }
        let form = match &self.grant {
            Grant::Password { username, password } => vec![
                pair("grant_type", "password"),
                pair("username", &username.reveal("username", scope)?),
                pair("password", &password.reveal("password", scope)?),
            ],
            Grant::ClientCredentials | Grant::RefreshToken(_) => {
                vec![pair("grant_type", "client_credentials")]
            }
        };
        Ok((form, None, mark))
    }
}

/// The form of a grant, the refresh token in it, and the mark of the configured one.
type Granted = (Vec<(String, String)>, Option<Secret>, Option<String>);

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Tells configured refresh tokens apart without holding them.
fn mark(token: &str) -> String {
    let digest = hex::encode(Sha256::digest(token));
    digest.chars().take(16).collect()
}

impl Client {
    fn identify(
        &self,
        request: &mut PreparedRequest,
        form: &mut Vec<(String, String)>,
        scope: &Scope,
    ) -> Result<(), AuthError> {
        let id = self.id.reveal("client_id", scope)?;
        let secret = self.secret.as_ref();
        let secret = secret.map(|secret| secret.reveal("client_secret", scope));
        match (secret.transpose()?, self.auth) {
            (Some(secret), ClientAuth::Basic) => {
                // RFC 6749, 2.3.1: both are encoded as in a form before.
                let [id, secret] = [id, secret].map(|text| {
                    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>()
                });
                let encoded = STANDARD.encode(format!("{id}:{secret}"));
                return request.set_header(&AUTHORIZATION, format!("Basic {encoded}"));
            }
            (Some(secret), ClientAuth::Body) => {
                form.push(("client_id".to_owned(), id));
                form.push(("client_secret".to_owned(), secret));
            }
            (None, ClientAuth::Basic | ClientAuth::Body) => {
                form.push(("client_id".to_owned(), id));
            }
        }
        Ok(())
    }
}
