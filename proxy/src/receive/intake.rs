//! What is done with a request, whichever way it came: checked, made into messages, left where it
//! is safe.

use std::ops::Range;
use std::time::Duration;

use super::cells::Cell;
use super::lane::{Full, Place};
use super::refusal::Refusal;
use super::{Current, Local, Protocol};
use crate::config::otlp::Format;
use crate::export::outlet::Outlet;
use crate::export::prepared::{self, ContentType};
use crate::export::spool::Hold;
use crate::export::status::Reason;
use crate::otlp::check::check;
use crate::otlp::keys::Key;
use crate::otlp::messages::{Plan, Sink};
use crate::otlp::{Signal, read};

/// Longest wait for Kafka, where there is no spool: exporters wait 10 s by default.
const PATIENCE: Duration = Duration::from_secs(9);

/// Most bytes of one request's messages in memory, where the queue takes no more. What is one byte in
/// protobuf may be many in JSON.
const MOST_MESSAGES: usize = 64 << 20;

/// A request as it came, decompressed.
pub(super) struct Export {
    pub(super) signal: Signal,
    pub(super) protocol: Protocol,
    pub(super) body: Vec<u8>,
    pub(super) place: Place,
    /// The client's own deadline, from now on.
    pub(super) deadline: Option<Duration>,
}

impl Local {
    /// Takes a request. When this returns it is safe, but for so many items that no message can
    /// hold.
    pub(super) async fn export(&self, current: &Current, export: Export) -> Result<u64, Refusal> {
        let Export {
            signal,
            protocol,
            body,
            mut place,
            deadline,
        } = export;
        let lane = self.shared.lane(signal);
        lane.arrived(&mut place, current.config.queue_size)
            .map_err(|Full| Refusal::QueueFull)?;
        let cell = self.cells().of(signal, protocol);
        cell.bytes.add(body.len() as u64);
        let protobuf = match protocol {
            Protocol::HttpJson => read::read(signal.request(), &body)
                .map_err(|error| Refusal::Malformed(error.to_string()))?,
            Protocol::Grpc | Protocol::HttpProtobuf => body,
        };
        let counts = check(signal.request(), &protobuf)
            .map_err(|error| Refusal::Malformed(error.to_string()))?;
        cell.items.add(counts.items);
        if counts.is_empty {
            return Ok(0);
        }
        let rejected = if self.outlet(signal).is_durable() {
            let plan = current.plan(signal);
            self.spool(&plan, &protobuf, protocol, cell).await?
        } else {
            let plan = current.plan(signal);
            let mut queued = Queued {
                content_type: content_type(plan.format),
                protocol,
                bytes: Vec::new(),
                records: Vec::new(),
                place: &mut place,
                most: current.config.queue_bytes,
            };
            let rejected = plan.messages(&protobuf, &mut queued);
            let rejected = rejected?;
            let Queued { bytes, records, .. } = queued;
            drop(protobuf);
            cell.messages.add(records.len() as u64);
            let messages = (bytes, records);
            self.acknowledged(signal, messages, place, deadline).await?;
            rejected
        };
        cell.rejected.add(rejected);
        Ok(rejected)
    }

    /// Appends a request's messages to the spool.
    async fn spool(
        &self,
        plan: &Plan,
        request: &[u8],
        protocol: Protocol,
        cell: &Cell,
    ) -> Result<u64, Refusal> {
        let lane = self.shared.lane(plan.signal);
        let mut spooled = Spooled {
            outlet: self.outlet(plan.signal),
            content_type: content_type(plan.format),
            protocol,
            hold: None,
            messages: 0,
        };
        let rejected = plan.messages(request, &mut spooled);
        for _ in 0..spooled.messages {
            lane.appended();
        }
        cell.messages.add(spooled.messages);
        let rejected = rejected.map_err(|reason| match reason {
            Reason::SpoolFull => Refusal::SpoolFull,
            _ => Refusal::SpoolFailed,
        })?;
        if let Some(hold) = spooled.hold {
            hold.wait().await;
        }
        Ok(rejected)
    }

    /// Gives a request's messages to Kafka, and waits until it has acknowledged them.
    async fn acknowledged(
        &self,
        signal: Signal,
        (bytes, records): (Vec<u8>, Vec<Range<usize>>),
        place: Place,
        deadline: Option<Duration>,
    ) -> Result<(), Refusal> {
        if records.is_empty() {
            return Ok(());
        }
        let told = self
            .outlet(signal)
            .send(bytes, records, Box::new(place))
            .map_err(|reason| match reason {
                Reason::BufferFull => Refusal::QueueFull,
                _ => Refusal::NotDelivered,
            })?;
        let patience = deadline.map_or(PATIENCE, |deadline| deadline.min(PATIENCE));
        match tokio::time::timeout(patience, told).await {
            Ok(Ok(true)) => Ok(()),
            Err(_) if patience < PATIENCE => Err(Refusal::Deadline),
            Ok(_) | Err(_) => Err(Refusal::NotDelivered),
        }
    }
}

fn content_type(format: Format) -> ContentType {
    match format {
        Format::Json | Format::JsonSnakeCase => ContentType::Json,
        Format::Protobuf => ContentType::Protobuf,
    }
}

/// Messages on their way to the spool, a record each.
struct Spooled<'o> {
    outlet: &'o Outlet,
    content_type: ContentType,
    protocol: Protocol,
    /// Of the last: what was appended before is on the disk before.
    hold: Option<Hold>,
    messages: u64,
}

impl Sink for Spooled<'_> {
    type Error = Reason;

    fn put(&mut self, key: Option<&Key>, payload: &[u8]) -> Result<(), Reason> {
        let key = key.map(Key::as_bytes);
        let origin = self.protocol.origin();
        self.hold = self
            .outlet
            .append(|out| prepared::write(self.content_type, origin, key, payload, out))?;
        self.messages += 1;
        Ok(())
    }
}

/// Messages for the queue in memory.
struct Queued<'p> {
    content_type: ContentType,
    protocol: Protocol,
    bytes: Vec<u8>,
    records: Vec<Range<usize>>,
    /// The request's place, which grows with what is made of it.
    place: &'p mut Place,
    most: usize,
}

impl Sink for Queued<'_> {
    type Error = Refusal;

    fn put(&mut self, key: Option<&Key>, payload: &[u8]) -> Result<(), Refusal> {
        let most = self.most.max(MOST_MESSAGES);
        if self.bytes.len() + payload.len() > most {
            return Err(Refusal::TooLarge(most));
        }
        let start = self.bytes.len();
        let key = key.map(Key::as_bytes);
        let origin = self.protocol.origin();
        prepared::write(self.content_type, origin, key, payload, &mut self.bytes);
        self.records.push(start..self.bytes.len());
        let grown = self.place.grow_to(self.bytes.capacity(), self.most);
        grown.map_err(|Full| Refusal::QueueFull)
    }
}
