//! Secrets that a request must not hold.
//!
//! A caller that guesses a value, or has got one elsewhere, learns nothing by sending it:
//! a request that holds a value which this worker has injected lately is refused before
//! it leaves, as if the credential were not allowed here; content has its answer too, or is cut
//! where the upstream's answer has begun.
//! Only what this worker knows is looked for; another worker knows other values.
//!
//! Invariant: looks for whole values that are kept for the worker, the last of those that
//! some session still keeps: at most [`MOST`], and of at most [`MOST_BYTES`] together.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::denial::{Denial, NotAllowed};
use crate::fields::Fields;
use crate::inject::{InPlay, Keep};
use crate::scrubbing::{Detector, Scan, Scrubbing};

/// The oldest makes room.
const MOST: usize = 64;
/// The patterns for so many bytes take some MiB.
const MOST_BYTES: usize = 8 * 1024;
/// Making values ready costs much. So many new ones are made ready on their own, and the
/// others are left as they are.
const YOUNG: usize = 8;

/// Values in the order in which they came.
#[derive(Default)]
pub(super) struct Guard {
    values: VecDeque<Rc<InPlay>>,
    /// How many of the first [`Guard::settled`] looks for.
    old: usize,
    settled: Option<Rc<dyn Detector>>,
    young: Option<Rc<dyn Detector>>,
}

impl Guard {
    /// The one that is known already, or this one from now on.
    pub(super) fn note(&mut self, secret: InPlay) -> Rc<InPlay> {
        if let Some(known) = self.values.iter().find(|known| known.is_same(&secret)) {
            return Rc::clone(known);
        }
        let secret = Rc::new(secret);
        if secret.keep == Keep::Worker {
            self.values.push_back(Rc::clone(&secret));
        }
        secret
    }

    /// Makes ready what has been noted.
    pub(super) fn settle(&mut self, scrubbing: &dyn Scrubbing) {
        let noted = self.values.len();
        // What no session keeps is kept here alone.
        self.values.retain(|value| Rc::strong_count(value) > 1);
        while self.values.len() > MOST || self.bytes() > MOST_BYTES {
            self.values.pop_front();
        }
        let same = self.values.len() == noted;
        if !same || noted.saturating_sub(self.old) > YOUNG {
            self.old = self.values.len();
            self.settled = self.ready(0, scrubbing);
            self.young = None;
        } else {
            self.young = self.ready(self.old, scrubbing);
        }
    }

    fn bytes(&self) -> usize {
        self.values.iter().map(|value| value.value.len()).sum()
    }

    fn ready(&self, from: usize, scrubbing: &dyn Scrubbing) -> Option<Rc<dyn Detector>> {
        let values: Vec<Rc<InPlay>> = self.values.iter().skip(from).cloned().collect();
        (!values.is_empty()).then(|| scrubbing.guard(&values))
    }

    /// To look through one request.
    pub(super) fn request(&self) -> Guarded {
        let ready: Vec<_> = [&self.settled, &self.young].into_iter().flatten().cloned().collect();
        let content = ready.iter().map(|detector| detector.scan()).collect();
        Guarded { ready, content }
    }
}

/// Looks through one request.
#[derive(Default)]
pub(super) struct Guarded {
    ready: Vec<Rc<dyn Detector>>,
    content: Vec<Box<dyn Scan>>,
}

impl Guarded {
    /// A header or trailer section: names and values.
    pub(super) fn fields(&self, fields: &Fields) -> Result<(), Denial> {
        // What stands between keeps one from running into the next.
        let lines = fields.0.iter().flat_map(|field| [&field.name, &field.value]);
        let text: Vec<u8> =
            lines.flat_map(|text| text.iter().chain(b"\r\n\r\n")).copied().collect();
        self.alone(&text)
    }

    /// Bytes that stand for themselves.
    pub(super) fn alone(&self, bytes: &[u8]) -> Result<(), Denial> {
        refused(self.ready.iter().any(|detector| {
            let mut scan = detector.scan();
            scan.feed(bytes) || scan.finish()
        }))
    }

    /// More content.
    pub(super) fn chunk(&mut self, bytes: &[u8]) -> Result<(), Denial> {
        refused(self.content.iter_mut().any(|scan| scan.feed(bytes)))
    }

    /// What follows is other content.
    pub(super) fn again(&mut self) {
        self.content = self.ready.iter().map(|detector| detector.scan()).collect();
    }

    /// The content is complete.
    pub(super) fn end(&mut self) -> Result<(), Denial> {
        refused(self.content.iter_mut().any(|scan| scan.finish()))
    }
}

fn refused(seen: bool) -> Result<(), Denial> {
    if seen { Err(Denial::CredentialNotAllowed(NotAllowed::SecretInRequest)) } else { Ok(()) }
}
