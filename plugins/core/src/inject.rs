//! Injection: the only place where a secret meets a request.
//!
//! Owns rendering a released value into its field or signing the request with it, and what
//! has to be scrubbed from the answer afterwards.
//!
//! Invariant: [`inject`] is the only maker of an [`Injection`]; it takes the [`Permit`] by
//! value, checks its life and that what is placed is exactly what the permit names. So
//! there is no injection without a permit, and one permit injects once.

use std::collections::BTreeMap;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::binding::{Place, Signing};
use crate::credential::Release;
use crate::permit::{CredentialUse, Permit};
use crate::placeholder::{Frame, Reference};
use crate::secret::Secret;
use crate::slots;
use crate::time::{Moment, UnixMillis};
use signing::Signed;

mod decoy;
mod signing;

pub use decoy::Decoy;
pub use signing::Signable;

/// Largest value that is put into a field.
pub const MAX_VALUE: usize = 16 * 1024;

/// One use of a permit and what stands around the value in its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// As the permit has it.
    pub used: CredentialUse,
    /// How the value gets there.
    pub put: Put,
}

/// How a value gets to its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// A whole field; from the binding's template, or what the caller wrote around the
    /// placeholder.
    Field(Frame),
    /// One value inside a field.
    Inside {
        /// `:path` or `cookie`.
        field: &'static str,
        /// The field as it stands.
        text: Vec<u8>,
        /// A query parameter or a cookie.
        place: Place,
        /// The caller wrote the placeholder; else the value is added.
        written: bool,
    },
    /// One value inside the content, which is not there yet.
    Content(Place),
    /// No value: a signature over the request, with all values of the credential.
    Signed {
        /// How.
        signing: Signing,
        /// Over what.
        request: Box<Signable>,
    },
}

/// A placement and the value for it.
pub struct Placed {
    /// Where.
    pub placement: Placement,
    /// What.
    pub release: Rc<Release>,
    /// What it was before it changed: not placed, but looked for in the answer.
    pub former: Option<Rc<Release>>,
}

/// A field value that holds a secret, ready to be set.
pub struct Injection {
    name: String,
    value: Secret,
}

impl Injection {
    /// Lower-case name of the field that every earlier line of is replaced.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hands the rendered value to `set`, once.
    pub fn perform<T>(self, set: impl FnOnce(&str, &[u8]) -> T) -> T {
        set(&self.name, self.value.expose())
    }
}

/// What goes into content once all of it is there.
pub struct Filling(Vec<(String, Zeroizing<Vec<u8>>)>);

impl Filling {
    /// The content with every value in the place of its placeholder; `None` unless each is
    /// there exactly once.
    pub fn fill(self, content: &[u8]) -> Option<Injection> {
        let filled = slots::substituted(content, &self.0)?;
        Some(Injection { name: String::new(), value: Secret::new(filled.to_vec()) })
    }
}

/// A secret that is in this request, to be scrubbed from the answer.
pub struct InPlay {
    /// The value as released.
    pub value: Secret,
    /// The field value as rendered, for example `Basic …`.
    pub rendered: Secret,
    /// Where it is looked for beyond the answer to this request.
    pub keep: Keep,
}

/// How far a secret is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// In the answer to its own request: it is another one each time.
    Request,
    /// In all answers to the same caller.
    Caller,
    /// And in every request: it is too long to stand there by chance, and no identifier.
    Worker,
}

/// A shorter value may stand in a request by chance.
const SHORTEST_GUARDED: usize = 16;

/// Fields of a credential that say whose it is, which a request may well name.
const IDENTIFIERS: [&str; 9] = [
    "user",
    "username",
    "user_id",
    "client_id",
    "account",
    "account_id",
    "access_key_id",
    "consumer_key",
    "region",
];

impl InPlay {
    /// A value that is sent as `rendered`, from this field of its credential.
    fn of(field: &str, value: &[u8], rendered: &[u8]) -> Self {
        let guarded = value.len() >= SHORTEST_GUARDED && !IDENTIFIERS.contains(&field);
        let keep = if guarded { Keep::Worker } else { Keep::Caller };
        let (value, rendered) = (value.to_vec(), rendered.to_vec());
        Self { value: Secret::new(value), rendered: Secret::new(rendered), keep }
    }

    /// A value that an answer holds and nobody has sent yet.
    pub(crate) fn minted(value: &[u8]) -> Self {
        Self::of("", value, value)
    }

    /// Whether both are the same value, sent in the same way.
    pub fn is_same(&self, other: &Self) -> bool {
        self.value.expose() == other.value.expose()
            && self.rendered.expose() == other.rendered.expose()
    }

    /// Whether a field name holds the value, or what follows the scheme as rendered. Codecs
    /// write names in lower case, so letters of either case count as equal.
    pub fn is_in_name(&self, name: &[u8]) -> bool {
        let rendered = self.rendered.expose();
        let token = rendered.splitn(2, |byte| *byte == b' ').nth(1).unwrap_or(rendered);
        [self.value.expose(), token].into_iter().any(|secret| {
            name.windows(secret.len().max(1)).any(|window| window.eq_ignore_ascii_case(secret))
        })
    }
}

/// What to put into the request and what to look for in the answer.
#[derive(Default)]
pub struct Injected {
    /// One for each field.
    pub injections: Vec<Injection>,
    /// Fields of the caller's that may not stand beside a signature.
    pub removed: Vec<&'static str>,
    /// For the content, where a use is there.
    pub filling: Option<Filling>,
    /// Every value that came with the releases, used or not, and those before them.
    pub in_play: Vec<InPlay>,
}

/// Why nothing was injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotInjected {
    /// The permit's life ended while the value was fetched.
    #[error("permit expired before injection")]
    PermitExpired,
    /// The placements are not the permit's uses.
    #[error("placements differ from the permit")]
    NotPermitted,
    /// The credential has no field of this name.
    #[error("credential has no such field")]
    NoField,
    /// The value's own time is over.
    #[error("credential expired before injection")]
    ValueExpired,
    /// Empty, too long, or with bytes that a field cannot hold.
    #[error("value cannot stand in a field")]
    BadValue,
}

/// Spends a permit on its injections; `placed` has one element for each of its uses, in
/// its order. The moment's randomness is for this alone.
pub fn inject(permit: Permit, placed: &[Placed], at: &Moment) -> Result<Injected, NotInjected> {
    if at.now >= permit.expires() {
        return Err(NotInjected::PermitExpired);
    }
    if !permit.uses().iter().eq(placed.iter().map(|placed| &placed.placement.used)) {
        return Err(NotInjected::NotPermitted);
    }
    let mut injected = Injected::default();
    let mut inside = Inside::default();
    for placed in placed {
        alive(&placed.release, at.now)?;
        match &placed.placement.put {
            Put::Signed { signing, request } => {
                let signed = signing::sign(signing, request, &placed.release, at)?;
                injected.sign(&placed.placement.used.site, signed);
            }
            _ => add(placed, &mut inside, &mut injected)?,
        }
        injected.play(placed);
    }
    inside.finish(&mut injected)?;
    Ok(injected)
}

/// Values that share a field or the content with others.
#[derive(Default)]
struct Inside {
    fields: BTreeMap<&'static str, Shared>,
    content: Vec<(String, Zeroizing<Vec<u8>>)>,
}

#[derive(Default)]
struct Shared {
    text: Vec<u8>,
    written: Vec<(String, Zeroizing<Vec<u8>>)>,
    added: Vec<(Place, Zeroizing<Vec<u8>>)>,
}

impl Inside {
    fn finish(self, to: &mut Injected) -> Result<(), NotInjected> {
        for (name, shared) in self.fields {
            let text = slots::substituted(&shared.text, &shared.written);
            let text = shared
                .added
                .iter()
                .fold(text, |text, (place, value)| slots::added(place, &text?, value));
            let value = Secret::new(text.ok_or(NotInjected::BadValue)?.to_vec());
            to.injections.push(Injection { name: name.to_owned(), value });
        }
        to.filling = (!self.content.is_empty()).then_some(Filling(self.content));
        Ok(())
    }
}

fn alive(release: &Release, now: UnixMillis) -> Result<(), NotInjected> {
    if now < release.not_after { Ok(()) } else { Err(NotInjected::ValueExpired) }
}

impl Injected {
    /// Takes a signature over. It is looked for in the answer as well, and so is a key that
    /// was made on the way to it.
    fn sign(&mut self, site: &str, signed: Signed) {
        let Signed { authorization, fields, absent, signature, derived } = signed;
        let injection = |(name, value)| Injection { name: str::to_owned(name), value };
        self.injections.extend(fields.into_iter().map(injection));
        let value = Secret::new(authorization.to_vec());
        self.injections.push(Injection { name: site.to_owned(), value });
        let rendered = Secret::new(authorization.to_vec());
        self.in_play.push(InPlay { value: signature, rendered, keep: Keep::Request });
        let same = |key: Secret| {
            let rendered = Secret::new(key.expose().to_vec());
            InPlay { value: key, rendered, keep: Keep::Worker }
        };
        self.in_play.extend(derived.map(same));
        self.removed.extend(absent);
    }

    /// Every value that came with a release, and the one before it.
    fn play(&mut self, placed: &Placed) {
        let Placed { placement, release, former } = placed;
        let releases = [Some(release), former.as_ref()].into_iter().flatten();
        self.in_play.extend(releases.flat_map(|release| in_play(placement, release)));
    }
}

fn add(placed: &Placed, inside: &mut Inside, to: &mut Injected) -> Result<(), NotInjected> {
    let Placed { placement, release, .. } = placed;
    let field = placement.used.field.as_str();
    let value = release.field(field).ok_or(NotInjected::NoField)?.expose();
    let rendered = rendered(&placement.put, value).ok_or(NotInjected::BadValue)?;
    let mark = || Reference::written(&placement.used.credential, field);
    match &placement.put {
        Put::Field(_) => to.injections.push(Injection {
            name: placement.used.site.clone(),
            value: Secret::new(rendered.to_vec()),
        }),
        Put::Inside { field, text, place, written } => {
            let shared = inside.fields.entry(field).or_default();
            shared.text.clone_from(text);
            if *written {
                shared.written.push((mark(), rendered));
            } else {
                shared.added.push((place.clone(), rendered));
            }
        }
        Put::Content(_) => inside.content.push((mark(), rendered)),
        // Has no value to render.
        Put::Signed { .. } => {}
    }
    Ok(())
}

/// Every value of `release`, each as it would be sent.
fn in_play(placement: &Placement, release: &Release) -> Vec<InPlay> {
    let values = release.fields.iter().filter(|(_, value)| !value.is_empty());
    let one = |(name, value): &(String, Secret)| {
        let value = value.expose();
        let placed = *name == placement.used.field;
        let sent = placed.then(|| rendered(&placement.put, value)).flatten();
        let rendered = sent.unwrap_or_else(|| Zeroizing::new(value.to_vec()));
        InPlay::of(name, value, &rendered)
    };
    values.map(one).collect()
}

/// The value as it is sent; `None` when it cannot stand there.
fn rendered(put: &Put, value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    match put {
        Put::Field(frame) => render(frame, value),
        Put::Inside { place, .. } | Put::Content(place) => {
            let fits = (1..=MAX_VALUE).contains(&value.len());
            fits.then(|| slots::encoded(place, value)).flatten()
        }
        Put::Signed { .. } => None,
    }
}

/// The field's value; `None` when the secret cannot stand there.
fn render(frame: &Frame, value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    // RFC 7617 2: a user-id has no colon.
    let parts_the_pair = frame.basic && frame.before.is_empty() && value.contains(&b':');
    if !fits_field(value) || parts_the_pair {
        return None;
    }
    let mut text = Zeroizing::new(Vec::with_capacity(
        frame.before.len().saturating_add(value.len()).saturating_add(frame.after.len()),
    ));
    text.extend_from_slice(frame.before.as_bytes());
    text.extend_from_slice(value);
    text.extend_from_slice(frame.after.as_bytes());
    if !frame.basic {
        return Some(text);
    }
    let encoded = Zeroizing::new(STANDARD.encode(text.as_slice()));
    Some(Zeroizing::new([b"Basic ".as_slice(), encoded.as_bytes()].concat()))
}

/// RFC 9110 5.5: visible bytes, blanks between them. Blanks at an end would be cut off
/// on the way, and the scrubber would then look for what nobody sent.
fn fits_field(value: &[u8]) -> bool {
    let allowed = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    let blank = |byte: Option<&u8>| byte.is_none_or(|byte| *byte == b' ' || *byte == b'\t');
    (1..=MAX_VALUE).contains(&value.len())
        && value.iter().all(allowed)
        && !blank(value.first())
        && !blank(value.last())
}

#[cfg(test)]
mod tests;
