//! Address ranges (RFC 4632, RFC 4291 2.3).

use std::net::IpAddr;

use regorus::Value;

use super::{Caches, Context, defined, text};

/// A range: its first address as a number, how many bits are fixed, of how many.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Range {
    start: u128,
    fixed: u32,
    bits: u32,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (address, fixed) = text.split_once('/')?;
        let (number, bits) = number(address.parse().ok()?);
        let digits = !fixed.is_empty() && fixed.bytes().all(|byte| byte.is_ascii_digit());
        let fixed: u32 = fixed.parse().ok().filter(|fixed| digits && *fixed <= bits)?;
        let range = Self { start: number, fixed, bits };
        Some(Self { start: range.cut(number), ..range })
    }

    /// An address is a range of one.
    fn of(text: &str) -> Option<Self> {
        if text.contains('/') {
            return Self::parse(text);
        }
        let (start, bits) = number(text.parse().ok()?);
        Some(Self { start, fixed: bits, bits })
    }

    fn cut(self, address: u128) -> u128 {
        let free = self.bits.saturating_sub(self.fixed);
        let kept = u128::MAX.checked_shl(free).unwrap_or(0);
        address & kept
    }

    fn contains(self, other: Self) -> bool {
        self.bits == other.bits && self.fixed <= other.fixed && self.cut(other.start) == self.start
    }
}

fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            // Go takes a mapped address for the one it stands for.
            Some(mapped) => (u128::from(u32::from(mapped)), 32),
            None => (u128::from(address), 128),
        },
    }
}

/// `net.cidr_contains(range, address or range)`.
pub(super) fn contains(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    let [range, other] = args else { return Value::Undefined };
    let range = text(range).and_then(Range::parse);
    let other = text(other).and_then(Range::of);
    defined(range.zip(other).map(|(range, other)| range.contains(other)))
}

pub(super) fn intersects(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    let [one, other] = args else { return Value::Undefined };
    let ranges = text(one).and_then(Range::parse).zip(text(other).and_then(Range::parse));
    defined(ranges.map(|(one, other)| one.contains(other) || other.contains(one)))
}

pub(super) fn is_valid(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    let [arg] = args else { return Value::Undefined };
    Value::from(text(arg).is_some_and(|text| Range::parse(text).is_some()))
}
