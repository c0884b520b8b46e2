//! Ends an HTTP/2 connection whose client sends frames that cost work and carry nothing: pings,
//! settings, priorities, window updates, resets, continuations, empty data.
//!
//! Each such frame takes from an allowance; requests and bodies, in either direction, give to it,
//! and so does time. So a client may answer as often as it is given something to answer to, and may
//! reset some of its requests, but not do only that. It reads frame headers alone, as they pass.

use std::time::Instant;

use crate::frames::{DATA, Frame, Frames, HEADERS};

/// What may be sent at once, and the most that is saved up.
const ALLOWANCE: i64 = 4000;
/// What each second gives.
const A_SECOND: i64 = 200;

/// See the module's documentation.
pub(super) struct Flood {
    allowance: i64,
    refilled: Instant,
    received: Frames,
    sent: Frames,
}

/// The connection's error.
#[derive(Debug, thiserror::Error)]
#[error("the client floods its connection with frames that carry nothing")]
pub(super) struct Flooded;

impl Flood {
    pub(super) fn new() -> Self {
        Self {
            allowance: ALLOWANCE,
            refilled: Instant::now(),
            // The client's preface is passed over as if it were a body.
            received: Frames::after(super::io::PREFACE.len()),
            sent: Frames::default(),
        }
    }

    pub(super) fn received(&mut self, bytes: &[u8]) -> Result<(), Flooded> {
        let mut given = 0;
        self.received
            .read(bytes, |frame| given += received_gives(frame));
        self.allowance = (self.allowance + given).min(ALLOWANCE);
        if self.allowance <= 0 {
            let now = Instant::now();
            let passed = now.saturating_duration_since(self.refilled).as_millis();
            let refill = i64::try_from(passed).unwrap_or(i64::MAX / A_SECOND) * A_SECOND / 1000;
            self.refilled = now;
            self.allowance = (self.allowance + refill).min(ALLOWANCE);
            if self.allowance <= 0 {
                return Err(Flooded);
            }
        }
        Ok(())
    }

    pub(super) fn sent(&mut self, bytes: &[u8]) {
        let mut given = 0;
        self.sent.read(bytes, |frame| given += sent_gives(frame));
        self.allowance = (self.allowance + given).min(ALLOWANCE);
    }
}

const END_STREAM: u8 = 1;
const RST_STREAM: u8 = 3;

fn received_gives(frame: &Frame) -> i64 {
    match frame.kind {
        DATA if frame.len > 0 => 1,
        DATA if frame.flags & END_STREAM != 0 => 0,
        HEADERS => 2,
        // More than its request gave.
        RST_STREAM => -4,
        _ => -1,
    }
}

fn sent_gives(frame: &Frame) -> i64 {
    match frame.kind {
        // A client may open the stream's window and the connection's, and measure with a ping.
        DATA if frame.len > 0 => 3,
        HEADERS => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = len[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.extend(payload);
        frame
    }

    fn begun() -> Flood {
        let mut flood = Flood::new();
        flood.received(super::super::io::PREFACE).unwrap();
        flood
    }

    /// How many of these are taken at once.
    fn taken(flood: &mut Flood, frame: &[u8], most: usize) -> usize {
        (0..most)
            .take_while(|_| flood.received(frame).is_ok())
            .count()
    }

    #[test]
    fn frames_that_carry_nothing_are_taken_up_to_the_allowance() {
        const PING: u8 = 6;
        let count = taken(&mut begun(), &frame(PING, 0, &[0; 8]), 100_000);
        assert!((3900..10_000).contains(&count), "{count}");
    }

    #[test]
    fn requests_that_are_all_reset_are_a_flood() {
        let pair = [frame(HEADERS, 5, b"x"), frame(RST_STREAM, 0, &[0; 4])].concat();
        let count = taken(&mut begun(), &pair, 100_000);
        assert!((1900..10_000).contains(&count), "{count}");
    }

    #[test]
    fn a_request_in_three_may_be_reset_for_ever() {
        let request = frame(HEADERS, 5, b"x");
        let all = [
            &request[..],
            &request[..],
            &request[..],
            &frame(RST_STREAM, 0, &[0; 4])[..],
        ];
        assert_eq!(taken(&mut begun(), &all.concat(), 50_000), 50_000);
    }

    #[test]
    fn who_is_sent_data_may_open_windows_and_ping() {
        let mut flood = begun();
        let data = frame(DATA, 0, b"hello");
        let answers = [
            frame(8, 0, &[0; 4]),
            frame(8, 0, &[0; 4]),
            frame(6, 0, &[0; 8]),
        ];
        for _ in 0..20_000 {
            flood.sent(&data);
            flood.received(&answers.concat()).unwrap();
        }
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let stream = [
            frame(HEADERS, 4, &[7; 300]),
            frame(DATA, 1, b""),
            frame(6, 0, &[0; 8]),
        ]
        .concat();
        for size in 1..20 {
            let mut frames = Frames::after(0);
            let mut kinds = Vec::new();
            for piece in stream.chunks(size) {
                frames.read(piece, |frame| kinds.push((frame.kind, frame.len)));
            }
            assert_eq!(kinds, [(1, 300), (0, 0), (6, 8)], "{size}");
        }
    }
}
