//! From a record to a borrowed trace.

use std::collections::HashSet;
use std::hash::Hash;
use std::ops::Range;

use super::log::Log;
use super::{
    BLOCK, BOOLEAN, EVENT, Error, FLOAT, HEADER, INTEGER, LIST, LOG, SPAN_HEAD_LEN, STRING, Slice,
    TEXT, VERSION, long,
};
use crate::trace::{
    Attribute, Event, Head, Kind, Level, PluginLog, Span, SpanId, SpanIndex, Status, Trace,
    TraceId, Value,
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
    let mut heads = Bytes(bytes.take(count * SPAN_HEAD_LEN)?);
    let len = bytes.u32()? as usize;
    let entries = Bytes(bytes.take(len)?);
    let texts = utf8(bytes.0)?;

    let mut trace = Trace {
        head,
        spans: Vec::with_capacity(count),
        ..Trace::default()
    };
    for index in 0..count {
        trace.spans.push(read_span_head(&mut heads, texts, index)?);
    }
    read_log(Reader { entries, texts }, &mut trace)?;
    Ok(trace)
}

fn read_span_head<'r>(
    heads: &mut Bytes<'_>,
    texts: &'r str,
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
        let slice = Slice {
            offset: heads.u32()?,
            len: heads.u32()?,
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
        attributes: 0..0,
        events: 0..0,
    })
}

/// Walks the log once, then groups attributes and events by span, in order of arrival.
fn read_log<'r>(mut reader: Reader<'r>, trace: &mut Trace<'r>) -> Result<(), Error> {
    let spans = trace.spans.len();
    let mut attributes: Vec<(u16, Attribute<'r>)> = Vec::with_capacity(12 * spans.min(64));
    let mut events: Vec<(u16, Event<'r>)> = Vec::new();
    while !reader.entries.0.is_empty() {
        match reader.entry(spans)? {
            Entry::String => {}
            Entry::Block(span, end) => {
                for attribute in reader.attributes(end) {
                    attributes.push((span, attribute?));
                }
                if reader.entries.0.len() != end {
                    return Err(Error::Invalid("an attribute that leaves its block"));
                }
            }
            Entry::Event(span, event) => events.push((span, event)),
            Entry::Header(name, value) => trace.request_headers.push((name, value)),
            Entry::Log(line) => trace.plugin_logs.push(line),
        }
    }
    if !reader.texts.is_empty() {
        return Err(Error::Invalid("a text without an entry"));
    }
    // Stable, and nearly sorted already: hooks record one after the other.
    attributes.sort_by_key(|(span, _)| *span);
    events.sort_by_key(|(span, _)| *span);
    if attributes
        .chunk_by(|(span, _), (next, _)| span == next)
        .any(|of_span| may_repeat(of_span, |(_, attribute)| attribute.key))
    {
        keep_last(&mut attributes, |(span, attribute)| (*span, attribute.key));
    }
    let (mut attribute, mut event) = (0, 0);
    for (index, span) in trace.spans.iter_mut().enumerate() {
        span.attributes = run(&attributes, &mut attribute, index);
        span.events = run(&events, &mut event, index);
    }
    trace.attributes = attributes.into_iter().map(|(_, of)| of).collect();
    trace.events = events.into_iter().map(|(_, of)| of).collect();
    Ok(())
}

/// May a key come twice? Never `false` when one does.
///
/// Each key sets a bit of few; only when it is set already are the keys before compared.
fn may_repeat<'r, T>(items: &[T], key: impl Fn(&T) -> &'r str) -> bool {
    if items.len() > 64 {
        return true;
    }
    let mut seen = [0_u64; 4];
    items.iter().enumerate().any(|(index, item)| {
        let text = key(item);
        let bit = fingerprint(text);
        let (word, bit) = (&mut seen[usize::from(bit >> 6)], 1 << (bit & 63));
        let is_new = *word & bit == 0;
        *word |= bit;
        !is_new && items[..index].iter().any(|other| key(other) == text)
    })
}

/// Of a key's length and end, which tell most keys apart.
fn fingerprint(key: &str) -> u8 {
    let end = key
        .as_bytes()
        .last_chunk()
        .map_or(0, |end| u64::from_le_bytes(*end));
    let mixed = (end ^ key.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.to_be_bytes()[0]
}

/// Of equal keys keeps the last.
fn keep_last<T, K: Eq + Hash>(items: &mut Vec<T>, key: impl Fn(&T) -> K) {
    let mut seen = HashSet::with_capacity(items.len());
    items.reverse();
    items.retain(|item| seen.insert(key(item)));
    items.reverse();
}

/// The run of a span's items that begins at `at`, which moves behind it.
fn run<T>(items: &[(u16, T)], at: &mut usize, span: usize) -> Range<u32> {
    let start = *at;
    while items
        .get(*at)
        .is_some_and(|(of, _)| usize::from(*of) == span)
    {
        *at += 1;
    }
    long(start)..long(*at)
}

/// One entry of a log, with its span where it has one.
pub(super) enum Entry<'r> {
    /// A name or a message; spans point to it.
    String,
    /// Attributes are to be read next, until so many bytes of entries are left.
    Block(u16, usize),
    Event(u16, Event<'r>),
    Header(&'r str, &'r str),
    Log(PluginLog<'r>),
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
            BLOCK => {
                let span = self.span(spans)?;
                let len = self.entries.u32()? as usize;
                let end = self.entries.0.len().checked_sub(len);
                Entry::Block(span, end.ok_or(Error::Truncated)?)
            }
            EVENT => {
                let span = self.span(spans)?;
                let mut event = Event {
                    time: self.entries.u64()?,
                    name: self.text()?,
                    attributes: (0..self.entries.u16()?)
                        .map(|_| self.attribute())
                        .collect::<Result<_, _>>()?,
                };
                if may_repeat(&event.attributes, |attribute| attribute.key) {
                    keep_last(&mut event.attributes, |attribute| attribute.key);
                }
                Entry::Event(span, event)
            }
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

    /// The attributes of a block. After an error no more may be asked for.
    pub(super) fn attributes(
        &mut self,
        end: usize,
    ) -> impl Iterator<Item = Result<Attribute<'r>, Error>> {
        std::iter::from_fn(move || (self.entries.0.len() > end).then(|| self.attribute()))
    }

    fn attribute(&mut self) -> Result<Attribute<'r>, Error> {
        let [kind, low, high] = self.entries.array()?;
        let key = self.str(usize::from(u16::from_le_bytes([low, high])))?;
        let value = match kind {
            TEXT => Value::Text(self.text()?),
            BOOLEAN => Value::Boolean(self.entries.u8()? != 0),
            INTEGER => Value::Integer(self.entries.array().map(i64::from_le_bytes)?),
            FLOAT => Value::Float(self.entries.array().map(f64::from_le_bytes)?),
            LIST => {
                let count = self.entries.u16()?;
                Value::List((0..count).map(|_| self.text()).collect::<Result<_, _>>()?)
            }
            _ => return Err(Error::Invalid("an unknown kind of value")),
        };
        Ok(Attribute { key, value })
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
        self.str(len)
    }

    fn str(&mut self, len: usize) -> Result<&'r str, Error> {
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
