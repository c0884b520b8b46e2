//! Heads among the bytes of an HTTP/2 connection, and what they cost: the HTTP code passes over interim
//! responses, however many there are.

use crate::frames::{CONTINUATION, Frames, HEADERS};

/// What a frame costs beside its bytes, for the work that it makes.
const FRAME: usize = 256;

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Heads(Frames);

impl Heads {
    /// Of those that begin in these bytes, which come next.
    pub(super) fn cost(&mut self, bytes: &[u8]) -> usize {
        let mut cost = 0;
        self.0.read(bytes, |frame| {
            if [HEADERS, CONTINUATION].contains(&frame.kind) {
                cost += FRAME + frame.len;
            }
        });
        cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&len[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn heads_cost_their_bytes_and_the_work_and_nothing_else_does_however_they_are_cut() {
        let stream = [
            frame(HEADERS, &[7; 300]),
            frame(0, &vec![HEADERS; 70_000]),
            frame(6, &[0; 8]),
            frame(0, &[]),
            frame(CONTINUATION, &[]),
            frame(HEADERS, &[7]),
        ]
        .concat();
        for size in (1..20).chain([9 + 300, stream.len()]) {
            let mut heads = Heads::default();
            let cost: usize = stream.chunks(size).map(|piece| heads.cost(piece)).sum();
            assert_eq!(cost, 3 * FRAME + 301, "{size}");
        }
    }
}
