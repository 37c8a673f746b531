//! A disk that fails, fills up or loses power at each operation of a story in turn: what was
//! acknowledged is there afterwards, and nothing is there by halves.

use std::future::Future;

use faulty_disk::{Fault, FaultyDisk};
use tokio::task::JoinSet;

use super::*;

/// How many disks fail at the same time.
const TOGETHER: usize = 24;

/// What the story was told; what it was told nothing of may be there or not.
#[derive(Default)]
struct Told {
    accepted: Vec<Arc<Event>>,
    refused: usize,
    settled: Vec<(EventId, DeliveryState)>,
}

/// Accepts events with keys, a duplicate, two at once; delivers one, retries one, gives one up.
async fn story(store: &Arc<dyn Store>) -> Told {
    let mut told = Told::default();
    for number in 0..4 {
        accept(store, vec![with_key(number, at(0))], &mut told).await;
    }
    accept(store, vec![with_key(0, at(1))], &mut told).await;
    accept(store, vec![with_key(4, at(2)), new_event(at(2))], &mut told).await;
    let want = Want {
        backend: "app".into(),
        max: 3,
    };
    let claimed = store.claim(&[want], at(3), at(60)).await;
    let nexts = [
        (Next::Delivered, DeliveryState::Delivered),
        (retry(at(90), LaneRule::Leave), DeliveryState::Pending),
        (dead(LaneRule::Leave), DeliveryState::Dead),
    ];
    for (claimed, (next, state)) in claimed.unwrap_or_default().iter().zip(nexts) {
        let item = settlement(claimed, at(4), next);
        match store.settle(vec![item]).await {
            Ok(settled) => {
                assert_eq!(settled, [Settled::Done]);
                told.settled.push((claimed.event.id, state));
            }
            Err(StoreError::Unavailable(_)) => told.refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    told
}

async fn accept(store: &Arc<dyn Store>, items: Vec<Accept>, told: &mut Told) {
    let events: Vec<_> = items.iter().map(|item| item.event.clone()).collect();
    match store.accept(items).await {
        Ok(accepted) => {
            let new = events.into_iter().zip(accepted);
            let new = new.filter(|(_, accepted)| *accepted == Accepted::New);
            told.accepted.extend(new.map(|(event, _)| event));
        }
        Err(StoreError::Unavailable(_)) => told.refused += 1,
        Err(error) => panic!("{error}"),
    }
}

/// Waits until a store works again.
async fn recovered(store: &Arc<dyn Store>) {
    let again = async {
        let mut work = store.watch();
        while store.accept(vec![new_event(at(5))]).await.is_err() {
            let _ = tokio::time::timeout(Duration::from_millis(50), work.changed()).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), again)
        .await
        .expect("the store works again by itself");
}

/// Looks at the file with nothing in between.
fn check_file(bench: &Bench, told: &Told) {
    let file = bench.file();
    let integrity: String = file
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(integrity, "ok");
    let day = "20783";
    let count = |sql: &str| -> u64 {
        let sql = sql.replace("_D", &format!("_{day}"));
        file.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    if !told.accepted.is_empty() {
        let halves = "SELECT count(*) FROM event_D e WHERE NOT EXISTS(
                SELECT 1 FROM queue q WHERE q.seq = e.seq) AND NOT EXISTS(
                SELECT 1 FROM done_D d WHERE d.seq = e.seq)";
        assert_eq!(count(halves), 0, "an event without a delivery");
        let halves = "SELECT count(*) FROM event_D e WHERE NOT EXISTS(
                SELECT 1 FROM payload_D p WHERE p.seq = e.seq)";
        assert_eq!(count(halves), 0, "an event without its bytes");
        let halves = "SELECT count(*) FROM queue q WHERE NOT EXISTS(
                SELECT 1 FROM event_D e WHERE q.seq = e.seq) OR EXISTS(
                SELECT 1 FROM done_D d WHERE d.seq = q.seq AND d.slot = q.slot)";
        assert_eq!(
            count(halves),
            0,
            "a delivery without its event, or there twice"
        );
        let halves = "SELECT count(*) FROM dedup_D k WHERE NOT EXISTS(
                SELECT 1 FROM event_D e WHERE e.id = k.id)";
        assert_eq!(count(halves), 0, "a key without its event");
    }
}

/// Looks at everything that was told, in the file and through a store that is opened anew.
async fn check(bench: &Bench, told: &Told) {
    check_file(bench, told);
    let store = bench.open();
    for event in &told.accepted {
        let shown = shown(&store, event.id).await;
        assert_eq!(shown.event, *event);
        assert_eq!(shown.deliveries.len(), 1);
    }
    for (id, state) in &told.settled {
        assert_eq!(shown(&store, *id).await.deliveries[0].state, *state);
    }
    for number in 0..5 {
        let again = accept_one(&store, with_key(number, at(6))).await;
        let Accepted::Duplicate { first, .. } = again else {
            continue;
        };
        assert!(store.event(first).await.unwrap().is_some());
    }
    let live = depth(&store);
    let claimed = claim(&store, at(99)).await;
    assert_eq!(
        claimed.len() as u64,
        live,
        "every live delivery can be claimed"
    );
    store.close().await;
}

/// How many operations the story needs, from an empty folder to the closed store.
async fn operations() -> u64 {
    let disk = FaultyDisk::new();
    let mut bench = Bench::new();
    bench.vfs = Some(disk.name().to_owned());
    let store = bench.open();
    let told = story(&store).await;
    assert_eq!((told.accepted.len(), told.settled.len()), (6, 3));
    assert_eq!(told.refused, 0);
    store.close().await;
    check(&bench, &told).await;
    let operations = disk.operations();
    assert!(operations > 30, "{operations}");
    operations
}

/// Runs a story on as many disks as it has operations, each failing at another of them.
async fn sweep<F>(one: fn(u64) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut running = JoinSet::new();
    for number in 1..=operations().await {
        if running.len() >= TOGETHER {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(async move {
            let ran = tokio::spawn(one(number)).await;
            assert!(ran.is_ok(), "at operation {number}");
        });
    }
    while let Some(ran) = running.join_next().await {
        ran.unwrap();
    }
}

fn bench_on(disk: &FaultyDisk, fault: Fault) -> Bench {
    let mut bench = Bench::new();
    bench.vfs = Some(disk.name().to_owned());
    disk.set(fault);
    bench
}

/// Opens the store on a disk that may fail at that, which must leave a folder that can be opened.
async fn told_on(bench: &Bench) -> (Told, Option<Arc<dyn Store>>) {
    match bench.try_open() {
        Ok(store) => (story(&store).await, Some(store)),
        Err(_) => (Told::default(), None),
    }
}

async fn fails_once(number: u64) {
    let disk = FaultyDisk::new();
    let mut bench = bench_on(&disk, Fault::FailAt(number));
    let (told, store) = told_on(&bench).await;
    if let Some(store) = store {
        recovered(&store).await;
        store.close().await;
    }
    bench.vfs = None;
    check(&bench, &told).await;
}

async fn is_full_for_a_while(number: u64) {
    let disk = FaultyDisk::new();
    let mut bench = bench_on(&disk, Fault::FullFrom(number));
    let (told, store) = told_on(&bench).await;
    if let Some(store) = store {
        if disk.operations() > number {
            let late = store.accept(vec![new_event(at(5))]).await;
            assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
        }
        disk.set(Fault::None);
        recovered(&store).await;
        store.close().await;
    }
    disk.set(Fault::None);
    bench.vfs = None;
    check(&bench, &told).await;
}

async fn loses_power(number: u64) {
    let (mut bench, disk, told) = cut(number).await;
    disk.forget_unsynced().unwrap();
    bench.vfs = None;
    check(&bench, &told).await;
}

async fn is_gone(number: u64) {
    let (mut bench, _, told) = cut(number).await;
    bench.vfs = None;
    check(&bench, &told).await;
}

async fn cut(number: u64) -> (Bench, FaultyDisk, Told) {
    let disk = FaultyDisk::new();
    let bench = bench_on(&disk, Fault::CutAt(number));
    let (told, store) = told_on(&bench).await;
    if let Some(store) = store {
        store.close().await;
    }
    (bench, disk, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_once_loses_nothing_that_was_acknowledged() {
    sweep(fails_once).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_to_be_until_there_is_room() {
    sweep(is_full_for_a_while).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_loses_nothing_that_was_acknowledged() {
    sweep(loses_power).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_but_not_synced_may_stay_too() {
    sweep(is_gone).await;
}

/// The test of the tests: a disk that forgets more than it may is found out.
#[tokio::test]
async fn what_was_never_synced_is_forgotten() {
    let disk = FaultyDisk::new();
    let bench = bench_on(&disk, Fault::None);
    let open = || {
        let flags = rusqlite::OpenFlags::default();
        let path = bench.path().join("t.db");
        rusqlite::Connection::open_with_flags_and_vfs(path, flags, disk.name()).unwrap()
    };
    let file = open();
    file.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t(a);")
        .unwrap();
    file.execute_batch("INSERT INTO t VALUES(1); PRAGMA synchronous=NORMAL;")
        .unwrap();
    file.execute_batch("INSERT INTO t VALUES(2)").unwrap();
    disk.set(Fault::CutAt(0));
    drop(file);
    disk.forget_unsynced().unwrap();
    let file = rusqlite::Connection::open(bench.path().join("t.db")).unwrap();
    let kept: Vec<i64> = {
        let mut statement = file.prepare("SELECT a FROM t").unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    assert_eq!(kept, [1]);
}
