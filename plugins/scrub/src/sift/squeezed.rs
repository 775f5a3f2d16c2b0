//! Text without what views leave out, a segment at a time.
//!
//! Invariant: of the text before a segment, the last [`KEPT`] bytes stand in front of it.

use super::lanes::{self, BLOCK};
use super::{KEPT, SEGMENT};

/// Text without what views leave out: of this segment, behind the last of the one before.
pub(super) struct Squeezed {
    bytes: [u8; KEPT + SEGMENT + BLOCK],
    /// Where escapes may begin, a bit for each byte of each block.
    pub(super) leads: [u16; SEGMENT / BLOCK],
    /// Nothing stands before.
    pub(super) first: usize,
    pub(super) len: usize,
    /// Where it is looked up next.
    pub(super) next: usize,
}

impl Squeezed {
    pub(super) fn new() -> Self {
        let (bytes, leads) = ([0; KEPT + SEGMENT + BLOCK], [0; SEGMENT / BLOCK]);
        Self { bytes, leads, first: KEPT, len: KEPT, next: KEPT }
    }

    /// Takes a segment.
    pub(super) fn take(&mut self, all: &[u8], begin: usize, end: usize) {
        // Whatever comes behind the end might go on as one.
        let after = all.get(end).copied().unwrap_or(b'd');
        let mut rest = all.get(begin..end).unwrap_or_default();
        let mut len = self.len;
        for lead in &mut self.leads {
            let out = self.bytes.get_mut(len..).and_then(|out| out.first_chunk_mut());
            let (Some((block, more)), Some(out)) = (rest.split_first_chunk(), out) else {
                *lead = 0;
                continue;
            };
            let next = || more.first().copied().unwrap_or(after);
            let kept;
            (kept, *lead) = lanes::squeeze(block, next, out);
            len = len.wrapping_add(kept);
            rest = more;
        }
        self.len = len;
        if !rest.is_empty() {
            self.take_part(rest, end.wrapping_sub(begin) / BLOCK, after);
        }
    }

    /// Takes fewer bytes than a block has, padded with what is left out.
    fn take_part(&mut self, part: &[u8], at: usize, after: u8) {
        let mut block = [b' '; BLOCK];
        block.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
        let out = self.bytes.get_mut(self.len..).and_then(|out| out.first_chunk_mut());
        let (Some(out), Some(lead)) = (out, self.leads.get_mut(at)) else { return };
        let (kept, leads) = lanes::squeeze(&block, || b' ', out);
        self.len = self.len.saturating_add(kept);
        let event = after == b'd' && part.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n'));
        *lead = leads | u16::from(event) << (part.len().saturating_sub(1) & (BLOCK - 1));
    }

    pub(super) fn gram(&self, at: usize) -> Option<u32> {
        gram(self.text(), at)
    }

    pub(super) fn text(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Where the byte of the segment ends that was taken as the last before `index`.
    pub(super) fn place_of(&self, segment: &[u8], index: usize) -> Option<usize> {
        let before = index.saturating_sub(KEPT).checked_sub(1)?;
        let mut kept = segment.iter().enumerate().filter(|(_, byte)| lanes::keeps(**byte));
        Some(kept.nth(before)?.0.saturating_add(1))
    }

    /// Goes on to the next segment.
    pub(super) fn carry(&mut self) {
        let gone = self.len.saturating_sub(KEPT);
        let last: Option<[u8; KEPT]> =
            self.bytes.get(gone..).and_then(|rest| rest.first_chunk()).copied();
        if let (Some(last), Some(front)) = (last, self.bytes.first_chunk_mut()) {
            *front = last;
        }
        self.first = self.first.saturating_sub(gone);
        self.next = self.next.saturating_sub(gone);
        self.len = KEPT;
    }
}

pub(super) fn gram(text: &[u8], at: usize) -> Option<u32> {
    text.get(at..)?.first_chunk().map(|gram| u32::from_le_bytes(*gram))
}
