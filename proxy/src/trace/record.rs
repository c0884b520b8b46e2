//! A finished trace as bytes: what workers hand off and exporters decode.
//!
//! Little-endian, self-contained, versioned by its first byte. After a fixed part come the heads of
//! the spans, then the recorder's log as it was written: blocks of attributes, events, captured
//! headers and log lines in order of arrival, each with its span. Strings are checked when decoded:
//! a record may come back from a disk.

use super::recorder::Recorder;
use super::{
    Attribute, Event, Head, Kind, Level, PluginLog, Span, SpanId, SpanIndex, Status, Trace,
    TraceId, Value,
};

const VERSION: u8 = 1;

const STRING: u8 = 0;
const BLOCK: u8 = 1;
const EVENT: u8 = 2;
const HEADER: u8 = 3;
const LOG: u8 = 4;

const TEXT: u8 = 0;
const BOOLEAN: u8 = 1;
const INTEGER: u8 = 2;
const FLOAT: u8 = 3;
const LIST: u8 = 4;

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("record version {0} is not known")]
    Version(u8),
    #[error("record ends early")]
    Truncated,
    #[error("record holds {0}")]
    Invalid(&'static str),
}

/// A string in the log.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slice {
    offset: u32,
    len: u32,
}

#[derive(Clone, Debug)]
pub(super) struct SpanHead {
    pub(super) id: SpanId,
    pub(super) parent: u16,
    pub(super) kind: Kind,
    pub(super) status: Status,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) name: Slice,
    pub(super) message: Slice,
    /// Of a span under way only; not in the record.
    pub(super) ended: bool,
}

const SPAN_HEAD_LEN: usize = 8 + 2 + 1 + 1 + 8 + 8 + 8 + 8;

/// A length or index that the recorder's bounds keep small.
pub(super) fn small(value: usize) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

fn long(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Appends to a log.
pub(super) struct Writer<'b>(pub(super) &'b mut Vec<u8>);

impl Writer<'_> {
    pub(super) fn string(&mut self, text: &str) -> Slice {
        self.string_parts(&[text])
    }

    pub(super) fn string_parts(&mut self, parts: &[&str]) -> Slice {
        let len = long(parts.iter().map(|part| part.len()).sum());
        self.0.push(STRING);
        self.u32(len);
        let offset = long(self.0.len());
        for part in parts {
            self.0.extend_from_slice(part.as_bytes());
        }
        Slice { offset, len }
    }

    pub(super) fn block(&mut self, span: SpanIndex, attributes: impl FnOnce(&mut Writer<'_>)) {
        self.0.push(BLOCK);
        self.u16(span.0);
        let at = self.0.len();
        self.u32(0);
        attributes(&mut Writer(self.0));
        let len = long(self.0.len() - at - 4);
        self.0[at..at + 4].copy_from_slice(&len.to_le_bytes());
    }

    pub(super) fn attribute(&mut self, key: &str, value: &Value<'_>) {
        match value {
            Value::Text(text) => {
                self.key(key, TEXT);
                self.text(text);
            }
            Value::Boolean(value) => {
                self.key(key, BOOLEAN);
                self.0.push(u8::from(*value));
            }
            Value::Integer(value) => {
                self.key(key, INTEGER);
                self.0.extend_from_slice(&value.to_le_bytes());
            }
            Value::Float(value) => {
                self.key(key, FLOAT);
                self.0.extend_from_slice(&value.to_le_bytes());
            }
            Value::List(texts) => self.list(key, texts),
        }
    }

    pub(super) fn list<T: AsRef<str>>(&mut self, key: &str, texts: &[T]) {
        self.key(key, LIST);
        let count = small(texts.len());
        self.u16(count);
        for text in &texts[..usize::from(count)] {
            self.text(text.as_ref());
        }
    }

    pub(super) fn event(
        &mut self,
        span: SpanIndex,
        time: u64,
        name: &str,
        attributes: &[(&str, Value<'_>)],
    ) {
        self.0.push(EVENT);
        self.u16(span.0);
        self.0.extend_from_slice(&time.to_le_bytes());
        self.text(name);
        let count = small(attributes.len());
        self.u16(count);
        for (key, value) in &attributes[..usize::from(count)] {
            self.attribute(key, value);
        }
    }

    pub(super) fn header(&mut self, name: &str, values: &[&str]) {
        self.0.push(HEADER);
        self.text(name);
        let len: usize = values.iter().map(|value| value.len()).sum();
        self.u32(long(len + 2 * values.len().saturating_sub(1)));
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.0.extend_from_slice(b", ");
            }
            self.0.extend_from_slice(value.as_bytes());
        }
    }

    pub(super) fn plugin_log(
        &mut self,
        span: SpanIndex,
        plugin: &str,
        level: Level,
        message: &str,
        time: u64,
    ) {
        self.0.push(LOG);
        self.u16(span.0);
        self.0.push(level as u8);
        self.0.extend_from_slice(&time.to_le_bytes());
        self.text(plugin);
        self.text(message);
    }

    fn key(&mut self, key: &str, kind: u8) {
        self.0.push(kind);
        self.u16(small(key.len()));
        self.0
            .extend_from_slice(&key.as_bytes()[..usize::from(small(key.len()))]);
    }

    fn text(&mut self, text: &str) {
        self.u32(long(text.len()));
        self.0.extend_from_slice(text.as_bytes());
    }

    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
}

/// Appends the recorder's trace to `out` as one record.
pub fn write(recorder: &Recorder, out: &mut Vec<u8>) {
    out.reserve(64 + recorder.spans.len() * SPAN_HEAD_LEN + recorder.log.len());
    out.push(VERSION);
    out.extend_from_slice(&recorder.trace_id.0);
    out.extend_from_slice(&recorder.parent.map_or([0; 8], |parent| parent.0));
    out.push(recorder.flags);
    out.extend_from_slice(&recorder.anchor.to_le_bytes());
    out.extend_from_slice(&recorder.dropped.to_le_bytes());
    let mut writer = Writer(out);
    writer.text(&recorder.state);
    writer.text(&recorder.request_id);
    writer.u16(small(recorder.spans.len()));
    for span in &recorder.spans {
        let mut head = [0; SPAN_HEAD_LEN];
        head[..8].copy_from_slice(&span.id.0);
        head[8..10].copy_from_slice(&span.parent.to_le_bytes());
        head[10] = span.kind as u8;
        head[11] = span.status as u8;
        head[12..20].copy_from_slice(&span.start.to_le_bytes());
        head[20..28].copy_from_slice(&span.end.to_le_bytes());
        head[28..32].copy_from_slice(&span.name.offset.to_le_bytes());
        head[32..36].copy_from_slice(&span.name.len.to_le_bytes());
        head[36..40].copy_from_slice(&span.message.offset.to_le_bytes());
        head[40..44].copy_from_slice(&span.message.len.to_le_bytes());
        writer.0.extend_from_slice(&head);
    }
    writer.0.extend_from_slice(&recorder.log);
}

/// Reads one record, which must fill `bytes`.
pub fn read(bytes: &[u8]) -> Result<Trace<'_>, Error> {
    let mut reader = Reader(bytes);
    let version = reader.u8()?;
    if version != VERSION {
        return Err(Error::Version(version));
    }
    let trace_id = TraceId(reader.array()?);
    let parent: [u8; 8] = reader.array()?;
    let head = Head {
        trace_id,
        parent: (parent != [0; 8]).then_some(SpanId(parent)),
        flags: reader.u8()?,
        anchor: reader.u64()?,
        dropped: reader.u32()?,
        state: reader.text()?,
        request_id: reader.text()?,
    };
    let count = usize::from(reader.u16()?);
    if count == 0 {
        return Err(Error::Invalid("no span"));
    }
    let mut heads = Reader(reader.take(count * SPAN_HEAD_LEN)?);
    let log = reader.0;

    let mut trace = Trace {
        head,
        spans: Vec::with_capacity(count),
        ..Trace::default()
    };
    for index in 0..count {
        trace.spans.push(read_span_head(&mut heads, log, index)?);
    }
    read_log(log, &mut trace)?;
    Ok(trace)
}

fn read_span_head<'r>(
    heads: &mut Reader<'r>,
    log: &'r [u8],
    index: usize,
) -> Result<Span<'r>, Error> {
    let id = SpanId(heads.array()?);
    let parent = heads.u16()?;
    if index > 0 && usize::from(parent) >= index {
        return Err(Error::Invalid("a parent behind its child"));
    }
    let kind = match heads.u8()? {
        0 => Kind::HttpRequest,
        1 => Kind::Plugin,
        2 => Kind::HttpClient,
        3 => Kind::LlmCall,
        4 => Kind::Retry,
        _ => return Err(Error::Invalid("an unknown kind of span")),
    };
    let status = match heads.u8()? {
        0 => Status::Unset,
        1 => Status::Ok,
        2 => Status::Error,
        _ => return Err(Error::Invalid("an unknown status")),
    };
    let start = heads.u64()?;
    let end = heads.u64()?;
    if end < start {
        return Err(Error::Invalid("a span that ends before it starts"));
    }
    let mut string = || {
        let offset = heads.u32()? as usize;
        let len = heads.u32()? as usize;
        let bytes = log
            .get(offset..)
            .and_then(|log| log.get(..len))
            .ok_or(Error::Truncated)?;
        std::str::from_utf8(bytes).map_err(|_| Error::Invalid("a text that is not UTF-8"))
    };
    Ok(Span {
        id,
        parent: (index > 0).then_some(SpanIndex(parent)),
        kind,
        name: string()?,
        start,
        end,
        status,
        message: string()?,
        attributes: 0..0,
        events: 0..0,
    })
}

/// Walks the log once, then groups attributes and events by span, in order of arrival.
fn read_log<'r>(log: &'r [u8], trace: &mut Trace<'r>) -> Result<(), Error> {
    let spans = trace.spans.len();
    let mut attributes: Vec<(u16, Attribute<'r>)> = Vec::with_capacity(8 * spans);
    let mut events: Vec<(u16, Event<'r>)> = Vec::new();
    let mut reader = Reader(log);
    while !reader.0.is_empty() {
        match reader.u8()? {
            STRING => {
                let len = reader.u32()? as usize;
                reader.take(len)?;
            }
            BLOCK => {
                let span = reader.span(spans)?;
                let len = reader.u32()? as usize;
                let mut block = Reader(reader.take(len)?);
                while !block.0.is_empty() {
                    attributes.push((span, block.attribute()?));
                }
            }
            EVENT => {
                let span = reader.span(spans)?;
                let time = reader.u64()?;
                let name = reader.text()?;
                let attributes = (0..reader.u16()?)
                    .map(|_| reader.attribute())
                    .collect::<Result<_, _>>()?;
                events.push((
                    span,
                    Event {
                        name,
                        time,
                        attributes,
                    },
                ));
            }
            HEADER => trace.request_headers.push((reader.text()?, reader.text()?)),
            LOG => {
                let span = SpanIndex(reader.span(spans)?);
                let level = match reader.u8()? {
                    0 => Level::Trace,
                    1 => Level::Debug,
                    2 => Level::Info,
                    3 => Level::Warn,
                    4 => Level::Error,
                    _ => return Err(Error::Invalid("an unknown level")),
                };
                let time = reader.u64()?;
                let (plugin, message) = (reader.text()?, reader.text()?);
                trace.plugin_logs.push(PluginLog {
                    plugin,
                    span,
                    level,
                    message,
                    time,
                });
            }
            _ => return Err(Error::Invalid("an unknown entry")),
        }
    }
    // Stable, and nearly sorted already: hooks record one after the other.
    attributes.sort_by_key(|(span, _)| *span);
    events.sort_by_key(|(span, _)| *span);
    let mut at = 0;
    for (index, span) in trace.spans.iter_mut().enumerate() {
        let start = at;
        while at < attributes.len() && usize::from(attributes[at].0) == index {
            at += 1;
        }
        span.attributes = long(start)..long(at);
    }
    let mut at = 0;
    for (index, span) in trace.spans.iter_mut().enumerate() {
        let start = at;
        while at < events.len() && usize::from(events[at].0) == index {
            at += 1;
        }
        span.events = long(start)..long(at);
    }
    trace.attributes = attributes
        .into_iter()
        .map(|(_, attribute)| attribute)
        .collect();
    trace.events = events.into_iter().map(|(_, event)| event).collect();
    Ok(())
}

struct Reader<'r>(&'r [u8]);

impl<'r> Reader<'r> {
    fn take(&mut self, len: usize) -> Result<&'r [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    fn str(&mut self, len: usize) -> Result<&'r str, Error> {
        std::str::from_utf8(self.take(len)?).map_err(|_| Error::Invalid("a text that is not UTF-8"))
    }

    fn text(&mut self) -> Result<&'r str, Error> {
        let len = self.u32()? as usize;
        self.str(len)
    }

    fn span(&mut self, spans: usize) -> Result<u16, Error> {
        let span = self.u16()?;
        if usize::from(span) < spans {
            Ok(span)
        } else {
            Err(Error::Invalid("an unknown span"))
        }
    }

    fn attribute(&mut self) -> Result<Attribute<'r>, Error> {
        let kind = self.u8()?;
        let len = usize::from(self.u16()?);
        let key = self.str(len)?;
        let value = match kind {
            TEXT => Value::Text(self.text()?),
            BOOLEAN => Value::Boolean(self.u8()? != 0),
            INTEGER => Value::Integer(self.array().map(i64::from_le_bytes)?),
            FLOAT => Value::Float(self.array().map(f64::from_le_bytes)?),
            LIST => {
                let count = self.u16()?;
                Value::List((0..count).map(|_| self.text()).collect::<Result<_, _>>()?)
            }
            _ => return Err(Error::Invalid("an unknown kind of value")),
        };
        Ok(Attribute { key, value })
    }
}
