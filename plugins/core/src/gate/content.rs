//! Content and trailers as they come: scanned, measured and hashed. The host holds the
//! bytes; only those of a kind in which a binding has its site, or that one signs, are kept
//! here as well.
//!
//! Invariant: a fault, once found, stays the verdict; [`Content::digest`] is of the whole
//! content and exists only after its end.

use std::rc::Rc;

use sha2::{Digest, Sha256};

use crate::approvals::MOST_CONTENT;
use crate::config::gate::{BodyMode, Config};
use crate::denial::{Ambiguity, Denial, Ours, Place};
use crate::fields::Fields;
use crate::gate::head::Head;
use crate::gate::references::{Asked, check_trailers};
use crate::scrubbing::{Detector, Scan};
use crate::slots::{self, Places};

/// What was seen of a request after its head.
pub(super) struct Content {
    scan: Option<Box<dyn Scan>>,
    hash: Option<Sha256>,
    left: Option<usize>,
    fault: Option<Denial>,
    ended: bool,
    delivered: bool,
    kept: Option<Kept>,
    asked: Vec<Asked>,
    form: Option<Vec<u8>>,
    /// All of it, for a policy that reads it.
    whole: Option<Vec<u8>>,
    /// Whether somebody may want to see the first of it.
    sampled: bool,
    /// The first of it, for a person who may have to approve the request.
    sample: Vec<u8>,
    /// Bytes so far.
    length: u64,
    /// What a chunk behind the end is.
    behind: Denial,
}

/// Longer forms are not handed on to be signed.
const LONGEST_FORM: usize = 64 * 1024;

/// Content in which placeholders may have a site; at most as much as may be held.
struct Kept {
    bytes: Vec<u8>,
    places: Rc<Places>,
    json: bool,
    /// A form, and some signature covers its parameters.
    signed: bool,
}

impl Kept {
    /// `None` unless some binding has its site in content of this type, or signs it.
    fn new(config: &Config, head: &Head) -> Option<Self> {
        let written = head.fields.only("content-type")?;
        let kind = written.split(|byte| *byte == b';').next()?.trim_ascii().to_ascii_lowercase();
        let json = kind == b"application/json" || kind.ends_with(b"+json");
        let form = kind == b"application/x-www-form-urlencoded";
        let places = config.bindings.places();
        let signed = form && config.bindings.sign_forms();
        let declared = (json && places.any_in_json()) || (form && places.any_in_form());
        let kept = || Self { bytes: Vec::new(), places: Rc::clone(places), json, signed };
        (signed || declared).then(kept)
    }

    /// What is asked for, and what is left for the detector.
    fn read(&self) -> (Vec<Asked>, Vec<u8>) {
        let read = if self.json { slots::in_json } else { slots::in_form };
        // What cannot be read strictly has no sites: any placeholder in it is misplaced.
        let found = read(&self.bytes, &self.places).unwrap_or_default();
        let rest = slots::without(&self.bytes, &found);
        (found.into_iter().map(Asked::from).collect(), rest)
    }
}

impl Content {
    pub(super) fn new(config: &Config, detector: &dyn Detector, head: &Head) -> Self {
        let end = head.end || head.websocket;
        let held = config.body == BodyMode::Hold;
        let read = config.body != BodyMode::Off;
        Self {
            scan: read.then(|| detector.scan()),
            hash: held.then(Sha256::new),
            left: held.then_some(config.body_limit),
            fault: None,
            ended: end,
            delivered: end,
            kept: if held && !end { Kept::new(config, head) } else { None },
            asked: Vec::new(),
            form: None,
            whole: None,
            sampled: held && config.approvals.is_some(),
            sample: Vec::new(),
            length: 0,
            behind: match head.websocket {
                // Nothing was agreed yet.
                true => Denial::RequestAmbiguous(Ambiguity::Frame),
                // Nothing would read it: a host that does this cannot be trusted with the rest.
                false => Denial::Internal(Ours::Unexpected),
            },
        }
    }

    /// Keeps the bytes as well, where they are held and something reads them.
    pub(super) fn kept_whole(mut self, wanted: bool) -> Self {
        self.whole = (wanted && self.hash.is_some()).then(Vec::new);
        self
    }

    /// Takes new bytes.
    pub(super) fn take(&mut self, chunk: &[u8], end: bool) {
        self.delivered = true;
        if self.ended && !chunk.is_empty() {
            return self.blame(self.behind.clone());
        }
        if let Some(left) = self.left {
            self.left = left.checked_sub(chunk.len());
            if self.left.is_none() {
                self.blame(Denial::BodyTooLarge);
                self.left = Some(0);
            }
        }
        if let Some(hash) = &mut self.hash {
            hash.update(chunk);
        }
        self.length = self.length.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        if self.sampled {
            let room = MOST_CONTENT.saturating_sub(self.sample.len()).min(chunk.len());
            self.sample.extend_from_slice(chunk.get(..room).unwrap_or_default());
        }
        match &mut self.whole {
            Some(whole) if self.fault.is_none() => whole.extend_from_slice(chunk),
            _ => {}
        }
        match &mut self.kept {
            Some(kept) if self.fault.is_none() => kept.bytes.extend_from_slice(chunk),
            Some(_) => {}
            None => self.look(chunk),
        }
        if end {
            self.end();
        }
    }

    /// Takes the trailer section, which is an end too.
    pub(super) fn take_trailers(
        &mut self,
        config: &Config,
        trailers: &Fields,
        detector: &dyn Detector,
    ) {
        self.delivered = true;
        if self.ended {
            return self.blame(Denial::Internal(Ours::Unexpected));
        }
        self.end();
        if let Err(denial) = check_trailers(config, trailers, detector) {
            self.blame(denial);
        }
    }

    fn look(&mut self, bytes: &[u8]) {
        if self.scan.as_mut().is_some_and(|scan| scan.feed(bytes)) {
            self.blame(Denial::PlaceholderMisplaced(Place::Content));
        }
    }

    fn end(&mut self) {
        self.ended = true;
        if let Some(kept) = self.kept.take() {
            let (asked, rest) = kept.read();
            self.asked = asked;
            self.look(&rest);
            let fits = kept.signed && kept.bytes.len() <= LONGEST_FORM;
            self.form = fits.then_some(kept.bytes);
        }
        if self.scan.take().is_some_and(|mut scan| scan.finish()) {
            self.blame(Denial::PlaceholderMisplaced(Place::Content));
        }
    }

    fn blame(&mut self, denial: Denial) {
        self.fault.get_or_insert(denial);
    }

    /// What is wrong with what was seen so far.
    pub(super) fn fault(&self) -> Option<&Denial> {
        self.fault.as_ref()
    }

    /// What the content asks for; known at its end.
    pub(super) fn asked(&self) -> &[Asked] {
        &self.asked
    }

    /// Form content that a signature may have to cover; known at its end.
    pub(super) fn form(&self) -> Option<&[u8]> {
        self.form.as_deref()
    }

    /// The whole content, where it was kept; known at its end.
    pub(super) fn whole(&self) -> Option<&[u8]> {
        self.whole.as_deref().filter(|_| self.ended)
    }

    /// The first of it, where approvals are asked for.
    pub(super) fn sample(&self) -> &[u8] {
        &self.sample
    }

    /// Bytes that came.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether the end was seen.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Whether the host delivered anything after the head, or nothing was to come.
    pub(super) fn delivered(&self) -> bool {
        self.delivered
    }

    /// SHA-256 of the whole content, where it was held.
    pub(super) fn digest(&self) -> Option<[u8; 32]> {
        let hash = self.hash.as_ref().filter(|_| self.ended)?;
        Some(hash.clone().finalize().into())
    }
}
