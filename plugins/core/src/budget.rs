//! Budgets: token buckets, by whom they are counted, and the labels of sessions.
//!
//! Owns the arithmetic and the names of what is remembered; [`crate::tally`] remembers it.
//! A bucket is kept as one moment: when it will be full again. So a bucket that is full needs
//! no memory, and time refills without anybody doing anything.
//!
//! Invariant: of any span of time, no more than a full bucket and what refilled in it is spent.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::denial::BudgetReason;
use crate::tally::Entry;
use crate::time::UnixMillis;

/// A token bucket: how many it holds, and how long until one more is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    tokens: u32,
    every: Duration,
}

/// Most tokens of a bucket.
pub const MOST_TOKENS: u32 = 1_000_000;
/// Longest time until one more is in it.
pub const LONGEST_REFILL: Duration = Duration::from_secs(24 * 60 * 60);

impl Bucket {
    /// `None` without a token or a time, or with more than there may be.
    pub fn new(tokens: u32, every: Duration) -> Option<Self> {
        let fits =
            (1..=MOST_TOKENS).contains(&tokens) && !every.is_zero() && every <= LONGEST_REFILL;
        fits.then_some(Self { tokens, every })
    }

    /// From empty to full.
    fn whole(&self) -> Duration {
        self.every.saturating_mul(self.tokens)
    }

    /// How long until the bucket is full. A clock that stepped back, or a bucket that was
    /// larger, leaves it empty and no worse.
    fn lacking(&self, entry: Entry, now: UnixMillis) -> Duration {
        entry.until.since(now).min(self.whole())
    }

    /// Takes one token: what is remembered then, or how long until there is one.
    pub fn take(&self, entry: Entry, now: UnixMillis) -> Result<Entry, Duration> {
        let lacking = self.lacking(entry, now).saturating_add(self.every);
        match lacking.checked_sub(self.whole()) {
            None | Some(Duration::ZERO) => {
                Ok(Entry { until: now.after(lacking), value: entry.value })
            }
            Some(wait) => Err(wait),
        }
    }

    /// How many tokens are in it.
    pub fn left(&self, entry: Entry, now: UnixMillis) -> u64 {
        let there = self.whole().saturating_sub(self.lacking(entry, now));
        let left = there.as_millis().checked_div(self.every.as_millis()).unwrap_or(0);
        u64::try_from(left).unwrap_or(u64::MAX)
    }
}

/// Whose requests share a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Each agent has one.
    Agent,
    /// Each credential that is put in.
    Credential,
    /// Each organisation.
    Organisation,
    /// All of the tenant have one.
    Tenant,
    /// Each rate class that the policy names: a model, for example.
    Class,
}

impl By {
    /// The reason of a refusal.
    pub fn reason(self) -> BudgetReason {
        match self {
            Self::Agent => BudgetReason::Agent,
            Self::Credential => BudgetReason::Credential,
            Self::Organisation => BudgetReason::Organisation,
            Self::Tenant => BudgetReason::Tenant,
            Self::Class => BudgetReason::Class,
        }
    }
}

/// One budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// What it is called: in policies, and where it is remembered.
    pub name: String,
    /// Whose requests share a bucket.
    pub by: By,
    /// Only requests that the policy puts in this rate class count; `model:*` is every class
    /// that begins so.
    pub class: Option<String>,
    /// The bucket.
    pub bucket: Bucket,
}

impl Budget {
    /// Whether a request in this rate class counts.
    pub fn has_class(&self, class: &str) -> bool {
        match self.class.as_deref().map(|pattern| (pattern, pattern.strip_suffix('*'))) {
            Some((_, Some(start))) => class.starts_with(start),
            Some((pattern, None)) => class == pattern,
            None => false,
        }
    }

    /// Under which key the bucket of `whose` is remembered.
    pub fn key(&self, tenant: &str, whose: &str) -> [u8; 32] {
        key(b"postern budget/1\0", &[&self.name, tenant, whose])
    }
}

/// Labels that sessions can have, and how long a session keeps them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taints {
    /// The labels; at most 64.
    pub labels: Vec<String>,
    /// How long after the last label was added.
    pub life: Duration,
}

impl Taints {
    /// Adds labels: a session only gets more. `None` for a label that is none.
    pub fn add(&self, labels: &[String], entry: Entry, now: UnixMillis) -> Option<Entry> {
        let mut bits = labels.iter().map(|label| self.bit(label));
        let value = bits.try_fold(entry.value, |all, bit| Some(all | bit?))?;
        Some(Entry { until: now.after(self.life).max(entry.until), value })
    }

    /// The labels of a session.
    pub fn of(&self, entry: Entry) -> Vec<&str> {
        let has = |label: &&String| self.bit(label).is_some_and(|bit| entry.value & bit != 0);
        self.labels.iter().filter(has).map(String::as_str).collect()
    }

    /// Whether there is such a label.
    pub fn knows(&self, label: &str) -> bool {
        self.bit(label).is_some()
    }

    fn bit(&self, label: &str) -> Option<u64> {
        let place = self.labels.iter().position(|known| known == label)?;
        1u64.checked_shl(u32::try_from(place).ok()?)
    }

    /// Under which key the session of a caller is remembered.
    pub fn key(subject_hash: &[u8; 32]) -> [u8; 32] {
        Sha256::new()
            .chain_update(b"postern taints/1\0")
            .chain_update(subject_hash)
            .finalize()
            .into()
    }
}

fn key(label: &[u8], parts: &[&str]) -> [u8; 32] {
    let mut digest = Sha256::new_with_prefix(label);
    for part in parts {
        digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn bucket(tokens: u32, millis: u64) -> Bucket {
        Bucket::new(tokens, Duration::from_millis(millis)).unwrap()
    }

    #[test]
    fn a_full_bucket_is_spent_at_once_and_refills_one_by_one() {
        let bucket = bucket(3, 1000);
        let mut entry = Entry::default();
        for left in [3, 2, 1] {
            assert_eq!(bucket.left(entry, NOW), left);
            entry = bucket.take(entry, NOW).unwrap();
        }
        assert_eq!(bucket.left(entry, NOW), 0);
        assert_eq!(bucket.take(entry, NOW), Err(Duration::from_secs(1)));
        let soon = UnixMillis(NOW.0 + 400);
        assert_eq!(bucket.take(entry, soon), Err(Duration::from_millis(600)));
        let later = UnixMillis(NOW.0 + 1000);
        assert_eq!(bucket.left(entry, later), 1);
        entry = bucket.take(entry, later).unwrap();
        assert_eq!(bucket.take(entry, later), Err(Duration::from_secs(1)));
        assert_eq!(bucket.left(entry, UnixMillis(NOW.0 + 60_000)), 3);
    }

    #[test]
    fn a_clock_that_steps_back_leaves_a_bucket_empty_and_no_worse() {
        let bucket = bucket(2, 1000);
        let entry = bucket.take(Entry::default(), NOW).unwrap();
        let before = UnixMillis(NOW.0 - 3_600_000);
        assert_eq!(bucket.take(entry, before), Err(Duration::from_secs(1)));
        assert_eq!(bucket.left(entry, before), 0);
    }

    #[test]
    fn buckets_have_bounds() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        assert!(Bucket::new(MOST_TOKENS, hours(24)).is_some());
        for (tokens, every) in
            [(0, hours(1)), (MOST_TOKENS + 1, hours(1)), (1, hours(25)), (1, hours(0))]
        {
            assert_eq!(Bucket::new(tokens, every), None);
        }
    }

    #[test]
    fn a_session_only_gets_more_labels() {
        let labels = ["web", "pii"].map(str::to_owned).to_vec();
        let taints = Taints { labels, life: Duration::from_secs(60) };
        let add = |label: &str, entry, now| taints.add(&[label.to_owned()], entry, now);
        let one = add("pii", Entry::default(), NOW).unwrap();
        assert_eq!(taints.of(one), ["pii"]);
        let both = add("web", one, UnixMillis(NOW.0 + 1000)).unwrap();
        assert_eq!(taints.of(both), ["web", "pii"]);
        assert_eq!(both.until, UnixMillis(NOW.0 + 61_000));
        // A clock that steps back shortens nothing.
        assert_eq!(add("web", both, NOW), Some(both));
        assert_eq!(add("other", both, NOW), None);
        assert_eq!(taints.of(Entry { until: NOW, value: u64::MAX }), ["web", "pii"]);
    }

    #[test]
    fn classes_are_named_or_begin_so() {
        let of = |class: Option<&str>| Budget {
            name: "b".into(),
            by: By::Class,
            class: class.map(str::to_owned),
            bucket: bucket(1, 1),
        };
        assert!(of(Some("bulk")).has_class("bulk"));
        assert!(of(Some("model:*")).has_class("model:large"));
        for (class, name) in [(None, "bulk"), (Some("bulk"), "bulky"), (Some("model:*"), "tool:x")]
        {
            assert!(!of(class).has_class(name));
        }
        assert_ne!(of(None).key("acme", "ab"), of(None).key("acmea", "b"));
    }

    proptest! {
        /// Of no span of time is more spent than a full bucket and what refilled.
        #[test]
        fn no_span_of_time_has_more_than_its_share(
            tokens in 1..6u32,
            every in 1..50u64,
            gaps in prop::collection::vec(0..60u64, 1..80),
        ) {
            let bucket = bucket(tokens, every);
            let (mut entry, mut now, mut spent) = (Entry::default(), NOW.0, Vec::new());
            for gap in gaps {
                now += gap;
                if let Ok(next) = bucket.take(entry, UnixMillis(now)) {
                    entry = next;
                    spent.push(now);
                }
            }
            for (first, from) in spent.iter().enumerate() {
                for (last, to) in spent.iter().enumerate().skip(first) {
                    let most = u64::from(tokens) + (to - from) / every;
                    prop_assert!((last - first + 1) as u64 <= most);
                }
            }
        }
    }
}
