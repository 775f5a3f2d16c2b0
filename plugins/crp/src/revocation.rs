//! Revocation heads: a list of what is revoked, and a signed note that says when it was
//! still so.
//!
//! Owns the bytes of SPEC section 9: made by the service, opened by gateways. Knows no
//! transport and no state; what a gateway already holds decides in `client`. Invariant: a
//! [`Head`] that was opened was signed by the given key, and a [`List`] is sorted.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use postern_attest::note::{self, Key, NotOpened};
use postern_core::revocation::{ENTRY, Entry, Kind};
use sha2::{Digest, Sha256};

use crate::wire::{Malformed, Reader, TooLong, Writer};

/// Most entries of a list.
pub const MAX_ENTRIES: usize = 3000;
/// Largest answer.
pub const MAX_ANSWER: usize = 64 * 1024;
/// Name of the list, and of the keys that sign it.
pub const ORIGIN: &str = "postern-keys";
const HEADING: &str = "crp-rev/v1";
const SAME: u8 = 0;
const WHOLE: u8 = 1;
/// Kind of the entry that makes gateways forget what they keep.
const FORGET: u8 = 0;

/// What is revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    entries: Vec<Entry>,
    /// Bit `n`: there is an entry of kind `n`.
    kinds: u16,
}

impl List {
    /// A list of these; `forget` makes gateways forget when it changes.
    pub fn new(mut entries: Vec<Entry>, forget: u64) -> Self {
        if forget > 0 {
            let mut entry = [FORGET; ENTRY];
            entry.iter_mut().skip(9).zip(forget.to_be_bytes()).for_each(|(to, from)| *to = from);
            entries.push(Entry(entry));
        }
        entries.sort_unstable();
        entries.dedup();
        let kinds = entries.iter().fold(0, |kinds, entry| kinds | bit(entry));
        Self { entries, kinds }
    }

    /// Whether it has this entry.
    pub fn has(&self, entry: &Entry) -> bool {
        self.entries.binary_search(entry).is_ok()
    }

    /// Whether it has any entry of this kind: saves a hash where it has none.
    pub fn has_any(&self, kind: Kind) -> bool {
        self.kinds & 1_u16.checked_shl(kind.code().into()).unwrap_or(0) != 0
    }

    /// Changes when what is kept is to be forgotten.
    pub fn forget(&self) -> u64 {
        let first = self.entries.first().filter(|entry| entry.0.first() == Some(&FORGET));
        let number = first.and_then(|entry| entry.0.last_chunk::<8>());
        number.map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// SHA-256 of the entries.
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        self.entries.iter().for_each(|entry| hash.update(entry.0));
        hash.finalize().into()
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (entries, []) = reader.rest().as_chunks::<ENTRY>() else { return Err(Malformed) };
        let entries: Vec<Entry> = entries.iter().map(|bytes| Entry(*bytes)).collect();
        let forgets = entries.iter().filter(|entry| entry.0.first() == Some(&FORGET)).count();
        let known = |entry: &Entry| {
            let kind = entry.0.first().copied().unwrap_or(u8::MAX);
            (kind == FORGET && entry.0.get(1..9) == Some(&[0; 8]))
                || Kind::from_code(kind).is_some()
        };
        let sorted = entries.is_sorted_by(|left, right| left < right);
        if entries.len() > MAX_ENTRIES || forgets > 1 || !sorted || !entries.iter().all(known) {
            return Err(Malformed);
        }
        Ok(Self::new(entries, 0))
    }
}

fn bit(entry: &Entry) -> u16 {
    let kind = entry.0.first().copied().unwrap_or_default();
    1_u16.checked_shl(kind.into()).unwrap_or(0)
}

/// What is signed about a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Counts changes of the list.
    pub epoch: u64,
    /// When it was signed, seconds since 1970.
    pub ts: u64,
    /// Entries of the list.
    pub count: u64,
    /// SHA-256 of the entries.
    pub hash: [u8; 32],
}

/// Why an answer is not taken. Says nothing about what is already held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not the one encoding.
    #[error("revocation head is malformed")]
    Malformed,
    /// No signature by the key of our evidence.
    #[error("revocation head is signed by no key that evidence vouches for")]
    UnknownKey,
    /// A signature in that key's name does not verify.
    #[error("revocation head is forged")]
    Forged,
    /// The entries are not those that were signed.
    #[error("revocation list is not the one that was signed")]
    List,
}

impl From<Malformed> for Refusal {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

impl Head {
    /// The head of `list`.
    pub fn of(list: &List, epoch: u64, ts: u64) -> Self {
        let count = u64::try_from(list.len()).unwrap_or(u64::MAX);
        Self { epoch, ts, count, hash: list.hash() }
    }

    /// What is signed, up to the last line's end.
    pub fn text(&self) -> String {
        let Self { epoch, ts, count, hash } = self;
        let hash = STANDARD.encode(hash);
        format!("{HEADING}\n{ORIGIN}\nepoch {epoch}\nts {ts}\ncount {count}\n{hash}\n")
    }

    /// The signed note.
    pub fn sign(&self, keys: &[&SigningKey]) -> String {
        // The name is one that a note can have; an empty note would be opened by nobody.
        note::sign(&self.text(), ORIGIN, keys).unwrap_or_default()
    }

    fn open(note: &[u8], key: &[u8; 32]) -> Result<Self, Refusal> {
        let note = str::from_utf8(note).map_err(|_| Refusal::Malformed)?;
        let key = Key::new(ORIGIN, key).ok_or(Refusal::UnknownKey)?;
        let text = note::open(note, &[key]).map_err(|error| match error {
            NotOpened::Malformed => Refusal::Malformed,
            NotOpened::UnknownKey => Refusal::UnknownKey,
            NotOpened::Forged => Refusal::Forged,
        })?;
        Self::parse(text).filter(|head| head.text() == text).ok_or(Refusal::Malformed)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        lines.next().filter(|line| *line == HEADING)?;
        lines.next().filter(|line| *line == ORIGIN)?;
        let mut number = |name: &str| lines.next()?.strip_prefix(name)?.parse().ok();
        let (epoch, ts, count) = (number("epoch ")?, number("ts ")?, number("count ")?);
        let hash = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
        Some(Self { epoch, ts, count, hash })
    }
}

/// Writes an answer; without a list it says that the list is still the one asked about.
pub fn answer(note: &str, list: Option<&List>) -> Result<Vec<u8>, TooLong> {
    let entries = list.map_or(0, List::len);
    let size = entries.saturating_mul(ENTRY).saturating_add(note.len()).saturating_add(3);
    if entries > MAX_ENTRIES || size > MAX_ANSWER {
        return Err(TooLong);
    }
    let mut writer = Writer::new(size);
    writer.lp16(note.as_bytes())?;
    writer.u8(if list.is_some() { WHOLE } else { SAME });
    list.into_iter().flat_map(|list| &list.entries).for_each(|entry| writer.put(&entry.0));
    Ok(writer.finish().to_vec())
}

/// An answer that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// What was signed.
    pub head: Head,
    /// The note itself.
    pub note: &'a [u8],
    /// The list, where it came along.
    pub list: Option<List>,
}

/// Opens an answer with the key that evidence vouches for. Entries that come along are
/// those of the head; whether entries that are held are, is for the caller to compare.
pub fn open<'a>(body: &'a [u8], key: &[u8; 32]) -> Result<Opened<'a>, Refusal> {
    if body.len() > MAX_ANSWER {
        return Err(Refusal::Malformed);
    }
    let mut reader = Reader::new(body);
    let note = reader.lp16()?;
    let form = reader.u8()?;
    let head = Head::open(note, key)?;
    let list = match form {
        SAME => {
            reader.end()?;
            None
        }
        WHOLE => Some(List::decode(&mut reader)?),
        _ => return Err(Refusal::Malformed),
    };
    let other = |list: &List| Head::of(list, head.epoch, head.ts) != head;
    if list.as_ref().is_some_and(other) {
        return Err(Refusal::List);
    }
    Ok(Opened { head, note, list })
}
