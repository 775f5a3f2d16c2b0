//! The value that a credential had before it was changed.
//!
//! An upstream may still know it and write it into an answer after this worker injects
//! the new one, so it is looked for as well.
//!
//! Invariant: kept for scrubbing only, for [`LIFE`] after it was last in use, and of at
//! most [`MOST`] credentials; nothing here is ever injected.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::release::Release;
use crate::time::UnixMillis;

/// How long a value is looked for after its last use.
const LIFE: Duration = Duration::from_secs(600);
/// As many as are cached.
const MOST: usize = 256;

/// What was released last and before, by credential.
#[derive(Default)]
pub(super) struct Former(BTreeMap<String, Kept>);

struct Kept {
    last: Rc<Release>,
    used: UnixMillis,
    before: Option<(Rc<Release>, UnixMillis)>,
}

impl Former {
    /// Notes that `release` is used; gives the one before it.
    pub(super) fn note(
        &mut self,
        credential: &str,
        release: &Rc<Release>,
        now: UnixMillis,
    ) -> Option<Rc<Release>> {
        let alive = |used: UnixMillis| now.since(used) < LIFE;
        self.0.retain(|_, kept| alive(kept.used));
        if self.0.len() >= MOST && !self.0.contains_key(credential) {
            let oldest = self.0.iter().min_by_key(|(_, kept)| kept.used);
            let oldest = oldest.map(|(name, _)| name.clone());
            oldest.and_then(|name| self.0.remove(&name));
        }
        let fresh = || Kept { last: Rc::clone(release), used: now, before: None };
        let kept = self.0.entry(credential.to_owned()).or_insert_with(fresh);
        if kept.last.version != release.version {
            let last = std::mem::replace(&mut kept.last, Rc::clone(release));
            kept.before = Some((last, kept.used));
        }
        kept.used = now;
        kept.before.take_if(|(_, used)| !alive(*used));
        kept.before.as_ref().map(|(before, _)| Rc::clone(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(version: u32) -> Rc<Release> {
        let not_after = UnixMillis(u64::MAX);
        Rc::new(Release { fields: Vec::new(), version, not_after, audit_seq: 0 })
    }

    fn versions(uses: &[(&str, u32, u64)]) -> Vec<Option<u32>> {
        let mut former = Former::default();
        let note = |(name, version, seconds): &(&str, u32, u64)| {
            let now = UnixMillis(seconds * 1000);
            former.note(name, &release(*version), now).map(|before| before.version)
        };
        uses.iter().map(note).collect()
    }

    #[test]
    fn the_version_before_is_known_until_its_life_is_over() {
        let uses = [("a", 1, 0), ("a", 1, 100), ("b", 7, 100), ("a", 2, 110), ("a", 2, 699)];
        assert_eq!(versions(&uses), [None, None, None, Some(1), Some(1)]);
        assert_eq!(versions(&[("a", 1, 0), ("a", 2, 1), ("a", 2, 600)]), [None, Some(1), None]);
        assert_eq!(versions(&[("a", 1, 0), ("a", 2, 600)]), [None, None]);
        assert_eq!(versions(&[("a", 1, 0), ("a", 2, 1), ("a", 3, 2)]), [None, Some(1), Some(2)]);
    }

    #[test]
    fn the_longest_unused_makes_room() {
        let mut former = Former::default();
        for number in 0..300_u64 {
            former.note(&number.to_string(), &release(1), UnixMillis(number));
        }
        assert_eq!(former.0.len(), MOST);
        assert!(former.0.contains_key("299") && !former.0.contains_key("0"));
    }
}
