//! Values that stay in somebody else's vault and are read when they are released.
//!
//! Owns which vaults there are, who may name what in them ([`Reference`]), how long a value is
//! used ([`held`]) and how often a vault is asked. Knows no message and no database: what a
//! release makes of it is in `crp::vaulted`.
//!
//! Invariant: a vault is asked for what is under the folder of the tenant that asks, and for
//! nothing else; by one task at a time for a place; for each question within its deadline; and
//! never while a transaction is open. A value is used for `ttl`, and beyond it for `stale` while
//! the vault cannot be asked, and then no longer whatever happens.

mod held;
mod open;
mod reference;
mod refusal;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_core::redacted::Redacted;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_vaults::{Backend, Place, Refused, Version};
use tokio::sync::{Semaphore, watch};

use self::held::{Boarding, Table};
use crate::config::Vault as Settings;
use crate::crp::store::{acceptable_value, encode_fields};
use crate::fault::Fault;

pub(crate) use self::held::Held;
pub use self::reference::Reference;
pub(crate) use self::refusal::NotRead;

/// What came of asking.
pub(crate) type Outcome = Result<Arc<Held>, NotRead>;

/// What a vault said of a place.
pub(crate) struct Fetched {
    pub(crate) place: Reference,
    pub(crate) outcome: Outcome,
}

/// Every vault, by name.
pub(crate) struct Vaults(BTreeMap<String, Arc<Vault>>);

/// One vault, and what is kept of it.
struct Vault {
    backend: Box<dyn Backend>,
    settings: Settings,
    at_once: Semaphore,
    table: Table,
}

impl Vaults {
    /// Those of the configuration. Asks none of them.
    pub(crate) fn open(settings: &BTreeMap<String, Settings>) -> Result<Self, Fault> {
        let vault = |(name, settings): (&String, &Settings)| {
            let backend = open::backend(settings)?;
            Ok((name.clone(), Arc::new(Vault::new(backend, settings.clone())?)))
        };
        settings.iter().map(vault).collect::<Result<_, _>>().map(Self)
    }

    /// Asks the vault of `place`, or waits with those who are asking, for somebody who `came` then.
    pub(crate) async fn fetch(&self, place: &Reference, came: Instant, now: UnixMillis) -> Fetched {
        let outcome = match self.0.get(place.vault()) {
            Some(vault) => vault.ask(place, came, now).await,
            None => Err(NotRead::NoSuchVault),
        };
        Fetched { place: place.clone(), outcome }
    }

    /// A value that is kept and may be used without asking: of the version that was `seen` last,
    /// by whichever replica.
    pub(crate) fn fresh(
        &self,
        place: &Reference,
        seen: &str,
        now: UnixMillis,
    ) -> Option<Arc<Held>> {
        self.0.get(place.vault())?.kept(place, seen, now, Duration::ZERO)
    }

    /// The same while the vault cannot be asked.
    pub(crate) fn stale(
        &self,
        place: &Reference,
        seen: &str,
        now: UnixMillis,
    ) -> Option<Arc<Held>> {
        let vault = self.0.get(place.vault())?;
        vault.kept(place, seen, now, vault.settings.stale)
    }

    /// Seconds for which a gateway may keep it.
    pub(crate) fn seconds_left(&self, place: &Reference, held: &Held, now: UnixMillis) -> u16 {
        let Some(vault) = self.0.get(place.vault()) else { return 0 };
        let age = u64::try_from(held.age(now).as_millis()).unwrap_or(u64::MAX);
        let Settings { ttl, stale, .. } = vault.settings;
        let left = |limit: Duration| {
            let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            u16::try_from(limit.saturating_sub(age) / 1000).unwrap_or(u16::MAX)
        };
        match left(ttl) {
            0 => left(ttl.saturating_add(stale)).min(1),
            seconds => seconds,
        }
    }

    /// Wipes what is past its limits.
    pub(crate) fn forget_old(&self, now: UnixMillis) {
        for vault in self.0.values() {
            let longest = vault.settings.ttl.saturating_add(vault.settings.stale);
            vault.table.forget_old(now, longest);
        }
    }
}

impl Vault {
    fn new(backend: Box<dyn Backend>, settings: Settings) -> Result<Self, Fault> {
        let at_once = Semaphore::new(settings.in_flight);
        let table = Table::new(settings.entries)?;
        Ok(Self { backend, settings, at_once, table })
    }

    /// What is kept of that version, for so long beyond its time.
    fn kept(
        &self,
        place: &Reference,
        seen: &str,
        now: UnixMillis,
        beyond: Duration,
    ) -> Option<Arc<Held>> {
        let kept = self.table.kept(place, now, self.settings.ttl.saturating_add(beyond))?;
        (kept.version().as_str() == seen).then_some(kept)
    }

    async fn ask(self: &Arc<Self>, place: &Reference, came: Instant, now: UnixMillis) -> Outcome {
        let places = self.places(place)?;
        let mut flight = match self.table.board(place, came, now) {
            Boarding::Told(not_read) => return Err(not_read),
            Boarding::Landed(held) => return Ok(held),
            Boarding::With(flight) => flight,
            Boarding::First(landing, flight) => {
                let (own, place) = (Arc::clone(self), place.clone());
                // A task of its own: whoever asked may go, and what came is kept all the same.
                tokio::spawn(async move { own.fly(place, places, now, landing).await });
                flight
            }
        };
        let landed = flight.wait_for(Option::is_some).await;
        let outcome = landed.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or_else(|| Err(unreachable("the reading task ended")))
    }

    /// Each field's place under the folder of the tenant, by the name of the field.
    fn places(&self, place: &Reference) -> Result<Vec<(String, Place)>, NotRead> {
        let folder = self.settings.tenants.get(place.tenant()).ok_or(NotRead::NotAdmitted)?;
        place.under(folder.as_ref()).ok_or(NotRead::Refused(Refused::NotFound("secret")))
    }

    async fn fly(
        &self,
        place: Reference,
        places: Vec<(String, Place)>,
        now: UnixMillis,
        landing: watch::Sender<Option<Outcome>>,
    ) {
        let began = Instant::now();
        let reading = self.read(&place, &places, now);
        let outcome = match tokio::time::timeout(self.settings.timeout, reading).await {
            Ok(outcome) => outcome,
            Err(_) => Err(unreachable("no answer in time")),
        };
        if let Err(not_read) = &outcome {
            tracing::warn!(vault = place.vault(), %not_read, "a value was not read");
        }
        self.table.land(&place, outcome.clone(), now, began.elapsed());
        // Nobody waits any more where nobody listens.
        let _ = landing.send(Some(outcome));
    }

    /// Every field, all of the version of the first.
    async fn read(
        &self,
        place: &Reference,
        places: &[(String, Place)],
        now: UnixMillis,
    ) -> Outcome {
        let _permit = self.at_once.acquire().await.map_err(|_| unreachable("closed"))?;
        let (mut fields, mut version): (Vec<(String, Secret)>, Option<Version>) =
            (Vec::new(), None);
        for (name, place) in places {
            let read = self.backend.read(place, version.as_ref(), now).await?;
            if !acceptable_value(&read.secret) {
                return Err(Refused::Malformed("value: it has a line break or a zero byte").into());
            }
            fields.push((name.clone(), read.secret));
            version = Some(read.version);
        }
        let version = version.ok_or(Refused::Malformed("no field"))?;
        let sealed =
            encode_fields(&fields).and_then(|value| self.table.sealed(place, &version, &value));
        let sealed = sealed.map_err(|_| unreachable("it could not be sealed here"))?;
        Ok(Arc::new(Held::new(sealed, version, now)))
    }

    #[cfg(test)]
    fn table(&self) -> &Table {
        &self.table
    }
}

impl Vaults {
    /// The fields of a value that is held.
    pub(crate) fn opened(&self, place: &Reference, held: &Held) -> Option<Vec<(String, Secret)>> {
        self.0.get(place.vault())?.table.opened(place, held)
    }
}

fn unreachable(why: &str) -> NotRead {
    NotRead::Refused(Refused::Unreachable(Redacted::new(why)))
}
