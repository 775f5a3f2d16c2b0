//! Envelope encryption: KEK wraps DEKs, a DEK gives every record version its own key.
//!
//! Owns the labels and associated data of the stored ciphertexts. Knows no SQL, and no
//! network but the vault's (`vault`). Invariant: what is sealed for one tenant, credential, version or policy does
//! not open as any other, because each of them is in the associated data; a row that is not
//! secret but decides what is believed carries a MAC ([`RowKeys`]).
//!
//! Associated data is written with length prefixes, so that no two different tuples give
//! the same bytes.

mod aead;
mod chosen;
mod dek;
mod held;
mod kek;
mod kept;
mod passphrase;
mod preview;
mod record;
mod rows;
mod vault;

pub use chosen::key_encryption_key;
pub use dek::{Dek, Scope};
pub use held::Held;
pub use kek::{KekProvider, LocalKek, next_file, previous_file};
pub(crate) use kept::{open_kept, seal_kept};
pub use passphrase::SALT_FILE;
pub use preview::{open_preview, seal_preview};
pub use record::{RecordName, open_value, seal_value};
pub use rows::{RowBytes, RowKeys};

/// Appends `part` with its 16-bit length. Names here are far shorter than that; a longer
/// one saturates and so never opens again, which fails closed.
pub(crate) fn put(aad: &mut Vec<u8>, part: &[u8]) {
    aad.extend_from_slice(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
    aad.extend_from_slice(part);
}
