//! The part of the story in which half of a provider's webhooks never come: a toy of Stripe's API, which
//! a poll asks for what was missed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use jiff::Timestamp;
use serde_json::{Value, json};

/// How long the first poll may take.
const POLL_TIME_MAX: Duration = Duration::from_secs(15);
/// The longest request that the toy reads.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;

/// Stripe's list of events.
#[derive(Clone, Default)]
pub(super) struct ToyStripe(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    /// The oldest first.
    events: Vec<Value>,
    asked: u32,
}

impl ToyStripe {
    /// Starts it; gives its address.
    pub(super) fn start(&self) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let toy = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // One that breaks off is asked again.
                let _ = toy.answer(stream);
            }
        });
        Ok(address)
    }

    /// Something happens at Stripe. Gives the event as a webhook carries it.
    pub(super) fn happens(&self, id: &str, now: Timestamp) -> String {
        let event = json!({
            "id": id, "object": "event", "type": "charge.refunded", "created": now.as_second(),
            "data": {"object": {"object": "charge", "amount": 1999, "currency": "eur"}},
        });
        let text = event.to_string();
        self.lock().events.push(event);
        text
    }

    /// Waits until it was polled.
    pub(super) fn wait(&self) -> anyhow::Result<()> {
        let state = self.lock();
        let (state, _) = self
            .0
            .1
            .wait_timeout_while(state, POLL_TIME_MAX, |state| state.asked == 0)
            .unwrap_or_else(PoisonError::into_inner);
        ensure!(state.asked > 0, "the provider was not polled");
        Ok(())
    }

    fn answer(&self, mut stream: TcpStream) -> anyhow::Result<()> {
        stream.set_read_timeout(Some(POLL_TIME_MAX))?;
        let mut lines = BufReader::new(stream.try_clone()?.take(REQUEST_BYTES_MAX)).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        while lines
            .next()
            .transpose()?
            .is_some_and(|line| !line.is_empty())
        {}
        let body = self.page(&first).to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut state = self.lock();
        state.asked += 1;
        self.0.1.notify_all();
        Ok(())
    }

    /// What is newer than what the request names, the newest first.
    fn page(&self, request: &str) -> Value {
        let state = self.lock();
        let query = request
            .split('?')
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let before = pairs.find(|(name, _)| name == "ending_before");
        let known = before.and_then(|(_, id)| {
            let mut events = state.events.iter();
            events.position(|event| event["id"].as_str() == Some(&*id))
        });
        let newer = state.events.iter().skip(known.map_or(0, |place| place + 1));
        let data: Vec<&Value> = newer.rev().collect();
        json!({"object": "list", "data": data, "has_more": false})
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file with Stripe's webhooks, and the poll that finds those that never came.
pub(super) fn configuration(api: SocketAddr, backend: SocketAddr, secret: &str) -> String {
    format!(
        r#"
server: {{listen: "127.0.0.1:0"}}
admin: {{listen: off}}
store: {{path: data}}
backends:
  toy: {{url: "http://{backend}"}}
routes:
  stripe:
    webhook:
      path: /hooks/stripe
      verify: {{provider: stripe, secrets: ["{secret}"]}}
    poll:
      preset: stripe_events
      with: {{key: demo-only-key, api: "http://{api}"}}
      schedule: {{interval: 300ms}}
    deliver: {{to: toy, mode: queue, sign: {{secret: "{secret}"}}}}
"#
    )
}
