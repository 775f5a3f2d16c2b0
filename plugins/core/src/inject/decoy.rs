//! A request with a value at its site that is nobody's, rendered as a real one would be.
//!
//! Invariant: it is made from randomness and configuration alone, so it needs no permit; no
//! released value comes in here.

use std::rc::Rc;

use sha2::{Digest, Sha256};

use super::{Injected, Inside, Placed, Placement, Put, add, in_play};
use crate::binding::{Binding, Canary, Place};
use crate::credential::Release;
use crate::inject::InPlay;
use crate::permit::CredentialUse;
use crate::secret::Secret;
use crate::time::{Entropy, UnixMillis};

/// What the canary of a binding carries.
pub struct Decoy {
    /// The request's target.
    pub target: String,
    /// The field that the value stands in, unless that is the target.
    pub field: Option<(String, String)>,
    /// What to look for in the answer.
    pub in_play: Rc<InPlay>,
}

impl Decoy {
    /// A decoy of `binding`, whose canary this is; `None` where its value cannot stand at the
    /// site. The randomness is for this alone.
    pub fn new(binding: &Binding, canary: &Canary, entropy: &Entropy) -> Option<Self> {
        let (site, nobody) = (binding.site(), Secret::new(value(canary, entropy).into_bytes()));
        let place = site.place().clone();
        let inside = |field, text: &str| Put::Inside {
            field,
            text: text.into(),
            place: place.clone(),
            written: false,
        };
        let put = match site.place() {
            Place::Header(_) if site.signing().is_none() => Put::Field(site.frame().clone()),
            Place::Query(_) => inside(":path", &canary.path),
            Place::Cookie(_) => inside("cookie", ""),
            Place::Header(_) | Place::Json(_) | Place::Form(_) => return None,
        };
        let used = CredentialUse {
            credential: binding.credential().as_str().to_owned(),
            field: String::new(),
            site: site.key().into(),
            binding_hash: binding.hash(),
        };
        let release = Rc::new(Release {
            fields: vec![(String::new(), nobody)],
            version: 0,
            not_after: UnixMillis(0),
            audit_seq: 0,
        });
        let placed = Placed { placement: Placement { used, put }, release, former: None };
        let looked = in_play(&placed.placement, &placed.release).into_iter().next()?;
        let mut decoy = Self { target: canary.path.clone(), field: None, in_play: Rc::new(looked) };
        for (name, text) in rendered(&placed)? {
            match name.as_str() {
                ":path" => decoy.target = text,
                _ => decoy.field = Some((name, text)),
            }
        }
        Some(decoy)
    }
}

/// Names and texts of the fields, made by what makes those of real values.
fn rendered(placed: &Placed) -> Option<Vec<(String, String)>> {
    let (mut inside, mut injected) = (Inside::default(), Injected::default());
    add(placed, &mut inside, &mut injected).ok()?;
    inside.finish(&mut injected).ok()?;
    let text =
        |name: &str, value: &[u8]| Some((name.to_owned(), str::from_utf8(value).ok()?.to_owned()));
    injected.injections.into_iter().map(|injection| injection.perform(text)).collect()
}

/// The prefix, and letters and digits behind it.
fn value(canary: &Canary, entropy: &Entropy) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let block = |number: u32| {
        let label = Sha256::new_with_prefix(b"postern canary value/1\0");
        label.chain_update(entropy.0).chain_update(number.to_be_bytes()).finalize()
    };
    let bytes = (0..u32::MAX).flat_map(block);
    // What lies beyond the last whole alphabet would make some characters likelier.
    let random = bytes.filter_map(|byte| {
        let index = usize::from(byte).checked_rem(ALPHABET.len())?;
        ALPHABET.get(index).filter(|_| byte < 248).map(|byte| char::from(*byte))
    });
    canary.prefix.chars().chain(random).take(canary.length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::Wire;

    fn decoy(site: serde_json::Value, random: u8) -> Decoy {
        let wire: Wire = serde_json::from_value(serde_json::json!({
            "credential": "slack", "tenant": "acme", "authority": "slack.com",
            "methods": ["GET"], "paths": ["/api/**"], "site": site,
            "canary": {"path": "/api/me", "prefix": "xoxb-", "length": 30},
        }))
        .unwrap();
        let binding = Binding::try_from(wire).unwrap();
        let canary = binding.canary().unwrap();
        Decoy::new(&binding, canary, &Entropy([random; 32])).unwrap()
    }

    #[test]
    fn a_decoy_has_the_length_and_beginning_of_real_values_and_another_value_each_time() {
        let site = serde_json::json!({"header": "x-key", "style": "template", "template": "k={}"});
        let (one, other) = (decoy(site.clone(), 1), decoy(site, 2));
        let (name, text) = one.field.unwrap();
        assert_eq!((name.as_str(), text.len()), ("x-key", 32));
        let value = text.strip_prefix("k=xoxb-").unwrap();
        assert!(value.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{value}");
        assert_eq!(one.in_play.value.expose(), &text.as_bytes()[2..]);
        assert_eq!(one.target, "/api/me");
        assert_ne!(other.field.unwrap().1, text);
    }

    #[test]
    fn a_decoy_stands_where_a_real_value_would() {
        let basic = decoy(serde_json::json!({"style": "basic_user", "template": "{}:x"}), 1);
        let (name, text) = basic.field.unwrap();
        assert!(name == "authorization" && text.starts_with("Basic eG94Yi"), "{name}: {text}");
        let query = decoy(serde_json::json!({"query": "api_key"}), 1);
        assert!(query.target.starts_with("/api/me?api_key=xoxb-"), "{}", query.target);
        assert_eq!(query.field, None);
        let cookie = decoy(serde_json::json!({"cookie": "sid"}), 1);
        assert!(cookie.field.unwrap().1.starts_with("sid=xoxb-"));
    }
}
