//! What a client of HTTP/2 does that it should not: it is closed or held back, and others see
//! nothing of it.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::http2::{Client, Raw, frame, get_block_of, run};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{assert_hardly_grown, assert_serves, counted, start};

/// What Weir says in its last frame to a client that floods (RFC 9113, section 7).
pub(super) const ENHANCE_YOUR_CALM: [u8; 4] = [0, 0, 0, 0xb];

/// Sends these frames again and again until Weir closes; asserts that it does before `most` of them, and
/// is not made to grow. Gives the reason that a GOAWAY told, where there was one.
#[track_caller]
fn assert_closed(
    weir: &Weir,
    mut raw: Raw,
    frames: impl Fn(u32) -> Vec<u8>,
    most: u32,
) -> Option<Vec<u8>> {
    let before = weir.peak_bytes();
    let mut reader = Raw(raw.0.try_clone().expect("clone"));
    let reading = std::thread::spawn(move || {
        let mut reason = None;
        while let Some((kind, _, _, payload)) = reader.read() {
            if kind == 7 {
                reason = payload.get(4..8).map(<[u8]>::to_vec);
            }
        }
        reason
    });
    let closed = (0..most).any(|round| raw.0.write_all(&frames(round)).is_err());
    assert!(closed, "not closed by {most} rounds");
    let _ = raw.0.shutdown(std::net::Shutdown::Both);
    let reason = reading.join().expect("the reader");
    assert_serves(weir);
    assert_hardly_grown(weir, before);
    reason
}

/// As [`assert_closed`], and that it is told to go.
#[track_caller]
pub(super) fn assert_told_to_go(weir: &Weir, raw: Raw, frames: impl Fn(u32) -> Vec<u8>, most: u32) {
    let reason = assert_closed(weir, raw, frames, most);
    assert_eq!(reason.as_deref(), Some(&ENHANCE_YOUR_CALM[..]));
}

/// As one flood, whoever met it.
fn eventually_counted(weir: &Weir) {
    eventually("the flood is counted", || {
        (counted(weir, "weir_http_cuts_total", "flood") == 1).then_some(())
    });
}

#[test]
fn floods_of_frames_that_carry_nothing_end_the_connection() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, json!({}));
    let many = |one: Vec<u8>| move |_: u32| one.repeat(100);
    for one in [
        frame(6, 0, 0, &[0; 8]),
        frame(4, 0, 0, &[]),
        frame(2, 0, 1, &[0, 0, 0, 0, 1]),
        frame(0xbb, 0, 0, &[]),
    ] {
        assert_closed(&weir, Raw::open(weir.proxy()), many(one), 100_000);
    }
    assert_eq!(counted(&weir, "weir_http_cuts_total", "flood"), 4);
}

/// An upstream that never answers what is asked for at `/never`, and how many wait there for it.
pub(super) fn start_silent() -> (Weir, Upstream, Arc<AtomicUsize>) {
    let (upstream, waiting) = Upstream::silent();
    let timeouts = json!({ "timeouts": { "head": "1h", "body": "1h" } });
    let mut config = crate::config(&upstream, timeouts);
    config["upstreams"]["up"]["timeouts"] = json!({ "response": "1h", "body": "1h" });
    (Weir::start(&config.to_string()), upstream, waiting)
}

/// All calls to the upstream have been cancelled: none would end by itself.
pub(super) fn until_cancelled(weir: &Weir, waiting: &AtomicUsize) {
    eventually("all calls are cancelled", || {
        let active = weir.count("weir_requests_active{route=\"all\"}");
        (active == 0 && waiting.load(Ordering::SeqCst) == 0).then_some(())
    });
}

/// How many requests wait for the upstream while a connection is attacked.
const WAITING: u32 = 50;

/// The client resets a stream (rapid reset).
fn own_reset(stream: u32) -> Vec<u8> {
    frame(3, 0, stream, &[0, 0, 0, 8])
}

/// Weir is to reset a stream (MadeYouReset): a window that grows too large is the stream's error.
fn made_reset(stream: u32) -> Vec<u8> {
    frame(8, 0, stream, &[0x7f, 0xff, 0xff, 0xff])
}

/// A connection with as many requests as [`WAITING`] says, all with the upstream.
fn with_waiting(weir: &Weir, waiting: &AtomicUsize) -> Raw {
    let mut raw = Raw::open(weir.proxy());
    for number in 0..WAITING {
        ask_for(&mut raw, 2 * number + 1, "/never");
    }
    eventually("all are with the upstream", || {
        (waiting.load(Ordering::SeqCst) == WAITING as usize).then_some(())
    });
    raw
}

/// Requests behind those, each reset at once: so many together that none is looked at between.
fn asked_and_reset(round: u32, reset: fn(u32) -> Vec<u8>) -> Vec<u8> {
    let streams = (0..100).map(|number| 2 * (WAITING + 100 * round + number) + 1);
    let pair = |stream| [frame(1, 5, stream, &get_block_of("/never")), reset(stream)].concat();
    streams.flat_map(pair).collect()
}

#[track_caller]
fn assert_resets_end_the_connection(reset: fn(u32) -> Vec<u8>) {
    let (weir, _upstream, waiting) = start_silent();
    let raw = with_waiting(&weir, &waiting);
    assert_told_to_go(&weir, raw, |round| asked_and_reset(round, reset), 10_000);
    eventually_counted(&weir);
    until_cancelled(&weir, &waiting);
}

#[test]
fn requests_that_are_reset_at_once_end_the_connection() {
    assert_resets_end_the_connection(own_reset);
}

#[test]
fn requests_that_weir_is_made_to_reset_end_the_connection() {
    assert_resets_end_the_connection(made_reset);
}

#[test]
fn a_stream_that_is_reset_ends_its_call_and_not_the_connection() {
    let (weir, _upstream, waiting) = start_silent();
    for reset in [own_reset, made_reset] {
        let mut raw = with_waiting(&weir, &waiting);
        for number in 0..WAITING {
            raw.0.write_all(&reset(2 * number + 1)).expect("send");
        }
        until_cancelled(&weir, &waiting);
        raw.0.write_all(&frame(6, 0, 0, b"is there")).expect("send");
        let answer = loop {
            match raw.read().expect("a frame") {
                (6, 1, _, payload) => break payload,
                (kind, ..) => assert_ne!(kind, 7, "it is told to go"),
            }
        };
        assert_eq!(answer, b"is there");
    }
}

#[test]
fn data_without_bytes_ends_the_connection() {
    let (weir, _upstream, waiting) = start_silent();
    let empty = |round: u32| {
        if round == 0 {
            frame(1, 4, 1, &get_block_of("/never"))
        } else {
            frame(0, 0, 1, &[]).repeat(100)
        }
    };
    assert_told_to_go(&weir, Raw::open(weir.proxy()), empty, 100_000);
    until_cancelled(&weir, &waiting);
}

#[test]
fn a_stream_whose_window_never_opens_is_reset_and_the_upstream_held_back() {
    const LEN: usize = 1 << 28;
    let (stalled, stalls) = mpsc::channel();
    let stalled = Mutex::new(stalled);
    let upstream = Upstream::new(move |seen, stream| {
        if seen.target == "/" {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
            return;
        }
        let patience = Some(Duration::from_secs(1));
        stream.set_write_timeout(patience).expect("a write timeout");
        let _ = stream
            .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {LEN}\r\n\r\n").as_bytes());
        let mut sent = 0;
        while sent < LEN {
            match stream.write(&[b'x'; 1 << 14]) {
                Ok(len) => sent += len,
                Err(_) => break,
            }
        }
        stalled.lock().expect("lock").send(sent).expect("the test");
    });
    let weir = start(&upstream, json!({ "timeouts": { "send": "2500ms" } }));
    let mut raw = Raw::open(weir.proxy());
    // A window of nothing, and two requests.
    raw.0
        .write_all(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]))
        .expect("send");
    ask_for(&mut raw, 1, "/large");
    ask_for(&mut raw, 3, "/");
    let mut reset = Vec::new();
    while reset.len() < 2 {
        let (kind, _, stream, _) = raw.read().expect("a frame");
        if kind == 3 {
            reset.push(stream);
        }
        assert_ne!(kind, 0, "data without a window");
    }
    let sent = stalls.recv().expect("the upstream stalls");
    assert!(sent < LEN / 8, "{sent} bytes were taken");
    drop(raw);
    eventually("they are counted", || {
        (counted(&weir, "weir_http_cuts_total", "stalled") == 2).then_some(())
    });
    let aborted = weir.count("weir_requests_aborted_total{route=\"all\"}");
    assert_eq!(
        aborted, 1,
        "the small one's trace was complete before it waited"
    );
    assert_serves(&weir);
}

/// A connection on which streams have this window, and the connection enough for all.
fn with_window(weir: &Weir, window: u32) -> Raw {
    let mut raw = Raw::open(weir.proxy());
    let setting = [&[0, 4][..], &window.to_be_bytes()].concat();
    raw.0.write_all(&frame(4, 0, 0, &setting)).expect("send");
    open_window(&mut raw, 0, 1 << 20).expect("send");
    raw
}

fn open_window(raw: &mut Raw, stream: u32, by: u32) -> std::io::Result<()> {
    raw.0.write_all(&frame(8, 0, stream, &by.to_be_bytes()))
}

fn ask_for(raw: &mut Raw, stream: u32, path: &str) {
    let head = frame(1, 5, stream, &get_block_of(path));
    raw.0.write_all(&head).expect("send");
}

/// `/large` is answered with so many bytes.
fn add_large(config: &mut Value, len: usize) {
    let large = json!({ "match": { "path": "/large" }, "respond": { "body": "x".repeat(len) } });
    let routes = config["routes"].as_array_mut().expect("routes");
    routes.insert(0, large);
}

#[test]
fn a_client_that_is_slow_and_steady_has_all_of_a_response_however_long_it_takes() {
    const LEN: usize = 60_000;
    const ROUNDS: usize = 12;
    let mut config = crate::config(
        &Upstream::hello(),
        json!({ "timeouts": { "head": "1s", "send": "10s" } }),
    );
    add_large(&mut config, LEN);
    config["shutdown_grace"] = json!("5m");
    let mut weir = Weir::start(&config.to_string());
    let window = u32::try_from(LEN / ROUNDS).expect("a window");
    let mut raw = with_window(&weir, window);
    ask_for(&mut raw, 1, "/large");
    let (mut taken, mut windows, mut ended) = (0, 1, false);
    while !ended {
        let (kind, flags, _, payload) = raw.read().expect("a frame");
        if kind == 0 {
            taken += payload.len();
            ended = flags & 1 == 1;
        }
        assert_ne!(kind, 3, "reset after {taken} bytes");
        if taken == windows * LEN / ROUNDS && windows < ROUNDS {
            windows += 1;
            // All in all longer than it may be idle, and half of it in a drain.
            std::thread::sleep(Duration::from_millis(700));
            if windows == ROUNDS / 2 {
                weir.signal("TERM");
            }
            open_window(&mut raw, 1, window).expect("send");
        }
    }
    assert_eq!(taken, LEN);
    drop(raw);
    assert_eq!(weir.wait().code(), Some(0));
}

/// What is asked for at `/drip` never ends, and comes byte by byte as the client opens the window.
fn start_dripping() -> Weir {
    let upstream = Upstream::new(|seen, stream| {
        let body = if seen.target == "/drip" { 1 << 22 } else { 5 };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {body}\r\n\r\n");
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&vec![b'x'; body]);
    });
    let timeouts = json!({ "timeouts": { "send": "500ms", "head": "500ms" } });
    let mut config = crate::config(&upstream, timeouts);
    add_large(&mut config, 60_000);
    Weir::start(&config.to_string())
}

#[test]
fn a_large_response_of_which_nothing_leaves_is_reset_while_another_drips() {
    let weir = start_dripping();
    let mut raw = with_window(&weir, 1);
    ask_for(&mut raw, 1, "/large");
    ask_for(&mut raw, 3, "/drip");
    let mut reset = 0;
    while reset == 0 {
        match raw.read().expect("a frame") {
            (0, 0, 3, _) => open_window(&mut raw, 3, 1).expect("send"),
            (3, _, stream, _) => reset = stream,
            _ => {}
        }
    }
    assert_eq!(reset, 1);
    drop(raw);
    eventually("it is counted", || {
        (counted(&weir, "weir_http_cuts_total", "stalled") == 1).then_some(())
    });
    assert_serves(&weir);
}

#[test]
fn small_responses_of_which_nothing_leaves_end_a_connection_on_which_another_drips() {
    let weir = start_dripping();
    let mut raw = with_window(&weir, 1);
    for stream in 0..50 {
        ask_for(&mut raw, 2 * stream + 1, "/");
    }
    ask_for(&mut raw, 101, "/drip");
    // Each byte of the one is answered with room for another.
    while let Some((kind, flags, stream, _)) = raw.read() {
        assert_ne!(kind, 3, "stream {stream} was reset");
        assert_ne!((kind, flags), (0, 1), "stream {stream} has ended");
        if (kind, stream) == (0, 101) && open_window(&mut raw, 101, 1).is_err() {
            break;
        }
    }
    eventually("it is counted", || {
        (counted(&weir, "weir_http_cuts_total", "stalled") == 1).then_some(())
    });
    assert_serves(&weir);
}

#[test]
fn a_stream_whose_window_stays_small_is_reset_while_another_is_open() {
    const LEN: usize = 160_000;
    // Of the other one.
    let upstream = Upstream::new(|_, _| std::thread::park());
    let mut config = crate::config(&upstream, json!({ "timeouts": { "send": "300ms" } }));
    add_large(&mut config, LEN);
    let weir = Weir::start(&config.to_string());
    for window in [1, 1 << 16, LEN - 1] {
        let mut raw = with_window(&weir, u32::try_from(window).expect("a window"));
        ask_for(&mut raw, 1, "/");
        ask_for(&mut raw, 3, "/large");
        let mut taken = 0;
        loop {
            match raw.read().expect("a frame") {
                (0, flags, 3, data) => {
                    assert_eq!(flags & 1, 0, "the end of {LEN} bytes in {window}");
                    taken += data.len();
                }
                (3, _, stream, _) => {
                    assert_eq!(stream, 3);
                    break;
                }
                _ => {}
            }
        }
        assert_eq!(taken, window);
    }
    eventually("they are counted", || {
        (counted(&weir, "weir_http_cuts_total", "stalled") == 3).then_some(())
    });
}

#[test]
fn a_client_that_takes_nothing_is_cut_over_http1_too() {
    let upstream = Upstream::new(|_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 1 << 28);
        let _ = stream.write_all(head.as_bytes());
        while stream.write(&[b'x'; 1 << 14]).is_ok() {}
    });
    let weir = start(&upstream, json!({ "timeouts": { "send": "300ms" } }));
    let mut client = TcpStream::connect(weir.proxy()).expect("connect");
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .expect("send");
    eventually("it is cut", || {
        (counted(&weir, "weir_http_cuts_total", "stalled") == 1).then_some(())
    });
    eventually("its request has ended", || {
        (weir.count("weir_requests_aborted_total{route=\"all\"}") == 1).then_some(())
    });
}

#[test]
fn others_are_served_while_one_floods() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, json!({}));
    let address = weir.proxy();
    let stop: Arc<AtomicBool> = Arc::default();
    let stopped = Arc::clone(&stop);
    let flooding = std::thread::spawn(move || {
        let pings = frame(6, 0, 0, &[0; 8]).repeat(100);
        while !stopped.load(Ordering::Relaxed) {
            let mut raw = Raw::open(address);
            while raw.0.write_all(&pings).is_ok() {}
        }
    });
    run(async {
        let client = Client::open(address).await;
        for _ in 0..200 {
            assert_eq!(client.get("/").await.expect("a response").text(), "hello");
        }
    });
    stop.store(true, Ordering::Relaxed);
    flooding.join().expect("the flood");
}
