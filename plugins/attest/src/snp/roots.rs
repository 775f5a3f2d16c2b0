//! AMD's root keys (ARK), by product.
//!
//! Pinned as moduli; the exponent is 65537. SHA-256 of each, to compare with the
//! certificate chain of AMD's key distribution service:
//! Milan 857596e66a0dc486d69f4459554c56f96c3f83f3365984650d1aab5f7b215b2a,
//! Genoa 33f0787614fd429b048d621d962950df6147063ce5c21410c6b7fa1431a6cea2,
//! Turin 10d484faa35104292e927402d98ea13b3244b3a8fa4ccbe41fcf5573dd9efa19.

use super::rsa::Key;

const EXPONENT: [u8; 3] = [1, 0, 1];

/// A family of processors. Bergamo and Siena are of Genoa's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004.
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl Product {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// As certificates name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// The product of a name, exactly.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|product| product.name() == name)
    }
}

/// A root and the product that it stands for.
#[derive(Clone, Debug)]
pub struct Root {
    product: Product,
    key: Key,
}

impl Root {
    /// A root of one's own, by its big-endian modulus: for tests.
    pub fn new(product: Product, modulus: &[u8]) -> Option<Self> {
        Key::new(modulus, &EXPONENT).map(|key| Self { product, key })
    }

    pub(super) fn product(&self) -> Product {
        self.product
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }
}

/// AMD's root of a product.
pub fn pinned(product: Product) -> Option<Root> {
    let modulus: &[u8; 512] = match product {
        Product::Milan => include_bytes!("../roots/milan.modulus"),
        Product::Genoa => include_bytes!("../roots/genoa.modulus"),
        Product::Turin => include_bytes!("../roots/turin.modulus"),
    };
    Root::new(product, modulus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_roots_are_those_that_the_documentation_names() {
        let documented = include_str!("roots.rs");
        let moduli: [&[u8]; 3] = [
            include_bytes!("../roots/milan.modulus"),
            include_bytes!("../roots/genoa.modulus"),
            include_bytes!("../roots/turin.modulus"),
        ];
        for (product, modulus) in Product::ALL.into_iter().zip(moduli) {
            let line = format!(
                "{} {}",
                product.name(),
                postern_core::hex::lower(&Sha256::digest(modulus))
            );
            assert!(documented.contains(&line), "{line}");
            assert!(pinned(product).is_some());
        }
    }
}
