//! Versions of the platform's firmware (TCB_VERSION).

use super::Product;

/// Security version numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcb {
    /// Turin only; 0 elsewhere.
    pub fmc: u8,
    /// Boot loader.
    pub bootloader: u8,
    /// Operating system of the secure processor.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
}

impl Tcb {
    /// The eight bytes of a report; the bytes between are zero.
    pub fn from_bytes(product: Product, bytes: &[u8; 8]) -> Option<Self> {
        match (product, *bytes) {
            (Product::Turin, [fmc, bootloader, tee, snp, 0, 0, 0, microcode]) => {
                Some(Self { fmc, bootloader, tee, snp, microcode })
            }
            (Product::Milan | Product::Genoa, [bootloader, tee, 0, 0, 0, 0, snp, microcode]) => {
                Some(Self { fmc: 0, bootloader, tee, snp, microcode })
            }
            _ => None,
        }
    }

    /// Whether no number is below `floor`'s.
    pub fn reaches(&self, floor: &Self) -> bool {
        self.fmc >= floor.fmc
            && self.bootloader >= floor.bootloader
            && self.tee >= floor.tee
            && self.snp >= floor.snp
            && self.microcode >= floor.microcode
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_product() {
        let milan = Tcb::from_bytes(Product::Milan, &[3, 1, 0, 0, 0, 0, 8, 0x73]).unwrap();
        assert_eq!(milan, Tcb { fmc: 0, bootloader: 3, tee: 1, snp: 8, microcode: 0x73 });
        let turin = Tcb::from_bytes(Product::Turin, &[1, 2, 3, 4, 0, 0, 0, 5]).unwrap();
        assert_eq!(turin, Tcb { fmc: 1, bootloader: 2, tee: 3, snp: 4, microcode: 5 });
        assert_eq!(Tcb::from_bytes(Product::Milan, &[3, 1, 1, 0, 0, 0, 8, 0x73]), None);
        assert_eq!(Tcb::from_bytes(Product::Turin, &[1, 2, 3, 4, 5, 0, 0, 5]), None);
    }

    #[test]
    fn every_number_has_to_reach_its_own_floor() {
        let have = Tcb { fmc: 1, bootloader: 2, tee: 3, snp: 4, microcode: 5 };
        assert!(have.reaches(&have) && have.reaches(&Tcb::default()));
        for floor in [
            Tcb { fmc: 2, ..have },
            Tcb { bootloader: 3, ..have },
            Tcb { tee: 4, ..have },
            Tcb { snp: 5, ..have },
            Tcb { microcode: 6, ..have },
        ] {
            assert!(!have.reaches(&floor), "{floor:?}");
        }
    }
}
