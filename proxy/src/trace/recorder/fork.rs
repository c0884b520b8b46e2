//! A recorder beside an exchange's, for hooks that run while the exchange goes on.

use super::{MAX_SPANS, OWN, Recorder};
use crate::trace::{SpanIndex, Status, record};

impl Recorder {
    /// Begins with the spans of another, so that both may note what happens to them.
    pub(crate) fn fork(&mut self, from: &Self) {
        self.log.clear();
        self.dropped = 0;
        (self.trace_id, self.parent, self.flags) = (from.trace_id, from.parent, from.flags);
        (self.anchor, self.start, self.silent) = (from.anchor, from.start, from.silent);
        self.noted = from.noted;
        self.request_id.clone_from(&from.request_id);
        self.state.clear();
        self.spans.clone_from(&from.spans);
        self.is_fork = true;
        self.own.clear();
    }

    /// Takes the spans that have begun in another since it was forked of that.
    pub(crate) fn catch_up(&mut self, from: &Self) {
        let known = self.spans.len().min(from.spans.len());
        self.spans.extend_from_slice(&from.spans[known..]);
    }

    /// Takes over what was noted by one that was forked of it, and the spans that it has begun.
    pub(crate) fn absorb(&mut self, side: &Self) {
        self.dropped += side.dropped;
        if !self.has_room(side.log.len()) {
            return;
        }
        let before = self.spans.len();
        let fit = side.own.len().min(MAX_SPANS.saturating_sub(before));
        self.dropped += record::long(side.own.len() - fit);
        // As when they were begun, the last stands for those that there is no room for.
        let last = before + fit - 1;
        let place = |span: SpanIndex| match span.0.checked_sub(OWN) {
            None => span,
            Some(own) => SpanIndex(record::small(last.min(before + usize::from(own)))),
        };
        let behind = self.log.absorb(&side.log, place);
        for (span, noted) in self.spans.iter_mut().zip(&side.spans) {
            if noted.status == Status::Error && span.status != Status::Error {
                span.status = Status::Error;
                span.message = noted.message.behind(behind);
            }
        }
        let own = side.own[..fit].iter().map(|span| record::SpanHead {
            parent: place(SpanIndex(span.parent)).0,
            name: span.name.behind(behind),
            message: span.message.behind(behind),
            ..span.clone()
        });
        self.spans.extend(own);
    }

    /// Puts the spans in order of start, which what was absorbed may have broken: their places are new.
    pub(crate) fn put_in_order(&mut self) {
        if self.spans.is_sorted_by_key(|span| span.start) {
            return;
        }
        // None comes before its parent, whatever clocks said.
        let mut starts: Vec<u64> = Vec::with_capacity(self.spans.len());
        for span in &self.spans {
            let parent = starts.get(usize::from(span.parent));
            starts.push(span.start.max(parent.copied().unwrap_or_default()));
        }
        let mut order: Vec<usize> = (0..starts.len()).collect();
        order.sort_by_key(|before| starts[*before]);
        let mut places = vec![SpanIndex::ROOT; order.len()];
        for (place, before) in order.iter().enumerate() {
            places[*before] = SpanIndex::from_usize(place);
        }
        let place = |span: SpanIndex| places[span.get()];
        self.log.replace(place);
        let spans = order.iter().map(|before| &self.spans[*before]);
        let spans = spans.map(|span| record::SpanHead {
            parent: place(SpanIndex(span.parent)).0,
            ..span.clone()
        });
        self.spans = spans.collect();
    }
}
