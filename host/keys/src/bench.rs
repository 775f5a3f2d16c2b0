//! Many API keys at once, for measurements alone.

use postern_core::api_key::{ALPHABET, KeyId, StoredKey, assemble};
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;

use crate::fault::Fault;
use crate::random;
use crate::service::Service;
use crate::store::Reach;
use crate::store::api_keys::{self, Grant};

/// The key with this number; ids of neighbours lie far apart.
pub fn key(number: u32) -> Option<(KeyId, Secret)> {
    let mut left = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let digits: Vec<u8> = (0..8)
        .filter_map(|_| {
            let digit = usize::try_from(left % 62).ok()?;
            left /= 62;
            ALPHABET.get(digit).copied()
        })
        .collect();
    let id = KeyId::new(&digits)?;
    let whole = assemble("pk_", &id, &[b'x'; 43])?;
    Some((id, whole))
}

impl Service {
    /// Adds the keys with the numbers below `count`, ten of a user.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn fill(&self, tenant: &str, count: u32, now: UnixMillis) -> Result<(), Fault> {
        let mut db = self.inner.pool.write(Reach::All).await?;
        for number in 0..count {
            let (id, whole) = key(number).ok_or(Fault::Malformed("key id"))?;
            let stored = StoredKey::of(random::bytes()?, &whole);
            let grant = Grant {
                user: format!("user-{}", number / 10),
                organisation: "acme".to_owned(),
                agent: format!("agent-{number}"),
                scopes: vec!["documents:read".to_owned(), "documents:write".to_owned()],
                roles: vec!["AGENT".to_owned()],
                trust: "observer".to_owned(),
                clearance: None,
                platform: Some("cursor".to_owned()),
                not_after: None,
            };
            api_keys::add(&mut db, &self.inner.rows, tenant, &id, &stored, &grant, now).await?;
        }
        db.commit().await
    }
}
