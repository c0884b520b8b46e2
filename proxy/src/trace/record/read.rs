//! From a record to a borrowed trace.

use smallvec::SmallVec;

use super::log::Log;
use super::{BLOCK, EVENT, Error, HEADER, LOG, SPAN_HEAD_LEN, STRING, Slice, VERSION, long};
use crate::trace::attributes::Attributes;
use crate::trace::{
    Event, Head, Kind, Level, PluginLog, Span, SpanId, SpanIndex, Status, Trace, TraceId,
};

/// Reads one record, which must fill `bytes`.
pub fn read(bytes: &[u8]) -> Result<Trace<'_>, Error> {
    let mut bytes = Bytes(bytes);
    let version = bytes.u8()?;
    if version != VERSION {
        return Err(Error::Version(version));
    }
    let trace_id = TraceId(bytes.array()?);
    let parent: [u8; 8] = bytes.array()?;
    let head = Head {
        trace_id,
        parent: (parent != [0; 8]).then_some(SpanId(parent)),
        flags: bytes.u8()?,
        anchor: bytes.u64()?,
        dropped: bytes.u32()?,
        truncated: 0,
        failed: bytes.u8()? != 0,
        state: bytes.str()?,
        request_id: bytes.str()?,
    };
    let count = usize::from(bytes.u16()?);
    if count == 0 {
        return Err(Error::Invalid("no span"));
    }
    let (heads, _) = bytes.take(count * SPAN_HEAD_LEN)?.as_chunks();
    let len = bytes.u32()? as usize;
    let entries = Bytes(bytes.take(len)?);
    let texts = utf8(bytes.0)?;

    let mut trace = Trace {
        head,
        spans: Vec::with_capacity(count),
        ..Trace::default()
    };
    for (index, head) in heads.iter().enumerate() {
        trace.spans.push(read_span_head(head, texts, index)?);
    }
    read_log(Reader { entries, texts }, &mut trace)?;
    Ok(trace)
}

fn read_span_head<'r>(
    head: &[u8; SPAN_HEAD_LEN],
    texts: &'r str,
    index: usize,
) -> Result<Span<'r>, Error> {
    let mut head = Bytes(head);
    let id = SpanId(head.array()?);
    let parent = head.u16()?;
    if index > 0 && usize::from(parent) >= index {
        return Err(Error::Invalid("a parent behind its child"));
    }
    let kind = match head.u8()? {
        0 => Kind::HttpRequest,
        1 => Kind::Plugin,
        2 => Kind::HttpClient,
        3 => Kind::LlmCall,
        4 => Kind::Retry,
        _ => return Err(Error::Invalid("an unknown kind of span")),
    };
    let status = match head.u8()? {
        0 => Status::Unset,
        1 => Status::Ok,
        2 => Status::Error,
        _ => return Err(Error::Invalid("an unknown status")),
    };
    let start = head.u64()?;
    let end = head.u64()?;
    if end < start {
        return Err(Error::Invalid("a span that ends before it starts"));
    }
    let mut string = || {
        let slice = Slice {
            offset: head.u32()?,
            len: head.u32()?,
        };
        slice.of(texts).ok_or(Error::Truncated)
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
        attributes: Attributes::default(),
        events: 0..0,
    })
}

/// Walks the log once, then groups attributes and events by span, in order of arrival.
fn read_log<'r>(mut reader: Reader<'r>, trace: &mut Trace<'r>) -> Result<(), Error> {
    let spans = trace.spans.len();
    let mut blocks: SmallVec<[(u16, &'r [u8]); 32]> = SmallVec::new();
    let mut events: Vec<(u16, Event<'r>)> = Vec::new();
    while !reader.entries.0.is_empty() {
        match reader.entry(spans)? {
            Entry::String => {}
            Entry::Block(span, block) => blocks.push((span, block)),
            Entry::Event(span, event) => events.push((
                span,
                Event {
                    name: event.name,
                    time: event.time,
                    attributes: attributes(&[(span, event.attributes)])?,
                },
            )),
            Entry::Header(name, value) => trace.request_headers.push((name, value)),
            Entry::Log(line) => trace.plugin_logs.push(line),
        }
    }
    if !reader.texts.is_empty() {
        return Err(Error::Invalid("a text without an entry"));
    }
    // Stable, and nearly sorted already: hooks record one after the other.
    blocks.sort_by_key(|(span, _)| *span);
    events.sort_by_key(|(span, _)| *span);
    for of_span in blocks.chunk_by(|(span, _), (next, _)| span == next) {
        trace.spans[usize::from(of_span[0].0)].attributes = attributes(of_span)?;
    }
    let mut at = 0;
    for (index, span) in trace.spans.iter_mut().enumerate() {
        let start = at;
        while (events.get(at)).is_some_and(|(of, _)| usize::from(*of) == index) {
            at += 1;
        }
        span.events = long(start)..long(at);
    }
    trace.events = events.into_iter().map(|(_, of)| of).collect();
    Ok(())
}

fn attributes<'r>(pieces: &[(u16, &'r [u8])]) -> Result<Attributes<'r>, Error> {
    Attributes::of(pieces).ok_or(Error::Invalid("attributes that are none"))
}

/// One entry of a log, with its span where it has one.
pub(super) enum Entry<'r> {
    /// A name or a message; spans point to it.
    String,
    /// With its attributes.
    Block(u16, &'r [u8]),
    Event(u16, Noted<'r>),
    Header(&'r str, &'r str),
    Log(PluginLog<'r>),
}

/// An event as it was noted.
pub(super) struct Noted<'r> {
    pub(super) time: u64,
    pub(super) name: &'r str,
    pub(super) attributes: &'r [u8],
}

/// What of a log has not been read yet.
pub(super) struct Reader<'r> {
    entries: Bytes<'r>,
    texts: &'r str,
}

impl<'r> Reader<'r> {
    pub(super) fn of(log: &'r Log) -> Self {
        Self {
            entries: Bytes(&log.entries),
            texts: &log.texts,
        }
    }

    /// The next entry of a log in a trace of so many spans.
    pub(super) fn entry(&mut self, spans: usize) -> Result<Entry<'r>, Error> {
        Ok(match self.entries.u8()? {
            STRING => {
                self.text()?;
                Entry::String
            }
            BLOCK => Entry::Block(self.span(spans)?, self.counted()?),
            EVENT => Entry::Event(
                self.span(spans)?,
                Noted {
                    time: self.entries.u64()?,
                    name: self.text()?,
                    attributes: self.counted()?,
                },
            ),
            HEADER => Entry::Header(self.text()?, self.text()?),
            LOG => Entry::Log(PluginLog {
                span: SpanIndex(self.span(spans)?),
                level: match self.entries.u8()? {
                    0 => Level::Trace,
                    1 => Level::Debug,
                    2 => Level::Info,
                    3 => Level::Warn,
                    4 => Level::Error,
                    _ => return Err(Error::Invalid("an unknown level")),
                },
                time: self.entries.u64()?,
                plugin: self.text()?,
                message: self.text()?,
            }),
            _ => return Err(Error::Invalid("an unknown entry")),
        })
    }

    fn counted(&mut self) -> Result<&'r [u8], Error> {
        let len = self.entries.u32()? as usize;
        self.entries.take(len)
    }

    fn span(&mut self, spans: usize) -> Result<u16, Error> {
        let span = self.entries.u16()?;
        if usize::from(span) < spans {
            Ok(span)
        } else {
            Err(Error::Invalid("an unknown span"))
        }
    }

    fn text(&mut self) -> Result<&'r str, Error> {
        let len = self.entries.u32()? as usize;
        let (taken, rest) = self.texts.split_at_checked(len).ok_or(Error::Truncated)?;
        self.texts = rest;
        Ok(taken)
    }
}

/// What of some bytes has not been read yet.
struct Bytes<'r>(&'r [u8]);

impl<'r> Bytes<'r> {
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

    fn str(&mut self) -> Result<&'r str, Error> {
        let len = self.u32()? as usize;
        self.take(len).and_then(utf8)
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| Error::Invalid("a text that is not UTF-8"))
}
