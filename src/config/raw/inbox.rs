//! `routes.NAME.inbox`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::decode::{Field, OneOrMany};
use crate::config::units::Period;
use crate::secret::Secret;

/// An inbox: events wait in it for who cannot be reached, and are read at `GET /inbox/NAME`.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Inbox {
    /// Who may read it: tokens for `Authorization: Bearer`. Needed, unless there is `telegram`.
    pub tokens: Option<Field<OneOrMany<Secret>>>,
    /// Where a new consumer begins: `earliest`, `latest`, or a time. Default: earliest.
    pub start: Option<Field<String>>,
    /// How long what was handed out belongs to its reader. Default: 60s.
    pub lease: Option<Field<Period>>,
    /// Whether several readers share a consumer, each with events of its own. Default: false, one
    /// reader at a time.
    pub shared: Option<Field<bool>>,
    /// Lets a Telegram bot read it in polling mode, as if this were the Bot API: `getUpdates` at
    /// `/botTOKEN/`, every other method is passed on.
    pub telegram: Option<Field<Telegram>>,
}

/// A Telegram bot that reads an inbox in polling mode.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Telegram {
    /// The token that the bot calls itself by.
    pub token: Field<Secret>,
    /// The backend that every other method goes to
    /// (`url: https://api.telegram.org/bot${{ secret.NAME }}`).
    pub to: Field<String>,
}
