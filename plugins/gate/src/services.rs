//! What the authenticators have of this module and of its proxy.

use std::rc::Rc;

use postern_core::commons::Seal;
use postern_core::config::ConfigError;
use postern_core::keyring;
use postern_core::mac::MacKeys;
use postern_core::nonces::{MEMORY, Table};
use postern_crp::client::Client;
use postern_identity::Services;
use postern_jose::{Native, signatures::Host};
use postern_proxy_wasm::host::{SharedCommons, SharedNonces, variable};
use postern_proxy_wasm::signature;

/// API keys and invites of the key service, nonces and issuers' keys of all workers, and the
/// proxy's own verification.
pub fn of_module(client: &Rc<Client>, nonces: MacKeys) -> Result<Services, ConfigError> {
    let commons = keyring::commons_keys(variable("POSTERN_GATE_KEY").as_deref())?;
    Ok(Services {
        directory: Rc::clone(client) as _,
        exchanges: Rc::clone(client) as _,
        nonces: Rc::new(SharedNonces::new(Table::new(nonces, MEMORY))),
        commons: Rc::new(SharedCommons::new(Seal::new(commons))),
        signatures: Rc::new(Native(Proxy)),
        variable: Rc::new(variable),
    })
}

/// The proxy that this module runs in.
#[derive(Clone, Copy, Debug)]
struct Proxy;

impl Host for Proxy {
    fn verify(&self, hash: &str, key: &[u8], message: &[u8], signature: &[u8]) -> Option<bool> {
        signature::verify(hash, key, message, signature)
    }
}
