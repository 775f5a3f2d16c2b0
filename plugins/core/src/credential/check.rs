//! What leaves against what was permitted.
//!
//! Owns the comparison of the request as it stands after all routing with the permit's
//! bindings. Knows nothing of values.
//!
//! Invariant: the authority of a release comes from the `upstreams` table by the cluster
//! that the route chose, never from a field of the request, which has to agree.

use super::release::Want;
use crate::authority::Authority;
use crate::binding::{Binding, Payload, Place, SigV4, Signing};
use crate::config::credential::Config;
use crate::denial::{Ambiguity, Denial, NotAllowed, PolicyReason, RegionReason};
use crate::fields::Fields;
use crate::inject::{Placement, Put, Signable};
use crate::order;
use crate::path::RequestPath;
use crate::permit::{CredentialUse, Permit};
use crate::placeholder::{self, Frame, Name, Reference};
use crate::slots::{self, Places, Slot};
use crate::websocket;

/// One use that fits, with the question for its value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) want: Want,
    pub(super) placement: Placement,
    /// The binding, where the answer mints.
    pub(super) mints: Option<Binding>,
}

/// What is known of the request's content before it comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ContentFacts<'a> {
    /// SHA-256, where the decision read it or there is none.
    pub(super) digest: Option<[u8; 32]>,
    /// Form content as the gate read it; it has this digest.
    pub(super) form: Option<&'a [u8]>,
    /// There is none.
    pub(super) absent: bool,
}

/// The request as it leaves.
struct Leaving<'a> {
    fields: &'a Fields,
    method: &'a str,
    path: RequestPath,
    /// The path as it stands, without the query.
    path_text: &'a str,
    authority: Authority,
    /// It asks for a WebSocket, which each binding has to allow.
    websocket: bool,
}

/// Whether the request may leave for where it goes now, after all routing.
pub(super) fn region(config: &Config, cluster: Option<&[u8]>) -> Result<(), RegionReason> {
    let Some(residency) = &config.residency else { return Ok(()) };
    let upstream = cluster.and_then(|cluster| config.upstreams.find(cluster));
    residency.check(upstream.and_then(|upstream| upstream.region.as_deref()))
}

/// Checks every use of `permit`; the first that does not fit refuses.
pub(super) fn plan(
    config: &Config,
    permit: &Permit,
    fields: &Fields,
    cluster: Option<&[u8]>,
    content: ContentFacts<'_>,
) -> Result<Vec<Planned>, Denial> {
    let upstream = cluster.and_then(|cluster| config.upstreams.find(cluster));
    let upstream = upstream.ok_or(Denial::PolicyDenied(PolicyReason::ClusterUnknown))?;
    let leaving = Leaving::read(fields)?;
    if permit.tenant() != config.tenant {
        return Err(Denial::CredentialNotAllowed(NotAllowed::Unknown));
    }
    let planned = permit.uses().iter().map(|used| {
        let denied = Denial::CredentialNotAllowed;
        let binding = find(config, used).ok_or(denied(NotAllowed::Unknown))?;
        fits(&leaving, binding, used, &upstream.authority).map_err(denied)?;
        let put = match binding.site().signing() {
            Some(signing) => leaving.signed(signing, &upstream.authority, content)?,
            None => put(&leaving, permit, binding, used).ok_or(denied(NotAllowed::Site))?,
        };
        let placement = Placement { used: used.clone(), put };
        let want = leaving.want(permit, used, &upstream.authority);
        let mints = (!binding.mints().is_empty()).then(|| binding.clone());
        Ok(Planned { want, placement, mints })
    });
    let planned: Vec<Planned> = planned.collect::<Result<_, Denial>>()?;
    one_use_a_site(permit)?;
    nothing_signed_changes(&planned)?;
    Ok(planned)
}

/// The binding this was decided under, if it is configured here too.
fn find<'c>(config: &'c Config, used: &CredentialUse) -> Option<&'c Binding> {
    let credential = Name::new(&used.credential)?;
    let mut bindings = config.bindings.hashed(&used.binding_hash);
    bindings.find(|one| one.is_of(&credential) && one.tenant() == config.tenant)
}

fn fits(
    leaving: &Leaving<'_>,
    binding: &Binding,
    used: &CredentialUse,
    upstream: &Authority,
) -> Result<(), NotAllowed> {
    if binding.authority() != upstream || leaving.authority != *upstream {
        return Err(NotAllowed::Authority);
    }
    if !binding.allows_method(leaving.method) {
        return Err(NotAllowed::Method);
    }
    if !binding.allows_path(&leaving.path) {
        return Err(NotAllowed::Path);
    }
    if leaving.websocket && !binding.allows_websocket() {
        return Err(NotAllowed::WebSocket);
    }
    let site = binding.site();
    let field = if matches!(site.place(), Place::Cookie(_)) { "cookie" } else { site.key() };
    if site.key() != used.site || leaving.drops(field) {
        return Err(NotAllowed::Site);
    }
    Ok(())
}

/// How the value gets to its place.
fn put(
    leaving: &Leaving<'_>,
    permit: &Permit,
    binding: &Binding,
    used: &CredentialUse,
) -> Option<Put> {
    let place = binding.site().place();
    match place {
        Place::Header(_) => frame(leaving.fields, binding, used).map(Put::Field),
        Place::Query(_) => {
            let text = leaving.fields.only(":path")?.to_vec();
            let found = slots::in_query(&text, &Places::from_iter([place]))?;
            inside(":path", text, &found, place, used)
        }
        Place::Cookie(_) => {
            let lines: Vec<&[u8]> = leaving.fields.all("cookie").collect();
            let text = lines.join(b"; ".as_slice());
            let found = slots::in_cookie(&text, &Places::from_iter([place]))?;
            inside("cookie", text, &found, place, used)
        }
        // The gate has read content that the digest names, and nothing else is filled in.
        Place::Json(_) | Place::Form(_) => {
            permit.content_digest().map(|_| Put::Content(place.clone()))
        }
    }
}

/// In the place of exactly the placeholder that was decided on, or added where the caller
/// wrote none.
fn inside(
    field: &'static str,
    text: Vec<u8>,
    found: &[Slot],
    place: &Place,
    used: &CredentialUse,
) -> Option<Put> {
    let mark = Reference::written(&used.credential, &used.field);
    let written = match found {
        [] => false,
        [slot] => {
            let same = text.get(slot.range.clone()) == Some(mark.as_bytes());
            same.then_some(true)?
        }
        _ => return None,
    };
    Some(Put::Inside { field, text, place: place.clone(), written })
}

/// What stands around the value: the template when the gate has cleared the site, else
/// what the caller wrote around exactly the placeholder that was decided on.
fn frame(fields: &Fields, binding: &Binding, used: &CredentialUse) -> Option<Frame> {
    if !fields.has(&used.site) {
        return Some(binding.site().frame().clone());
    }
    let placed = placeholder::parse(binding.site(), fields.only(&used.site)?)?;
    let field = placed.reference.field.as_ref().map_or("", placeholder::Name::as_str);
    let same = placed.reference.credential.as_str() == used.credential && field == used.field;
    same.then_some(placed.frame)
}

/// Two values in one field would be one injection over the other.
fn one_use_a_site(permit: &Permit) -> Result<(), Denial> {
    let sites = order::distinct(permit.uses().iter().map(|used| used.site.as_str()));
    if sites.len() == permit.uses().len() {
        Ok(())
    } else {
        Err(Denial::CredentialNotAllowed(NotAllowed::Site))
    }
}

/// A signature covers the target, the content and `x-amz-*`: a value that is put in there
/// afterwards would undo it.
fn nothing_signed_changes(planned: &[Planned]) -> Result<(), Denial> {
    let signs = |one: &Planned| matches!(one.placement.put, Put::Signed { .. });
    let changes = |one: &Planned| match &one.placement.put {
        Put::Field(_) => one.placement.used.site.starts_with("x-amz-"),
        Put::Inside { field, .. } => *field == ":path",
        Put::Content(_) => true,
        Put::Signed { .. } => false,
    };
    if planned.iter().any(signs) && planned.iter().any(changes) {
        return Err(Denial::CredentialNotAllowed(NotAllowed::Site));
    }
    Ok(())
}

impl<'a> Leaving<'a> {
    /// Reads what a signature covers. What it would cover of content that nobody has read
    /// refuses.
    fn signed(
        &self,
        signing: &Signing,
        upstream: &Authority,
        content: ContentFacts<'_>,
    ) -> Result<Put, Denial> {
        let unread = Denial::CredentialNotAllowed(NotAllowed::Content);
        let form = match signing {
            Signing::SigV4(SigV4 { payload: Payload::Signed, .. }) if content.digest.is_none() => {
                return Err(unread);
            }
            Signing::OAuth1(_) if !content.absent && self.fields.announce_form() => {
                content.form.ok_or(unread)?
            }
            _ => b"",
        };
        let request = Signable::new(signing, self.fields, upstream, content.digest, form);
        let request = request.ok_or(Denial::RequestAmbiguous(Ambiguity::Signature))?;
        Ok(Put::Signed { signing: signing.clone(), request: Box::new(request) })
    }

    fn read(fields: &'a Fields) -> Result<Self, Denial> {
        let pseudo = |name| {
            let value = fields.only(name).and_then(|value| str::from_utf8(value).ok());
            value.ok_or(Denial::RequestAmbiguous(Ambiguity::PseudoFields))
        };
        if !matches!(pseudo(":scheme")?, "https" | "http") {
            return Err(Denial::RequestAmbiguous(Ambiguity::PseudoFields));
        }
        let websocket = websocket::is_asked(fields);
        if !websocket && (fields.has("upgrade") || fields.has(":protocol")) {
            return Err(Denial::RequestAmbiguous(Ambiguity::Upgrade));
        }
        let target = pseudo(":path")?;
        let path = RequestPath::parse(target.as_bytes());
        let authority = Authority::parse(pseudo(":authority")?);
        Ok(Self {
            fields,
            method: pseudo(":method")?,
            path: path.ok_or(Denial::CredentialNotAllowed(NotAllowed::Path))?,
            path_text: target.split('?').next().unwrap_or_default(),
            authority: authority.ok_or(Denial::CredentialNotAllowed(NotAllowed::Authority))?,
            websocket,
        })
    }

    /// Whether a hop-by-hop list names `site` (RFC 9110 7.6.1): a next hop would drop it,
    /// or take it for its own.
    fn drops(&self, site: &str) -> bool {
        self.fields.all("connection").any(|value| {
            value
                .split(|byte| *byte == b',')
                .any(|token| token.trim_ascii().eq_ignore_ascii_case(site.as_bytes()))
        })
    }

    fn want(&self, permit: &Permit, used: &CredentialUse, upstream: &Authority) -> Want {
        Want {
            tenant: permit.tenant().to_owned(),
            agent: permit.agent().to_owned(),
            credential: used.credential.clone(),
            host: upstream.with_port(),
            method: self.method.to_owned(),
            path: self.path_text.to_owned(),
            caller_hash: permit.subject_hash(),
            request_digest: permit.request_digest(),
            binding_hash: used.binding_hash,
            policy_hash: permit.policy_revision(),
            approval: permit.approval(),
        }
    }
}
