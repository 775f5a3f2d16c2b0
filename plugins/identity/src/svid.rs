//! Workloads that present a JWT-SVID (SPIFFE JWT-SVID, 3 and 4).
//!
//! Owns which trust domain's keys a token is verified with; the rest is [`crate::jwt`]'s.
//! Invariant: a token speaks only for the trust domain whose keys have signed it, and only
//! algorithms that the specification lists (2.1) are taken.

use std::rc::Rc;

use postern_core::authenticator::{Authenticator, Presented, Sight};
use postern_core::config::gate::{JwtSvid, TrustDomain};
use postern_core::denial::TokenReason;
use postern_core::identity::Kind;
use postern_core::spiffe::{SpiffeId, claims_to_be};
use postern_jose::Algorithm;
use postern_jose::jwt::{self, Rules};

use crate::Services;
use crate::holder::Holder;
use crate::jwt::{Jwts, Reading, presented};
use crate::keys::Keys;

/// JWT-SVIDs in their field.
pub struct JwtSvids {
    header: String,
    /// Tokens by the name of their trust domain.
    domains: Vec<(String, Rc<Jwts>)>,
}

impl JwtSvids {
    /// SVIDs as configured; `keys` are those of each trust domain, in their order.
    pub fn new(config: &JwtSvid, tenant: &str, keys: Vec<Rc<Keys>>, services: &Services) -> Self {
        let workloads = Rc::new(config.workloads.clone());
        let domain = |(domain, keys): (&TrustDomain, Rc<Keys>)| {
            let rules = Rules {
                issuer: domain.issuer.clone().unwrap_or_default(),
                audiences: config.audiences.clone(),
                kind: jwt::Kind::Svid,
                leeway: config.leeway.as_secs(),
            };
            let reading = Reading::Svid(Rc::clone(&workloads), domain.name.clone());
            let bounds = (config.max_life, config.cache);
            (domain.name.clone(), Jwts::of(reading, rules, bounds, tenant, (keys, None, services)))
        };
        let domains = config.domains.iter().zip(keys).map(domain).collect();
        Self { header: config.header.clone(), domains }
    }
}

impl Authenticator for JwtSvids {
    fn kind(&self) -> Kind {
        Kind::JwtSvid
    }

    fn sight(&self, shown: &Presented<'_>) -> Sight {
        let (token, digest) = match presented(shown, &self.header, &["Bearer"]) {
            Ok(found) => found,
            Err(sight) => return sight,
        };
        let subject = token.claimed_subject().filter(|subject| claims_to_be(subject));
        let Some(subject) = subject else { return Sight::Unlike(TokenReason::Claim) };
        let Some(id) = SpiffeId::parse(&subject) else {
            return Sight::Unlike(TokenReason::SpiffeId);
        };
        let own = self.domains.iter().find(|(name, _)| name == id.trust_domain());
        let Some((_, tokens)) = own else { return Sight::Unlike(TokenReason::TrustDomain) };
        if token.algorithm() == Algorithm::EdDsa {
            return Sight::Unlike(TokenReason::Algorithm);
        }
        let attempt = tokens.attempt(token, digest, Holder::of(shown, false));
        Sight::Recognised { place: self.header.clone(), attempt }
    }
}
