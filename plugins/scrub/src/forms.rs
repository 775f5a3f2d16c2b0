//! The forms in which a secret is looked for: one row each in [`FORMS`].
//!
//! The only file of this crate that reads a secret. What is made of one is wiped
//! when dropped. Forms that escape single characters (percent, JSON, HTML, quoted-
//! printable), break lines or widen characters (UTF-16) have no row: content is read in
//! views that undo them, in any mixture.
//!
//! Invariant: the value injected is always a pattern, however short; a derived form
//! shorter than [`SHORTEST`] bytes never is, since it would hit by chance.

mod nested;
mod spell;

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Deref;

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use postern_core::inject::InPlay;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Derived forms shorter than this are not looked for.
pub const SHORTEST: usize = 4;

/// So many bytes of a value's beginning or end are looked for without the rest.
pub const PART: usize = 12;

/// Ends of a value are looked for in every length up to this: an end that is longer is
/// covered in part.
const LONGEST_PART: usize = 64;

/// Bytes to look for, wiped when dropped. A beginning of at least `least` bytes is looked
/// for as well.
#[derive(PartialEq, Eq)]
pub struct Pattern {
    text: Zeroizing<Vec<u8>>,
    least: usize,
}

impl Pattern {
    /// All of these bytes.
    pub fn whole(text: Vec<u8>) -> Self {
        let least = text.len();
        Self { text: Zeroizing::new(text), least }
    }

    /// These bytes, or a beginning of so many of them or more.
    fn begun(text: Zeroizing<Vec<u8>>, least: usize) -> Self {
        let least = least.min(text.len());
        Self { text, least }
    }

    /// By text, and what is looked for from fewer bytes on first.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        self.text.as_slice().cmp(&other.text).then(self.least.cmp(&other.least))
    }

    /// The length of the shortest beginning that is looked for.
    pub fn least(&self) -> usize {
        self.least
    }
}

impl Deref for Pattern {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.text
    }
}

/// A value to spell.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    value: &'a [u8],
    /// So many bytes of its beginning are looked for without the rest.
    enough: usize,
}

impl<'a> Subject<'a> {
    /// To be found as a whole.
    pub fn whole(value: &'a [u8]) -> Self {
        Self { value, enough: value.len() }
    }

    /// To be found where it begins as well.
    fn begun(value: &'a [u8]) -> Self {
        Self { value, enough: opening(value).saturating_add(PART).min(value.len()) }
    }
}

/// One way in which an upstream may write a value.
pub struct Form {
    /// For tests and documents.
    pub name: &'static str,
    /// All spellings of the value in this form.
    pub spell: fn(Subject<'_>) -> Vec<Pattern>,
}

/// Every form that is looked for beside the value itself.
pub const FORMS: [Form; 9] = [
    Form { name: "base64 of exactly the value", spell: spell::base64_whole },
    Form {
        name: "base64 at three alignments",
        spell: |it| spell::base64_inside(it, &STANDARD_NO_PAD),
    },
    Form {
        name: "base64url at three alignments",
        spell: |it| spell::base64_inside(it, &URL_SAFE_NO_PAD),
    },
    Form { name: "base32 at five alignments", spell: spell::base32 },
    Form { name: "hex", spell: spell::hex },
    Form { name: "bytes as numbers", spell: spell::numbers },
    Form { name: "form encoding of a space", spell: spell::plus },
    Form { name: "UTF-16", spell: spell::utf16 },
    Form { name: "as read where escapes are undone", spell: spell::unescaped },
];

/// All patterns for the secrets of one stream, in no particular order.
pub fn patterns(secrets: &[impl Borrow<InPlay>]) -> Vec<Pattern> {
    let mut all = Vec::new();
    for secret in secrets.iter().map(Borrow::borrow) {
        let (value, rendered) = (secret.value.expose(), secret.rendered.expose());
        add(Subject::begun(value), &mut all);
        all.extend(ends(value));
        all.extend(nested::spellings(value));
        // `Basic …` does not contain the value but an encoding of it: that token is a
        // secret of its own. Otherwise this repeats the value or its template.
        let token = token(rendered);
        if token != value {
            add(Subject::whole(token), &mut all);
        }
        all.push(owned(rendered));
    }
    distinct(all)
}

/// Patterns for the values as a whole, however they are sent.
pub fn wholes(secrets: &[impl Borrow<InPlay>]) -> Vec<Pattern> {
    let mut all = Vec::new();
    for secret in secrets {
        add(Subject::whole(secret.borrow().value.expose()), &mut all);
    }
    distinct(all)
}

/// In order; of the same text, what is looked for from fewer bytes on.
fn distinct(mut all: Vec<Pattern>) -> Vec<Pattern> {
    all.retain(|pattern| !pattern.is_empty());
    all.sort_unstable_by(Pattern::order);
    all.dedup_by(|later, kept| later.text == kept.text);
    all
}

/// Names a set of secrets without keeping them: SHA-256 of values and rendered values, in
/// whatever order the set is given.
pub fn digest(secrets: &[impl Borrow<InPlay>]) -> [u8; 32] {
    let mut each: Vec<[u8; 32]> = secrets.iter().map(|it| digest_of(it.borrow())).collect();
    if let [one] = *each {
        return one;
    }
    each.sort_unstable();
    let mut hash = Sha256::new();
    hash.update(b"postern scrub set/1\0");
    each.iter().for_each(|digest| hash.update(digest));
    hash.finalize().into()
}

fn digest_of(secret: &InPlay) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"postern scrub/1\0");
    for part in [&secret.value, &secret.rendered] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.expose());
    }
    hash.finalize().into()
}

/// The value itself, and every derived form that is long enough.
fn add(subject: Subject<'_>, all: &mut Vec<Pattern>) {
    all.push(Pattern::begun(Zeroizing::new(subject.value.to_vec()), subject.enough));
    for form in &FORMS {
        all.extend((form.spell)(subject).into_iter().filter(|p| p.len() >= SHORTEST));
    }
}

/// Ends of the value.
fn ends(value: &[u8]) -> impl Iterator<Item = Pattern> {
    let ends = PART..=LONGEST_PART.min(value.len().saturating_sub(opening(value)));
    let end = |length: usize| value.len().checked_sub(length).and_then(|from| value.get(from..));
    ends.filter(|_| value.len() > PART).filter_map(end).map(owned)
}

/// How many bytes at the beginning say only what kind of value it is: the header of a
/// token in JWS compact form (RFC 7515, section 7.1), the first line of PEM (RFC 7468).
/// Replaced, they would spoil every other token or key in an answer.
fn opening(value: &[u8]) -> usize {
    let until = |mark: u8| value.iter().position(|b| *b == mark);
    let line = value.starts_with(b"-----BEGIN ").then(|| until(b'\n').or_else(|| until(b' ')));
    let header = value.starts_with(b"eyJ").then(|| until(b'.'));
    let at = line.or(header).flatten();
    at.map_or(0, |at| at.saturating_add(1))
}

/// What follows the authentication scheme (RFC 9110, section 11.4), else all of it.
fn token(rendered: &[u8]) -> &[u8] {
    let mut parts = rendered.splitn(2, |&b| b == b' ');
    match (parts.next(), parts.next()) {
        (Some(_), Some(token)) => token,
        _ => rendered,
    }
}

fn owned(bytes: &[u8]) -> Pattern {
    Pattern::whole(bytes.to_vec())
}
