//! From a recorder to a record.

use super::{
    BLOCK, BOOLEAN, EVENT, FLOAT, HEADER, INTEGER, LIST, LOG, SPAN_HEAD_LEN, STRING, Slice,
    SpanHead, TEXT, VERSION, long, small,
};
use crate::trace::recorder::Recorder;
use crate::trace::{Level, SpanIndex, Value};

/// Appends the recorder's trace to `out` as one record.
pub fn write(recorder: &Recorder, out: &mut Vec<u8>) {
    out.reserve(64 + recorder.spans.len() * SPAN_HEAD_LEN + recorder.log.len());
    write_head(recorder, recorder.spans.len(), out);
    for span in &recorder.spans {
        write_span(span, out);
    }
    out.extend_from_slice(&recorder.log);
}

pub(super) fn write_head(recorder: &Recorder, spans: usize, out: &mut Vec<u8>) {
    out.push(VERSION);
    out.extend_from_slice(&recorder.trace_id.0);
    out.extend_from_slice(&recorder.parent.map_or([0; 8], |parent| parent.0));
    out.push(recorder.flags);
    out.extend_from_slice(&recorder.anchor.to_le_bytes());
    out.extend_from_slice(&recorder.dropped.to_le_bytes());
    out.push(u8::from(recorder.failed()));
    let mut writer = Writer(out);
    writer.text(&recorder.state);
    writer.text(&recorder.request_id);
    writer.u16(small(spans));
}

pub(super) fn write_span(span: &SpanHead, out: &mut Vec<u8>) {
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
    out.extend_from_slice(&head);
}

/// Appends to a log.
pub(in crate::trace) struct Writer<'b>(pub(in crate::trace) &'b mut Vec<u8>);

impl Writer<'_> {
    pub(in crate::trace) fn string(&mut self, text: &str) -> Slice {
        self.string_parts(&[text])
    }

    pub(in crate::trace) fn string_parts(&mut self, parts: &[&str]) -> Slice {
        let len = long(parts.iter().map(|part| part.len()).sum());
        self.0.push(STRING);
        self.u32(len);
        let offset = long(self.0.len());
        for part in parts {
            self.0.extend_from_slice(part.as_bytes());
        }
        Slice { offset, len }
    }

    pub(in crate::trace) fn block(
        &mut self,
        span: SpanIndex,
        attributes: impl FnOnce(&mut Writer<'_>),
    ) {
        self.0.push(BLOCK);
        self.u16(span.0);
        let at = self.0.len();
        self.u32(0);
        attributes(&mut Writer(self.0));
        let len = long(self.0.len() - at - 4);
        self.0[at..at + 4].copy_from_slice(&len.to_le_bytes());
    }

    pub(in crate::trace) fn attribute(&mut self, key: &str, value: &Value<'_>) {
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

    pub(in crate::trace) fn list<T: AsRef<str>>(&mut self, key: &str, texts: &[T]) {
        self.key(key, LIST);
        let count = small(texts.len());
        self.u16(count);
        for text in &texts[..usize::from(count)] {
            self.text(text.as_ref());
        }
    }

    pub(in crate::trace) fn event(
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

    pub(in crate::trace) fn header<T: AsRef<str>>(&mut self, name: &str, values: &[T]) {
        self.0.push(HEADER);
        self.text(name);
        let len: usize = values.iter().map(|value| value.as_ref().len()).sum();
        self.u32(long(len + 2 * values.len().saturating_sub(1)));
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.0.extend_from_slice(b", ");
            }
            self.0.extend_from_slice(value.as_ref().as_bytes());
        }
    }

    pub(in crate::trace) fn plugin_log(
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
        let key = &key[..key.floor_char_boundary(usize::from(u16::MAX))];
        self.0.push(kind);
        self.u16(small(key.len()));
        self.0.extend_from_slice(key.as_bytes());
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
