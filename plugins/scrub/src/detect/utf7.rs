//! UTF-7 (RFC 2152) and its mailbox variant (RFC 3501, section 5.1.3): `+ADw-`, `&ADw-`.
//!
//! Invariant: bytes outside a shifted run pass unchanged.

use super::fold::utf8;
use super::runs::sextet;

/// A decoder of UTF-7.
#[derive(Default)]
pub(super) struct Utf7 {
    run: Option<Run>,
    decoded: bool,
}

/// A shifted run: base64 of UTF-16BE.
struct Run {
    lead: u8,
    empty: bool,
    bits: u32,
    count: u32,
}

impl Utf7 {
    /// Whether no run is open.
    pub(super) fn idle(&self) -> bool {
        self.run.is_none()
    }

    /// Whether anything was decoded since this was last asked.
    pub(super) fn decoded(&mut self) -> bool {
        std::mem::take(&mut self.decoded)
    }

    /// Takes one byte, puts out what is decided.
    pub(super) fn push(&mut self, byte: u8, mut out: impl FnMut(u8)) {
        let Some(run) = &mut self.run else { return self.text(byte, out) };
        // A plus or ampersand cannot begin a run inside one, but `++ADw-` and
        // `&&ADw-` are read as a stray sign and a run.
        if run.empty && byte == run.lead {
            return out(byte);
        }
        if let Some(six) = sextet(byte).filter(|_| byte != b'-' && byte != b'_') {
            run.empty = false;
            self.decoded = true;
            run.bits = run.bits << 6 | u32::from(six);
            run.count = run.count.saturating_add(6);
            if let Some(rest) = run.count.checked_sub(16) {
                run.count = rest;
                utf8(run.bits >> rest & 0xffff, out);
            }
            return;
        }
        let stray = run.empty.then_some(run.lead);
        self.run = None;
        if let Some(lead) = stray {
            out(lead);
        }
        if byte != b'-' {
            self.text(byte, out);
        }
    }

    fn text(&mut self, byte: u8, mut out: impl FnMut(u8)) {
        if matches!(byte, b'+' | b'&') {
            self.run = Some(Run { lead: byte, empty: true, bits: 0, count: 0 });
        } else {
            out(byte);
        }
    }
}
