//! What a poll does that ends before its time: it rests, waits for somebody, or goes on elsewhere.
//!
//! Cursor and validators stay as they are on disk, unless they are what has to change.

use jiff::Timestamp;

use super::asking::Stop;
use super::backoff::{FailedPoll, Rest};
use super::position::Position;
use super::reading::{Ended, Reading};
use super::source::OnLost;
use super::state::Validators;

impl Reading<'_> {
    /// Does what ended a poll before its time.
    pub(super) async fn stopped(&mut self, stop: Stop) -> Ended {
        let now = self.tools.clock.now();
        match stop {
            Stop::Fenced => Ended::Elsewhere,
            Stop::NotBefore(until) => {
                self.rest(until, None).await;
                Ended::Rests(until)
            }
            Stop::Paused(why) => self.pause(why).await,
            Stop::SetCursor { cursor, gap } => self.moved(Some(Position::at(cursor)), gap).await,
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
        self.noted(|state| {
            state.failures = failures;
            state.token = token;
            state.last_error = error;
            state.rests_until = Some(until);
        })
        .await;
    }

    async fn pause(&mut self, why: String) -> Ended {
        let why = self.source.masker.mask(&why);
        let token = self.state.token.clone();
        self.noted(|state| {
            state.token = token;
            state.paused = Some(why.clone());
        })
        .await;
        Ended::Paused(why)
    }

    /// Goes on from where the file says, when the provider no longer knows the cursor.
    async fn lost(&mut self, gap: bool) -> Ended {
        match self.source.on_lost {
            OnLost::Pause => {
                let why = "the provider no longer knows the cursor (`cursor.on_lost`)";
                self.pause(why.to_owned()).await
            }
            OnLost::Restart { ago, gap: tells } => {
                let position = self.source.rules.from_ago(self.started, ago);
                self.moved(Some(position), gap || tells).await
            }
        }
    }

    async fn moved(&mut self, position: Option<Position>, gap: bool) -> Ended {
        if gap {
            self.tally.gaps += 1;
            self.tell("events were lost at the provider: there is a gap");
        }
        self.noted(|state| {
            state.position = position;
            state.validators = Validators::default();
        })
        .await;
        Ended::Done
    }
}
