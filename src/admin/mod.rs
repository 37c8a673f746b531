//! The operator's side: `/metrics`, `/healthz`, `/readyz` on a listener of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;

use crate::ingress::service::Gateway;
use crate::metrics::Metrics;

/// Whether the gateway still takes new work.
#[derive(Debug, Default)]
pub struct Readiness {
    draining: AtomicBool,
}

impl Readiness {
    /// Says that the gateway is about to stop.
    pub fn begin_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether it is about to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

/// Answers the operator's questions.
pub struct Admin {
    gateway: Arc<Gateway>,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
}

impl Admin {
    /// Looks at a running gateway.
    pub fn new(gateway: Arc<Gateway>, metrics: Arc<Metrics>, readiness: Arc<Readiness>) -> Self {
        Self {
            gateway,
            metrics,
            readiness,
        }
    }

    fn answer(&self, method: &str, path: &str) -> Response<Vec<u8>> {
        if !matches!(method, "GET" | "HEAD") {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        }
        match path {
            "/metrics" => self.metrics(),
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.readyz(),
            _ => text(
                StatusCode::NOT_FOUND,
                "known are /metrics, /healthz and /readyz\n",
            ),
        }
    }

    fn metrics(&self) -> Response<Vec<u8>> {
        for road in self.gateway.snapshot().roads.iter() {
            let (all, healthy) = road.health();
            for (state, count) in [("healthy", healthy), ("unhealthy", all - healthy)] {
                let labels = [road.backend().name.as_str(), state];
                let gauge = self.metrics.backend_addresses.with_label_values(&labels);
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        respond(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            self.metrics.exposition(),
        )
    }

    /// A backend that is down does not make the gateway unready: it still has an answer for the
    /// sender, and other routes have other backends. It is told in the detail.
    fn readyz(&self) -> Response<Vec<u8>> {
        let ready = !self.readiness.is_draining();
        let snapshot = self.gateway.snapshot();
        let mut backends: Vec<_> = snapshot.roads.iter().collect();
        backends.sort_by(|a, b| a.backend().name.cmp(&b.backend().name));
        let backends: serde_json::Map<_, _> = backends
            .into_iter()
            .map(|road| {
                let (addresses, healthy) = road.health();
                let detail = serde_json::json!({"addresses": addresses, "healthy": healthy});
                (road.backend().name.clone(), detail)
            })
            .collect();
        let detail = serde_json::json!({
            "ready": ready,
            "draining": !ready,
            "backends": backends,
        });
        let status = if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        respond(
            status,
            "application/json",
            format!("{detail}\n").into_bytes(),
        )
    }
}

fn text(status: StatusCode, body: &str) -> Response<Vec<u8>> {
    respond(
        status,
        "text/plain; charset=utf-8",
        body.as_bytes().to_vec(),
    )
}

fn respond(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let length = response.body().len().into();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    headers.insert(header::CONTENT_LENGTH, length);
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    response
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let header = session.req_header();
        let mut response = self.answer(header.method.as_str(), header.uri.path());
        if header.method == http::Method::HEAD {
            response.body_mut().clear();
        }
        response
    }
}
