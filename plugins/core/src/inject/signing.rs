//! Signatures in the place of a value: the credential signs the request and stays here.
//!
//! Owns what of a request a signature covers, read once ([`Signable`]), and the one trait
//! of the schemes ([`Signer`]). It makes no injection: [`super::inject`] does, from what a
//! signer gives it, and only against a permit.
//!
//! Invariant: what is signed is what leaves, after all routing: method, authority, target
//! and the covered fields. A request of which a part could be taken for a signature, or
//! read in two ways by who verifies it, is no [`Signable`].

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::{MAX_VALUE, NotInjected};
use crate::authority::Authority;
use crate::binding::Signing;
use crate::credential::Release;
use crate::fields::Fields;
use crate::secret::Secret;
use crate::time::Moment;
use pairs::Pairs;

mod oauth1;
mod pairs;
mod sigv4;

/// A scheme of signatures.
trait Signer {
    /// Whether a parameter of this name belongs to a signature, so that no caller sends it.
    fn claims(&self, parameter: &[u8]) -> bool;

    /// Whether `+` in a query is a blank. Where it is not, readers disagree about it, and a
    /// query that has one is not signed.
    fn plus_is_blank(&self) -> bool;

    /// Whether the signature covers this field (lower case) of the caller's.
    fn covers(&self, field: &str) -> bool;

    /// Signs with the values of a release.
    fn sign(
        &self,
        request: &Signable,
        release: &Release,
        at: &Moment,
    ) -> Result<Signed, NotInjected>;
}

fn signer(signing: &Signing) -> &dyn Signer {
    match signing {
        Signing::SigV4(scheme) => scheme,
        Signing::OAuth1(scheme) => scheme,
    }
}

/// Signs `request` as the binding says.
pub(super) fn sign(
    signing: &Signing,
    request: &Signable,
    release: &Release,
    at: &Moment,
) -> Result<Signed, NotInjected> {
    signer(signing).sign(request, release, at)
}

/// What a signature adds to a request.
pub(super) struct Signed {
    /// Value of `authorization`.
    pub(super) authorization: Zeroizing<Vec<u8>>,
    /// More fields, lower case; every line that the caller wrote of them is replaced.
    pub(super) fields: Vec<(&'static str, Secret)>,
    /// Fields that belong to a signature, and that this one does not have.
    pub(super) absent: Vec<&'static str>,
    /// The signature as written. Whoever reads it can send the same request again for some
    /// minutes, so the answer is scrubbed of it.
    pub(super) signature: Secret,
    /// A key made from the secret that is good for more than this request.
    pub(super) derived: Option<Secret>,
}

/// A request as it leaves, read for one scheme of signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signable {
    method: Vec<u8>,
    /// `:authority` as it stands.
    authority: Vec<u8>,
    /// Scheme and authority. The scheme is always `https`: what the proxy has in `:scheme`
    /// is how the caller came, and a credentialed upstream has TLS.
    origin: String,
    /// Without the query, as it stands.
    path: Vec<u8>,
    query: Pairs,
    /// Parameters of form content, where the scheme covers them.
    form: Pairs,
    /// Covered fields, their lines joined by a comma.
    fields: BTreeMap<String, Vec<u8>>,
    /// SHA-256 of the content, where it is known.
    digest: Option<[u8; 32]>,
}

impl Signable {
    /// Reads a request. `None` when a parameter of query or form is not well formed, or
    /// belongs to a signature.
    pub fn new(
        signing: &Signing,
        head: &Fields,
        upstream: &Authority,
        digest: Option<[u8; 32]>,
        form: &[u8],
    ) -> Option<Self> {
        let signer = signer(signing);
        let target = head.only(":path")?;
        let (path, query) = match target.iter().position(|byte| *byte == b'?') {
            Some(mark) => (target.get(..mark)?, target.get(mark.checked_add(1)?..)?),
            None => (target, &b""[..]),
        };
        let query = pairs::read(query, signer.plus_is_blank())?;
        let form = pairs::read(form, true)?;
        if query.iter().chain(&form).any(|(name, _)| signer.claims(name)) {
            return None;
        }
        Some(Self {
            method: head.only(":method")?.to_vec(),
            authority: head.only(":authority")?.to_vec(),
            origin: format!("https://{upstream}"),
            path: path.to_vec(),
            query,
            form,
            fields: covered(signer, head),
            digest,
        })
    }
}

fn covered(signer: &dyn Signer, head: &Fields) -> BTreeMap<String, Vec<u8>> {
    let mut fields: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for field in &head.0 {
        let name = String::from_utf8_lossy(&field.name).to_ascii_lowercase();
        if !signer.covers(&name) {
            continue;
        }
        let lines = fields.entry(name).or_default();
        if !lines.is_empty() {
            lines.push(b',');
        }
        lines.extend_from_slice(&field.value);
    }
    fields
}

/// A value of the release that a signature cannot do without.
fn value<'a>(release: &'a Release, name: &str) -> Result<&'a [u8], NotInjected> {
    maybe(release, name)?.ok_or(NotInjected::NoField)
}

/// A value of the release that a signature can do without.
fn maybe<'a>(release: &'a Release, name: &str) -> Result<Option<&'a [u8]>, NotInjected> {
    let Some(secret) = release.field(name) else { return Ok(None) };
    let fits = (1..=MAX_VALUE).contains(&secret.len());
    fits.then(|| Some(secret.expose())).ok_or(NotInjected::BadValue)
}

#[cfg(test)]
mod tests;
