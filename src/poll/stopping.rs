//! What a poll does that ends before its time: it rests, waits for somebody, or goes on elsewhere.
//!
//! Cursor and validators stay as they are on disk, unless they are what has to change.

use jiff::Timestamp;

use super::again::FAILURES_MAX;
use super::asking::{Failure, Stop};
use super::backoff::{FailedPoll, Pace, Rest};
use super::found;
use super::position::Position;
use super::reading::{Ended, Reading};
use super::source::{OnGap, OnLost};
use super::state::Validators;

impl Reading<'_> {
    /// Does what ended a poll before its time.
    pub(super) async fn stopped(&mut self, stop: Stop) -> Ended {
        let now = self.tools.clock.now();
        let stop = match self.again_stopped(stop).await {
            Ok(ended) => return ended,
            Err(stop) => stop,
        };
        match stop {
            Stop::Fenced => Ended::Elsewhere,
            Stop::NotBefore(until) => {
                self.rest(until, None).await;
                Ended::Rests(until)
            }
            Stop::Paused(why) => self.pause(why).await,
            Stop::SetCursor { cursor, gap } => {
                let gap = gap.then_some("the provider says that events are lost");
                self.moved(Some(Position::at(cursor)), gap).await
            }
            Stop::Restart { gap } => self.lost(gap).await,
            Stop::Failed(failure) => {
                let failures = self.state.failures.saturating_add(1);
                let failed = FailedPoll {
                    failures,
                    pace: failure.pace,
                    asked: failure.asked,
                };
                let text = self.source.masker.mask(&failure.text);
                let chance = (self.tools.chance)();
                match self.source.on_error.after(&failed, now, chance) {
                    Rest::Paused => self.pause(text).await,
                    Rest::Until(deadline) => {
                        self.state.failures = failures;
                        self.rest(deadline.at, Some(text.clone())).await;
                        Ended::Failed {
                            label: failure.label,
                            text,
                            until: deadline.at,
                        }
                    }
                }
            }
        }
    }

    /// Notes until when the source rests: that outlasts a restart. Cursor and validators stay as they
    /// are on disk.
    async fn rest(&mut self, until: Timestamp, error: Option<String>) {
        let (failures, token) = (self.state.failures, self.state.token.clone());
        let again = self.state.again.clone().filter(|_| self.is_again);
        self.noted(|state| {
            if let (Some(stored), Some(again)) = (&mut state.again, again) {
                stored.failures = again.failures;
            }
            state.failures = failures;
            state.token = token;
            state.last_error = error;
            state.rests_until = Some(until);
        })
        .await;
    }

    /// A range that cannot be read once more is given up, so that the source goes on: at once for
    /// what will not pass, otherwise after some polls that failed.
    async fn again_stopped(&mut self, stop: Stop) -> Result<Ended, Stop> {
        let Some(again) = self.range() else {
            return Err(stop);
        };
        let why = match &stop {
            Stop::Failed(failure) => {
                again.failures = again.failures.saturating_add(1);
                let is_over = failure.pace == Pace::Ceiling || again.failures >= FAILURES_MAX;
                is_over.then(|| failure.text.clone())
            }
            Stop::SetCursor { .. } | Stop::Restart { .. } => {
                Some("the provider does not know what is asked for".to_owned())
            }
            Stop::Paused(why) => Some(why.clone()),
            Stop::NotBefore(_) | Stop::Fenced => None,
        };
        let Some(why) = why else { return Err(stop) };
        let why = self.source.masker.mask(&why);
        match self.end_again(Some(why)).await {
            Ok(()) => Ok(Ended::More),
            Err(stop) => Err(stop),
        }
    }

    async fn pause(&mut self, why: String) -> Ended {
        let why = self.source.masker.mask(&why);
        let token = self.state.token.clone();
        let lost_at = self.state.lost_at;
        self.noted(|state| {
            state.token = token;
            state.lost_at = lost_at;
            state.paused = Some(why.clone());
        })
        .await;
        Ended::Paused(why)
    }

    /// Goes on from where the file says, when the provider no longer knows the cursor or no longer has
    /// what came after it.
    async fn lost(&mut self, gap: bool) -> Ended {
        self.state.lost_at = Some(self.started);
        match self.source.on_lost {
            OnLost::Pause => {
                let name = &self.source.name;
                let why = format!(
                    "the provider no longer has what came after the cursor (`cursor.on_lost`): \
                     `hookgate poll resume {name}` goes on all the same"
                );
                self.pause(why).await
            }
            OnLost::Restart { ago, gap: tells } => {
                let position = self.source.rules.from_ago(self.started, ago);
                let why = "the provider no longer has what came after the cursor";
                self.moved(Some(position), (gap || tells).then_some(why))
                    .await
            }
        }
    }

    /// Goes on elsewhere; `gap` says why events may be missing.
    async fn moved(&mut self, position: Option<Position>, gap: Option<&'static str>) -> Ended {
        let mut told = Vec::new();
        if let Some(why) = gap {
            self.tally.gaps += 1;
            self.tell(&format!("{why}: there is a gap"));
            if self.source.on_gap == OnGap::Deliver {
                let cursor = |position: &Option<Position>| position.as_ref()?.cursor.clone();
                let gap = found::Gap {
                    why,
                    from: cursor(&self.state.position),
                    to: cursor(&position),
                    read_at: self.state.last_success_at,
                };
                let version = self.lead.row.version;
                let now = self.tools.clock.now();
                told.push(found::gap(&gap, self.source, self.partition, version, now));
            }
        }
        let lost_at = self.state.lost_at;
        let noted = self.note_with(told, |state| {
            state.position = position;
            state.validators = Validators::default();
            state.lost_at = lost_at;
        });
        match noted.await {
            Ok(()) => Ended::Done,
            // Without the event the cursor stays, and the gap is found again.
            Err(Stop::Failed(Failure { text, .. })) => Ended::Unavailable(text),
            Err(_) => Ended::Elsewhere,
        }
    }
}
