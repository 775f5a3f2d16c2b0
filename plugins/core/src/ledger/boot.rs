//! The id of the proxy process, which all its VMs put on their chains.

use crate::mac::{self, MacKeys};
use crate::receipt::{ABSENT, SharedData};

const KEY: &str = "audit/boot";
const LABEL: &[u8] = b"postern boot/1\0";

/// The id in shared data, or `fresh` for every VM that comes later. A value that is not
/// ours is left alone: this VM then uses `fresh`, and its chain is still told apart by the
/// VM's own id.
pub fn boot_id(keys: &MacKeys, shared: &mut dyn SharedData, fresh: [u8; 16]) -> [u8; 16] {
    if let Some(id) = read(keys, shared) {
        return id;
    }
    let value = [fresh.as_slice(), &keys.sign(LABEL, &[&fresh])].concat();
    if shared.replace(KEY, &value, ABSENT) {
        return fresh;
    }
    read(keys, shared).unwrap_or(fresh)
}

fn read(keys: &MacKeys, shared: &mut dyn SharedData) -> Option<[u8; 16]> {
    let (value, _) = shared.read(KEY)?;
    let (id, mac) = value.split_first_chunk()?;
    (mac.len() == mac::LENGTH && keys.verify(LABEL, &[id], mac)).then_some(*id)
}
