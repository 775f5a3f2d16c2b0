//! Runs of base64 and hex digits, decoded at every alignment.
//!
//! Where the encoded text begins inside a run is unknown, so each run is decoded at
//! all four (base64) or both (hex) phases; short runs are not decoded at all.
//!
//! Invariant: a run shorter than the encoded marker cannot contain it.

use super::class::Class;
use super::fold::OTHER;
use super::view::View;

/// The marker's 96 bits take 16 base64 digits or 24 hex digits.
pub(super) const BASE64_RUN: u32 = 16;
pub(super) const HEX_RUN: u32 = 24;

/// The base64 decoder; standard and URL-safe alphabet (RFC 4648, 4 and 5) at once.
#[derive(Default)]
pub(super) struct Base64<V> {
    recent: u128,
    len: u32,
    views: Option<Box<[V; 4]>>,
}

impl<V: View> Base64<V> {
    /// Whether no run is open.
    pub(super) fn idle(&self) -> bool {
        self.len == 0
    }

    /// Takes one byte of the view above.
    pub(super) fn push(&mut self, c: Class) -> bool {
        let Some(six) = c.sextet() else {
            return !c.line_break() && self.end();
        };
        self.recent = self.recent << 6 | u128::from(six);
        self.len = self.len.saturating_add(1);
        match self.len {
            BASE64_RUN => {
                let views =
                    self.views.get_or_insert_with(|| Box::new([(); 4].map(|()| V::default())));
                let bits = self.recent;
                (1..=BASE64_RUN).fold(false, |seen, at| {
                    let back = BASE64_RUN.saturating_sub(at).saturating_mul(6);
                    seen | decode(views, bits.checked_shr(back).unwrap_or(0), at)
                })
            }
            1..BASE64_RUN => false,
            _ => {
                let (bits, at) = (self.recent, self.phase());
                self.views.as_deref_mut().is_some_and(|views| decode(views, bits, at))
            }
        }
    }

    /// Ends the run.
    fn end(&mut self) -> bool {
        self.recent = 0;
        end(&mut self.len, BASE64_RUN, self.views.as_deref_mut())
    }

    /// Position in the run; kept small, as only its remainder by four counts.
    fn phase(&mut self) -> u32 {
        if self.len > BASE64_RUN.saturating_add(4) {
            self.len = self.len.saturating_sub(4);
        }
        self.len
    }
}

/// Feeds each phase the byte that the newest digit completes: none at the first
/// digit of a quantum, one at each of the other three.
fn decode<V: View>(views: &mut [V; 4], bits: u128, at: u32) -> bool {
    let mut seen = false;
    for (phase, view) in (0_u32..).zip(views.iter_mut()) {
        let shift = match at.wrapping_add(phase) & 3 {
            1 => continue,
            2 => 4,
            3 => 2,
            _ => 0,
        };
        seen |= view.feed((bits >> shift & 0xff) as u8);
    }
    seen
}

/// The hex decoder.
#[derive(Default)]
pub(super) struct Hex<V> {
    recent: u128,
    len: u32,
    views: Option<Box<[V; 2]>>,
}

impl<V: View> Hex<V> {
    /// Whether no run is open.
    pub(super) fn idle(&self) -> bool {
        self.len == 0
    }

    /// Takes one byte of the view above.
    pub(super) fn push(&mut self, c: Class) -> bool {
        let Some(four) = c.nibble() else {
            return !c.separates() && self.end();
        };
        self.recent = self.recent << 4 | u128::from(four);
        self.len = self.len.saturating_add(1);
        match self.len {
            HEX_RUN => {
                let views =
                    self.views.get_or_insert_with(|| Box::new([(); 2].map(|()| V::default())));
                let bits = self.recent;
                (1..=HEX_RUN).fold(false, |seen, at| {
                    let back = HEX_RUN.saturating_sub(at).saturating_mul(4);
                    seen | pair(views, bits.checked_shr(back).unwrap_or(0), at)
                })
            }
            1..HEX_RUN => false,
            at => {
                self.len = if at > HEX_RUN.saturating_add(2) { at.saturating_sub(2) } else { at };
                let bits = self.recent;
                self.views.as_deref_mut().is_some_and(|views| pair(views, bits, at))
            }
        }
    }

    /// Ends the run.
    fn end(&mut self) -> bool {
        self.recent = 0;
        end(&mut self.len, HEX_RUN, self.views.as_deref_mut())
    }
}

/// Feeds the phase whose pair of digits is complete.
fn pair<V: View>(views: &mut [V; 2], bits: u128, at: u32) -> bool {
    let [even, odd] = views;
    let view = if at & 1 == 0 { even } else { odd };
    view.feed((bits & 0xff) as u8)
}

/// Ends a run: closes what is half read in the views it had.
fn end<V: View, const N: usize>(len: &mut u32, live: u32, views: Option<&mut [V; N]>) -> bool {
    let was = std::mem::take(len);
    match views {
        Some(views) if was >= live => views.iter_mut().fold(false, |seen, v| seen | v.feed(OTHER)),
        _ => false,
    }
}
