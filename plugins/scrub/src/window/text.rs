//! Content not yet let go, and which parts of it are secret.
//!
//! Invariant: spans are in order and do not overlap; each gets one marker, whenever its
//! first byte leaves.

use super::REDACTED;
use crate::views::Hit;

#[derive(Default)]
pub(super) struct Text {
    bytes: Vec<u8>,
    /// Where in the content the first of these bytes stands.
    base: u64,
    spans: Vec<Span>,
}

/// Relative to the first byte kept.
struct Span {
    start: usize,
    end: usize,
    /// The marker for it has left already.
    marked: bool,
}

impl Text {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn has_spans(&self) -> bool {
        !self.spans.is_empty()
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Leaves out so many bytes that are let go as they came.
    pub(super) fn skip(&mut self, count: usize) {
        self.base = self.base.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Adds what was found.
    pub(super) fn cover_all(&mut self, hits: impl Iterator<Item = Hit>) {
        for hit in hits {
            let at = |place: u64| usize::try_from(place.saturating_sub(self.base));
            let (start, end) = (at(hit.start).unwrap_or(0), at(hit.end).unwrap_or(usize::MAX));
            self.cover(Span { start, end: end.min(self.bytes.len()), marked: false });
        }
    }

    /// Adds one; all that overlap become one. Views finish at different times, so a span
    /// may have to go in front of others.
    fn cover(&mut self, mut span: Span) {
        let mut behind = Vec::new();
        while let Some(last) = self.spans.pop_if(|last| last.end > span.start) {
            if last.start >= span.end {
                behind.push(last);
                continue;
            }
            span.start = span.start.min(last.start);
            span.end = span.end.max(last.end);
            span.marked |= last.marked;
        }
        self.spans.push(span);
        self.spans.extend(behind.into_iter().rev());
    }

    /// Everything before `until`, with markers in place of secrets. A secret that
    /// begins before `until` gets its marker now, wherever it ends.
    pub(super) fn render(&self, until: usize, hits: &mut u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(until);
        let mut at = 0;
        for span in self.spans.iter().take_while(|span| span.start < until) {
            out.extend_from_slice(self.bytes.get(at..span.start).unwrap_or_default());
            if !span.marked {
                out.extend_from_slice(REDACTED);
                *hits = hits.saturating_add(1);
            }
            at = span.end;
        }
        out.extend_from_slice(self.bytes.get(at..until).unwrap_or_default());
        out
    }

    /// Drops everything before `until`; a secret across it stays as marked.
    pub(super) fn forget(&mut self, until: usize) {
        let until = until.min(self.bytes.len());
        self.bytes.drain(..until);
        self.base = self.base.saturating_add(u64::try_from(until).unwrap_or(u64::MAX));
        self.spans.retain_mut(|span| {
            span.marked |= span.start < until;
            span.start = span.start.saturating_sub(until);
            span.end = span.end.saturating_sub(until);
            span.end > 0
        });
    }
}
