//! Signatures by the proxy's own function, where it has one.

use postern_jose::signatures::Host;
use postern_proxy_wasm::signature;

/// The proxy that this module runs in.
#[derive(Clone, Copy, Debug)]
pub struct Proxy;

impl Host for Proxy {
    fn verify(&self, hash: &str, key: &[u8], message: &[u8], signature: &[u8]) -> Option<bool> {
        signature::verify(hash, key, message, signature)
    }
}
