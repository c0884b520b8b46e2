//! Why a hook failed: what stands on its span, in the metric's `reason` and in the log.

use std::time::Duration;

/// A guest's failure. `Display` says it for a person; [`Failure::reason`] is the stable word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("guest panicked: {0}")]
    Panic(String),
    #[error("guest trapped: {0}")]
    Trap(String),
    #[error("used more than its {0:?} of CPU time")]
    CpuTime(Duration),
    #[error("lasted longer than its {0:?} of wall time")]
    WallTime(Duration),
    #[error("waited for its turn for longer than its {0:?} of wall time")]
    Waited(Duration),
    #[error("asked for more than its {0} bytes of memory")]
    Memory(usize),
    #[error("exhausted its stack")]
    Stack,
    #[error("passed more to the host in one call than is allowed, or holds too many handles: {0}")]
    Bounds(String),
    #[error("broke the component model's rules: {0}")]
    Abi(String),
    #[error("returned `respond` without an answer")]
    NoAnswer,
    #[error(
        "read the request's fields in on-response without asking for `request-head` in configure"
    )]
    NoRequestHead,
    #[error("refused its configuration: {0}")]
    Configure(String),
    #[error("could not be instantiated: {0}")]
    Instantiate(String),
    #[error("gave more than the {0} bytes that its answer may have")]
    AnswerSize(u64),
    #[error("its answer lasted longer than {0:?}")]
    AnswerTime(Duration),
    #[error("panicked in a host call")]
    Host,
    #[error("breaker open: it failed {0} times in a row, and is not called for a while")]
    BreakerOpen(u32),
}

impl Failure {
    /// Stable, for `error.type` and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Panic(_) => "panic",
            Self::Trap(_) => "trap",
            Self::CpuTime(_) => "cpu_time",
            Self::WallTime(_) | Self::Waited(_) => "wall_time",
            Self::Memory(_) => "memory",
            Self::Stack => "stack",
            Self::Bounds(_) => "bounds",
            Self::Abi(_) => "abi",
            Self::NoAnswer => "no_answer",
            Self::NoRequestHead => "no_request_head",
            Self::Configure(_) => "configure",
            Self::Instantiate(_) => "instantiate",
            Self::AnswerSize(_) => "answer_size",
            Self::AnswerTime(_) => "answer_time",
            Self::Host => "host",
            Self::BreakerOpen(_) => "breaker_open",
        }
    }

    /// All there are, for metrics that begin at zero.
    pub const REASONS: [&'static str; 16] = [
        "panic",
        "trap",
        "cpu_time",
        "wall_time",
        "memory",
        "stack",
        "bounds",
        "abi",
        "no_answer",
        "no_request_head",
        "configure",
        "instantiate",
        "answer_size",
        "answer_time",
        "host",
        "breaker_open",
    ];

    /// Index of [`Failure::reason`] in [`Failure::REASONS`].
    pub fn index(&self) -> usize {
        let reason = self.reason();
        Self::REASONS
            .iter()
            .position(|other| *other == reason)
            .unwrap_or(0)
    }
}
