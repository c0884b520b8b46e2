//! That a worker records traces and hands them to the spool without allocating, once it has its buffers.
//!
//! A program of its own, for its allocator counts. That a record is written is not in the count: builds with
//! assertions read it again.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use tempfile::TempDir;
use weir::config::{Exporter, Fsync, Spool as Options};
use weir::export::Exporters;
use weir::export::spool::{Claim, Spool};
use weir::trace::recorder::Recorder;
use weir::trace::{Kind, SpanIndex, Status, record};
use weir_tests::kafka::settings;

thread_local! {
    /// By this thread: others do what they like.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counted.
struct Counted;

#[allow(unsafe_code, reason = "an allocator has no safe form")]
// SAFETY: everything is done by the system's own.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends has no count any more.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: what is asked for is what the caller asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: it was allocated above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// How many allocations this thread makes meanwhile.
fn allocations(of: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    of();
    ALLOCATIONS.get() - before
}

/// A request through a hook, with what is recorded of one.
fn record_request(recorder: &mut Recorder) {
    let now = Instant::now();
    recorder.begin(None, now);
    recorder.make_request_id();
    recorder.request_header("x-tenant", &["blue"]);
    let hook = recorder.span("plugin.auth.prehook", Kind::Plugin, SpanIndex::ROOT, now);
    recorder.attribute(hook, "weir.hook.decision", "continue");
    recorder.list(hook, "weir.hook.headers_changed", &["x-user"]);
    recorder.event(hook, "noted", &[("times", 2_i64.into())], now);
    recorder.end(hook, Status::Ok, "", now);
    let call = recorder.span("GET", Kind::HttpClient, hook, now);
    recorder.attributes(call, |attributes| {
        attributes.add("http.response.status_code", 200_i64);
        attributes.add("server.address", "orders.internal");
    });
    recorder.end(call, Status::Error, "timeout", now);
    recorder.rename_parts(SpanIndex::ROOT, &["GET", " ", "/orders/{id}"]);
    recorder.end(SpanIndex::ROOT, Status::Unset, "", now);
}

#[test]
fn the_count_counts() {
    assert_eq!(allocations(|| ()), 0);
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(7)))), 1);
}

#[test]
fn a_request_is_recorded_without_allocating() {
    let mut recorder = Recorder::default();
    record_request(&mut recorder);
    let again = || (0..1000).for_each(|_| record_request(&mut recorder));
    assert_eq!(allocations(again), 0);
}

#[test]
fn a_record_is_appended_to_a_segment_without_allocating() {
    let folder = TempDir::new().expect("a folder");
    let options = Options {
        max_bytes: 256 << 20,
        segment_bytes: 32 << 20,
        fsync: Fsync::Interval(Duration::from_millis(200)),
    };
    let spool = Spool::open(folder.path(), &options, Claim::Alone).expect("a spool");
    // Nobody listens there.
    let exporter = Exporter::Kafka(Box::new(settings("127.0.0.1:1", "traces")));
    let exporters = Exporters::start(
        &IndexMap::from([("traces".to_owned(), exporter)]),
        Some(spool),
    );
    let handoff = exporters.handoff();
    let mut recorder = Recorder::default();
    record_request(&mut recorder);
    let mut bytes = Vec::new();
    record::write(&recorder, &mut bytes);
    let append = || {
        let hold = handoff.append(|out| {
            out.extend_from_slice(&bytes);
            true
        });
        assert!(hold.is_none());
    };
    // The first has the segment laid out, and the buffer.
    append();
    // As many as have the keeper woken to prepare what comes next, and far from all that fit.
    let records = (4 << 20) / bytes.len();
    assert_eq!(allocations(|| (0..records).for_each(|_| append())), 0);
    drop(handoff);
    let status = exporters.shutdown(Instant::now());
    assert!(
        status[0].dropped.iter().all(|(_, count)| *count == 0),
        "{status:?}"
    );
}
