//! Chooses the binding under which each credential may be put in.
//!
//! Invariant: every chosen binding is the caller's tenant's, allows the method and the path
//! and, where the destination is known, leads to that authority; a cluster that the
//! `upstreams` table does not have leads nowhere. The caller's own `:authority` is never
//! read.

use crate::authority::Authority;
use crate::binding::{self, Binding};
use crate::config::gate::Config;
use crate::denial::{Denial, NotAllowed, Place};
use crate::gate::head::Head;
use crate::gate::references::Asked;
use crate::permit::CredentialUse;
use crate::placeholder;

/// Where the request will leave for, as far as the gate can know.
pub(super) enum Destination {
    /// The host does not say.
    Untold,
    /// A cluster that the `upstreams` table does not have.
    Nowhere,
    /// An upstream. The cluster that the route chose before a rewrite says nothing; the
    /// credential module compares the one that is chosen after it.
    To(Authority),
}

impl Destination {
    /// What a cluster leads to.
    pub(super) fn of(config: &Config, cluster: Option<&[u8]>) -> Self {
        let Some(cluster) = cluster else { return Self::Untold };
        let upstream = config.upstreams.find(cluster);
        upstream.map_or(Self::Nowhere, |upstream| Self::To(upstream.authority.clone()))
    }

    /// Where it will leave for, where that is known.
    pub(super) fn authority(&self) -> Option<&Authority> {
        match self {
            Self::Untold | Self::Nowhere => None,
            Self::To(known) => Some(known),
        }
    }

    fn is(&self, authority: &Authority) -> bool {
        match self {
            Self::Untold => true,
            Self::Nowhere => false,
            Self::To(known) => known == authority,
        }
    }
}

/// What may be put in, and which sites the caller may not fill himself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) uses: Vec<CredentialUse>,
    /// Sites of credentials that the credential field names: every line is removed.
    pub(super) cleared: Vec<String>,
}

pub(super) fn bind(
    config: &Config,
    asked: &[Asked],
    tenant: &str,
    head: &Head,
    to: &Destination,
) -> Result<Bound, Denial> {
    let mut bound = Bound::default();
    for one in asked {
        let binding = choose(config, one, tenant, head, to);
        let binding = binding.map_err(Denial::CredentialNotAllowed)?;
        let name = one.reference.credential.as_str();
        let site = binding.site().key();
        let times = bound.uses.iter().filter(|earlier| earlier.credential == name).count();
        let taken = bound.uses.iter().any(|earlier| earlier.site == site);
        if times >= usize::from(binding.max_occurrences()) || taken {
            return Err(Denial::PlaceholderMisplaced(Place::Twice));
        }
        if one.site.is_none() {
            bound.cleared.push(site.to_owned());
        }
        let field = one.reference.field.as_ref().map(|field| field.as_str().to_owned());
        bound.uses.push(CredentialUse {
            credential: name.to_owned(),
            field: field.unwrap_or_default(),
            site: site.to_owned(),
            binding_hash: binding.hash(),
        });
    }
    Ok(bound)
}

/// What a binding has to fulfil, and what the audit says when none does.
type Condition<'a> = (NotAllowed, &'a dyn Fn(&Binding) -> bool);

/// The first binding that fits, one that mints before others. The reason is for the audit; the client gets one answer.
fn choose<'a>(
    config: &'a Config,
    asked: &Asked,
    tenant: &str,
    head: &Head,
    to: &Destination,
) -> Result<&'a Binding, NotAllowed> {
    let steps: [Condition<'_>; 6] = [
        (NotAllowed::Unknown, &|binding| binding.tenant() == tenant),
        (NotAllowed::Site, &|binding| stands_at(binding, asked, head)),
        (NotAllowed::Method, &|binding| binding.allows_method(&head.method)),
        (NotAllowed::Path, &|binding| binding.allows_path(&head.path)),
        (NotAllowed::WebSocket, &|binding| !head.websocket || binding.allows_websocket()),
        (NotAllowed::Authority, &|binding| to.is(binding.authority())),
    ];
    let mut fitting: Vec<&Binding> = config.bindings.of(&asked.reference.credential).collect();
    for (reason, fits) in steps {
        fitting.retain(|binding| fits(binding));
        if fitting.is_empty() {
            return Err(reason);
        }
    }
    // The answer of a token endpoint is never read under a binding that mints nothing.
    let mints = fitting.iter().find(|binding| !binding.mints().is_empty());
    mints.or(fitting.first()).copied().ok_or(NotAllowed::Unknown)
}

/// Whether the placeholder stands where this binding has it.
fn stands_at(binding: &Binding, asked: &Asked, head: &Head) -> bool {
    // What is named in a field of its own cannot say where in the content it goes.
    let Some(site) = &asked.site else { return !binding.site().place().in_content() };
    if !matches!(binding.site().place(), binding::Place::Header(_)) {
        return binding.site().key() == site;
    }
    let value = head.fields.only(site);
    binding.site().key() == site
        && value.is_some_and(|value| placeholder::parse(binding.site(), value).is_some())
}
