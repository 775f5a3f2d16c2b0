//! UTF-7 (RFC 2152) and its mailbox variant (RFC 3501, section 5.1.3): `+ADw-`, `&ADw-`.
//!
//! Invariant: bytes outside a shifted run pass unchanged.

use super::class::Class;
use super::fold::{folds, utf8};

use super::view::Decoder;

/// A decoder of UTF-7.
#[derive(Default)]
pub(super) struct Utf7 {
    run: Option<Run>,
}

/// A shifted run: base64 of UTF-16BE.
struct Run {
    lead: u8,
    empty: bool,
    bits: u32,
    count: u32,
}

impl Decoder for Utf7 {
    fn idle(&self) -> bool {
        self.run.is_none()
    }

    fn push(&mut self, byte: u8, mut out: impl FnMut(u8, bool)) {
        let Some(run) = &mut self.run else { return self.text(byte, out) };
        // A plus or ampersand cannot begin a run inside one, but `++ADw-` and
        // `&&ADw-` are read as a stray sign and a run.
        if run.empty && byte == run.lead {
            return out(byte, false);
        }
        if let Some(six) = Class::of(byte).sextet().filter(|_| byte != b'-' && byte != b'_') {
            run.empty = false;
            run.bits = run.bits << 6 | u32::from(six);
            run.count = run.count.saturating_add(6);
            if let Some(rest) = run.count.checked_sub(16) {
                run.count = rest;
                let unit = run.bits >> rest & 0xffff;
                // Words behind a plus sign read as ideographs: those decode to nothing.
                let tells = folds(unit);
                utf8(unit, |b| out(b, tells));
            }
            return;
        }
        let stray = run.empty.then_some(run.lead);
        self.run = None;
        if let Some(lead) = stray {
            out(lead, false);
        }
        if byte != b'-' {
            self.text(byte, out);
        }
    }
}

impl Utf7 {
    fn text(&mut self, byte: u8, mut out: impl FnMut(u8, bool)) {
        if matches!(byte, b'+' | b'&') {
            self.run = Some(Run { lead: byte, empty: true, bits: 0, count: 0 });
        } else {
            out(byte, false);
        }
    }
}
