//! One request to a provider, to show what a poll would make of its answer.
//!
//! Nothing is kept: whoever calls brings a store that is thrown away. Only the first page is asked
//! for, once. A refresh token is never spent, since the one that comes in exchange would be lost.

pub mod guess;

use jiff::Timestamp;
use serde_json::Value;

use super::asking::{Answer, Failure, Stop, Turn};
use super::auth::{Auth, SessionState};
use super::errors::Renewals;
use super::fetch::Response;
use super::found;
use super::items::{Extracted, Row};
use super::pagination::{PageRequest, Paginator};
use super::reading::{Reading, Tally, Tools, later};
use super::source::{Partition, Source};
use super::state::{Attic, Staged, State, Validators};
use super::walk::{Commit, Next, Take, Walk};
use crate::expr::scoped::Masker;
use crate::secret::Secret;
use crate::store::{Event, SourceKey};

/// The most events that are made of a page.
const EVENTS_MAX: usize = 100;

/// What a request brought. Holds no secret that is known.
#[derive(Debug, Clone)]
pub struct Trial {
    /// What was asked.
    pub asked: Asked,
    /// Whether the answer says that there is nothing to read.
    pub is_empty: bool,
    /// What was on the page, in its order.
    pub items: Vec<Item>,
    /// What a poll would do with them.
    pub taken: Taken,
    /// The cursor that would be stored; `None` = there is none.
    pub cursor: Option<Value>,
    /// What would be asked for next, or why nothing would be.
    pub onward: Onward,
    /// What would be logged.
    pub remarks: Vec<&'static str>,
    /// How the pages behind this one may be had, where the file does not say.
    pub guess: Option<guess::Guess>,
    /// The events that wanted items become, in the order of the page.
    pub events: Vec<Event>,
}

/// A request, and what is known of its answer.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Method and URL, without what `auth` adds.
    pub request: Option<String>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// The length of its body, unpacked.
    pub body_bytes: Option<usize>,
}

/// An item of the page.
#[derive(Debug, Clone)]
pub struct Item {
    /// What it is known by; `None` = `where` does not want it.
    pub id: Option<String>,
    /// Its time.
    pub time: Option<Timestamp>,
}

/// What a poll would do with the items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// All become events that were not found before.
    All,
    /// Those of before this time do not.
    Since(Timestamp),
    /// None becomes an event: the first reading only learns what there is.
    Learned,
    /// The list is compared with the one before.
    Compared,
}

/// What follows the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Onward {
    /// Another request: its method and URL.
    Page(String),
    /// None, for this reason.
    End(&'static str),
}

/// Why a trial has failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct TrialError {
    /// What was asked by then.
    pub asked: Asked,
    /// Why, without secrets that are known.
    pub text: String,
}

/// Asks for the first page once, from the stored state on.
///
/// # Errors
/// [`TrialError`] when there is no answer, or nothing can be taken from it.
pub async fn trial(
    source: &Source,
    partition: &Partition,
    stored: State,
    tools: &Tools,
) -> Result<Trial, TrialError> {
    let mut asked = Asked::default();
    let mut session = None;
    let made = attempt(source, partition, stored, tools, &mut session, &mut asked).await;
    made.map_err(|stop| TrialError {
        text: masker(source, session.as_ref()).mask(&text_of(stop)),
        asked,
    })
}

async fn attempt(
    source: &Source,
    partition: &Partition,
    stored: State,
    tools: &Tools,
    session: &mut Option<SessionState>,
    asked: &mut Asked,
) -> Result<Trial, Stop> {
    let mut reading = reading(source, partition, stored, tools, session).await?;
    spare_refresh_token(&mut reading)?;
    reading.begin().await?;
    let position = reading.state.position.clone();
    let walk = Walk::new(&source.rules, position, reading.started, reading.ends);
    let mut walk = walk.map_err(|error| Stop::Paused(error.to_string()))?;
    let page = walk.request();
    reading.log_in().await?;
    asked.request = Some(shown(&reading, &page)?);
    let fetched = reading.fetch_page(&page).await?;
    if let Ok(response) = &fetched {
        asked.status = Some(response.status);
        asked.body_bytes = Some(response.body.len());
    }
    // Whatever is wrong with it, there is no time to ask again.
    reading.ends = reading.started;
    match reading.judge(fetched, u32::MAX, &page).await? {
        Turn::Good(Answer::Page { response, body }) => {
            judged(&mut reading, &mut walk, &response, &body, asked).await
        }
        Turn::Good(Answer::Empty) => Ok(empty(&reading, asked)),
        Turn::Again => Err(Failure::passing("again", "it is to be asked once more")),
        Turn::Stop(stop) => Err(stop),
    }
}

async fn reading<'a>(
    source: &'a Source,
    partition: &'a Partition,
    stored: State,
    tools: &'a Tools,
    session: &'a mut Option<SessionState>,
) -> Result<Reading<'a>, Stop> {
    let started = tools.clock.now();
    let ends = later(started, source.schedule.timeout());
    let key = SourceKey {
        source: source.name.clone(),
        partition: partition.key.clone(),
    };
    let lead = tools.store.lead(key, tools.who, started, ends).await;
    let lead = lead.map_err(|error| Failure::passing("store", error))?;
    let lead = lead.ok_or(Stop::Fenced)?;
    Ok(Reading {
        source,
        partition,
        tools,
        session,
        state: State {
            // A whole answer is wanted, not that nothing has changed.
            validators: Validators::default(),
            fingerprint: source.fingerprint.clone(),
            ..stored
        },
        attic: Attic::default(),
        lead,
        started,
        ends,
        renewed: Renewals {
            token: true,
            session: true,
        },
        tally: Tally::default(),
        is_again: false,
        whole: Vec::new(),
        validators: Validators::default(),
    })
}

/// Lets a token that has ended be asked for only where that costs nothing.
fn spare_refresh_token(reading: &mut Reading<'_>) -> Result<(), Stop> {
    let Auth::Oauth2(oauth2) = &reading.source.auth else {
        return Ok(());
    };
    let held = reading.state.tokens();
    let needs = oauth2.needs(held.as_ref(), &reading.scope(None), reading.started);
    let needs = needs.map_err(|error| Failure::lasting("auth", error))?;
    match (needs, oauth2.can_begin_anew()) {
        (None, _) => Ok(()),
        (Some(_), true) => {
            reading.state.token = None;
            Ok(())
        }
        (Some(_), false) => Err(Failure::lasting(
            "token",
            "a token is needed, and the refresh token can be spent only once: let the running \
             gateway poll first, which keeps what it gets in exchange",
        )),
    }
}

/// Method and URL of a request, without what `auth` adds.
fn shown(reading: &Reading<'_>, page: &PageRequest) -> Result<String, Stop> {
    let scope = reading.scope(page.cursor.as_ref());
    let prepared = reading.source.request.prepare(&scope, page);
    let prepared = prepared.map_err(|error| Failure::lasting("expression", error))?;
    let text = format!("{} {}", prepared.method, prepared.full_url());
    Ok(masker(reading.source, reading.session.as_ref()).mask(&text))
}

/// Hides what the file has as a secret, and what a login has brought.
fn masker(source: &Source, session: Option<&SessionState>) -> Masker {
    let values = session.into_iter().flat_map(|session| session.values());
    let texts = values.filter_map(|(_, value)| value.as_str());
    source.masker.with(texts.map(Secret::new))
}

async fn judged(
    reading: &mut Reading<'_>,
    walk: &mut Walk<'_>,
    response: &Response,
    body: &Value,
    asked: &Asked,
) -> Result<Trial, Stop> {
    let source = reading.source;
    let extracted = reading.extracted(body)?;
    let standings = reading.standings(&extracted).await?;
    let step = reading.seen(walk, response, body, &extracted, &standings);
    let position = match step.commit {
        Commit::Now(position) | Commit::Later(position) | Commit::Drop(position) => position,
    };
    let onward = match step.next {
        Next::More => Onward::Page(shown(reading, &walk.request())?),
        Next::Done(end) => Onward::End(end.label()),
        Next::Stuck(stuck) => Onward::End(stuck.label()),
        Next::Pause(breach) => return Err(Stop::Paused(breach.label().to_owned())),
    };
    let is_unpaged = *source.rules.pagination.paginator() == Paginator::None;
    Ok(Trial {
        asked: asked.clone(),
        is_empty: false,
        items: extracted.rows.iter().map(item).collect(),
        taken: match (&source.changes, step.take) {
            (Some(_), _) => Taken::Compared,
            (None, Take::All) => Taken::All,
            (None, Take::Since(from)) => Taken::Since(from),
            (None, Take::Learn) => Taken::Learned,
        },
        cursor: position.cursor,
        onward,
        remarks: step.remarks.iter().map(|remark| remark.label()).collect(),
        guess: is_unpaged
            .then(|| guess::paginator(body, &response.headers))
            .flatten(),
        events: events(reading, extracted),
    })
}

fn empty(reading: &Reading<'_>, asked: &Asked) -> Trial {
    let position = reading.state.position.clone();
    Trial {
        asked: asked.clone(),
        is_empty: true,
        items: Vec::new(),
        taken: Taken::All,
        cursor: position.and_then(|position| position.cursor),
        onward: Onward::End("empty"),
        remarks: Vec::new(),
        guess: None,
        events: Vec::new(),
    }
}

fn item(row: &Row) -> Item {
    Item {
        id: row.kept().map(|found| found.id.text().into_owned()),
        time: row.time(),
    }
}

fn events(reading: &Reading<'_>, extracted: Extracted) -> Vec<Event> {
    let (source, partition) = (reading.source, reading.partition);
    let event = |row| {
        let Row::Kept(kept) = row else { return None };
        let staged = Staged::of(kept, source, partition);
        Some(found::event(staged, source, partition, reading.started))
    };
    extracted
        .rows
        .into_iter()
        .filter_map(event)
        .take(EVENTS_MAX)
        .collect()
}

fn text_of(stop: Stop) -> String {
    match stop {
        Stop::Failed(failure) => failure.text,
        Stop::NotBefore(until) => format!("it is not to be asked before {until}"),
        Stop::SetCursor { cursor, .. } => {
            format!("the answer lets reading go on from another cursor, {cursor} (`errors`)")
        }
        Stop::Restart { .. } => "the provider no longer knows the cursor".to_owned(),
        Stop::Paused(why) => format!("a poll would pause the source: {why}"),
        Stop::Fenced => "somebody else reads it".to_owned(),
    }
}
