//! A secret as a JSON object, of which one member is wanted.
//!
//! Invariant: every text of it is read into a buffer that is wiped.

use std::collections::BTreeMap;
use std::fmt;

use postern_core::secret::Secret;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::Refused;

/// Largest value, which is what the key service keeps.
const LARGEST: usize = 16 * 1024;

/// The text of a member.
pub(crate) fn text_of(
    members: &mut BTreeMap<String, Item>,
    field: &str,
) -> Result<Secret, Refused> {
    match members.remove(field) {
        None => Err(Refused::NotFound("field")),
        Some(Item::Other) => Err(Refused::Malformed("field: expected a text")),
        Some(Item::Text(text)) => kept(text.as_bytes()),
    }
}

/// A value of a length that is kept.
pub(crate) fn kept(value: &[u8]) -> Result<Secret, Refused> {
    match (1..=LARGEST).contains(&value.len()) {
        true => Ok(Secret::new(value.to_vec())),
        false => Err(Refused::Malformed("field: expected 1 to 16384 bytes")),
    }
}

/// A member of a secret: a text, wiped, or something that is no value for us.
pub(crate) enum Item {
    Text(Zeroizing<String>),
    Other,
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Item, E> {
        Ok(Item::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Item, E> {
        Ok(Item::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Item, E> {
        Ok(Item::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Item, E> {
        Ok(Item::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Item, E> {
        Ok(Item::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Item, E> {
        Ok(Item::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Item, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Item::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Item, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Item::Other)
    }
}
