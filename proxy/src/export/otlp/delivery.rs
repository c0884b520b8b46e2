//! The way of a batch: sent until there is an answer for good, and settled by it.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::batch::{Batch, Entry};
use super::verdict::{self, Verdict, Why};
use super::{Exporter, STEP, Stopped, letters};
use crate::export::status::Reason;
use crate::health::State;
use crate::otlp::answer::Partial;

/// Requests are not made smaller than this.
const SMALLEST: usize = 4 << 10;

/// An answer for good.
enum Settled {
    Taken(Partial),
    Refused { cause: String, why: Why },
}

impl Exporter<'_> {
    /// Sends empty requests until one is taken: whoever is at the other end speaks OTLP and lets us
    /// in.
    pub(super) fn greet(&mut self) -> Result<(), Stopped> {
        let empty = self.client.body(self.encoder.empty());
        loop {
            let (message, after) = match self.once(&empty)? {
                // Some take no empty requests: that is as good.
                Verdict::Taken(_)
                | Verdict::Refused {
                    why: Why::Data | Why::TooLarge,
                    ..
                } => {
                    self.well();
                    return Ok(());
                }
                Verdict::Later { cause, after } => (self.unavailable(&cause), after),
                Verdict::Refused { cause, .. } => (self.unwelcome(&cause), None),
            };
            self.degrade(message);
            let nothing_to_send = self.filling.is_empty() && self.feed.source.is_empty();
            if nothing_to_send && self.feed.stop.deadline().is_some() {
                return Err(Stopped);
            }
            self.pause(after)?;
        }
    }

    /// Sends what was gathered, and settles it.
    pub(super) fn flush(&mut self) -> Result<(), Stopped> {
        let mut work = VecDeque::from([std::mem::take(&mut self.filling)]);
        while let Some(batch) = work.pop_front() {
            if batch.is_empty() {
                continue;
            }
            let (held, traces) = (batch.held(), batch.len() as u64);
            match self.deliver(batch) {
                Ok(None) => self.feed.meter.in_flight.subtract(held),
                Ok(Some(halves)) => {
                    self.feed.meter.in_flight.subtract(held);
                    for half in halves.into_iter().rev() {
                        self.feed.meter.in_flight.add(half.held());
                        work.push_front(half);
                    }
                }
                Err(stopped) => {
                    self.feed.meter.in_flight.subtract(held);
                    // A letter that was written counts already.
                    self.left += traces - std::mem::take(&mut self.settled);
                    for batch in work {
                        self.feed.meter.in_flight.subtract(batch.held());
                        self.left += batch.len() as u64;
                    }
                    return Err(stopped);
                }
            }
            self.settled = 0;
            self.feed.source.save(false);
        }
        Ok(())
    }

    /// Sends a batch; gives it back in halves where it is to be sent so.
    fn deliver(&mut self, batch: Batch) -> Result<Option<[Batch; 2]>, Stopped> {
        let large = batch.size() > self.limits.bytes;
        if large && batch.len() == 1 {
            self.deliver_parts(batch.entries(), self.limits.bytes)?;
            return Ok(None);
        }
        let body = self.client.body(self.encoder.request(&batch));
        match self.send(&body)? {
            Settled::Taken(partial) => {
                let spans = batch.spans() as u64;
                self.note(&partial);
                if partial.rejected >= spans && spans > 0 {
                    let cause = format!("all of it rejected: {}", verdict::words(&partial.message));
                    self.refuse(batch.entries(), Reason::Refused, &cause, Why::Data)?;
                } else {
                    self.delivered(batch.entries());
                }
            }
            Settled::Refused { why, cause } => {
                if why == Why::TooLarge {
                    // The next ones are smaller from the start.
                    self.limits.bytes =
                        (batch.size() / 2).clamp(SMALLEST, self.limits.bytes.max(SMALLEST));
                    tracing::warn!(
                        exporter = self.feed.exporter,
                        batch_bytes = self.limits.bytes,
                        "the collector takes smaller requests only: {cause}"
                    );
                    if batch.len() == 1 {
                        self.deliver_parts(batch.entries(), batch.size() / 2)?;
                        return Ok(None);
                    }
                }
                if batch.len() > 1 && why != Why::Other {
                    // A request of other traces is not the same again.
                    return Ok(Some(self.encoder.halves(batch)));
                }
                self.refuse(batch.entries(), Reason::Refused, &cause, why)?;
            }
        }
        Ok(None)
    }

    /// Sends one trace as several requests.
    fn deliver_parts(&mut self, entries: &[Entry], mut limit: usize) -> Result<(), Stopped> {
        let [entry] = entries else { return Ok(()) };
        let mut cause = "larger than the collector takes".to_owned();
        loop {
            limit = limit.max(SMALLEST);
            let parts = self.encoder.parts(&entry.record, limit);
            // The whole was refused already.
            let Some(parts) = parts.filter(|parts| parts.len() > 1) else {
                break;
            };
            match self.send_parts(parts)? {
                Settled::Taken(_) => {
                    self.delivered(entries);
                    return Ok(());
                }
                Settled::Refused {
                    why: Why::TooLarge,
                    cause: said,
                } => {
                    cause = said;
                    if limit == SMALLEST {
                        break;
                    }
                    limit /= 2;
                }
                Settled::Refused { why, cause } => {
                    return self.refuse(entries, Reason::Refused, &cause, why);
                }
            }
        }
        self.refuse(entries, Reason::TooLarge, &cause, Why::TooLarge)
    }

    /// Sends requests up to the first that is refused.
    fn send_parts(&mut self, parts: Vec<Vec<u8>>) -> Result<Settled, Stopped> {
        for part in parts {
            let body = self.client.body(part);
            match self.send(&body)? {
                Settled::Taken(partial) => self.note(&partial),
                refused @ Settled::Refused { .. } => return Ok(refused),
            }
        }
        Ok(Settled::Taken(Partial::default()))
    }

    /// Sends a request until there is an answer for good.
    fn send(&mut self, body: &Bytes) -> Result<Settled, Stopped> {
        loop {
            match self.once(body)? {
                Verdict::Taken(partial) => {
                    self.well();
                    return Ok(Settled::Taken(partial));
                }
                Verdict::Refused { cause, why } => return Ok(Settled::Refused { cause, why }),
                Verdict::Later { cause, after } => {
                    let message = self.unavailable(&cause);
                    self.degrade(message);
                    self.pause(after)?;
                    self.feed.meter.retried();
                }
            }
        }
    }

    fn once(&mut self, body: &Bytes) -> Result<Verdict, Stopped> {
        let feed = self.feed;
        let answer = wait(feed, self.runtime, self.client.send(body)).ok_or(Stopped)?;
        let verdict = match answer {
            Ok(answer) => verdict::of(self.config.to.protocol, &answer, SystemTime::now()),
            Err(cause) => Verdict::Later { cause, after: None },
        };
        Ok(verdict.map_words(|words| self.client.hide(words)))
    }

    fn pause(&mut self, after: Option<Duration>) -> Result<(), Stopped> {
        let time = self.backoff.next(after, fastrand::f64());
        wait(self.feed, self.runtime, tokio::time::sleep(time)).ok_or(Stopped)
    }

    fn delivered(&mut self, entries: &[Entry]) {
        let settled = self.feed.source.settled();
        for entry in entries {
            settled.settled(entry.place);
            self.feed.meter.delivered();
        }
        self.settled += entries.len() as u64;
    }

    /// Notes what was not taken of a request that was.
    fn note(&mut self, partial: &Partial) {
        if *partial == Partial::default() {
            return;
        }
        self.feed.meter.rejected(partial.rejected);
        let said = verdict::words(&partial.message);
        let message = format!("otlp: the collector took a request in part: {said}");
        if let Some(count) = self.refusals.permit(&message, "", Instant::now()) {
            let spans = partial.rejected;
            tracing::warn!(exporter = self.feed.exporter, count, spans, "{message}");
        }
    }

    /// Settles traces that will never be taken. Where others would not be either, it is waited until
    /// that has changed.
    fn refuse(
        &mut self,
        entries: &[Entry],
        reason: Reason,
        cause: &str,
        why: Why,
    ) -> Result<(), Stopped> {
        let message = format!("otlp: the collector refused traces for good: {cause}");
        if let Some(count) = self.refusals.permit(&message, "", Instant::now()) {
            let traces = entries.len();
            tracing::error!(exporter = self.feed.exporter, count, traces, "{message}");
        }
        self.feed.health.set(State::Degraded(message));
        let mut rest = entries;
        while !rest.is_empty() {
            let (traces, written) = self.write_letters(rest, reason, cause)?;
            let (done, behind) = rest.split_at(traces);
            rest = behind;
            let settled = self.feed.source.settled();
            for (index, entry) in done.iter().enumerate() {
                if index < written {
                    self.feed.meter.dead_letter(reason);
                    settled.settled(entry.place);
                } else {
                    self.feed.meter.lose(reason, 1);
                    settled.lost(entry.place);
                }
            }
            self.settled += done.len() as u64;
        }
        match why {
            Why::Other => self.greet(),
            Why::Data | Why::TooLarge => {
                self.feed.health.set(State::Ok);
                Ok(())
            }
        }
    }

    /// Writes the first of these traces to the file, for as long as it takes. Says how many these
    /// are, and how many of them were kept.
    fn write_letters(
        &mut self,
        entries: &[Entry],
        reason: Reason,
        cause: &str,
    ) -> Result<(usize, usize), Stopped> {
        let mut lines = None;
        loop {
            let Some(letters) = &mut self.letters else {
                return Ok((entries.len(), 0));
            };
            let lines =
                lines.get_or_insert_with(|| letters.lines(&self.encoder, entries, reason, cause));
            match letters.write(lines) {
                Ok(written) => return Ok((lines.len(), written)),
                Err(message) => {
                    self.degrade(message);
                    let pause = tokio::time::sleep(letters::PAUSE);
                    wait(self.feed, self.runtime, pause).ok_or(Stopped)?;
                }
            }
        }
    }

    fn unavailable(&self, cause: &str) -> String {
        format!("otlp: cannot deliver to {}: {cause}", self.config.to.url())
    }

    fn unwelcome(&self, cause: &str) -> String {
        let url = self.config.to.url();
        format!("otlp: {url} refuses whatever is sent, so nothing is: {cause}")
    }
}

/// Waits for something, unless the exporter has to end before. Its thread is seen to move.
pub(super) fn wait<T>(
    feed: &crate::export::Feed,
    runtime: &tokio::runtime::Runtime,
    work: impl Future<Output = T>,
) -> Option<T> {
    runtime.block_on(async {
        let mut work = pin!(work);
        loop {
            feed.health.beat();
            if let Ok(done) = tokio::time::timeout(STEP, &mut work).await {
                return Some(done);
            }
            feed.source.save(false);
            if feed.stop.is_due() || feed.may_leave() {
                return None;
            }
        }
    })
}
