//! What is told of a hook: on its span, and in the log where it failed.

use std::time::Duration;

use super::Progress;
use crate::exchange::state::{Held, State};
use crate::plugin::{Action, Called, Failure, Hook, Plugin, Side};
use crate::trace::{Kind, SpanIndex, Status};

/// A span for a hook that was not called, because it could not see the body.
pub(super) fn refuse(
    plugin: &Plugin,
    hook: Hook,
    reason: &str,
    message: &str,
    state: &mut State,
    progress: &mut Progress,
) {
    let recorder = &mut state.recorder;
    let name = &plugin.face(hook).span_name;
    let span = recorder.span(name, Kind::Plugin, progress.parent, progress.now);
    recorder.attribute(span, "weir.hook.decision", "refuse");
    recorder.attribute(span, "error.type", reason);
    recorder.end(span, Status::Error, message, progress.now);
    progress.parent = span;
}

/// Ends the hook's span with what it did and cost.
pub(super) fn note(
    plugin: &Plugin,
    hook: Hook,
    span: SpanIndex,
    took: Duration,
    called: &Called,
    state: &mut State,
) {
    if !state.recorder.is_silent() {
        describe(plugin, hook, span, took, called, state);
    }
    let recorder = &mut state.recorder;
    match &called.result {
        Ok(Action::Respond) => {
            recorder.attribute(span, "short_circuit", true);
            recorder.end(span, Status::Ok, "short-circuit", called.end);
        }
        Ok(_) => recorder.end(span, Status::Ok, "", called.end),
        Err(failure) => {
            recorder.attribute(span, "error.type", failure.reason());
            recorder.end(span, Status::Error, &failure.to_string(), called.end);
        }
    }
}

/// What its attributes say of that.
fn describe(
    plugin: &Plugin,
    hook: Hook,
    span: SpanIndex,
    took: Duration,
    called: &Called,
    state: &mut State,
) {
    let decision = match (&called.result, hook) {
        (Ok(Action::Proceed), Hook::PreRequest) if state.upstream.is_some() => "reroute",
        (Ok(Action::Respond), _) => "respond",
        (Ok(_), _) => "continue",
        (Err(_), _) => "error",
    };
    let recorder = &mut state.recorder;
    let wait = took.saturating_sub(called.cpu);
    let memory = i64::try_from(called.memory).unwrap_or(i64::MAX);
    recorder.template(span, &plugin.face(hook).template, |attributes| {
        attributes.add("weir.hook.cpu_ns", nanos(called.cpu));
        attributes.add("weir.hook.wait_ns", nanos(wait));
        attributes.add("weir.hook.memory_bytes", memory);
        attributes.add("weir.hook.decision", decision);
    });
    if let Some(most) = plugin.holds(hook.side()) {
        let replaced = state.body_replaced;
        let body = match hook.side() {
            Side::Request => &state.request_body,
            Side::Response => &state.response_body,
        };
        let held = match body {
            _ if replaced => "replaced",
            Held::Whole(bytes) if bytes.len() <= most => "held",
            _ => "bypassed",
        };
        recorder.attribute(span, "weir.hook.body", held);
    }
    if !state.changed.is_empty() {
        recorder.list(span, "weir.hook.headers_changed", &state.changed);
    }
}

pub(super) fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// Logs a failure; a plugin that fails on every request does not fill the log.
pub(in crate::plugin) fn warn(plugin: &Plugin, hook: Hook, failure: &Failure) {
    if plugin.may_warn() {
        tracing::warn!(
            plugin = %plugin.name,
            hook = hook.label(),
            reason = failure.reason(),
            error = %failure,
            "plugin failed"
        );
    }
}
