//! Sources whose rows move while they are read, and gateways that die: no row is lost, and each of
//! the rules that see to it is needed.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::cursor::{Confirm, CursorRule, HasMore, LowerBound, Start, TimeCursor};
use super::super::pagination::{Pagination, Paginator, Stop};
use super::fixture::{Answer, Reader, Row, Staging, number, second};
use super::*;

const ROWS: u64 = 200;
const PAGE: usize = 20;
const BEGIN: i64 = 1_700_000_000;

/// How a made-up source behaves.
#[derive(Debug, Clone, Copy)]
struct World {
    /// How many of the rows have one time at first.
    equal: u64,
    /// The longest time until a change appears, in milliseconds.
    late: i64,
    /// One change in so many milliseconds.
    change_every: i64,
    /// How long rows change, in seconds.
    busy: i64,
    /// Whether one row is dated into the future.
    has_future_row: bool,
    /// How often a gateway dies: once in so many chances.
    dies_once_in: u32,
}

const CALM: World = World {
    equal: 0,
    late: 0,
    change_every: 400,
    busy: 150,
    has_future_row: false,
    dies_once_in: 40,
};

/// A table whose rows are listed by the time of their last change.
struct Upstream {
    world: World,
    chance: fastrand::Rng,
    /// Milliseconds.
    now: i64,
    next_change: i64,
    rows: Vec<Changing>,
}

struct Changing {
    row: Row,
    /// The next time, and when it appears.
    pending: Option<(i64, i64)>,
}

impl Upstream {
    fn new(world: World, seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut rows: Vec<Changing> = (0..ROWS)
            .map(|id| {
                let time = match id < world.equal {
                    true => BEGIN - 500,
                    false => BEGIN - chance.i64(1..1000),
                };
                Changing {
                    row: (id, Some(time)),
                    pending: None,
                }
            })
            .collect();
        if world.has_future_row {
            rows[0].row.1 = Some(BEGIN + 1_000_000);
        }
        Self {
            world,
            chance,
            now: BEGIN * 1000,
            next_change: BEGIN * 1000,
            rows,
        }
    }

    fn is_busy(&self) -> bool {
        self.now < (BEGIN + self.world.busy) * 1000
    }

    fn advance(&mut self, milliseconds: i64) {
        let until = self.now + milliseconds;
        while self.next_change <= until && self.is_busy() {
            self.now = self.now.max(self.next_change);
            self.next_change += self.chance.i64(0..=2 * self.world.change_every);
            self.change();
        }
        self.now = until;
        for changing in &mut self.rows {
            if let Some((time, _)) = changing.pending.take_if(|(_, appears)| *appears <= until) {
                changing.row.1 = Some(time);
            }
        }
    }

    /// Changes a row; now and then, some at once.
    fn change(&mut self) {
        let count = if self.chance.u32(0..100) == 0 { 50 } else { 1 };
        for _ in 0..count {
            let id = self.chance.usize(0..self.rows.len());
            let appears = self.now + self.chance.i64(0..=self.world.late);
            let is_dated_ahead = self.world.has_future_row && id == 0;
            if !is_dated_ahead && self.rows[id].pending.is_none() {
                self.rows[id].pending = Some((self.now / 1000, appears));
            }
        }
    }

    /// A page of what appeared so far, the oldest first.
    fn answer(&mut self, request: &PageRequest) -> Answer {
        let there = self.chance.i64(300..1000);
        self.advance(there);
        let since = second(request).unwrap_or(0);
        let rows = self.rows.iter().map(|changing| changing.row);
        let mut rows: Vec<Row> = rows.filter(|(_, time)| *time >= Some(since)).collect();
        rows.sort_by_key(|(id, time)| (*time, *id));
        let before = (number(request, "page") - 1) * PAGE;
        let answer = Answer::of(rows.into_iter().skip(before).take(PAGE));
        let back = self.chance.i64(300..1000);
        self.advance(back);
        answer
    }
}

/// How many rows never come when everything is calm again.
fn lost_rows(rules: &Rules, world: World, seed: u64) -> usize {
    let mut upstream = Upstream::new(world, seed);
    let mut reader = Reader::new(Staging::Durable);
    let mut deaths = fastrand::Rng::with_seed(seed ^ 0xdead);
    reader.dies = Box::new(move || deaths.u32(0..world.dies_once_in) == 0);
    let mut memory = fastrand::Rng::with_seed(seed ^ 0xf0);
    reader.forgets = Box::new(move || memory.u32(0..4) == 0);
    let mut calm_polls = 0;
    while calm_polls < 3 {
        let is_busy = upstream.is_busy();
        let started = upstream.now / 1000;
        let next = reader.poll(rules, started, &mut |request| upstream.answer(request));
        let is_fine = matches!(next, None | Some(Next::Done(_)));
        assert!(is_fine, "seed {seed}: {next:?}");
        let is_read =
            next.is_some_and(|next| !matches!(next, Next::Done(end) if end.is_truncated()));
        calm_polls += u32::from(!is_busy && is_read);
        upstream.advance(20_000);
    }
    let rows = upstream.rows.iter();
    rows.filter(|changing| !reader.is_known(&changing.row))
        .count()
}

/// How many rows are lost in how many of the runs.
fn losses(rules: &Rules, world: World, runs: u64) -> (usize, usize) {
    let lost = (0..runs).map(|seed| lost_rows(rules, world, seed));
    let lost: Vec<usize> = lost.filter(|lost| *lost > 0).collect();
    (lost.iter().sum(), lost.len())
}

fn rules(overlap: u64, drift: Drift, stop: Stop) -> Rules {
    let cursor = CursorKind::Timestamp(TimeCursor {
        overlap: Duration::from_secs(overlap),
        settle: Duration::ZERO,
        lower: LowerBound::Inclusive,
    });
    let pages = Paginator::Page {
        param: "page".to_owned(),
        start: 1,
        size_param: None,
        size: NonZeroU32::new(20),
        stop,
    };
    let pages_max = NonZeroU32::new(100).unwrap();
    Rules::new(
        CursorRule::new(cursor, HasMore::Unsaid, Start::Earliest, Confirm::Never).unwrap(),
        Pagination::new(pages, pages_max, Some(drift), StopWhen::Exhausted).unwrap(),
        Order::Asc,
        Drain::AtOnce,
    )
    .unwrap()
}

/// Rows of one time, and changes that appear up to 20 s late.
const HARD: World = World {
    equal: 100,
    late: 20_000,
    ..CALM
};

#[test]
fn with_all_rules_no_row_is_lost() {
    let check = |stop: Stop, world: World, runs: u64| {
        let rules = rules(30, Drift::Reanchor, stop.clone());
        assert_eq!(losses(&rules, world, runs), (0, 0), "{stop:?}, {world:?}");
    };
    check(Stop::Short, CALM, 20);
    check(Stop::Short, HARD, 60);
}

#[test]
fn nor_is_one_of_a_list_that_grows_while_its_end_is_read() {
    let check = |stop: Stop, world: World, runs: u64| {
        let rules = rules(30, Drift::Reanchor, stop.clone());
        assert_eq!(losses(&rules, world, runs), (0, 0), "{stop:?}, {world:?}");
    };
    check(Stop::Empty, HARD, 25);
    let busy = World {
        change_every: 60,
        ..HARD
    };
    check(Stop::Short, busy, 20);
    let ahead = World {
        has_future_row: true,
        ..HARD
    };
    check(Stop::Short, ahead, 15);
}

#[test]
fn page_numbers_lose_rows() {
    let rules = rules(30, Drift::Ignore, Stop::Short);
    let (rows, runs) = losses(&rules, HARD, 20);
    assert!(rows > 20 && runs > 10, "{rows} in {runs}");
}

#[test]
fn one_pass_over_rows_of_one_time_loses_rows() {
    let world = World {
        equal: 190,
        change_every: 150,
        busy: 30,
        ..HARD
    };
    let rules = rules(30, Drift::Reanchor, Stop::Short);
    assert_eq!(losses(&rules, world, 20), (0, 0));
    let (rows, runs) = losses(&rules.with_one_pass(), world, 20);
    assert!(rows > 20 && runs > 10, "{rows} in {runs}");
}

#[test]
fn without_overlap_rows_that_appear_late_are_lost() {
    let rules = rules(0, Drift::Reanchor, Stop::Short);
    let (rows, runs) = losses(&rules, HARD, 20);
    assert!(rows > 20 && runs > 3, "{rows} in {runs}");
}

#[test]
fn a_cursor_that_passes_the_start_of_the_poll_loses_rows() {
    let unlimited = |stop| rules(30, Drift::Reanchor, stop).without_limit();
    let (rows, runs) = losses(&unlimited(Stop::Empty), HARD, 20);
    assert!(rows > 5 && runs > 2, "{rows} in {runs}");
    let ahead = World {
        has_future_row: true,
        ..HARD
    };
    let (rows, runs) = losses(&unlimited(Stop::Short), ahead, 10);
    assert!(rows > 100 && runs > 5, "{rows} in {runs}");
}

/// A feed that grows at its head.
struct Feed {
    chance: fastrand::Rng,
    now: i64,
    next_id: u64,
    /// The newest last; with when it appears.
    rows: Vec<(Row, i64)>,
    late: i64,
}

impl Feed {
    fn grow(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now += 1;
            for _ in 0..self.chance.u32(0..4) {
                let appears = self.now + self.chance.i64(0..=self.late);
                self.rows.push(((self.next_id, Some(self.now)), appears));
                self.next_id += 1;
            }
        }
    }

    fn answer(&mut self, request: &PageRequest) -> Answer {
        let pause = self.chance.i64(0..3);
        self.grow(pause);
        let now = self.now;
        let there = self
            .rows
            .iter()
            .rev()
            .filter(|(_, appears)| *appears <= now);
        let before = (number(request, "page") - 1) * PAGE;
        Answer::of(there.map(|(row, _)| *row).skip(before).take(PAGE))
    }
}

/// Reads a feed while it grows; how many rows never come.
fn lost_of_feed(rules: &Rules, late: i64, staging: Staging, seed: u64) -> usize {
    let mut feed = Feed {
        chance: fastrand::Rng::with_seed(seed),
        now: BEGIN,
        next_id: 0,
        rows: vec![],
        late,
    };
    feed.grow(100);
    let mut reader = Reader::new(staging);
    let mut deaths = fastrand::Rng::with_seed(seed ^ 0xdead);
    reader.dies = Box::new(move || deaths.u32(0..30) == 0);
    let mut memory = fastrand::Rng::with_seed(seed ^ 0xf0);
    reader.forgets = Box::new(move || memory.u32(0..10) == 0);
    for _ in 0..15 {
        let started = feed.now;
        reader.poll(rules, started, &mut |request| feed.answer(request));
        let pause = feed.chance.i64(10..60);
        feed.grow(pause);
    }
    // What is left appears, and one poll more comes to its end.
    feed.now += 30;
    reader.dies = Box::new(|| false);
    let mut rest = feed.rows.clone();
    rest.reverse();
    let mut calm = |request: &PageRequest| {
        let before = (number(request, "page") - 1) * PAGE;
        Answer::of(rest.iter().map(|(row, _)| *row).skip(before).take(PAGE))
    };
    for _ in 0..2 {
        let next = reader.poll(rules, feed.now, &mut calm);
        assert!(
            matches!(next, Some(Next::Done(end)) if !end.is_truncated()),
            "{next:?}"
        );
    }
    feed.rows
        .iter()
        .filter(|(row, _)| !reader.is_known(row))
        .count()
}

#[test]
fn a_feed_that_grows_at_its_head_loses_nothing() {
    let check = |kind: CursorKind, stop_when: StopWhen, late: i64| {
        let pages = Paginator::Page {
            param: "page".to_owned(),
            start: 1,
            size_param: None,
            size: NonZeroU32::new(20),
            stop: Stop::Short,
        };
        let pages_max = NonZeroU32::new(100).unwrap();
        let rules = Rules::new(
            CursorRule::new(kind, HasMore::Unsaid, Start::Earliest, Confirm::Never).unwrap(),
            Pagination::new(pages, pages_max, None, stop_when).unwrap(),
            Order::Desc,
            Drain::AtOnce,
        )
        .unwrap();
        assert_eq!(rules.keeping(), Keeping::AtEnd);
        for staging in [Staging::InMemory, Staging::Durable] {
            for seed in 0..12 {
                let lost = lost_of_feed(&rules, late, staging, seed);
                assert_eq!(lost, 0, "{rules:?}, {staging:?}, seed {seed}");
            }
        }
    };
    let time = CursorKind::Timestamp(TimeCursor {
        overlap: Duration::from_secs(30),
        settle: Duration::ZERO,
        lower: LowerBound::Inclusive,
    });
    check(CursorKind::Seen, StopWhen::Known, 0);
    check(time, StopWhen::Exhausted, 20);
}
