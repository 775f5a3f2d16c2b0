//! Rows that decide what is believed: identities, join tokens, API keys, edge chains.
//!
//! They are not secret, so they are not sealed; each carries a MAC under a key that comes
//! from the system data key. Whoever writes to the database without the key-encryption key
//! can delete such a row or put back an older one of the same id, and can neither make
//! nor change one.
//!
//! Owns the encoding under the MAC. Invariant: the table's name and every part stand in it
//! with their length, so no two different rows give the same bytes.

use postern_core::mac::MacKeys;

use crate::envelope::Dek;
use crate::fault::Fault;

const LABEL: &[u8] = b"postern row/1\0";

/// Makes and checks the MACs of rows.
pub struct RowKeys(MacKeys);

impl RowKeys {
    /// The key for rows under the system data key.
    pub fn new(system: &Dek) -> Result<Self, Fault> {
        let key = system.derive(b"", b"rows/1")?;
        MacKeys::new(key, None).map(Self).ok_or(Fault::Malformed("key length"))
    }

    /// The MAC to store with `row`.
    pub fn sign(&self, row: &RowBytes) -> Vec<u8> {
        self.0.sign(LABEL, &[&row.bytes]).to_vec()
    }

    /// Whether this service wrote `row`.
    pub fn holds(&self, row: &RowBytes, mac: &[u8]) -> bool {
        self.0.verify(LABEL, &[&row.bytes], mac)
    }

    /// Refuses a row that this service did not write.
    pub fn check(&self, row: &RowBytes, mac: &[u8]) -> Result<(), Fault> {
        if self.holds(row, mac) { Ok(()) } else { Err(Fault::Forged(row.table)) }
    }
}

/// A row as the MAC sees it.
pub struct RowBytes {
    table: &'static str,
    bytes: Vec<u8>,
}

impl RowBytes {
    /// A row of `table` without any part yet.
    pub fn of(table: &'static str) -> Self {
        Self { table, bytes: Vec::with_capacity(256) }.part(table.as_bytes())
    }

    /// A column that always has a value.
    #[must_use]
    pub fn part(mut self, value: &[u8]) -> Self {
        let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
        self.bytes.push(1);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(value);
        self
    }

    /// A column of whole numbers.
    #[must_use]
    pub fn number(self, value: i64) -> Self {
        self.part(&value.to_be_bytes())
    }

    /// A column that may be NULL, which is not the same as empty.
    #[must_use]
    pub fn maybe(mut self, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => self.part(value),
            None => {
                self.bytes.push(0);
                self
            }
        }
    }

    /// A column of whole numbers that may be NULL.
    #[must_use]
    pub fn maybe_number(self, value: Option<i64>) -> Self {
        let bytes = value.map(i64::to_be_bytes);
        self.maybe(bytes.as_ref().map(<[u8; 8]>::as_slice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_holds_for_its_own_row_table_and_data_key_alone() {
        let (dek, other) = (Dek::draw().unwrap(), Dek::draw().unwrap());
        let keys = RowKeys::new(&dek).unwrap();
        let row = || RowBytes::of("a").part(b"x").maybe(None).number(1);
        let mac = keys.sign(&row());
        assert!(keys.holds(&row(), &mac));
        for changed in [
            RowBytes::of("b").part(b"x").maybe(None).number(1),
            RowBytes::of("a").part(b"").part(b"x").maybe(None).number(1),
            RowBytes::of("a").part(b"x").part(b"").number(1),
            RowBytes::of("a").part(b"x").maybe(None).number(2),
            row().maybe(None),
        ] {
            assert_eq!(keys.check(&changed, &mac), Err(Fault::Forged(changed.table)));
        }
        assert!(!keys.holds(&row(), b""));
        assert!(!RowKeys::new(&other).unwrap().holds(&row(), &mac));
    }
}
