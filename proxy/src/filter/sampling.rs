//! Filter 5, `sampling`: which traces are sent, decided when they are complete.
//!
//! The decision is by trace id, as OpenTelemetry's consistent probability sampling has it: the last
//! 56 bits are the trace's randomness, and it is kept when they are not below a threshold. So all
//! that sample one trace at one ratio, here or elsewhere, decide alike.

use super::Rules;
use crate::config;
use crate::trace::{Outcome, TraceId};

/// All values the randomness of a trace id can have: 56 bits.
const RANGE: u64 = 1 << 56;

pub(super) fn add(config: &config::Filters, rules: &mut Rules) {
    let sampling = config.sampling.clone();
    if sampling.ratio >= 1.0 {
        return;
    }
    let threshold = threshold(sampling.ratio);
    rules.traces.push(Box::new(move |outcome: &Outcome| {
        randomness(outcome.trace_id) >= threshold
            || (sampling.keep_errors && outcome.failed)
            || sampling
                .keep_slower_than
                .is_some_and(|limit| outcome.duration > limit)
    }));
}

/// Below this, a trace is dropped; at ratio 0 that is every one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the product lies in 0..=2^56, a power of two that a float has exactly"
)]
fn threshold(ratio: f64) -> u64 {
    ((1.0 - ratio.clamp(0.0, 1.0)) * RANGE as f64) as u64
}

fn randomness(id: TraceId) -> u64 {
    let low = id.0.last_chunk().map_or(0, |low| u64::from_be_bytes(*low));
    low % RANGE
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Filters;
    use crate::config::{self, Sampling};
    use crate::trace::{Outcome, TraceId};

    const LEAST: TraceId = TraceId([
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0,
    ]);
    const MOST: TraceId = TraceId([
        1, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ]);

    fn filters(sampling: Sampling) -> Filters {
        Filters::new(&config::Filters {
            sampling,
            ..config::Filters::default()
        })
    }

    fn at_ratio(ratio: f64) -> Filters {
        filters(Sampling {
            ratio,
            keep_errors: false,
            keep_slower_than: None,
        })
    }

    fn outcome(trace_id: TraceId) -> Outcome {
        Outcome {
            trace_id,
            failed: false,
            duration: Duration::ZERO,
        }
    }

    #[test]
    fn ratio_one_keeps_all_and_zero_none() {
        for id in [LEAST, MOST] {
            assert!(at_ratio(1.0).0.keeps_trace(&outcome(id)));
            assert!(!at_ratio(0.0).0.keeps_trace(&outcome(id)));
        }
    }

    #[test]
    fn the_last_seven_bytes_decide() {
        assert!(at_ratio(0.000_001).0.keeps_trace(&outcome(MOST)));
        assert!(!at_ratio(0.999_999).0.keeps_trace(&outcome(LEAST)));
    }

    #[test]
    fn what_a_smaller_ratio_keeps_a_larger_keeps_too() {
        let mut kept = 0;
        for seed in 0..10_000_u64 {
            let id = TraceId(
                (u128::from(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1 << 127).to_be_bytes(),
            );
            let few = at_ratio(0.1).0.keeps_trace(&outcome(id));
            kept += u32::from(few);
            assert!(!few || at_ratio(0.5).0.keeps_trace(&outcome(id)));
        }
        assert!((800..1200).contains(&kept), "{kept} of 10000 at 0.1");
    }

    #[test]
    fn failed_and_slow_traces_are_kept_where_asked_for() {
        let filters = filters(Sampling {
            ratio: 0.0,
            keep_errors: true,
            keep_slower_than: Some(Duration::from_secs(1)),
        });
        let plain = outcome(MOST);
        let failed = Outcome {
            failed: true,
            ..plain
        };
        let slow = Outcome {
            duration: Duration::from_millis(1001),
            ..plain
        };
        assert!(filters.0.keeps_trace(&failed));
        assert!(filters.0.keeps_trace(&slow));
        assert!(!filters.0.keeps_trace(&plain));
        assert!(!at_ratio(0.0).0.keeps_trace(&failed));
        assert!(!at_ratio(0.0).0.keeps_trace(&slow));
    }
}
