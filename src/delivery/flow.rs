//! How fast the queue moves, to tell senders when there will be room.

use std::sync::Mutex;
use std::time::Duration;

/// What a sender is asked to wait when nothing moves.
const STANDING: Duration = Duration::from_secs(60);
/// The longest that a sender is asked to wait.
const LONGEST: Duration = Duration::from_secs(300);
/// The share of the queue that should have moved before a sender comes back.
const SHARE: f64 = 0.05;
/// Over how many seconds the speed is levelled.
const LEVEL: f64 = 10.0;

/// The speed of the queue, levelled.
#[derive(Debug, Default)]
pub struct Flow {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    per_second: f64,
    depth: u64,
    seen: Duration,
}

impl Flow {
    /// Notes that `ended` deliveries have left the queue since the last call, and `depth` are in
    /// it at `now` (monotonic).
    pub fn note(&self, ended: u64, depth: u64, now: Duration) {
        let Ok(mut state) = self.state.lock() else {
            return;
        };
        let passed = now.saturating_sub(state.seen).as_secs_f64();
        if passed <= 0.0 {
            return;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a speed needs no more than three digits"
        )]
        let speed = ended as f64 / passed;
        let weight = (passed / LEVEL).min(1.0);
        state.per_second += (speed - state.per_second) * weight;
        state.depth = depth;
        state.seen = now;
    }

    /// When there should be some room.
    pub fn room_in(&self) -> Duration {
        let Ok(state) = self.state.lock() else {
            return STANDING;
        };
        if state.per_second <= 0.01 {
            return STANDING;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a speed needs no more than three digits"
        )]
        let share = state.depth as f64 * SHARE;
        Duration::try_from_secs_f64((share / state.per_second).ceil())
            .unwrap_or(LONGEST)
            .clamp(Duration::from_secs(1), LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_comes_as_fast_as_the_queue_moves() {
        let flow = Flow::default();
        assert_eq!(flow.room_in(), STANDING);
        for second in 1..100 {
            flow.note(100, 40_000, Duration::from_secs(second));
        }
        let wait = flow.room_in().as_secs();
        assert!((19..=21).contains(&wait), "2000 at 100/s: {wait}");
        for second in 100..400 {
            flow.note(0, 40_000, Duration::from_secs(second));
        }
        assert_eq!(flow.room_in(), STANDING);
    }
}
