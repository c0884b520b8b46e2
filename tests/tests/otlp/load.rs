//! Senders that do not rest, and whether what they were told is safe is found in the topics.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use weir::demo::consumer::Consumer;
use weir::otlp::Signal;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::ways::{Doors, PROTOCOLS, items, texts};

const SENDERS: usize = 6;

/// Names of items, by signal.
pub(crate) type Acknowledged = [HashSet<String>; 3];

/// How many requests of a sender were answered.
#[derive(Debug, Default)]
struct Count {
    acknowledged: AtomicUsize,
    refused: AtomicUsize,
}

/// Senders until [`Load::end`], or until nobody listens.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    counts: Arc<[Count; SENDERS]>,
    senders: Vec<JoinHandle<(Signal, Vec<String>)>>,
}

/// What a sender sends, and by which protocol: each signal by two, each protocol for two.
fn habit(sender: usize) -> (Signal, &'static str) {
    let turn = sender / PROTOCOLS.len();
    (Signal::ALL[(sender + turn) % 3], PROTOCOLS[sender % 3])
}

impl Load {
    /// Of requests that nobody else sends. Those that are refused must be so by one of these statuses of
    /// HTTP and gRPC.
    pub(crate) fn start(weir: &Weir, run: &str, refusals: &'static [u16]) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let counts = Arc::<[Count; SENDERS]>::default();
        let doors = Doors::of(weir);
        let senders = (0..SENDERS).map(|sender| {
            let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
            let run = run.to_owned();
            let (signal, protocol) = habit(sender);
            thread::spawn(move || {
                let mut seen = Vec::new();
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let name = |item| format!("{run} {sender} {number} {item}");
                    let names: Vec<String> = (0..5).map(name).collect();
                    let request = items(signal, &names);
                    let sent =
                        std::panic::catch_unwind(|| doors.export(signal, protocol, &request));
                    // The receiver may end before an answer, or in the middle of one.
                    let Ok(answered) = sent else { break };
                    match answered {
                        Ok(()) => {
                            seen.extend(names);
                            counts[sender].acknowledged.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(status) => {
                            assert!(refusals.contains(&status), "{protocol}: {status}");
                            counts[sender].refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
                (signal, seen)
            })
        });
        let senders = senders.collect();
        Self {
            stop,
            counts,
            senders,
        }
    }

    /// Waits until so many more requests of each sender are acknowledged.
    pub(crate) fn wait_for(&self, more: usize) {
        self.wait("acknowledged", more, |count| &count.acknowledged);
    }

    /// Waits until so many more requests of each sender are refused.
    pub(crate) fn wait_for_refusals(&self, more: usize) {
        self.wait("refused", more, |count| &count.refused);
    }

    fn wait(&self, what: &str, more: usize, of: fn(&Count) -> &AtomicUsize) {
        let counts = || -> Vec<usize> {
            let counts = self.counts.iter();
            counts
                .map(|count| of(count).load(Ordering::Relaxed))
                .collect()
        };
        let before = counts();
        eventually(&format!("more of each sender are {what}"), || {
            let mut now = counts().into_iter().zip(&before);
            now.all(|(now, before)| now >= before + more).then_some(())
        });
    }

    /// Ends it, and adds what was acknowledged.
    pub(crate) fn end(self, acknowledged: &mut Acknowledged) {
        self.stop.store(true, Ordering::Relaxed);
        for sender in self.senders {
            let (signal, seen) = sender.join().expect("no panic");
            acknowledged[signal as usize].extend(seen);
        }
    }
}

/// Reads topics, of protobuf, until all these items have come.
pub(crate) fn wait_for(broker: &str, topics: &[String; 3], acknowledged: &Acknowledged) {
    for signal in Signal::ALL {
        let (topic, wanted) = (&topics[signal as usize], &acknowledged[signal as usize]);
        let consumer = Consumer::new(broker, topic).expect("the topic can be read");
        let mut arrived = HashSet::new();
        eventually(&format!("all {} arrive", signal.as_str()), || {
            while let Ok(Some(message)) = consumer.recv(Duration::from_millis(100)) {
                arrived.extend(texts(signal, &message.payload));
            }
            wanted.is_subset(&arrived).then_some(())
        });
    }
}
