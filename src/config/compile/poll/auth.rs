//! Compiles `poll.auth` and `poll.session`.

use std::str::FromStr;
use std::time::Duration;

use super::texts::place;
use super::{SourceCompiler, value};
use crate::config::decode::{Entries, Field, SecretTemplate, Template, TextOr};
use crate::config::raw::poll::Poll;
use crate::config::raw::poll::auth as raw;
use crate::config::units::Period;
use crate::config::yaml::Span;
use crate::expr::OPEN;
use crate::expr::scoped::{Names, ValueTemplate};
use crate::poll::auth::{
    Algorithm, Auth, AuthFault, Client, ClientAuth, Credential, Encoding, Extras, Grant, HmacAuth,
    Oauth2, Place, Session, Ttl,
};
use crate::poll::expressions::{IN_AUTH, IN_LOGINS, IN_SIGNATURES};
use crate::poll::source::Login;

const EARLY_REFRESH: Duration = Duration::from_secs(60);
const SIGNATURE: &str = "${{ signature }}";
const TTL: &str = "write a length of time (`20m`) or {from: $.expires_in}";

impl SourceCompiler<'_, '_> {
    pub(super) fn auth(&mut self, poll: &Poll) -> Option<Auth> {
        let Some(field) = &poll.auth else {
            return Some(Auth::None);
        };
        match field.get()? {
            raw::Auth::None => Some(Auth::None),
            raw::Auth::Bearer(raw) => self.kept(&raw.token).map(Auth::Bearer),
            raw::Auth::Basic(raw) => {
                let username = self.kept(&raw.username);
                let password = match &raw.password {
                    Some(field) => self.kept(field),
                    None => self
                        .template(raw.username.span, "", IN_AUTH)
                        .map(Credential::new),
                };
                Some(Auth::Basic {
                    username: username?,
                    password: password?,
                })
            }
            raw::Auth::ApiKey(raw) => self.api_key(raw),
            raw::Auth::Oauth2(raw) => self.oauth2(field.span, raw).map(Auth::Oauth2),
            raw::Auth::Session(raw) => self.inject(&raw.inject),
            raw::Auth::Hmac(raw) => self.hmac(field.span, raw).map(Auth::Hmac),
        }
    }

    fn kept(&mut self, field: &Field<SecretTemplate>) -> Option<Credential> {
        self.credential(field, IN_AUTH).map(Credential::new)
    }

    fn api_key(&mut self, raw: &raw::ApiKey) -> Option<Auth> {
        let value_of_it = self.kept(&raw.value);
        let name = raw.name.get()?;
        let place = match value(&raw.place) {
            None | Some(raw::KeyPlace::Header) => self.key_header(raw.name.span, name),
            Some(raw::KeyPlace::Query) => Some(Place::Query(name.clone())),
            Some(raw::KeyPlace::Cookie) => self.key_cookie(raw.name.span, name),
        };
        Some(Auth::Key {
            place: place?,
            value: value_of_it?,
        })
    }

    fn key_header(&mut self, span: Span, name: &str) -> Option<Place> {
        self.header_name(span, name).map(Place::Header)
    }

    fn key_cookie(&mut self, span: Span, name: &str) -> Option<Place> {
        let made = Place::cookie(name);
        self.auth_fault(span, made)
    }

    fn inject(&mut self, field: &Field<raw::Inject>) -> Option<Auth> {
        let raw = field.get()?;
        let value_of_it = self.kept(&raw.value);
        let places = [&raw.header, &raw.query, &raw.cookie];
        let mut given = places.into_iter().flatten();
        let (Some(_), None) = (given.next(), given.next()) else {
            let message = "a value stands in one place";
            let help = "write one of `header`, `query` and `cookie`";
            self.fault_with_help(field.span, message, help);
            return None;
        };
        let place = match (&raw.header, &raw.query, &raw.cookie) {
            (Some(field), _, _) => self.key_header(field.span, field.get()?),
            (None, Some(field), _) => field.get().cloned().map(Place::Query),
            (None, None, Some(field)) => self.key_cookie(field.span, field.get()?),
            (None, None, None) => None,
        };
        Some(Auth::Key {
            place: place?,
            value: value_of_it?,
        })
    }

    fn oauth2(&mut self, span: Span, raw: &raw::Oauth2) -> Option<Oauth2> {
        let token_url = self.template_of(&raw.token_url, IN_AUTH);
        let id = self.template_of(&raw.client_id, IN_AUTH);
        let secret = match &raw.client_secret {
            Some(field) => self.credential(field, IN_AUTH).map(Some),
            None => Some(None),
        };
        let grant = self.grant(raw);
        let scopes = value(&raw.scopes).into_iter().flatten();
        let scopes = scopes.filter_map(|field| field.get().cloned()).collect();
        let params = value(&raw.params).map(|params| self.named(params, IN_AUTH));
        let params = match params {
            Some(params) => params?,
            None => Vec::new(),
        };
        let extras = Extras {
            scopes,
            params: params
                .into_iter()
                .map(|(name, template)| (name, Credential::new(template)))
                .collect(),
            early_refresh: value(&raw.early_refresh)
                .map_or(EARLY_REFRESH, |period| period.as_duration()),
        };
        let style = match value(&raw.auth_style) {
            None | Some(raw::AuthStyle::Basic) => ClientAuth::Basic,
            Some(raw::AuthStyle::Body) => ClientAuth::Body,
        };
        let client = Client::new(id?, secret?, style);
        let made = Oauth2::new(token_url?, client, grant?, extras);
        self.auth_fault(place(&raw.params).unwrap_or(span), made)
    }

    /// What a token is given for, with the keys of this grant and no others.
    fn grant(&mut self, raw: &raw::Oauth2) -> Option<Grant> {
        let grant = *raw.grant.get()?;
        let user = [
            ("username", place(&raw.username)),
            ("password", place(&raw.password)),
        ];
        let refresh = [("refresh_token", place(&raw.refresh_token))];
        if grant != raw::Grant::Password {
            self.needless(&user, "is for `grant: password`");
        }
        if grant != raw::Grant::RefreshToken {
            self.needless(&refresh, "is for `grant: refresh_token`");
        }
        let mut needed = |key: &str, field: &Option<Field<SecretTemplate>>| match field {
            Some(field) => self.kept(field),
            None => {
                let help = format!("add `{key}` beside it");
                let message = format!("this grant needs a `{key}`");
                self.fault_with_help(raw.grant.span, message, help);
                None
            }
        };
        Some(match grant {
            raw::Grant::ClientCredentials => Grant::ClientCredentials,
            raw::Grant::RefreshToken => {
                Grant::RefreshToken(needed("refresh_token", &raw.refresh_token)?)
            }
            raw::Grant::Password => {
                let username = needed("username", &raw.username);
                let password = needed("password", &raw.password);
                Grant::Password {
                    username: username?,
                    password: password?,
                }
            }
        })
    }

    fn hmac(&mut self, span: Span, raw: &raw::Hmac) -> Option<HmacAuth> {
        let secret = self.credential(&raw.secret, IN_AUTH);
        let signed = self.template_of(&raw.message, IN_SIGNATURES);
        let mut headers = match value(&raw.headers) {
            Some(headers) => self.named(headers, IN_SIGNATURES),
            None => Some(Vec::new()),
        };
        for (key, _) in value(&raw.headers).into_iter().flatten() {
            self.header_name(key.span, &key.name);
        }
        if let Some(field) = &raw.header {
            let name = field.get()?;
            self.header_name(field.span, name);
            let template = self.template(field.span, SIGNATURE, IN_SIGNATURES)?;
            if let Some(headers) = &mut headers {
                headers.push((name.clone(), template));
            }
        }
        let algorithm = match value(&raw.algorithm) {
            Some(raw::HashName::Sha1) => Algorithm::Sha1,
            None | Some(raw::HashName::Sha256) => Algorithm::Sha256,
            Some(raw::HashName::Sha512) => Algorithm::Sha512,
        };
        let encoding = match value(&raw.encoding) {
            None | Some(raw::SignatureEncoding::Hex) => Encoding::Hex,
            Some(raw::SignatureEncoding::Base64) => Encoding::Base64,
        };
        match HmacAuth::new(algorithm, encoding, secret?, signed?, headers?) {
            // It was told of above, at the name itself.
            Err(AuthFault::Header(_)) => None,
            made => self.auth_fault(place(&raw.headers).unwrap_or(span), made),
        }
    }

    /// Names and templates.
    fn named(
        &mut self,
        entries: &Entries<Template>,
        names: Names,
    ) -> Option<Vec<(String, ValueTemplate)>> {
        let named: Vec<_> = entries
            .iter()
            .map(|(key, field)| Some((key.name.clone(), self.template_of(field, names)?)))
            .collect();
        named.into_iter().collect()
    }

    fn auth_fault<T>(&mut self, span: Span, made: Result<T, AuthFault>) -> Option<T> {
        let error = match made {
            Ok(made) => return Some(made),
            Err(error) => error,
        };
        let help = match error {
            AuthFault::Header(_) | AuthFault::Cookie(_) => {
                "a name is made of letters, digits and `-`"
            }
            AuthFault::Reserved(_) => "take it away",
            AuthFault::TooMany { .. } => "take some of them away",
            AuthFault::Unsigned => "add `header: NAME` for the signature alone",
            AuthFault::NoTime => "write a longer time, or leave `ttl` out",
        };
        self.fault_with_help(span, error.to_string(), help);
        None
    }

    /// `poll.session`.
    pub(super) fn login(&mut self, field: &Field<raw::Session>) -> Option<Login> {
        let raw = field.get()?;
        let request = self.further_request(&raw.request, IN_LOGINS);
        let extract = raw.extract.get();
        if extract.is_some_and(Entries::is_empty) {
            let message = "nothing is taken from the answer to this request";
            let help = "write names and JSONPaths, like {token: $.token}";
            self.fault_with_help(raw.extract.span, message, help);
        }
        let extract: Vec<_> = extract?
            .iter()
            .map(|(key, field)| Some((key.name.clone(), self.json_path(field)?)))
            .collect();
        let extract = extract.into_iter().collect::<Option<Vec<_>>>();
        let ttl = match &raw.ttl {
            Some(field) => self.ttl(field),
            None => Some(Ttl::UntilRefused),
        };
        let session = Session::new(extract?, ttl?);
        let span = place(&raw.ttl).unwrap_or(raw.extract.span);
        let session = self.auth_fault(span, session)?;
        Some(Login {
            request: request?,
            session,
        })
    }

    fn ttl(&mut self, field: &Field<TextOr<raw::TtlFrom>>) -> Option<Ttl> {
        match field.get()? {
            TextOr::Full(from) => self.json_path(&from.from).map(Ttl::From),
            TextOr::Text(text) => match Period::from_str(text) {
                Ok(period) => Some(Ttl::Fixed(period.as_duration())),
                Err(_) => {
                    let message = match text.contains(OPEN) {
                        true => "this is not a length of time".to_owned(),
                        false => format!("`{text}` is not a length of time"),
                    };
                    self.fault_with_help(field.span, message, TTL);
                    None
                }
            },
        }
    }
}
