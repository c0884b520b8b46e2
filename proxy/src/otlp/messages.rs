//! From a request to the messages that go to Kafka: in the topic's format, by keys where that is
//! wanted, none larger than allowed.

use super::Signal;
use super::json::{self, Dialect};
use super::keys::{self, Groups, Key};
use super::split::Tree;
use crate::config::otlp::Format as OtlpFormat;

/// How the requests of a signal become messages.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub signal: Signal,
    pub format: OtlpFormat,
    /// Traces by their ids, metrics and logs by the attributes of their resources.
    pub keyed: bool,
    /// Most bytes of a message.
    pub limit: usize,
    /// Most bytes of a message of one item, which cannot be split.
    pub alone: usize,
}

/// Takes one message, with its key.
pub trait Sink {
    type Error;

    fn put(&mut self, key: Option<&Key>, payload: &[u8]) -> Result<(), Self::Error>;

    /// One item that is too large for any message, as the message it would be.
    fn refuse(&mut self, _payload: &[u8]) -> Result<(), Self::Error> {
        Ok(())
    }
}

impl Plan {
    /// Gives each message of a request that was checked, and is not empty, to `sink`. Says how many
    /// items are too large for any message.
    pub fn messages<S: Sink>(&self, request: &[u8], sink: &mut S) -> Result<u64, S::Error> {
        let mut writer = Writer {
            plan: self,
            sink,
            protobuf: Vec::new(),
            json: Vec::new(),
            refused: 0,
        };
        if !self.keyed {
            if !writer.whole(None, request)? {
                let tree = Tree::new(self.signal.request(), request);
                writer.parts(&tree, None, &(0..tree.len()).collect::<Vec<_>>())?;
            }
            return Ok(writer.refused);
        }
        let tree = Tree::new(self.signal.request(), request);
        let groups = match self.signal {
            Signal::Traces => keys::by_trace(&tree),
            Signal::Metrics | Signal::Logs => keys::by_resource(&tree),
        };
        writer.groups(&tree, &groups, request)?;
        Ok(writer.refused)
    }
}

struct Writer<'p, S> {
    plan: &'p Plan,
    sink: &'p mut S,
    protobuf: Vec<u8>,
    json: Vec<u8>,
    refused: u64,
}

impl<S: Sink> Writer<'_, S> {
    fn groups(&mut self, tree: &Tree<'_>, groups: &Groups, request: &[u8]) -> Result<(), S::Error> {
        if let (1, Some((key, _))) = (groups.len(), groups.first())
            && self.whole(key.as_ref(), request)?
        {
            return Ok(());
        }
        for (key, leaves) in groups {
            self.parts(tree, key.as_ref(), leaves)?;
        }
        Ok(())
    }

    /// Gives these leaves as one message, or several where they are too large for one.
    fn parts(
        &mut self,
        tree: &Tree<'_>,
        key: Option<&Key>,
        leaves: &[usize],
    ) -> Result<(), S::Error> {
        let mut protobuf = std::mem::take(&mut self.protobuf);
        protobuf.clear();
        tree.write(leaves, &mut protobuf);
        let fits = match leaves {
            [_] => self.alone(key, &protobuf).map(|()| true),
            _ => self.whole(key, &protobuf),
        };
        // As JSON it is larger; this is only where to begin.
        let pieces = protobuf.len().max(self.json.len()) / self.plan.limit + 1;
        self.protobuf = protobuf;
        if fits? {
            return Ok(());
        }
        let size = leaves.len().div_ceil(pieces.max(2));
        for part in leaves.chunks(size) {
            self.parts(tree, key, part)?;
        }
        Ok(())
    }

    /// Gives a request as one message, if it is small enough for one.
    fn whole(&mut self, key: Option<&Key>, request: &[u8]) -> Result<bool, S::Error> {
        // As JSON it is larger, but for the oddest of requests, and they may be parted too: what
        // is large already is not written as JSON only to find that out.
        if request.len() > self.plan.limit {
            self.json.clear();
            return Ok(false);
        }
        let payload = payload(self.plan, request, &mut self.json);
        let fits = payload.len() <= self.plan.limit;
        if fits {
            self.sink.put(key, payload)?;
        }
        Ok(fits)
    }

    /// Gives a request of one item as a message, or refuses it.
    fn alone(&mut self, key: Option<&Key>, request: &[u8]) -> Result<(), S::Error> {
        let payload = payload(self.plan, request, &mut self.json);
        if payload.len() <= self.plan.alone {
            return self.sink.put(key, payload);
        }
        self.refused += 1;
        self.sink.refuse(payload)
    }
}

/// A request in the topic's format; `json` is where it is written if that is JSON.
fn payload<'p>(plan: &Plan, request: &'p [u8], json: &'p mut Vec<u8>) -> &'p [u8] {
    json.clear();
    let dialect = match plan.format {
        OtlpFormat::Protobuf => return request,
        OtlpFormat::Json => Dialect::Otlp,
        OtlpFormat::JsonSnakeCase => Dialect::SnakeCase,
    };
    // Traces are about that long as JSON.
    json.reserve(request.len() / 2 * 5);
    json::write(plan.signal.request(), request, dialect, json);
    json
}
