//! What a judgement costs for every preset that signs the body with an HMAC, as a multiple of the bare HMAC.
//!
//! `cargo bench --bench presets` prints a table: the presets of one shape share a row's worth of work, so
//! each is timed by itself, in turns with the bare HMAC, and the median of the ratios is shown.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken assumption of a benchmark must end it"
)]
#![allow(clippy::print_stdout, reason = "the table is for people")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use hookgate::config::presets;
use hookgate::event::Head;
use hookgate::secret::Secret;
use hookgate::signature::algorithm::{Algorithm, Hash};
use hookgate::signature::key::Key;
use hookgate::signature::place::Place;
use hookgate::signature::sign::Stamp;
use hookgate::signature::{Preset, Scheme, Terms, Verifier};
use jiff::Timestamp;
use sha1::Sha1;
use sha2::{Sha256, Sha512};

const SIZES: [usize; 2] = [1024, 64 * 1024];
const ROUNDS: usize = 31;
/// How long each side of a round runs.
const SLICE: Duration = Duration::from_millis(2);

struct Row {
    name: String,
    ratios: [f64; 2],
}

fn main() {
    let presets = presets::builtin().unwrap();
    let mut rows: Vec<Row> = presets.iter().filter_map(row).collect();
    rows.sort_by(|a, b| a.ratios[0].total_cmp(&b.ratios[0]));
    println!("{:24} {:>8} {:>8}", "preset", "1 KiB", "64 KiB");
    for row in &rows {
        let [small, large] = row.ratios;
        println!("{:24} {small:8.2} {large:8.3}", row.name);
    }
    let within = |at: usize, max: f64| rows.iter().filter(|row| row.ratios[at] <= max).count();
    println!(
        "{} presets: {} within 1.3 of the bare HMAC at 1 KiB, {} within 1.05 at 64 KiB",
        rows.len(),
        within(0, 1.3),
        within(1, 1.05)
    );
}

/// A preset whose first scheme signs the body, in a header, with an HMAC.
fn row(preset: &Preset) -> Option<Row> {
    let scheme = preset.schemes.first()?;
    let parts = scheme.parts();
    let Algorithm::Hmac(hash) = parts.algorithm else {
        return None;
    };
    let in_header = matches!(parts.place, Place::Header(_));
    let whole = parts.message.covers(&Place::Json("$.x".parse().ok()?));
    if !in_header || !whole || parts.for_each.is_some() {
        return None;
    }
    let ratios = SIZES.map(|size| ratio(preset, scheme, hash, size));
    Some(Row {
        name: preset.name.clone(),
        ratios,
    })
}

/// The median ratio of a judgement to the bare HMAC over the same body.
fn ratio(preset: &Preset, scheme: &Scheme, hash: Hash, size: usize) -> f64 {
    let parts = scheme.parts();
    let secret = Secret::new(preset.sample_secret.clone());
    let key = Key::new(parts.algorithm, &parts.key, &secret).unwrap();
    let terms = Terms {
        public_url: preset.sample.public_url.clone(),
        options: preset.sample.options.clone(),
    };
    let mut head = Head {
        method: "POST".into(),
        target: Bytes::from_static(b"/in"),
        host: None,
        headers: preset.sample.headers.clone(),
    };
    let now = Timestamp::from_second(1_767_225_600).unwrap();
    let stamp = Stamp {
        at: now,
        id: "msg_1",
    };
    // Behind a JSON text, white space is JSON still.
    let mut body = preset.sample.body.clone().into_bytes();
    scheme
        .sign(&key, &mut head, &mut body, &stamp, &terms)
        .unwrap();
    body.resize(size.max(body.len()), b' ');
    scheme
        .sign(&key, &mut head, body.as_slice(), &stamp, &terms)
        .unwrap();
    let verifier = Verifier::new(vec![(scheme.clone(), vec![key])], terms).unwrap();
    let judge = || {
        let request = verifier.terms().request(black_box(&head), &body);
        verifier.verify(&request, now).unwrap()
    };
    let bare: Box<dyn Fn() -> u8> = match hash {
        Hash::Sha1 => bare(Hmac::<Sha1>::new_from_slice(b"key").unwrap(), &body),
        Hash::Sha512 => bare(Hmac::<Sha512>::new_from_slice(b"key").unwrap(), &body),
        _ => bare(Hmac::<Sha256>::new_from_slice(b"key").unwrap(), &body),
    };
    let mut ratios: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let own = time(|| {
                black_box(judge());
            });
            let bare = time(|| {
                black_box(bare());
            });
            own / bare
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ROUNDS / 2]
}

fn bare<'b, M: Mac + Clone + 'b>(keyed: M, body: &'b [u8]) -> Box<dyn Fn() -> u8 + 'b> {
    Box::new(move || {
        let mut mac = keyed.clone();
        mac.update(black_box(body));
        mac.finalize().into_bytes()[0]
    })
}

/// Nanoseconds a call.
fn time(work: impl Fn()) -> f64 {
    let started = Instant::now();
    let mut calls = 0_u32;
    while started.elapsed() < SLICE {
        for _ in 0..4 {
            work();
        }
        calls += 4;
    }
    started.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
}
