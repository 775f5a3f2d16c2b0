//! Finds every placeholder of a request head: each stands exactly in a declared site, or
//! the request is refused.
//!
//! Invariant: only a placeholder that parses exactly is exempt from the detector; a
//! sighting anywhere else, also beside it in its site, refuses, in any encoding the
//! detector knows. Every line is read at most twice: alone, and joined with the others of
//! its name.

use std::collections::BTreeMap;

use crate::config::gate::{Config, METHOD, TARGET};
use crate::denial::{Ambiguity, Denial, Place};
use crate::fields::{Field, Fields};
use crate::permit::MOST_USES;
use crate::placeholder::{self, Name, Placed, Reference};
use crate::scrubbing::Detector;
use crate::slots::{self, Slot};

/// One credential that the caller asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) reference: Reference,
    /// The field it stands in; `None` when the credential field names it.
    pub(super) site: Option<String>,
}

/// Everything the head asks for.
pub(super) fn find(
    config: &Config,
    fields: &Fields,
    detector: &dyn Detector,
) -> Result<Vec<Asked>, Denial> {
    let mut asked: Vec<Asked> = named(config, fields)?.into_iter().collect();
    let mut lines: BTreeMap<String, Vec<&[u8]>> = BTreeMap::new();
    for field in &fields.0 {
        let name = lower(field);
        if name == config.credential_header {
            continue;
        }
        let slots = slots_of(config, &name, &field.value)?;
        if !slots.is_empty() {
            let rest = slots::without(&field.value, &slots);
            if fields.all(&name).count() > 1 || detector.sighted(&[&rest]) {
                return Err(sighting(config, &name));
            }
            asked.extend(slots.into_iter().map(Asked::from));
            continue;
        }
        if let Some(placed) = site_value(config, &name, &field.value) {
            // A second line of the field would be joined to the placeholder, and what the
            // caller wrote around it may hide another.
            let around = [&placed.frame.before, &placed.frame.after];
            let hidden = around.iter().any(|text| detector.sighted(&[text.as_bytes()]));
            if hidden || fields.all(&name).count() > 1 {
                return Err(Denial::PlaceholderMalformed);
            }
            asked.push(Asked { reference: placed.reference, site: Some(name) });
            continue;
        }
        check_field(config, &name, field, detector)?;
        lines.entry(name).or_default().push(&field.value);
    }
    check_joined(config, &lines, detector)?;
    if asked.len() > MOST_USES {
        return Err(Denial::PlaceholderMisplaced(Place::Twice));
    }
    Ok(asked)
}

impl From<Slot> for Asked {
    fn from(slot: Slot) -> Self {
        Self { reference: slot.reference, site: Some(slot.key) }
    }
}

/// Placeholders inside the request target or the cookies, where a binding has its site.
fn slots_of(config: &Config, name: &str, value: &[u8]) -> Result<Vec<Slot>, Denial> {
    let slots = match name {
        ":path" => slots::in_query(value, config.bindings.places()),
        "cookie" => slots::in_cookie(value, config.bindings.places()),
        _ => return Ok(Vec::new()),
    };
    slots.ok_or(Denial::PlaceholderMalformed)
}

/// The credential that the credential field names: one line, one name.
fn named(config: &Config, fields: &Fields) -> Result<Option<Asked>, Denial> {
    let name = config.credential_header.as_str();
    let Some(value) = fields.all(name).next() else { return Ok(None) };
    if fields.all(name).count() > 1 {
        return Err(Denial::RequestAmbiguous(Ambiguity::CredentialField));
    }
    let credential = str::from_utf8(value).ok().and_then(Name::new);
    let credential = credential.ok_or(Denial::PlaceholderMalformed)?;
    Ok(Some(Asked { reference: Reference { credential, field: None }, site: None }))
}

/// Whether this is the whole value of some binding's site. Bindings of every tenant count,
/// so that the answer tells nothing about a credential.
pub(super) fn is_site_value(config: &Config, name: &str, value: &[u8]) -> bool {
    site_value(config, name, value).is_some()
}

fn site_value(config: &Config, name: &str, value: &[u8]) -> Option<Placed> {
    config.bindings.sites(name).iter().find_map(|site| placeholder::parse(site, value))
}

fn check_field(
    config: &Config,
    name: &str,
    field: &Field,
    detector: &dyn Detector,
) -> Result<(), Denial> {
    if detector.sighted(&[&field.name]) {
        return Err(Denial::PlaceholderMisplaced(Place::FieldName));
    }
    if detector.sighted(&[&field.value]) {
        return Err(sighting(config, name));
    }
    Ok(())
}

/// Receivers join the lines of a field, so a placeholder may be split over them.
fn check_joined(
    config: &Config,
    lines: &BTreeMap<String, Vec<&[u8]>>,
    detector: &dyn Detector,
) -> Result<(), Denial> {
    let split = lines.iter().find(|(_, lines)| lines.len() > 1 && detector.sighted(lines));
    split.map_or(Ok(()), |(name, _)| Err(sighting(config, name)))
}

fn sighting(config: &Config, name: &str) -> Denial {
    if config.is_site(name) {
        return Denial::PlaceholderMalformed;
    }
    let target = name.starts_with(':') || name == "host";
    Denial::PlaceholderMisplaced(if target { Place::Target } else { Place::FieldValue })
}

/// Whether a trailer section hides a placeholder or a field that only a header may have.
pub(super) fn check_trailers(
    config: &Config,
    trailers: &Fields,
    detector: &dyn Detector,
) -> Result<(), Denial> {
    let mut all: BTreeMap<String, Vec<&[u8]>> = BTreeMap::new();
    for field in &trailers.0 {
        let name = lower(field);
        let header_only = name.starts_with(':')
            || name == config.credential_header
            || (config.forward.is_some() && (name == TARGET || name == METHOD))
            || ["authorization", "host", "content-length", "transfer-encoding"]
                .contains(&name.as_str())
            || config.is_site(&name)
            || config.credential_fields().any(|field| field == name);
        if header_only {
            return Err(Denial::RequestAmbiguous(Ambiguity::TrailerField));
        }
        let lines = all.entry(name).or_default();
        lines.push(&field.value);
        if detector.sighted(&[&field.name]) || detector.sighted(&[&field.value]) {
            return Err(Denial::PlaceholderMisplaced(Place::Trailer));
        }
    }
    let split = all.values().any(|lines| lines.len() > 1 && detector.sighted(lines));
    if split { Err(Denial::PlaceholderMisplaced(Place::Trailer)) } else { Ok(()) }
}

fn lower(field: &Field) -> String {
    String::from_utf8_lossy(&field.name).to_ascii_lowercase()
}
