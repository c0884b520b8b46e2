use std::sync::mpsc::TryRecvError;

use tokio::task::LocalSet;

use super::*;
use crate::export::queue::{self, Receiver};
use crate::export::status::{Health, Meter, Reason};

struct Fixture {
    set: Set,
    meters: Vec<Arc<Meter>>,
    queues: Vec<Receiver>,
}

impl Fixture {
    /// Exporters whose queues hold so many bytes.
    fn new(limits: &[usize]) -> Self {
        let meters: Vec<Arc<Meter>> = limits.iter().map(|_| Arc::default()).collect();
        let (senders, queues) = limits
            .iter()
            .zip(&meters)
            .map(|(limit, meter)| {
                let (sender, receiver) = queue::bounded(*limit, meter.clone());
                (Sender::Memory(sender), receiver)
            })
            .unzip();
        Self {
            set: Arc::new(ArcSwap::from_pointee(senders)),
            meters,
            queues,
        }
    }

    fn handoff(&self) -> Handoff {
        Handoff::new(self.set.clone(), None, Local::default())
    }

    fn records(&self, exporter: usize) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.queues[exporter].try_recv().ok())
            .flat_map(|chunk| chunk.records().map(<[u8]>::to_vec).collect::<Vec<_>>())
            .collect()
    }

    fn dropped(&self, exporter: usize) -> u64 {
        let status = self.meters[exporter].status("", &Health::default());
        status.dropped(Reason::BufferFull)
    }
}

fn append(handoff: &Handoff, record: &[u8]) {
    handoff.append(|out| {
        out.extend_from_slice(record);
        true
    });
}

#[test]
fn records_come_out_as_they_went_in() {
    let fixture = Fixture::new(&[1 << 20]);
    let handoff = fixture.handoff();
    append(&handoff, b"one");
    append(&handoff, b"");
    append(&handoff, b"three");
    handoff.flush();
    assert_eq!(fixture.records(0), [&b"one"[..], b"", b"three"]);
}

#[test]
fn a_full_chunk_is_published_at_once() {
    let fixture = Fixture::new(&[1 << 20]);
    let handoff = fixture.handoff();
    append(&handoff, &vec![1; CHUNK_BYTES - 4]);
    assert!(fixture.records(0).is_empty());
    append(&handoff, &[2; 4]);
    assert_eq!(fixture.records(0).len(), 2);
}

#[test]
fn every_exporter_gets_every_record() {
    let fixture = Fixture::new(&[1 << 20, 1 << 20]);
    let handoff = fixture.handoff();
    append(&handoff, b"one");
    handoff.flush();
    assert_eq!(fixture.records(0), [b"one"]);
    assert_eq!(fixture.records(1), [b"one"]);
}

#[test]
fn what_has_no_room_is_dropped_for_that_exporter_alone_and_counted() {
    let fixture = Fixture::new(&[4096, 1 << 20]);
    let handoff = fixture.handoff();
    for size in [4000, 1000, 1000] {
        append(&handoff, &vec![0; size]);
        handoff.flush();
    }
    assert_eq!(fixture.records(0).len(), 1);
    assert_eq!(fixture.dropped(0), 2);
    assert_eq!(fixture.records(1).len(), 3);
    assert_eq!(fixture.dropped(1), 0);
}

#[test]
fn room_comes_back_when_a_chunk_is_taken() {
    let fixture = Fixture::new(&[4096]);
    let handoff = fixture.handoff();
    for _ in 0..3 {
        append(&handoff, &[0; 4000]);
        handoff.flush();
        assert_eq!(fixture.records(0).len(), 1);
    }
    assert_eq!(fixture.dropped(0), 0);
}

#[test]
fn without_exporters_nothing_is_kept() {
    let fixture = Fixture::new(&[]);
    let handoff = fixture.handoff();
    assert!(!handoff.is_enabled());
    handoff.append(|_| panic!("a record was asked for"));
}

#[test]
fn a_record_that_was_not_written_leaves_nothing() {
    let fixture = Fixture::new(&[1 << 20]);
    let handoff = fixture.handoff();
    handoff.append(|out| {
        out.push(1);
        false
    });
    append(&handoff, b"written");
    handoff.flush();
    assert_eq!(fixture.records(0), [b"written"]);
}

#[test]
fn a_dropped_handoff_publishes_what_it_has() {
    let fixture = Fixture::new(&[1 << 20]);
    append(&fixture.handoff(), b"last");
    assert_eq!(fixture.records(0), [b"last"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_lone_record_is_published_after_a_moment() {
    let fixture = Fixture::new(&[1 << 20]);
    let handoff = std::rc::Rc::new(fixture.handoff());
    let local = LocalSet::new();
    let flushing = handoff.clone();
    local.spawn_local(async move { flushing.flush_loop().await });
    let published = local.run_until(async {
        append(&handoff, b"alone");
        assert!(matches!(
            fixture.queues[0].try_recv(),
            Err(TryRecvError::Empty)
        ));
        loop {
            if let Ok(chunk) = fixture.queues[0].try_recv() {
                break chunk;
            }
            tokio::task::yield_now().await;
        }
    });
    let published = tokio::time::timeout(Duration::from_secs(30), published).await;
    assert_eq!(published.unwrap().len(), 1);
}
