//! `kill -9` at load, by each protocol and of each signal.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use weir::demo::consumer::Consumer;
use weir::otlp::Signal;
use weir_tests::wait::eventually;

use crate::ways::{Doors, PROTOCOLS, items, texts};
use crate::{Otlp, shared};

const CLIENTS: usize = 6;

/// What a client sends, and by which protocol: each signal by two, each protocol for two.
fn habit(client: usize) -> (Signal, &'static str) {
    let turn = client / PROTOCOLS.len();
    (Signal::ALL[(client + turn) % 3], PROTOCOLS[client % 3])
}

/// Reads a topic until all these items have come.
fn wait_for(topic: &str, signal: Signal, wanted: &HashSet<String>) {
    let consumer = Consumer::new(shared().address(), topic).expect("the topic can be read");
    let mut arrived = HashSet::new();
    eventually(&format!("all {} arrive", signal.as_str()), || {
        while let Ok(Some(message)) = consumer.recv(Duration::from_millis(100)) {
            arrived.extend(texts(signal, &message.payload));
        }
        wanted.is_subset(&arrived).then_some(())
    });
}

#[test]
fn a_kill_at_load_loses_nothing_that_was_acknowledged() {
    let folder = TempDir::new().expect("a folder");
    let mut otlp = Otlp::new("otlp_protobuf");
    otlp.config["data_dir"] = json!(folder.path());
    otlp.config["spool"] = json!({ "segment_bytes": "2MiB" });
    otlp.config["workers"] = json!(2);
    let mut acknowledged: [HashSet<String>; 3] = Default::default();
    for run in 0..4 {
        let mut weir = otlp.start();
        let doors = Doors::of(&weir);
        let stop = Arc::new(AtomicBool::new(false));
        let counts: Arc<[AtomicUsize; CLIENTS]> = Arc::default();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
                let (signal, protocol) = habit(client);
                thread::spawn(move || {
                    let mut seen = Vec::new();
                    for number in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let name = |item| format!("{run} {client} {number} {item}");
                        let names: Vec<String> = (0..5).map(name).collect();
                        let request = items(signal, &names);
                        let sent =
                            std::panic::catch_unwind(|| doors.export(signal, protocol, &request));
                        // The kill may come before an answer, or in the middle of one.
                        let Ok(answered) = sent else { break };
                        assert_eq!(answered, Ok(()), "{protocol}");
                        seen.extend(names);
                        counts[client].fetch_add(1, Ordering::Relaxed);
                    }
                    (signal, seen)
                })
            })
            .collect();
        eventually("the load of each is under way", || {
            let mut counts = counts.iter().map(|count| count.load(Ordering::Relaxed));
            counts.all(|count| count > 15 + 11 * run).then_some(())
        });
        weir.signal("KILL");
        weir.wait();
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            let (signal, seen) = client.join().expect("no panic");
            acknowledged[signal as usize].extend(seen);
        }
    }
    let _weir = otlp.start();
    for signal in Signal::ALL {
        let index = signal as usize;
        wait_for(&otlp.topics[index], signal, &acknowledged[index]);
    }
}
