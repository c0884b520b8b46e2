//! Requests that are no business of a plugin's that does harm: they come to the same worker all the while, and
//! each is to be answered as ever.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::client::Connection;
use weir_tests::wait::eventually;

/// How long they leave the worker to the harm.
const PAUSE: Duration = Duration::from_millis(2);

/// Left out by an exporter [`unless_others`].
const TRACE: &str = "00-0af7651916cd43dd8000000000000000-b7ad6b7169203331-01";

/// An exporter of all traces but theirs: it samples almost all.
pub(crate) fn unless_others(mut exporter: Value) -> Value {
    exporter["kafka"]["sampling"] = json!({ "ratio": 0.999_999 });
    exporter
}

/// One client, who asks for the same again and again.
pub(crate) struct Others {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    client: Option<JoinHandle<()>>,
}

impl Others {
    /// Begins, once the first has been answered.
    pub(crate) fn asking(address: SocketAddr, target: &'static str) -> Self {
        let (stop, answered): (Arc<AtomicBool>, Arc<AtomicUsize>) = Default::default();
        let (stops, counts) = (Arc::clone(&stop), Arc::clone(&answered));
        let client = thread::spawn(move || {
            let request =
                format!("GET {target} HTTP/1.1\r\nhost: test\r\ntraceparent: {TRACE}\r\n\r\n");
            let mut connection = Connection::open(address);
            while !stops.load(Ordering::Relaxed) {
                let response = connection.send(&request).receive().expect("an answer");
                let seen = (response.status, response.text());
                assert_eq!(seen, (200, "hello".to_owned()));
                counts.fetch_add(1, Ordering::Relaxed);
                thread::sleep(PAUSE);
            }
        });
        let others = Self {
            stop,
            answered,
            client: Some(client),
        };
        others.go_on();
        others
    }

    /// How many have been answered so far.
    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Each was answered with 200, and so is another that comes now.
    pub(crate) fn assert_unharmed(mut self) {
        self.go_on();
        self.stop.store(true, Ordering::Relaxed);
        let client = self.client.take().expect("it is taken once");
        client.join().expect("each was answered");
    }

    fn go_on(&self) {
        let before = self.answered();
        let is_broken = || self.client.as_ref().is_none_or(JoinHandle::is_finished);
        eventually("another is answered", || {
            (is_broken() || self.answered() > before).then_some(())
        });
    }
}

/// The client of a test that has failed ends too.
impl Drop for Others {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
