//! What takes too long, is too much or too many ends within its limit, and nobody else notices.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::backend::{FakeBackend, Response};
use crate::support::client::{Client, Request, send};
use crate::support::gateway::Gateway;
use crate::support::github::noise;
use crate::support::h2c::H2Client;

const REFUSED: &str = "hookgate_connections_refused_total";

async fn start(backend: &FakeBackend, server: &str) -> Gateway {
    Gateway::start(&format!(
        "
server: {{listen: 127.0.0.1:0, {server}}}
admin: {{listen: 127.0.0.1:0}}
backends: {{app: {{url: {url}, timeout: {{response: 20s}}}}}}
routes:
  open: {{webhook: {{path: /open, body_max: 64KiB}}, deliver: {{to: app}}}}
",
        url = backend.url(),
    ))
    .await
}

async fn is_served(gateway: &Gateway) {
    let response = send(gateway.addr(), &Request::post("/open").body("{}")).await;
    assert_eq!(response.status, 200);
}

fn lasts(started: Instant, least_ms: u64, most_ms: u64) {
    let took = started.elapsed();
    let expected = Duration::from_millis(least_ms)..Duration::from_millis(most_ms);
    assert!(expected.contains(&took), "took {took:?}");
}

#[tokio::test]
async fn a_silent_client_is_closed() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "timeout: {head: 500ms}").await;
    let started = Instant::now();
    let mut silent = Client::connect(gateway.addr()).await;
    let mut others = Vec::new();
    // What HTTP/2 begins with, too.
    let begun = [
        ("P", 408),
        ("PR", 408),
        ("POST / HT", 408),
        ("PRI * HTTP/2.0\r\n\r\n", 400),
    ];
    for (start, status) in begun {
        let mut client = Client::connect(gateway.addr()).await;
        client.send_raw(start.as_bytes()).await.unwrap();
        others.push((client, status));
    }
    assert!(silent.is_closed().await);
    for (mut client, status) in others {
        assert_eq!(client.read_response().await.status, status);
        assert!(client.is_closed().await);
    }
    lasts(started, 450, 3000);
    is_served(&gateway).await;
}

#[tokio::test]
async fn a_head_that_drips_is_cut() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "timeout: {head: 3s}").await;
    let started = Instant::now();
    let stream = TcpStream::connect(gateway.addr()).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let drip = tokio::spawn(async move {
        for byte in b"POST /open HTTP/1.1\r\nHost: x\r\n\r\n" {
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    });
    let mut answer = Vec::new();
    let _ = read.read_to_end(&mut answer).await;
    lasts(started, 2900, 6500);
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{answer:?}");
    drip.abort();
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn a_body_that_drips_is_cut() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "timeout: {body: 60s, piece: 30s}").await;
    let addr = gateway.addr();
    let pause = Duration::from_secs(2);
    let slow = Request::post("/open").body(noise(60)).trickle(1, pause);
    let started = Instant::now();
    let declared = async { Client::connect(addr).await.request(&slow).await };
    let chunked = slow.clone().chunked(&[60]);
    let chunked = async { Client::connect(addr).await.request(&chunked).await };
    let http2 = async { H2Client::connect(addr).await.request(&slow).await };
    let (declared, chunked, http2) = tokio::join!(declared, chunked, http2);
    // The grace of five seconds, and next to nothing for a byte.
    lasts(started, 4900, 8000);
    assert_eq!([declared.status, chunked.status, http2.status], [408; 3]);
    assert_eq!(backend.count(), 0);
    // Above the minimum rate, a body may take longer than the grace.
    let pause = Duration::from_millis(100);
    let steady = Request::post("/open").body(noise(8000)).trickle(200, pause);
    assert_eq!(send(addr, &steady).await.status, 200);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "timeout: {idle: 500ms, head: 20s}").await;
    let mut client = Client::connect(gateway.addr()).await;
    for _ in 0..2 {
        assert_eq!(client.request(&Request::post("/open")).await.status, 200);
    }
    let started = Instant::now();
    assert!(client.is_closed().await);
    lasts(started, 400, 3000);
    let http2 = H2Client::connect(gateway.addr()).await;
    assert_eq!(http2.request(&Request::post("/open")).await.status, 200);
    let closed = async {
        while gateway.metric("hookgate_connections", &[]).await != Some(0.0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), closed)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_request_has_a_total_time() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "timeout: {request: 1s}").await;
    backend.respond_once(Response::new(200).delay(Duration::from_secs(10)));
    let started = Instant::now();
    let late = send(gateway.addr(), &Request::post("/open")).await;
    assert_eq!(late.status, 504);
    assert_eq!(late.header("hookgate-reason"), Some("request_timeout"));
    let pause = Duration::from_millis(300);
    let slow = Request::post("/open").body(noise(10)).trickle(1, pause);
    let slow = send(gateway.addr(), &slow).await;
    assert_eq!(slow.status, 408);
    lasts(started, 1900, 6000);
    let labels = [("reason", "request_slow"), ("route", "open")];
    gateway
        .wait_for_metric("hookgate_requests_total", &labels, 1.0)
        .await;
    let labels = [("outcome", "request_timeout"), ("backend", "app")];
    gateway
        .wait_for_metric("hookgate_backend_answers_total", &labels, 1.0)
        .await;
    is_served(&gateway).await;
}

#[tokio::test]
async fn a_connection_has_a_number_of_requests() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "limits: {requests_per_connection: 3}").await;
    let mut client = Client::connect(gateway.addr()).await;
    for last in [false, false, true] {
        let response = client.request(&Request::post("/open")).await;
        assert_eq!(response.header("connection") == Some("close"), last);
    }
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn heads_are_bounded_in_bytes_and_lines() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "limits: {head_bytes: 16KiB, headers: 50}").await;
    let lines = |count: usize, length: usize| {
        let mut request = Request::post("/open");
        for number in 2..count {
            request = request.header(&format!("X-{number}"), vec![b'x'; length]);
        }
        request
    };
    let http2 = H2Client::connect(gateway.addr()).await;
    // Host and Content-Length count.
    assert_eq!(send(gateway.addr(), &lines(50, 10)).await.status, 200);
    assert_eq!(send(gateway.addr(), &lines(51, 10)).await.status, 431);
    assert_eq!(http2.request(&lines(52, 10)).await.status, 431);
    assert_eq!(send(gateway.addr(), &lines(10, 1900)).await.status, 200);
    for bomb in [
        lines(10, 2100),
        lines(3, 20_000),
        lines(3, 3_000_000),
        lines(60_000, 100),
    ] {
        let response = Client::connect(gateway.addr())
            .await
            .try_request(&bomb)
            .await;
        assert_eq!(response.unwrap().status, 431);
    }
    let over = http2.try_request(&lines(3, 20_000)).await;
    assert!(over.is_err() || over.is_ok_and(|response| response.status == 431));
    let target = Request::post(&format!("/{}", "a".repeat(20_000)));
    assert_eq!(send(gateway.addr(), &target).await.status, 431);
    let labels = [("reason", "head_too_large")];
    gateway
        .wait_for_metric("hookgate_requests_total", &labels, 5.0)
        .await;
    let labels = [("reason", "headers_too_many")];
    gateway
        .wait_for_metric("hookgate_requests_total", &labels, 2.0)
        .await;
    is_served(&gateway).await;
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_in_every_framing() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "timeout: {idle: 5s}").await;
    let big = Request::post("/open").body(noise(10 << 20));
    let chunked = big.clone().chunked(&[1 << 20; 10]);
    assert_eq!(send(gateway.addr(), &big).await.status, 413);
    assert_eq!(send(gateway.addr(), &chunked).await.status, 413);
    let http2 = H2Client::connect(gateway.addr()).await;
    assert_eq!(http2.request(&big).await.status, 413);
    assert_eq!(http2.request(&chunked).await.status, 413);
    assert_eq!(backend.count(), 0);
    is_served(&gateway).await;
}

#[tokio::test]
async fn connections_beyond_the_total_are_closed_at_once() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "limits: {connections: 3}").await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(gateway.addr()).await;
        assert_eq!(client.request(&Request::post("/open")).await.status, 200);
        held.push(client);
    }
    let started = Instant::now();
    assert!(Client::connect(gateway.addr()).await.is_closed().await);
    lasts(started, 0, 2000);
    gateway
        .wait_for_metric(REFUSED, &[("reason", "total")], 1.0)
        .await;
    for client in &mut held {
        assert_eq!(client.request(&Request::post("/open")).await.status, 200);
    }
    held.pop();
    let served = async {
        let request = Request::post("/open");
        while Client::connect(gateway.addr())
            .await
            .try_request(&request)
            .await
            .is_err()
        {}
    };
    tokio::time::timeout(Duration::from_secs(5), served)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_thousand_connections_from_one_address_leave_the_others_alone() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "limits: {connections_per_address: 100}").await;
    let mut open = Vec::new();
    for _ in 0..1000 {
        open.push(TcpStream::connect(gateway.addr()).await.unwrap());
    }
    gateway
        .wait_for_metric(REFUSED, &[("reason", "per_address")], 900.0)
        .await;
    assert_eq!(
        gateway.metric("hookgate_connections", &[]).await,
        Some(100.0)
    );
    // Another address of this machine.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(gateway.addr()).await.unwrap();
    other
        .write_all(&Request::post("/open").to_bytes("x"))
        .await
        .unwrap();
    let mut answer = [0; 15];
    other.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_read_within_bounds() {
    let backend = FakeBackend::start().await;
    let gateway = start(&backend, "timeout: {body: 60s}").await;
    for head in [
        "POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n",
        "POST /nowhere HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    ] {
        let stream = TcpStream::connect(gateway.addr()).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        write.write_all(head.as_bytes()).await.unwrap();
        let started = Instant::now();
        let endless = tokio::spawn(async move {
            let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
            let mut sent = 0;
            while write.write_all(chunk.as_bytes()).await.is_ok() {
                sent += chunk.len();
            }
            sent
        });
        let mut answer = [0; 12];
        read.read_exact(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 40"), "{answer:?}");
        let sent = endless.await.unwrap();
        lasts(started, 0, 4000);
        // What the gateway read, and what the two sockets hold.
        assert!(sent < 16 << 20, "{sent} bytes went out after {head:?}");
    }
    is_served(&gateway).await;
}
