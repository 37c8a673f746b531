//! What each stage of a request costs beside its signature: the route, the limits, the memory of
//! events, the metrics, the head for the backend.

#![expect(clippy::unwrap_used, reason = "a benchmark may stop where it fails")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use hookgate::clock::SystemClock;
use hookgate::event::{Head, Headers};
use hookgate::ingress::dedup::memory::MemoryLedger;
use hookgate::ingress::dedup::{DedupRule, KeySource, Recorded, Standing};
use hookgate::ingress::head;
use hookgate::ingress::ranges::{FeedRanges, Ranges};
use hookgate::ingress::rate_limit::{LimitQuota, Limiter, LocalLimiter};
use hookgate::ingress::router::{HostPattern, PathPattern, Router};
use hookgate::metrics::Metrics;
use hookgate::signature::place::Place;
use ipnet::IpNet;

const RAW: &str = "POST /hooks/route50 HTTP/1.1\r\nHost: hooks.example.com\r\n\
    User-Agent: GitHub-Hookshot/044aadd\r\nContent-Type: application/json\r\nAccept: */*\r\n\
    X-GitHub-Event: push\r\nX-GitHub-Delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958\r\n\
    X-Hub-Signature-256: sha256=0\r\nContent-Length: 1024\r\n\r\n";

fn request_head() -> Head {
    head::from_http1(&Bytes::from_static(RAW.as_bytes()), 100).unwrap()
}

fn stages(c: &mut Criterion) {
    let raw = Bytes::from_static(RAW.as_bytes());
    c.bench_function("head: read from its bytes", |b| {
        b.iter(|| head::from_http1(&raw, 100).unwrap())
    });

    let mut router = Router::default();
    for n in 0..100 {
        let path = PathPattern::parse(&format!("/hooks/route{n}")).unwrap();
        router
            .add(HostPattern::Any, &path, &["POST".to_owned()], n)
            .unwrap();
    }
    let head = request_head();
    c.bench_function("match: one of 100 routes", |b| {
        b.iter(|| *router.find(&head).unwrap().0)
    });

    let million = NonZeroU32::new(1_000_000_000).unwrap();
    let quota = LimitQuota {
        count: million,
        per: Duration::from_secs(1),
        burst: million,
    };
    let limiter = LocalLimiter::new(quota, Arc::new(SystemClock)).unwrap();
    let mut key = 0_u64;
    c.bench_function("limit: one of 10,000 buckets", |b| {
        b.iter(|| {
            key = (key + 1) % 10_000;
            limiter.take(key)
        });
    });

    let metrics = Metrics::new().unwrap();
    c.bench_function("metrics: what one request counts", |b| {
        b.iter(|| {
            metrics
                .requests
                .with_label_values(&["bench", "accepted", ""])
                .inc();
            metrics
                .duration
                .with_label_values(&["bench"])
                .observe(0.001);
            metrics
                .verify
                .with_label_values(&["bench"])
                .observe(0.000_01);
            metrics
                .request_bytes
                .with_label_values(&["bench"])
                .inc_by(1024);
            metrics
                .response_bytes
                .with_label_values(&["bench"])
                .inc_by(2);
            metrics.backend.with_label_values(&["app"]).observe(0.001);
            metrics
                .backend_answers
                .with_label_values(&["app", "2xx"])
                .inc();
        });
    });
}

/// As many ranges as a cloud publishes; what a hundred cost is told beside them.
fn addresses(c: &mut Criterion) {
    for count in [6_u32, 100, 10_000] {
        let nets: Vec<IpNet> = (0..count)
            .map(|n| {
                let first = Ipv4Addr::from_bits((n + 1) << 16 | 0x100);
                IpNet::new(first.into(), 24).unwrap()
            })
            .collect();
        let feed = FeedRanges::default();
        feed.replace(Arc::new(Ranges::new(nets.iter().copied())));
        // In none of them: the most that a look costs.
        let stranger: IpAddr = Ipv4Addr::from_bits((count / 2) << 16 | 0xff00).into();
        c.bench_function(
            &format!("address: not among {count} ranges of a feed"),
            |b| b.iter(|| feed.contains(black_box(stranger))),
        );
        c.bench_function(
            &format!("address: not among {count} ranges, each asked"),
            |b| b.iter(|| nets.iter().any(|net| net.contains(&black_box(stranger)))),
        );
    }
}

fn dedup(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let ledger = MemoryLedger::new();
    let rule = DedupRule {
        namespace: "bench".into(),
        key: KeySource::First(vec![Place::Header("X-Event".into())]),
        window: Duration::from_secs(3_600),
        wait: Duration::from_secs(1),
        let_through: None,
    };
    let mut n = 0_u64;
    c.bench_function("dedup: claim and settle a new event", |b| {
        b.iter(|| {
            n += 1;
            let mut headers = Headers::default();
            headers.push("X-Event", n.to_string());
            let head = Head {
                headers,
                ..request_head_without_headers()
            };
            let claim = rule.claim(ledger.as_ref(), &head, b"", &SystemClock);
            if let Ok(Standing::New(Some(ticket))) = runtime.block_on(claim) {
                let headers = Vec::new();
                ticket.settle(Recorded {
                    status: 200,
                    headers,
                    body: Some(Bytes::new()),
                });
            }
        });
    });
}

fn request_head_without_headers() -> Head {
    Head {
        method: "POST".into(),
        target: Bytes::from_static(b"/hooks"),
        host: None,
        headers: Headers::default(),
    }
}

criterion_group!(benches, stages, addresses, dedup);
criterion_main!(benches);
