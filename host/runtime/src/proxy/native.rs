//! Filters that are no modules: the decompressor, and what stands where a filter has no
//! configuration yet.
//!
//! Invariant: a native filter never pauses, so what a chain holds for it is what has just
//! come.

use std::rc::Rc;

use super::chain::Verdict;
use super::decompress::Decompress;
use super::exchange::Exchange;
use super::failure::Failure;
use super::fields;
use crate::config::{Decompressor, DirectionConfig};
use crate::view::{Direction, Pairs};

/// A native filter of a chain.
#[derive(Clone)]
pub enum Native {
    /// `envoy.filters.http.decompressor`.
    Decompressor(Rc<Decompressor>),
    /// A filter without a configuration: every request is refused.
    Missing,
}

/// The same on one stream.
pub struct Running {
    native: Native,
    /// Of the request and of the response.
    content: [Option<Decompress>; 2],
}

impl Running {
    /// On a stream that has just begun.
    pub fn new(native: Native) -> Self {
        Self { native, content: [None, None] }
    }

    /// Fields have come.
    pub fn headers(&mut self, exchange: &mut Exchange, direction: Direction, end: bool) -> Verdict {
        let config = match &self.native {
            Native::Decompressor(config) => Rc::clone(config),
            Native::Missing if direction == Direction::Response => return Verdict::default(),
            Native::Missing => {
                let reply = Some(Failure::NoFilterConfig.reply());
                return Verdict { reply, ..Verdict::default() };
            }
        };
        let mut pairs = exchange.headers(direction);
        if direction == Direction::Request && config.response.enabled && config.advertise {
            advertise(&mut pairs, config.library.coding.name());
        }
        let settings = match direction {
            Direction::Request => config.request,
            Direction::Response => config.response,
        };
        if !end && wants(settings, &pairs, config.library.coding.name()) {
            fields::remove(&mut pairs, &["content-length"]);
            peel(&mut pairs);
            self.content[direction as usize] = Some(Decompress::new(&config.library));
        }
        exchange.set_headers(direction, pairs);
        Verdict::default()
    }

    /// Content has come.
    pub fn body(&mut self, exchange: &mut Exchange, direction: Direction, end: bool) -> Verdict {
        let Some(content) = &mut self.content[direction as usize] else {
            return Verdict::default();
        };
        if let Some(body) = exchange.content(direction) {
            *body = content.piece(body);
        }
        if end {
            self.report(exchange, direction);
        }
        Verdict { adds_trailers: end, ..Verdict::default() }
    }

    /// Trailers have come.
    pub fn trailers(&mut self, exchange: &mut Exchange, direction: Direction) -> Verdict {
        self.report(exchange, direction);
        Verdict::default()
    }

    /// Tells in the trailers how much there was.
    fn report(&mut self, exchange: &mut Exchange, direction: Direction) {
        let Native::Decompressor(config) = &self.native else { return };
        let Some(content) = &self.content[direction as usize] else { return };
        let mut trailers = exchange.trailers(direction);
        let (came, made) = content.counts;
        for (what, bytes) in [("compressed", came), ("uncompressed", made)] {
            let name = format!("x-envoy-decompressor-{}-{what}-bytes", config.library.name);
            trailers.push((name.to_ascii_lowercase().into_bytes(), bytes.to_string().into_bytes()));
        }
        exchange.set_trailers(direction, trailers);
    }
}

fn field(pairs: &Pairs, name: &str) -> Option<String> {
    let line = pairs.iter().find(|(have, _)| have == name.as_bytes())?;
    Some(String::from_utf8_lossy(&line.1).into_owned())
}

/// Tells the upstream what can be decompressed here, if it is not said already.
fn advertise(pairs: &mut Pairs, coding: &str) {
    let have = field(pairs, "accept-encoding").unwrap_or_default();
    let name = |member: &str| member.split(';').next().unwrap_or_default().trim().to_owned();
    if have.split(',').any(|member| name(member).eq_ignore_ascii_case(coding)) {
        return;
    }
    let value = if have.is_empty() { coding.to_owned() } else { format!("{have},{coding}") };
    fields::set(pairs, "accept-encoding", value);
}

/// Whether the first coding is ours and the message may be changed.
fn wants(settings: DirectionConfig, pairs: &Pairs, coding: &str) -> bool {
    let codings = field(pairs, "content-encoding").unwrap_or_default();
    let first = codings.split(',').next().unwrap_or_default().trim();
    let fixed = field(pairs, "cache-control").is_some_and(|value| {
        value.split(',').any(|token| token.trim().eq_ignore_ascii_case("no-transform"))
    });
    let allowed = settings.ignore_no_transform || !fixed;
    settings.enabled && allowed && first.eq_ignore_ascii_case(coding)
}

/// Takes the first coding away.
fn peel(pairs: &mut Pairs) {
    let codings = field(pairs, "content-encoding").unwrap_or_default();
    match codings.split_once(',') {
        Some((_, rest)) => fields::set(pairs, "content-encoding", rest.trim()),
        None => fields::remove(pairs, &["content-encoding"]),
    }
}
