//! A token's chain of blocks, verified (SPEC.md, 2 and 4).
//!
//! Invariant: only [`verify`] makes a [`Chain`]; what a chain says never changes, and
//! whether it is good here and now is [`Chain::check`]'s to say, each time it is used.

use crate::block::Block;
use crate::claims::Claims;
use crate::key::{PublicKey, Signatures};
use crate::refusal::Refusal;
use crate::right::{Right, Widened};
use crate::token;

/// Default for [`Context::life`]: 15 minutes.
pub const LIFE: u64 = 900;
/// How far clocks may be apart, in seconds.
pub const SKEW: u64 = 5;

/// A key of an issuer, inside its tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerKey {
    /// What `kid` names it by, exactly.
    pub id: String,
    /// What `iss` has to be.
    pub issuer: String,
    /// The key.
    pub key: PublicKey,
}

/// What the verifier knows.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Tenant of the route.
    pub tenant: &'a str,
    /// Who the verifier is.
    pub audience: &'a str,
    /// Issuer keys of this tenant and of no other.
    pub issuers: &'a [IssuerKey],
    /// Longest life of a token, in seconds.
    pub life: u64,
    /// Seconds since 1970.
    pub now: u64,
}

/// A token whose signatures hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    issuer: IssuerKey,
    audiences: Vec<String>,
    subjects: Vec<String>,
    ids: Vec<[u8; 16]>,
    holder: PublicKey,
    issued_at: u64,
    newest: u64,
    life: u64,
    right: Right,
    widened: Vec<(usize, Widened)>,
}

/// Verifies every block and whether the token is good here and now.
pub fn verify(
    token: &[u8],
    context: &Context<'_>,
    signatures: &impl Signatures,
) -> Result<Chain, Refusal> {
    let mut blocks = token::blocks(token)?.into_iter();
    let first = Block::parse(&blocks.next().ok_or(Refusal::Blocks)?, true)?;
    let id = first.key_id().ok_or(Refusal::Header)?;
    let issuer = context.issuers.iter().find(|key| key.id == id);
    let issuer = issuer.ok_or(Refusal::UnknownIssuer)?;
    let claims = first.open(&issuer.key, signatures)?;
    let mut link = Link { previous: first.digest(), left: token::BLOCKS };
    let mut chain = Chain::start(issuer, claims, &mut link)?;
    for bytes in blocks {
        let block = Block::parse(&bytes, false)?;
        let claims = block.open(&chain.holder, signatures)?;
        chain.add(claims, &mut link)?;
        link.previous = block.digest();
    }
    chain.check(context)?;
    Ok(chain)
}

/// What the next block has to fit.
struct Link {
    previous: [u8; 32],
    /// How many blocks may still follow.
    left: usize,
}

impl Link {
    fn limit(&mut self, depth: Option<u8>) {
        self.left = depth.map_or(self.left, |depth| self.left.min(usize::from(depth)));
    }
}

impl Chain {
    fn start(key: &IssuerKey, claims: Claims, link: &mut Link) -> Result<Self, Refusal> {
        claims.check(true)?;
        let missing = |claim| move || Refusal::Claim(claim);
        if claims.issuer.as_ref() != Some(&key.issuer) {
            return Err(Refusal::Claim("iss"));
        }
        link.limit(claims.depth);
        let issued_at = claims.issued_at.ok_or_else(missing("iat"))?;
        let life = claims.expires.and_then(|expires| expires.checked_sub(issued_at));
        Ok(Self {
            issuer: key.clone(),
            audiences: claims.audience.iter().cloned().collect(),
            subjects: claims.subject.iter().cloned().collect(),
            ids: vec![claims.id.ok_or_else(missing("cti"))?],
            holder: claims.holder.clone().ok_or_else(missing("cnf"))?,
            issued_at,
            newest: issued_at,
            life: life.filter(|life| *life > 0).ok_or_else(missing("exp"))?,
            right: Right::granted(claims),
            widened: Vec::new(),
        })
    }

    fn add(&mut self, claims: Claims, link: &mut Link) -> Result<(), Refusal> {
        claims.check(false)?;
        if claims.previous != Some(link.previous) {
            return Err(Refusal::Chain);
        }
        link.left = link.left.checked_sub(1).ok_or(Refusal::TooDeep)?;
        link.limit(claims.depth);
        let asked = self.right.narrow(&claims)?;
        if !asked.is_empty() {
            self.widened.push((self.ids.len(), asked));
        }
        self.newest = self.newest.max(claims.issued_at.unwrap_or(0));
        self.ids.push(claims.id.ok_or(Refusal::Claim("cti"))?);
        self.subjects.extend(claims.subject);
        self.audiences.extend(claims.audience);
        self.holder = claims.holder.ok_or(Refusal::Claim("cnf"))?;
        Ok(())
    }

    /// Whether the token is good for this verifier, now.
    pub fn check(&self, context: &Context<'_>) -> Result<(), Refusal> {
        let soon = context.now.saturating_add(SKEW);
        if self.right.tenant != context.tenant {
            return Err(Refusal::Tenant);
        }
        if self.audiences.iter().any(|audience| audience != context.audience) {
            return Err(Refusal::Audience);
        }
        if self.life > context.life {
            return Err(Refusal::Life);
        }
        if self.right.not_before > soon || self.newest > soon {
            return Err(Refusal::NotYet);
        }
        if context.now >= self.right.expires {
            return Err(Refusal::Expired);
        }
        Ok(())
    }

    /// What the token allows.
    pub fn right(&self) -> &Right {
        &self.right
    }

    /// The key that signs requests.
    pub fn holder(&self) -> &PublicKey {
        &self.holder
    }

    /// Who issued it, and the key that it was verified under.
    pub fn issuer(&self) -> &IssuerKey {
        &self.issuer
    }

    /// For whom it was issued, and then to whom it was passed.
    pub fn subjects(&self) -> &[String] {
        &self.subjects
    }

    /// The `cti` of each block: revoking any of them revokes the token.
    pub fn ids(&self) -> &[[u8; 16]] {
        &self.ids
    }

    /// When it was issued, in seconds.
    pub fn issued_at(&self) -> u64 {
        self.issued_at
    }

    /// Blocks (counted from zero) that asked for more than was left, and by which claims:
    /// without effect, but worth a line in the audit record.
    pub fn widened(&self) -> &[(usize, Widened)] {
        &self.widened
    }
}
