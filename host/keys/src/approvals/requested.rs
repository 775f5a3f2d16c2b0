//! The request that an approval is about, in the parts that its digest covers.
//!
//! The gateway sends the parts and not their digest: what a person is shown and what the
//! approval is bound to come from the same bytes, so that no gateway can show one request and
//! have another approved.

use postern_core::digest::request_digest;
use postern_core::fields::Fields;
use sha2::{Digest, Sha256};

/// Parts of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requested {
    /// Method.
    pub method: String,
    /// Scheme.
    pub scheme: String,
    /// Authority, as the caller sent it.
    pub authority: String,
    /// Path with query, as it is forwarded.
    pub path: String,
    /// Bound fields, in the request's order.
    pub fields: Vec<(String, Vec<u8>)>,
    /// SHA-256 of the content; `None` when the gateway did not read it.
    pub content_digest: Option<[u8; 32]>,
    /// Bytes of content.
    pub content_length: u64,
    /// The first of them.
    pub content: Vec<u8>,
}

impl Requested {
    /// The request digest, as the gateway has it in its permit.
    pub fn digest(&self) -> [u8; 32] {
        let pseudo = [
            (":method", self.method.as_bytes()),
            (":scheme", self.scheme.as_bytes()),
            (":authority", self.authority.as_bytes()),
            (":path", self.path.as_bytes()),
        ];
        let fields = self.fields.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let head: Fields = pseudo.into_iter().chain(fields).collect();
        let names: Vec<&str> = self.fields.iter().map(|(name, _)| name.as_str()).collect();
        request_digest(&head, &names, self.content_digest)
    }

    /// Whether the content, where all of it is here, is the one whose digest is bound.
    pub fn is_whole_and_true(&self) -> bool {
        let here = u64::try_from(self.content.len()).unwrap_or(u64::MAX);
        match self.content_digest {
            None => self.content.is_empty(),
            Some(_) if here < self.content_length => true,
            Some(digest) => {
                here == self.content_length && Sha256::digest(&self.content)[..] == digest
            }
        }
    }

    /// Path without query.
    pub fn bare_path(&self) -> &str {
        self.path.split_once('?').map_or(self.path.as_str(), |(path, _)| path)
    }
}
