//! From a recorder to a record of some of what it holds.

use super::SpanHead;
use super::read::{Entry, Reader};
use super::write::{Writer, write_head, write_span};
use crate::trace::SpanIndex;
use crate::trace::recorder::Recorder;

/// As [`super::write`], without what does not stay.
///
/// `survivors` has, for each span, the nearest of itself and its ancestors that stays: that takes
/// its children and its log lines; its attributes and events are lost. The root must stay. Does an
/// attribute of a span and key stay, `keeps` says; `header` gives what a request header's value is
/// to be, if it stays.
pub fn write_part(
    recorder: &Recorder,
    survivors: &[SpanIndex],
    keeps: impl Fn(SpanIndex, &str) -> bool,
    header: impl for<'v> Fn(&str, &'v str) -> Option<&'v str>,
    out: &mut Vec<u8>,
) {
    let places = places(survivors);
    let stays = |span: u16| survivors[usize::from(span)].0 == span;
    let place = |span: u16| SpanIndex(places[usize::from(span)]);

    let kept = (0_u16..)
        .zip(&recorder.spans)
        .filter(|(index, _)| stays(*index));
    write_head(recorder, kept.clone().count(), out);
    // Names and messages come first, for the spans' heads have their places.
    let mut log = Vec::with_capacity(recorder.log.len());
    for (_, span) in kept {
        let mut moved = |text| Writer(&mut log).string(recorder.text(text));
        let span = SpanHead {
            parent: place(span.parent).0,
            name: moved(span.name),
            message: moved(span.message),
            ..span.clone()
        };
        write_span(&span, out);
    }
    let mut writer = Writer(&mut log);
    let mut reader = Reader(&recorder.log);
    // A recorder's own log is read without an error, until its end is one.
    while let Ok(entry) = reader.entry(survivors.len()) {
        match entry {
            Entry::Block(span, attributes) if stays(span) => {
                writer.block(place(span), |block| {
                    let mut reader = Reader(attributes);
                    while let Ok((attribute, raw)) = reader.with_raw(Reader::attribute) {
                        if keeps(SpanIndex(span), attribute.key) {
                            block.0.extend_from_slice(raw);
                        }
                    }
                });
            }
            Entry::Event(span, event) if stays(span) => {
                let attributes = event.attributes.into_iter();
                let attributes: Vec<_> = attributes
                    .filter(|attribute| keeps(SpanIndex(span), attribute.key))
                    .map(|attribute| (attribute.key, attribute.value))
                    .collect();
                writer.event(place(span), event.time, event.name, &attributes);
            }
            Entry::Header(name, value) => {
                if let Some(value) = header(name, value) {
                    writer.header(name, &[value]);
                }
            }
            Entry::Log(line) => writer.plugin_log(
                place(line.span.0),
                line.plugin,
                line.level,
                line.message,
                line.time,
            ),
            Entry::String | Entry::Block(..) | Entry::Event(..) => {}
        }
    }
    out.extend_from_slice(&log);
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
