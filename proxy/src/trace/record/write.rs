//! From a recorder to a record, whole or in part.

use super::log::Log;
use super::read::{Entry, Reader, read};
use super::{SPAN_HEAD_LEN, SpanHead, VERSION, long, small};
use crate::trace::SpanIndex;
use crate::trace::attributes::Fields;
use crate::trace::recorder::Recorder;

/// Appends the recorder's trace to `out` as one record.
pub fn write(recorder: &Recorder, out: &mut Vec<u8>) {
    let start = out.len();
    out.reserve(96 + recorder.spans.len() * SPAN_HEAD_LEN + recorder.log.len());
    write_head(recorder, recorder.spans.len(), out);
    for span in &recorder.spans {
        write_span(span, out);
    }
    write_log(&recorder.log, out);
    check(&out[start..]);
}

/// As [`write()`], without what does not stay.
///
/// `survivors` has, for each span, the nearest of itself and its ancestors that stays: that takes
/// its children and its log lines; its attributes and events are lost. The root must stay. Does an
/// attribute of a span and key stay, `keeps` says; `header` gives what a request header's value is
/// to be, if it stays.
pub fn write_part(
    recorder: &Recorder,
    survivors: &[SpanIndex],
    keeps: impl Fn(SpanIndex, &[u8]) -> bool,
    header: impl for<'v> Fn(&str, &'v str) -> Option<&'v str>,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    let places = places(survivors);
    let stays = |span: u16| survivors[usize::from(span)].0 == span;
    let place = |span: u16| SpanIndex(places[usize::from(span)]);

    let mut log = Log::with_capacity(recorder.log.len());
    let kept = (0_u16..)
        .zip(&recorder.spans)
        .filter(|(index, _)| stays(*index));
    write_head(recorder, kept.clone().count(), out);
    for (_, span) in kept {
        let mut moved = |slice| log.add_string(&[recorder.log.string(slice)]);
        let span = SpanHead {
            parent: place(span.parent).0,
            name: moved(span.name),
            message: moved(span.message),
            ..span.clone()
        };
        write_span(&span, out);
    }
    let part = |span: u16, attributes, out: &mut Vec<u8>| {
        let kept = Fields::of(attributes).filter(|of| keeps(SpanIndex(span), of.key));
        kept.for_each(|of| out.extend_from_slice(of.as_field()));
    };
    let mut reader = Reader::of(&recorder.log);
    // A recorder's own log reads without error, until its end is one.
    while let Ok(entry) = reader.entry(survivors.len()) {
        match entry {
            Entry::String => {}
            Entry::Block(span, block) => {
                if stays(span) {
                    log.block(place(span), |out| part(span, block, out));
                }
            }
            Entry::Event(span, of) => {
                if stays(span) {
                    let write = |out: &mut _| part(span, of.attributes, out);
                    log.event(place(span), of.time, of.name, write);
                }
            }
            Entry::Header(name, value) => {
                if let Some(value) = header(name, value) {
                    log.header(name, &[value]);
                }
            }
            Entry::Log(line) => {
                let span = place(line.span.0);
                log.plugin_log(span, line.plugin, line.level, line.message, line.time);
            }
        }
    }
    write_log(&log, out);
    check(&out[start..]);
}

/// What no reader takes would be found long after, where nobody knows why.
fn check(record: &[u8]) {
    debug_assert_eq!(read(record).err(), None, "it cannot be read");
}

/// By span, the place its survivor has among those that stay.
fn places(survivors: &[SpanIndex]) -> Vec<u16> {
    let mut places: Vec<u16> = Vec::with_capacity(survivors.len());
    let mut next = 0;
    for (index, survivor) in survivors.iter().enumerate() {
        if survivor.get() == index {
            places.push(next);
            next += 1;
        } else {
            places.push(places[survivor.get()]);
        }
    }
    places
}

fn write_head(recorder: &Recorder, spans: usize, out: &mut Vec<u8>) {
    out.push(VERSION);
    out.extend_from_slice(&recorder.trace_id.0);
    out.extend_from_slice(&recorder.parent.map_or([0; 8], |parent| parent.0));
    out.push(recorder.flags);
    out.extend_from_slice(&recorder.anchor.to_le_bytes());
    out.extend_from_slice(&recorder.dropped.to_le_bytes());
    out.push(u8::from(recorder.failed()));
    for text in [&recorder.state, &recorder.request_id] {
        out.extend_from_slice(&long(text.len()).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(&small(spans).to_le_bytes());
}

fn write_span(span: &SpanHead, out: &mut Vec<u8>) {
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

fn write_log(log: &Log, out: &mut Vec<u8>) {
    out.extend_from_slice(&long(log.entries.len()).to_le_bytes());
    out.extend_from_slice(&log.entries);
    out.extend_from_slice(log.texts.as_bytes());
}
