//! The release set: which images the release authority allows to hold keys, for a week at
//! the most.
//!
//! ```text
//! crp-release-set/v1
//! keys.example/production
//! seq 7
//! not-after 1795700000
//! <host data, 64 hex digits> sha256:<image digest, 64 hex digits> <commit, 40 or 64 hex digits>
//! ```
//! Owns that text and what it takes to believe it. Invariant: an [`Authorised`] comes only
//! from [`Pins::open`]; a text that is not in its one form is none.

use postern_core::hex;

use crate::note::{self, Key};
use crate::{Passed, Refusal, check};

/// Longest life from now, in seconds.
pub const LIFE: u64 = 7 * 24 * 3600;
/// Most releases of a set.
pub const RELEASES: usize = 16;
/// How far the clocks of authority and gateway may be apart, in seconds.
const SKEW: u64 = 60;
const HEADING: &str = "crp-release-set/v1";

/// One image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// SHA-256 of the policy that the launch was bound to.
    pub host_data: [u8; 32],
    /// SHA-256 of the image's manifest.
    pub image: [u8; 32],
    /// The commit that it was built from, lower-case hex.
    pub commit: String,
}

/// The set as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseSet {
    /// Whose releases.
    pub origin: String,
    /// Grows with every set.
    pub sequence: u64,
    /// End, seconds since 1970.
    pub not_after: u64,
    /// Ascending by host data, each once.
    pub releases: Vec<Release>,
}

impl ReleaseSet {
    /// The text that is signed.
    pub fn text(&self) -> String {
        let lines = self.releases.iter().map(|release| {
            let (host_data, image) = (hex::lower(&release.host_data), hex::lower(&release.image));
            format!("{host_data} sha256:{image} {}\n", release.commit)
        });
        let (origin, sequence, end) = (&self.origin, self.sequence, self.not_after);
        let head = format!("{HEADING}\n{origin}\nseq {sequence}\nnot-after {end}\n");
        std::iter::once(head).chain(lines).collect()
    }

    /// Reads a text; only what [`ReleaseSet::text`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split_terminator('\n');
        lines.next().filter(|line| *line == HEADING)?;
        let origin = lines.next().filter(|origin| is_origin(origin))?.to_owned();
        let sequence = lines.next()?.strip_prefix("seq ")?.parse().ok()?;
        let not_after = lines.next()?.strip_prefix("not-after ")?.parse().ok()?;
        let releases: Vec<Release> = lines.map(release).collect::<Option<_>>()?;
        let set = Self { origin, sequence, not_after, releases };
        (set.is_canonical() && set.text() == text).then_some(set)
    }

    /// Whether it has releases, few, each once and in order.
    pub fn is_canonical(&self) -> bool {
        let ascending = self.releases.is_sorted_by(|one, next| one.host_data < next.host_data);
        is_origin(&self.origin) && ascending && (1..=RELEASES).contains(&self.releases.len())
    }
}

/// Printable ASCII without spaces, at most 128 characters.
pub fn is_origin(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| (b'!'..=b'~').contains(&byte))
}

fn release(line: &str) -> Option<Release> {
    let mut words = line.split(' ');
    let host_data = hex::read(words.next()?.as_bytes())?;
    let image = hex::read(words.next()?.strip_prefix("sha256:")?.as_bytes())?;
    let commit = words.next().filter(|commit| is_commit(commit))?.to_owned();
    words.next().is_none().then_some(Release { host_data, image, commit })
}

/// A SHA-1 or SHA-256 object name in lower-case hex.
pub fn is_commit(text: &str) -> bool {
    let digits = text.as_bytes();
    hex::read::<20>(digits).is_some() || hex::read::<32>(digits).is_some()
}

/// Whose sets are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    /// The origin, exactly.
    pub origin: String,
    /// Keys of the release authority: one of them has to have signed.
    pub keys: Vec<Key>,
}

/// A set that a pinned authority has signed and that is valid now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorised(ReleaseSet);

impl Pins {
    /// Verifies a note. `last` is the highest sequence number seen so far.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn open(
        &self,
        note: &[u8],
        last: u64,
        now: u64,
        passed: Passed<'_>,
    ) -> Result<Authorised, Refusal> {
        let note = str::from_utf8(note).map_err(|_| Refusal::ReleaseSet)?;
        let text = note::open(note, &self.keys).map_err(|_| Refusal::ReleaseSignature)?;
        passed("release set: signed by a pinned release key");
        let set = ReleaseSet::parse(text).filter(|set| set.origin == self.origin);
        let set = set.ok_or(Refusal::ReleaseSet)?;
        passed("release set: of the pinned origin");
        let latest = now.saturating_add(LIFE).saturating_add(SKEW);
        let valid = now < set.not_after && set.not_after <= latest;
        check(valid, "release set: valid now", Refusal::ReleaseTime, passed)?;
        let newest = set.sequence >= last;
        check(newest, "release set: not rolled back", Refusal::ReleaseSequence, passed)?;
        Ok(Authorised(set))
    }
}

impl Authorised {
    /// A set that authorises nothing.
    #[cfg(feature = "fuzz")]
    pub(crate) fn nothing() -> Self {
        let (origin, releases) = (String::new(), Vec::new());
        Self(ReleaseSet { origin, sequence: 0, not_after: 0, releases })
    }

    /// The set.
    pub fn set(&self) -> &ReleaseSet {
        &self.0
    }

    /// Whether an image with this host data may hold keys.
    pub(crate) fn admits(&self, host_data: &[u8; 32]) -> bool {
        self.0.releases.iter().any(|release| release.host_data == *host_data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;

    const NOW: u64 = 1_795_329_000;

    fn set() -> ReleaseSet {
        let release =
            |byte| Release { host_data: [byte; 32], image: [0x1a; 32], commit: "c0".repeat(20) };
        ReleaseSet {
            origin: "keys.example/test".into(),
            sequence: 7,
            not_after: NOW + 3600,
            releases: vec![release(1), release(2)],
        }
    }

    fn pins() -> Pins {
        let key = SigningKey::from_bytes(&[3; 32]).verifying_key();
        let key = Key::new("release", key.as_bytes()).unwrap();
        Pins { origin: "keys.example/test".into(), keys: vec![key] }
    }

    fn judge(text: &str, last: u64) -> Result<ReleaseSet, Refusal> {
        let note = note::sign(text, "release", &[&SigningKey::from_bytes(&[3; 32])]).unwrap();
        pins().open(note.as_bytes(), last, NOW, &mut |_| ()).map(|set| set.0)
    }

    #[test]
    fn a_signed_set_is_read_as_it_was_written_and_admits_its_images_alone() {
        let read = judge(&set().text(), 7).unwrap();
        assert_eq!(read, set());
        let read = Authorised(read);
        assert!(read.admits(&[2; 32]) && !read.admits(&[3; 32]));
    }

    #[test]
    fn a_text_in_another_form_is_no_set() {
        let good = set().text();
        for (from, to) in [
            ("v1", "v2"),
            ("keys.example", "keys example"),
            ("keys.example/test", "keys.example/other"),
            ("seq 7", "seq 07"),
            ("seq 7", "seq +7"),
            ("not-after ", "not-after  "),
            ("sha256:", "sha512:"),
            ("0101", "0A0A"),
            (" c0", "  c0"),
            (" c0", " C0"),
            ("c0\n", "c0 x\n"),
            ("c0\n", "c0c0\n"),
        ] {
            assert!(good.contains(from), "{from}");
            assert_eq!(judge(&good.replace(from, to), 0), Err(Refusal::ReleaseSet), "{to}");
        }
        let mut other = set();
        other.releases.reverse();
        assert_eq!(judge(&other.text(), 0), Err(Refusal::ReleaseSet));
        other.releases.clear();
        assert_eq!(judge(&other.text(), 0), Err(Refusal::ReleaseSet));
    }

    #[test]
    fn a_set_ends_is_not_for_ever_and_does_not_go_back() {
        let until = |not_after| judge(&ReleaseSet { not_after, ..set() }.text(), 0).map(|_| ());
        assert_eq!(until(NOW), Err(Refusal::ReleaseTime));
        assert_eq!(until(NOW + 1), Ok(()));
        assert_eq!(until(NOW + LIFE + SKEW), Ok(()));
        assert_eq!(until(NOW + LIFE + SKEW + 1), Err(Refusal::ReleaseTime));
        assert_eq!(judge(&set().text(), 8), Err(Refusal::ReleaseSequence));
    }

    #[test]
    fn another_key_does_not_authorise() {
        let note = note::sign(&set().text(), "release", &[&SigningKey::from_bytes(&[4; 32])]);
        let opened = pins().open(note.unwrap().as_bytes(), 0, NOW, &mut |_| ());
        assert_eq!(opened, Err(Refusal::ReleaseSignature));
        assert_eq!(pins().open(b"\xff\n", 0, NOW, &mut |_| ()), Err(Refusal::ReleaseSet));
    }
}
