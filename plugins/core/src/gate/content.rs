//! Content and trailers as they come: scanned, measured and hashed, never kept. The host
//! holds the bytes.
//!
//! Invariant: a fault, once found, stays the verdict; [`Content::digest`] is of the whole
//! content and exists only after its end.

use sha2::{Digest, Sha256};

use crate::config::gate::{BodyMode, Config};
use crate::denial::{Denial, Ours, Place};
use crate::fields::Fields;
use crate::gate::references::check_trailers;
use crate::scrubbing::{Detector, Scan};

/// What was seen of a request after its head.
pub(super) struct Content {
    scan: Option<Box<dyn Scan>>,
    hash: Option<Sha256>,
    left: Option<usize>,
    fault: Option<Denial>,
    ended: bool,
    delivered: bool,
}

impl Content {
    pub(super) fn new(config: &Config, detector: &dyn Detector, end: bool) -> Self {
        let held = config.body == BodyMode::Hold;
        let read = config.body != BodyMode::Off;
        Self {
            scan: read.then(|| detector.scan()),
            hash: held.then(Sha256::new),
            left: held.then_some(config.body_limit),
            fault: None,
            ended: end,
            delivered: end,
        }
    }

    /// Takes new bytes.
    pub(super) fn take(&mut self, chunk: &[u8], end: bool) {
        self.delivered = true;
        if self.ended && !chunk.is_empty() {
            // Nothing would read it: a host that does this cannot be trusted with the rest.
            return self.blame(Denial::Internal(Ours::Unexpected));
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
        if self.scan.as_mut().is_some_and(|scan| scan.feed(chunk)) {
            self.blame(Denial::PlaceholderMisplaced(Place::Content));
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

    fn end(&mut self) {
        self.ended = true;
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
