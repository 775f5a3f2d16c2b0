//! The header and trailer sections of an answer.
//!
//! Invariant: an answer that cannot be read as plain content from its first byte to its
//! last is refused, never passed on unread.

use std::rc::Rc;

use super::run::Run;
use crate::denial::{Denial, Ours, Unscannable};
use crate::effect::Part;
use crate::fields::Fields;
use crate::inject::InPlay;
use crate::order;
use crate::scrubbing::{Coding, Scrubber};
use crate::slots::percent_decoded;

/// Fields that describe content which may change: its length (RFC 9110 8.6), validators
/// and digests (RFC 9110 8.8.3, RFC 9530, RFC 3230, RFC 1864).
pub(crate) const ABOUT_CONTENT: [&str; 6] =
    ["content-length", "etag", "digest", "content-digest", "repr-digest", "content-md5"];

/// Refuses what cannot be scrubbed, scrubs the rest. `end`: no content follows.
pub(super) fn head(
    fields: &Fields,
    end: bool,
    in_play: &[Rc<InPlay>],
    scrubber: &mut dyn Scrubber,
    run: &mut Run,
) -> Result<(), Denial> {
    scannable(fields, run.pipeline.config.allow_partial)?;
    let codings = if end { Vec::new() } else { codings(fields)? };
    scrubber.decode(&codings);
    scrub_fields(fields, Part::Response, in_play, scrubber, run)?;
    // Without content, as to HEAD, they would tell of the content with the secret in it.
    let empty = end && fields.only("content-length") == Some(b"0".as_slice());
    for name in ABOUT_CONTENT {
        if fields.has(name) && !(empty && name == "content-length") {
            run.remove(Part::Response, name);
        }
    }
    if !codings.is_empty() {
        // What leaves is decoded.
        run.remove(Part::Response, "content-encoding");
    }
    if !end && may_have_trailers(fields) {
        scrubber.expect_trailers();
    }
    // Another service at another address would be used without us (RFC 7838).
    if fields.has("alt-svc") {
        run.remove(Part::Response, "alt-svc");
    }
    run.set(Part::Response, "cache-control", b"no-store");
    run.found(scrubber.hits());
    if !end {
        run.record();
    }
    Ok(())
}

/// Whether a whole answer, with its trailers among the fields, tells of any of the secrets.
/// Refuses what cannot be scrubbed.
pub(crate) fn shows(
    fields: &Fields,
    content: &[u8],
    in_play: &[Rc<InPlay>],
    scrubber: &mut dyn Scrubber,
) -> Result<bool, Denial> {
    scannable(fields, false)?;
    let names = order::distinct(fields.0.iter().map(|field| field.name.as_slice()));
    let told = names.into_iter().any(|name| {
        in_name(name, in_play, scrubber)
            || str::from_utf8(name).is_ok_and(|name| in_lines(fields, name, scrubber))
    });
    if !content.is_empty() {
        scrubber.decode(&codings(fields)?);
        scrubber.chunk(content, true).map_err(Denial::UpstreamUnscannable)?;
    }
    Ok(told || scrubber.hits() > 0)
}

fn in_name(name: &[u8], in_play: &[Rc<InPlay>], scrubber: &mut dyn Scrubber) -> bool {
    let decoded = percent_decoded(name);
    let is_in_name = |secret: &Rc<InPlay>| secret.is_in_name(name) || secret.is_in_name(&decoded);
    in_play.iter().any(is_in_name) || scrubber.field(name).is_some()
}

/// Whether a line of the field tells of a secret, or its lines together do.
fn in_lines(fields: &Fields, name: &str, scrubber: &mut dyn Scrubber) -> bool {
    let lines: Vec<&[u8]> = fields.all(name).collect();
    lines.iter().any(|line| scrubber.field(line).is_some()) || is_split(&lines, scrubber)
}

pub(crate) fn scannable(fields: &Fields, partial: bool) -> Result<(), Denial> {
    let status = fields.only(":status").and_then(|value| str::from_utf8(value).ok());
    let status: Option<u16> = status.and_then(|text| text.parse().ok());
    let why = match status {
        None => return Err(Denial::Internal(Ours::Unexpected)),
        // 101 leaves HTTP; no other interim answer may end an exchange (RFC 9110 15.2).
        Some(..200) => Unscannable::Upgraded,
        Some(206) if !partial => Unscannable::Partial,
        Some(_) if !partial && has_ranges(fields) => Unscannable::Partial,
        Some(_) if is_transformed(fields) => Unscannable::Encoded,
        Some(_) => return Ok(()),
    };
    Err(Denial::UpstreamUnscannable(why))
}

fn has_ranges(fields: &Fields) -> bool {
    let ranges = b"multipart/byteranges";
    fields.all("content-type").any(|value| {
        let value = value.trim_ascii_start();
        value.get(..ranges.len()).is_some_and(|start| start.eq_ignore_ascii_case(ranges))
    })
}

/// Most codings that one answer may have.
const MOST_CODINGS: usize = 2;

/// The content's codings but `identity`, on all lines, in the order in which they were
/// applied (RFC 9110 8.4).
pub(crate) fn codings(fields: &Fields) -> Result<Vec<Coding>, Denial> {
    let names = fields.all("content-encoding").flat_map(|value| value.split(|byte| *byte == b','));
    let names = names.map(<[u8]>::trim_ascii);
    let coded = names.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity"));
    let codings: Option<Vec<Coding>> = coded.map(Coding::named).collect();
    codings
        .filter(|codings| codings.len() <= MOST_CODINGS)
        .ok_or(Denial::UpstreamUnscannable(Unscannable::Encoded))
}

/// A transfer coding that the proxy does not undo, or an instance manipulation
/// (RFC 3229 10.5.2).
fn is_transformed(fields: &Fields) -> bool {
    let coded = |name, plain: &'static [u8]| {
        fields.all(name).flat_map(|value| value.split(|byte| *byte == b',')).any(move |coding| {
            let coding = coding.trim_ascii();
            !coding.is_empty() && !coding.eq_ignore_ascii_case(plain)
        })
    };
    coded("transfer-encoding", b"chunked") || coded("im", b"")
}

/// The head announces trailers, is gRPC's, or has the look of HTTP/2: content of unknown
/// length without chunks.
fn may_have_trailers(fields: &Fields) -> bool {
    let grpc = b"application/grpc";
    let is_grpc = fields
        .all("content-type")
        .any(|value| value.get(..grpc.len()).is_some_and(|start| start.eq_ignore_ascii_case(grpc)));
    let framed = fields.has("content-length") || fields.has("transfer-encoding");
    fields.has("trailer") || is_grpc || !framed
}

/// Replaces what the scrubber finds in values and drops fields whose name gives a value
/// away. Of a field with several lines one dirty line changes all: lines are joined
/// (RFC 9110 5.3), but those of `set-cookie`, which cannot be, are dropped.
pub(super) fn scrub_fields(
    fields: &Fields,
    part: Part,
    in_play: &[Rc<InPlay>],
    scrubber: &mut dyn Scrubber,
    run: &mut Run,
) -> Result<(), Denial> {
    let names = order::distinct(fields.0.iter().map(|field| field.name.as_slice()));
    for name in names {
        // A name is ASCII (RFC 9110 5.1); another one could not even be removed.
        let unnamed = |_| Denial::UpstreamUnscannable(Unscannable::Undeliverable);
        let text = str::from_utf8(name).map_err(unnamed)?;
        if text == ":status" {
            continue;
        }
        if in_name(name, in_play, scrubber) {
            run.remove(part, text);
            run.found_in_name();
            continue;
        }
        scrub_lines(fields, text, part, scrubber, run);
    }
    Ok(())
}

fn scrub_lines(
    fields: &Fields,
    name: &str,
    part: Part,
    scrubber: &mut dyn Scrubber,
    run: &mut Run,
) {
    let lines: Vec<&[u8]> = fields.all(name).collect();
    let scrubbed: Vec<Option<Vec<u8>>> = lines.iter().map(|line| scrubber.field(line)).collect();
    let joins = lines.len() > 1 && name != "set-cookie";
    if scrubbed.iter().all(Option::is_none) && !(joins && is_split(&lines, scrubber)) {
        return;
    }
    let clean = |(line, new): (&&[u8], Option<Vec<u8>>)| new.unwrap_or_else(|| line.to_vec());
    let clean: Vec<Vec<u8>> = lines.iter().zip(scrubbed).map(clean).collect();
    let joined = clean.join(b", ".as_slice());
    let joined = scrubber.field(&joined).unwrap_or(joined);
    // No codec lets such bytes in; if one did, they would begin a field of their own.
    let breaks = joined.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    if breaks || (lines.len() > 1 && !joins) {
        run.remove(part, name);
        return;
    }
    run.set(part, name, &joined);
}

/// Whether the lines together give away what none does alone.
fn is_split(lines: &[&[u8]], scrubber: &mut dyn Scrubber) -> bool {
    scrubber.field(&lines.join(b", ".as_slice())).is_some()
}
