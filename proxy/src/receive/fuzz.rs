//! What must hold of compressed bodies and gRPC's frames, whatever their bytes.

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
        decode(Bytes::copy_from_slice(body), encoding, LIMIT),
        message(body.to_vec(), encoding, LIMIT),
    ];
    for body in reads.into_iter().flatten() {
        assert!(body.len() <= LIMIT);
    }
}
