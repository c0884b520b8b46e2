//! Notes what happens to one request while it is under way.
//!
//! Everything of variable length is appended to a log in the very form the record has (see
//! [`super::record`]), so that recording allocates nothing once a recorder is warm, and finishing a
//! trace is a copy. A recorder belongs to one worker and is used again for the next request. It
//! knows nothing of filters or of where records go.

mod fork;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::record::{self, Log};
use super::{Kind, Level, Outcome, SpanId, SpanIndex, Status, TraceId, Value, attributes};
use crate::hex;

/// Most bytes of attributes, events, headers and log lines one trace may have; what is more is
/// counted, not kept.
pub const MAX_BYTES: usize = 1 << 20;

/// Most bytes a span's name or message may have; what is more is cut off.
const MAX_TEXT: usize = 8 << 10;

/// Most spans one trace may have.
const MAX_SPANS: usize = 1024;

/// From here on are the spans that a fork has begun itself: their places in the trace are known once it
/// is absorbed.
const OWN: u16 = 1 << 15;

/// Attributes that every span of a kind has, encoded once.
#[derive(Clone, Debug, Default)]
pub struct Template(Vec<u8>);

impl Template {
    pub fn new<'a>(attributes: impl IntoIterator<Item = (&'a str, Value<'a>)>) -> Self {
        let mut encoded = Vec::new();
        for (key, value) in attributes {
            attributes::write(key, &value, &mut encoded);
        }
        Self(encoded)
    }
}

/// Writes attributes of one span, one after the other.
pub struct Attributes<'l>(&'l mut Vec<u8>);

impl Attributes<'_> {
    #[inline]
    pub fn add<'a>(&mut self, key: &str, value: impl Into<Value<'a>>) {
        attributes::write(key, &value.into(), self.0);
    }
}

/// Spans of one request. Not shared between threads, no clock of its own: callers pass `Instant`s.
#[derive(Debug)]
pub struct Recorder {
    pub(super) trace_id: TraceId,
    pub(super) parent: Option<SpanId>,
    pub(super) flags: u8,
    pub(super) state: String,
    pub(super) request_id: String,
    pub(super) anchor: u64,
    pub(super) dropped: u32,
    pub(super) spans: Vec<record::SpanHead>,
    pub(super) log: Log,
    start: Instant,
    /// The time that was noted last, and so many nanoseconds from the start: one thing begins mostly
    /// where another ended.
    noted: (Instant, u64),
    silent: bool,
    is_fork: bool,
    /// Of a fork, those that it has begun itself.
    own: Vec<record::SpanHead>,
}

impl Default for Recorder {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            trace_id: TraceId([0; 16]),
            parent: None,
            flags: 0,
            state: String::new(),
            request_id: String::new(),
            anchor: 0,
            dropped: 0,
            spans: Vec::with_capacity(16),
            log: Log::with_capacity(4096),
            start: now,
            noted: (now, 0),
            silent: false,
            is_fork: false,
            own: Vec::new(),
        }
    }
}

impl Recorder {
    /// Begins a trace and its root span at `now`; what was recorded before is forgotten.
    pub fn begin(&mut self, context: Option<&super::context::Context>, now: Instant) {
        self.spans.clear();
        self.log.clear();
        self.request_id.clear();
        self.state.clear();
        self.dropped = 0;
        self.silent = false;
        self.is_fork = false;
        self.own.clear();
        self.start = now;
        self.noted = (now, 0);
        self.anchor = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        if let Some(context) = context {
            self.trace_id = context.trace_id;
            self.parent = Some(context.parent);
            self.flags = context.flags;
            self.state.push_str(&context.state);
        } else {
            self.trace_id = TraceId::random();
            self.parent = None;
            self.flags = super::context::SAMPLED | super::context::RANDOM;
        }
        self.span("", Kind::HttpRequest, SpanIndex::ROOT, now);
    }

    /// Notes nothing of this trace from now on but which spans it has and how they ended, for nobody is
    /// going to read it.
    pub fn silence(&mut self) {
        self.silent = true;
    }

    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// Whether little memory is held, so that a recorder is worth keeping.
    pub fn is_small(&self) -> bool {
        self.log.capacity() <= 64 << 10
    }

    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// The caller's span.
    pub fn parent(&self) -> Option<SpanId> {
        self.parent
    }

    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// When it began, in nanoseconds since 1970.
    pub fn anchor(&self) -> u64 {
        self.anchor
    }

    pub fn start(&self) -> Instant {
        self.start
    }

    pub fn span_id(&self, span: SpanIndex) -> SpanId {
        self.head(span).id
    }

    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    pub fn set_request_id(&mut self, id: &str) {
        self.request_id.clear();
        self.request_id.push_str(id);
    }

    /// Makes a new request id.
    pub fn make_request_id(&mut self) {
        let id = fastrand::u128(..).to_be_bytes();
        self.set_request_id(hex::Digits::<32>::of(&id).as_str());
    }

    /// Begins a span. Past the bound the last span there is is given again, and the loss counted.
    pub fn span(&mut self, name: &str, kind: Kind, parent: SpanIndex, start: Instant) -> SpanIndex {
        if self.spans.len() + self.own.len() >= MAX_SPANS {
            self.dropped += 1;
            return self.last();
        }
        let name = self.note(name);
        let start = self.offset(start);
        let spans = if self.is_fork {
            &mut self.own
        } else {
            &mut self.spans
        };
        spans.push(record::SpanHead {
            id: SpanId::random(),
            parent: parent.0,
            kind,
            status: Status::Unset,
            start,
            end: start,
            name,
            message: record::Slice::default(),
            ended: false,
        });
        self.last()
    }

    /// Names or renames a span: a root is named once its route is known.
    pub fn rename(&mut self, span: SpanIndex, name: &str) {
        let name = self.note(name);
        self.head_mut(span).name = name;
    }

    /// As [`Recorder::rename`], from parts, without a string between.
    pub fn rename_parts(&mut self, span: SpanIndex, parts: &[&str]) {
        if !self.silent {
            let name = self.log.add_string(parts);
            self.head_mut(span).name = name;
        }
    }

    pub fn set_kind(&mut self, span: SpanIndex, kind: Kind) {
        self.head_mut(span).kind = kind;
    }

    pub fn end(&mut self, span: SpanIndex, status: Status, message: &str, now: Instant) {
        let end = self.offset(now);
        let head = self.head_mut(span);
        head.end = end.max(head.start);
        head.ended = true;
        if head.status != Status::Error {
            head.status = status;
            if !message.is_empty() {
                let message = self.note(message);
                self.head_mut(span).message = message;
            }
        }
    }

    /// Whether [`Recorder::end`] was called for a span.
    pub fn has_ended(&self, span: SpanIndex) -> bool {
        self.head(span).ended
    }

    /// Makes a span's status an error, whatever it ends with.
    pub fn mark_error(&mut self, span: SpanIndex, message: &str) {
        let message = self.note(message);
        let head = self.head_mut(span);
        head.status = Status::Error;
        head.message = message;
    }

    /// Counts something that was not recorded.
    pub fn count_dropped(&mut self) {
        self.dropped += 1;
    }

    pub fn attribute<'a>(&mut self, span: SpanIndex, key: &str, value: impl Into<Value<'a>>) {
        let value = value.into();
        if self.has_room(key.len() + value.len()) {
            let write = |out: &mut _| attributes::write(key, &value, out);
            self.log.block(span, write);
        }
    }

    /// Adds attributes that were encoded before, and what `add` adds.
    pub fn template(
        &mut self,
        span: SpanIndex,
        template: &Template,
        add: impl FnOnce(&mut Attributes<'_>),
    ) {
        if !self.silent {
            self.log.block(span, |out| {
                out.extend_from_slice(&template.0);
                add(&mut Attributes(out));
            });
        }
    }

    /// Adds several attributes at once, within the recorder's bounds by their nature.
    pub fn attributes(&mut self, span: SpanIndex, add: impl FnOnce(&mut Attributes<'_>)) {
        if !self.silent {
            self.log.block(span, |out| add(&mut Attributes(out)));
        }
    }

    /// An address as text, without a string between.
    pub fn address(&mut self, span: SpanIndex, key: &str, address: std::net::IpAddr) {
        use std::io::Write;
        if self.silent {
            return;
        }
        let mut text = [0; 48];
        let mut rest = &mut text[..];
        if write!(rest, "{address}").is_ok() {
            let len = 48 - rest.len();
            if let Ok(text) = std::str::from_utf8(&text[..len]) {
                self.attribute(span, key, text);
            }
        }
    }

    /// A list of texts from what can be seen as one, without a vector between.
    pub fn list<T: AsRef<str>>(&mut self, span: SpanIndex, key: &str, texts: &[T]) {
        let len: usize = texts.iter().map(|text| text.as_ref().len() + 4).sum();
        if self.has_room(key.len() + len) {
            let write = |out: &mut _| attributes::write_list(key, texts, out);
            self.log.block(span, write);
        }
    }

    pub fn event(
        &mut self,
        span: SpanIndex,
        name: &str,
        attributes: &[(&str, Value<'_>)],
        now: Instant,
    ) {
        let len: usize = attributes
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        if self.has_room(name.len() + len) {
            let time = self.offset(now);
            self.log.event(span, time, name, |out| {
                for (key, value) in attributes {
                    attributes::write(key, value, out);
                }
            });
        }
    }

    /// The values of one request header, by its lower-case name.
    pub fn request_header<T: AsRef<str>>(&mut self, name: &str, values: &[T]) {
        let len: usize = values.iter().map(|value| value.as_ref().len() + 2).sum();
        if self.has_room(name.len() + len) {
            self.log.header(name, values);
        }
    }

    pub fn plugin_log(
        &mut self,
        span: SpanIndex,
        plugin: &str,
        level: Level,
        message: &str,
        now: Instant,
    ) {
        if self.has_room(plugin.len() + message.len()) {
            let time = self.offset(now);
            self.log.plugin_log(span, plugin, level, message, time);
        }
    }

    /// As it stands: of use when all spans have ended.
    pub fn outcome(&self) -> Outcome {
        Outcome {
            trace_id: self.trace_id,
            failed: self.failed(),
            duration: self.spans.first().map_or(Duration::ZERO, |root| {
                Duration::from_nanos(root.end - root.start)
            }),
        }
    }

    /// Has some span ended in error?
    pub(super) fn failed(&self) -> bool {
        self.spans.iter().any(|span| span.status == Status::Error)
    }

    /// Each span's parent, and its plugin where it is a hook's.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (Option<SpanIndex>, Option<&str>)> {
        self.spans.iter().enumerate().map(|(index, span)| {
            let parent = (index > 0).then_some(SpanIndex(span.parent));
            (parent, span.kind.plugin(self.log.string(span.name)))
        })
    }

    /// The span that was begun last.
    fn last(&self) -> SpanIndex {
        SpanIndex(match self.own.len().checked_sub(1) {
            Some(own) => OWN + record::small(own),
            None => record::small(self.spans.len() - 1),
        })
    }

    fn head(&self, span: SpanIndex) -> &record::SpanHead {
        match span.0.checked_sub(OWN) {
            None => &self.spans[span.get()],
            Some(own) => &self.own[usize::from(own)],
        }
    }

    fn head_mut(&mut self, span: SpanIndex) -> &mut record::SpanHead {
        match span.0.checked_sub(OWN) {
            None => &mut self.spans[span.get()],
            Some(own) => &mut self.own[usize::from(own)],
        }
    }

    /// A name or a message, of which no more is kept than a reader wants.
    fn note(&mut self, text: &str) -> record::Slice {
        let text = &text[..text.floor_char_boundary(MAX_TEXT)];
        if self.has_room(text.len()) {
            self.log.add_string(&[text])
        } else {
            record::Slice::default()
        }
    }

    fn has_room(&mut self, len: usize) -> bool {
        if self.silent {
            return false;
        }
        let fits = self.log.len() + len + 32 <= MAX_BYTES;
        self.dropped += u32::from(!fits);
        fits
    }

    fn offset(&mut self, now: Instant) -> u64 {
        if self.silent {
            return 0;
        }
        if self.noted.0 != now {
            let since = now.saturating_duration_since(self.start).as_nanos();
            self.noted = (now, u64::try_from(since).unwrap_or(u64::MAX));
        }
        self.noted.1
    }
}

impl Value<'_> {
    /// In bytes, about as in a record.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::List(texts) => texts.iter().map(|text| text.len() + 4).sum(),
            Self::Boolean(_) | Self::Integer(_) | Self::Float(_) => 8,
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<u16> for Value<'_> {
    fn from(value: u16) -> Self {
        Self::Integer(value.into())
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}
