//! Heads of HTTP/2 that have no end, or become large only where they are decoded: refused before anybody sees
//! them, and they take no memory.

use std::io::Write as _;
use std::sync::atomic::Ordering;

use serde_json::json;
use weir_tests::http2::{Raw, frame, get_block_of};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;

use super::attacks::{ENHANCE_YOUR_CALM, assert_told_to_go, start_silent, until_cancelled};
use crate::{assert_hardly_grown, assert_serves, start};

#[test]
fn a_head_without_end_ends_the_connection() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, json!({}));
    // Nothing; as many whole fields as a frame has room for; a piece of a value that does not end.
    let field = [&[0, 1, b'x', 125][..], &[b'y'; 125]].concat();
    let endless = [0, 1, b'x', 0x7f, 0xff, 0xff, 0xff, 0x7f];
    for (begun, fragment) in [
        (&[][..], Vec::new()),
        (&[], field.repeat(127)),
        (&endless, vec![b'y'; 1 << 14]),
    ] {
        let served = upstream.seen().len();
        let continued = |round: u32| {
            if round == 0 {
                frame(1, 0, 1, &[&get_block_of("/"), begun].concat())
            } else {
                frame(9, 0, 1, &fragment)
            }
        };
        assert_told_to_go(&weir, Raw::open(weir.proxy()), continued, 1_000_000);
        // The one that looked whether it serves.
        assert_eq!(upstream.seen().len(), served + 1);
    }
}

/// A new entry of HPACK's table, that takes nearly all of it.
fn large_entry() -> Vec<u8> {
    [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'y'; 4000]].concat()
}

#[test]
fn references_to_a_large_entry_in_one_head_reach_nobody_and_take_no_memory() {
    const CONNECTIONS: usize = 50;
    // As literal, in Huffman's code.
    const TOO_LARGE: [u8; 5] = [0x48, 0x83, 0x69, 0x90, 0xff];
    let upstream = Upstream::hello();
    let weir = start(&upstream, json!({}));
    // Once decoded it is somewhat more than a head may have, or far more.
    for (references, is_far) in [(40, false), (12_000, true)] {
        let before = weir.peak_bytes();
        let bomb = [get_block_of("/"), large_entry(), vec![0xbe; references]].concat();
        let mut attacks: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let mut raw = Raw::open(weir.proxy());
                raw.0.write_all(&frame(1, 5, 1, &bomb)).expect("send");
                raw
            })
            .collect();
        for raw in &mut attacks {
            let (kind, payload) = loop {
                let (kind, _, _, payload) = raw.read().expect("an answer");
                if [1, 7].contains(&kind) {
                    break (kind, payload);
                }
            };
            let told = if is_far {
                kind == 7 && payload[4..8] == ENHANCE_YOUR_CALM
            } else {
                kind == 1 && payload.starts_with(&TOO_LARGE)
            };
            assert!(told, "{references}: {kind} {payload:x?}");
        }
        assert!(upstream.seen().is_empty());
        assert_hardly_grown(&weir, before);
    }
    assert_serves(&weir);
}

#[test]
fn small_references_to_a_large_entry_on_all_streams_hold_little_memory() {
    const STREAMS: usize = 100;
    let (weir, upstream, waiting) = start_silent();
    assert_serves(&weir);
    let before = weir.peak_bytes();
    let mut raw = Raw::open(weir.proxy());
    for number in 0..STREAMS {
        // Within what a head may have; the first makes the entry.
        let mut block = get_block_of("/never");
        if number == 0 {
            block.extend(large_entry());
        }
        block.extend([0xbe; 14]);
        let stream = u32::try_from(2 * number + 1).expect("a stream");
        raw.0.write_all(&frame(1, 5, stream, &block)).expect("send");
    }
    eventually("all are with the upstream", || {
        (waiting.load(Ordering::SeqCst) == STREAMS).then_some(())
    });
    assert_hardly_grown(&weir, before);
    let seen = upstream.seen();
    let large = seen.iter().filter(|seen| {
        let fields = seen.headers.iter().filter(|(name, _)| name == "x");
        fields.map(|(_, value)| value.len()).sum::<usize>() >= 14 * 4000
    });
    assert_eq!(large.count(), STREAMS);
    drop(raw);
    until_cancelled(&weir, &waiting);
}
