//! What verifying costs beside the bare hash of the body.

#![expect(clippy::unwrap_used, reason = "a benchmark may stop where it fails")]

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hmac::{Hmac, KeyInit, Mac};
use hookgate::config::presets;
use hookgate::event::{Head, Header};
use hookgate::secret::Secret;
use hookgate::signature::key::Key;
use hookgate::signature::sign::Stamp;
use hookgate::signature::{Request, Terms, Verifier};
use jiff::Timestamp;
use sha2::Sha256;

fn verify(c: &mut Criterion) {
    let presets = presets::builtin().unwrap();
    for size in [1024, 64 * 1024] {
        let body = vec![b'x'; size];
        let mut group = c.benchmark_group("verify");
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(
            BenchmarkId::new("bare hmac-sha256", size),
            &body,
            |b, body| {
                let key = Hmac::<Sha256>::new_from_slice(b"key").unwrap();
                b.iter(|| {
                    let mut mac = key.clone();
                    mac.update(body);
                    mac.finalize()
                });
            },
        );
        for name in [
            "stripe",
            "github",
            "slack",
            "standardwebhooks",
            "discord",
            "sendgrid",
        ] {
            let preset = presets.find(name).unwrap();
            let scheme = preset.schemes.first().unwrap().clone();
            let secret = Secret::new(preset.sample_secret.clone());
            let key = || Key::new(scheme.parts().algorithm, &scheme.parts().key, &secret).unwrap();
            let now = Timestamp::from_second(1_767_225_600).unwrap();
            let mut head = Head {
                method: "POST".into(),
                target: Bytes::from_static(b"/hooks"),
                host: None,
                headers: preset
                    .sample
                    .headers
                    .iter()
                    .cloned()
                    .collect::<Vec<Header>>()
                    .into_iter()
                    .collect(),
            };
            scheme
                .sign(
                    &key(),
                    &mut head,
                    body.as_slice(),
                    &Stamp {
                        at: now,
                        id: "msg_1",
                    },
                    &Terms::default(),
                )
                .unwrap();
            let verifier = Verifier::new(vec![(scheme.clone(), vec![key()])], None).unwrap();
            group.bench_with_input(BenchmarkId::new(name, size), &body, |b, body| {
                b.iter(|| verifier.verify(&Request::new(&head, body), now).unwrap());
            });
        }
        group.finish();
    }
}

criterion_group!(benches, verify);
criterion_main!(benches);
