//! Epoch keys and the evidence that speaks for them.
//!
//! An epoch is one hour; its keys serve ten minutes longer, so that a gateway that still
//! holds the old evidence is answered while it fetches the new one. Then the seed is
//! deleted, and what was sealed to it can be opened by nobody.
//!
//! Owns derivation of `S_kex` and `S_sig` from the seed. Invariant: private keys exist in
//! memory and, sealed by the system data key, in one row.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ed25519_dalek::SigningKey;
use hkdf::Hkdf;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_crp::evidence::Runtime;
use postern_crp::service::EpochKey;
use postern_crp::suite::KeyPair;
use sha2::Sha256;
use sqlx::sqlite::SqlitePool;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::envelope::Dek;
use crate::evidence::Attester;
use crate::evidence::challenges::Challenges;
use crate::fault::Fault;
use crate::store::{self, epochs};

const LENGTH_S: u64 = 3600;
const OVERLAP_S: u64 = 600;

/// The keys of one epoch.
pub struct Epoch {
    number: u64,
    signing: SigningKey,
    key: EpochKey,
}

impl Epoch {
    fn new(number: u64, seed: &Secret) -> Result<Self, Fault> {
        let keys = KeyPair::derive(&*derive(seed, b"crp/1 S_kex")?);
        let signing = SigningKey::from_bytes(&*derive(seed, b"crp/1 S_sig")?);
        let public = signing.verifying_key().to_bytes();
        let runtime = runtime(number, *keys.public(), public, None).to_bytes();
        Ok(Self { number, signing, key: EpochKey::new(keys, runtime) })
    }

    fn in_force(&self, now: UnixMillis) -> bool {
        now.seconds() < not_after(self.number)
    }
}

fn derive(seed: &Secret, label: &[u8]) -> Result<Zeroizing<[u8; 32]>, Fault> {
    let mut key = Zeroizing::new([0; 32]);
    let hkdf = Hkdf::<Sha256>::new(None, seed.expose());
    hkdf.expand(label, key.as_mut_slice()).map_err(|_| Fault::Malformed("key length"))?;
    Ok(key)
}

fn runtime(
    epoch: u64,
    kex: [u8; 32],
    signing_key: [u8; 32],
    challenge: Option<[u8; 32]>,
) -> Runtime {
    let not_before = epoch.saturating_mul(LENGTH_S);
    Runtime { kex, signing_key, epoch, not_before, not_after: not_after(epoch), challenge }
}

fn not_after(epoch: u64) -> u64 {
    epoch.saturating_add(1).saturating_mul(LENGTH_S).saturating_add(OVERLAP_S)
}

/// The epochs in force, newest first.
pub type InForce = Arc<Vec<Epoch>>;

/// The keys to open a message with at `now`.
pub fn keys(epochs: &InForce, now: UnixMillis) -> Vec<&EpochKey> {
    epochs.iter().filter(|epoch| epoch.in_force(now)).map(|epoch| &epoch.key).collect()
}

/// The keys that sign revocation heads at `now`: gateways hold evidence of any of them.
pub fn signing_keys(epochs: &InForce, now: UnixMillis) -> Vec<&SigningKey> {
    epochs.iter().filter(|epoch| epoch.in_force(now)).map(|epoch| &epoch.signing).collect()
}

/// Keeps the keys of the epochs in force.
pub struct Epochs {
    dek: Dek,
    attester: Arc<dyn Attester>,
    challenges: Challenges,
    loaded: Mutex<InForce>,
    /// A seed was deleted, and the database's log may still hold it.
    deleted: AtomicBool,
}

impl Epochs {
    /// Seeds are sealed by `dek`; evidence comes from `attester`.
    pub fn new(dek: Dek, attester: Arc<dyn Attester>) -> Self {
        let loaded = Mutex::new(Arc::new(Vec::new()));
        let challenges = Challenges::new(Arc::clone(&attester));
        Self { dek, attester, challenges, loaded, deleted: AtomicBool::new(false) }
    }

    /// Who makes the evidence.
    pub fn attester(&self) -> &dyn Attester {
        self.attester.as_ref()
    }

    /// The epochs in force; starts the one of `now` when it is new, and forgets those that
    /// are over.
    pub async fn in_force(&self, pool: &SqlitePool, now: UnixMillis) -> Result<InForce, Fault> {
        let number = now.seconds() / LENGTH_S;
        let mut loaded = self.loaded.lock().await;
        let current = loaded.first().is_some_and(|epoch| epoch.number == number);
        if !current || loaded.iter().any(|epoch| !epoch.in_force(now)) {
            *loaded = Arc::new(self.load(pool, number, now).await?);
        }
        Ok(Arc::clone(&loaded))
    }

    async fn load(
        &self,
        pool: &SqlitePool,
        number: u64,
        now: UnixMillis,
    ) -> Result<Vec<Epoch>, Fault> {
        let mut db = store::write(pool).await?;
        let deleted = epochs::prune(&mut db, now).await?;
        let exp = UnixMillis(not_after(number).saturating_mul(1000));
        epochs::add(&mut db, &self.dek, number, exp).await?;
        let seeds = epochs::all(&mut db, &self.dek, now).await?;
        db.commit().await?;
        self.deleted.fetch_or(deleted, Ordering::Relaxed);
        seeds
            .into_iter()
            .filter(|(epoch, _)| *epoch <= number)
            .map(|(epoch, seed)| Epoch::new(epoch, &seed))
            .filter(|epoch| epoch.as_ref().map_or(true, |epoch| epoch.in_force(now)))
            .collect()
    }

    /// Something else was deleted that must not be left in the database's log.
    pub fn mark_deleted(&self) {
        self.deleted.store(true, Ordering::Relaxed);
    }

    /// Sees to it that seeds which were deleted are not left in the database's log.
    pub async fn erase_deleted(&self, pool: &SqlitePool) -> Result<(), Fault> {
        if self.deleted.swap(false, Ordering::Relaxed) && !store::empty_log(pool).await? {
            self.deleted.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The evidence document for the newest epoch; `challenge` is a nonce to answer.
    pub async fn evidence(
        &self,
        pool: &SqlitePool,
        challenge: Option<&[u8]>,
        now: UnixMillis,
    ) -> Result<Vec<u8>, Fault> {
        let epochs = self.in_force(pool, now).await?;
        let epoch = epochs.first().ok_or(Fault::Malformed("epoch"))?;
        if let Some(nonce) = challenge {
            let (number, kex) = (epoch.number, *epoch.key.public());
            let public = epoch.signing.verifying_key().to_bytes();
            let with = move |value| runtime(number, kex, public, Some(value)).to_bytes();
            return self.challenges.answer(nonce, Box::new(with), now).await;
        }
        let bytes = epoch.key.runtime().to_vec();
        self.asked(move |attester| attester.attest(&bytes, now)).await
    }

    /// Has evidence for the newest epoch made before it is asked for.
    pub async fn renew_evidence(&self, pool: &SqlitePool, now: UnixMillis) -> Result<(), Fault> {
        let epochs = self.in_force(pool, now).await?;
        let epoch = epochs.first().ok_or(Fault::Malformed("epoch"))?;
        let bytes = epoch.key.runtime().to_vec();
        self.asked(move |attester| attester.renew(&bytes, now)).await
    }

    /// It may ask the kernel and another service.
    async fn asked<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Attester) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let attester = Arc::clone(&self.attester);
        let made = tokio::task::spawn_blocking(move || question(attester.as_ref()));
        made.await.map_err(|_| Fault::Malformed("attester"))?
    }
}
