//! What must hold of compressed bodies and gRPC's frames, whatever their bytes.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::body::{Encoding, decode};
use super::grpc::message;
use crate::coding::Coding;

/// Most bytes of a body.
const LIMIT: usize = 4096;

const ENCODINGS: [Encoding; 4] = [
    Encoding::Identity,
    Encoding::Coded(Coding::Gzip),
    Encoding::Coded(Coding::Zstd),
    Encoding::Coded(Coding::Deflate),
];

/// What comes of work that waits for nobody, and only lets others have their turn.
fn finished<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}

/// Reads a body as OTLP/HTTP and OTLP/gRPC do; the first byte chooses how it is compressed.
///
/// # Panics
///
/// Where it becomes larger than it may.
pub fn otlp_body(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else {
        return;
    };
    let encoding = ENCODINGS[usize::from(*first) % ENCODINGS.len()];
    let reads = [
        finished(decode(Bytes::copy_from_slice(body), encoding, LIMIT)),
        finished(message(body.to_vec(), encoding, LIMIT)),
    ];
    for body in reads.into_iter().flatten() {
        assert!(body.len() <= LIMIT);
    }
}
