//! The bindings of a configuration, found by what a request has of them.
//!
//! Owns the order in which they are written, which decides where several fit. Knows nothing of
//! requests.
//!
//! Invariant: what is found is what a look through all of them would find, in the same order,
//! and costs the same with ten thousand as with one, unless they share the name or the field
//! that is asked for.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;

use crate::binding::{Binding, Site, family_of};
use crate::placeholder::Name;
use crate::slots::Places;

/// Bindings in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    all: Vec<Binding>,
    by_hash: BTreeMap<[u8; 32], Vec<usize>>,
    /// By the name that is written: of a credential, or of a family.
    by_name: BTreeMap<String, Vec<usize>>,
    /// Each site once, by its key.
    sites: BTreeMap<String, Vec<Site>>,
    places: Rc<Places>,
    websockets: bool,
    signs_forms: bool,
}

impl Bindings {
    /// A table of these.
    pub fn new(all: Vec<Binding>) -> Self {
        let mut table = Self {
            places: Rc::new(all.iter().map(|one| one.site().place()).collect()),
            websockets: all.iter().any(Binding::allows_websocket),
            signs_forms: all.iter().any(Binding::signs_forms),
            ..Self::default()
        };
        for (index, one) in all.iter().enumerate() {
            table.by_hash.entry(one.hash()).or_default().push(index);
            let name = one.credential().as_str().to_owned();
            table.by_name.entry(name).or_default().push(index);
            let sites = table.sites.entry(one.site().key().to_owned()).or_default();
            if !sites.contains(one.site()) {
                sites.push(one.site().clone());
            }
        }
        Self { all, ..table }
    }

    /// Those with this hash: one, unless tenants have the same.
    pub fn hashed(&self, hash: &[u8; 32]) -> impl Iterator<Item = &Binding> {
        let indices = self.by_hash.get(hash).into_iter().flatten();
        indices.filter_map(|index| self.all.get(*index))
    }

    /// Those of this credential, and those of the family that it is called as.
    pub fn of<'s>(&'s self, credential: &Name) -> impl Iterator<Item = &'s Binding> {
        let family = family_of(credential).and_then(|name| self.by_name.get(name));
        let mut indices: Vec<usize> =
            self.by_name.get(credential.as_str()).cloned().unwrap_or_default();
        indices.extend(family.into_iter().flatten());
        indices.sort_unstable();
        let all = indices.into_iter().filter_map(|index| self.all.get(index));
        all.filter(move |binding| binding.is_of(credential))
    }

    /// The sites of this key, each once.
    pub fn sites(&self, key: &str) -> &[Site] {
        self.sites.get(key).map_or(&[], Vec::as_slice)
    }

    /// What holds the values of all of them.
    pub fn places(&self) -> &Rc<Places> {
        &self.places
    }

    /// Whether some binding has leave for a WebSocket.
    pub fn allow_websockets(&self) -> bool {
        self.websockets
    }

    /// Whether a binding signs the parameters of form content.
    pub fn sign_forms(&self) -> bool {
        self.signs_forms
    }
}

impl Deref for Bindings {
    type Target = [Binding];

    fn deref(&self) -> &[Binding] {
        &self.all
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::binding::{self, with_minted};
    use crate::config::Problems;

    fn binding(change: &Value) -> Binding {
        let mut wire = json!({"credential": "slack", "tenant": "acme", "authority": "slack.com",
            "methods": ["GET"], "paths": ["/api/**"],
            "site": {"header": "authorization", "style": "bearer"}});
        for (name, value) in change.as_object().unwrap() {
            wire[name] = value.clone();
        }
        let wire: binding::Wire = serde_json::from_value(wire).unwrap();
        Binding::try_from(wire).unwrap()
    }

    fn many() -> Vec<Binding> {
        let own = |number: usize| {
            let site = match number % 3 {
                0 => json!({"query": format!("q{number}")}),
                1 => json!({"cookie": format!("c{number}")}),
                _ => json!({"header": "authorization", "style": "bearer"}),
            };
            binding(&json!({"credential": format!("key-{number}"), "site": site}))
        };
        let mut all: Vec<Binding> = (0..40).map(own).collect();
        all.push(binding(&json!({"methods": ["POST"]})));
        all.push(binding(&json!({"tenant": "other"})));
        all.push(binding(
            &json!({"methods": ["POST"], "mints": [{"name": "fresh", "value": "/t", "authority":
            "slack.com", "methods": ["GET"], "paths": ["/m/**"],
            "site": {"header": "authorization", "style": "bearer"}}]}),
        ));
        with_minted(all, &mut Problems::default())
    }

    #[test]
    fn what_is_found_is_what_a_look_through_all_finds() {
        let all = many();
        let table = Bindings::new(all.clone());
        assert!(all.iter().any(Binding::is_family));
        let minted = format!("fresh-{}", "a".repeat(26));
        for name in ["slack", "key-3", "key-38", "none", "fresh", &minted, "fresh-short"] {
            let name = Name::new(name).unwrap();
            let want: Vec<&Binding> = all.iter().filter(|one| one.is_of(&name)).collect();
            assert_eq!(table.of(&name).collect::<Vec<_>>(), want, "{}", name.as_str());
        }
        assert_eq!(table.of(&Name::new(&minted).unwrap()).count(), 1);
        for one in &all {
            let hash = one.hash();
            let want: Vec<&Binding> = all.iter().filter(|other| other.hash() == hash).collect();
            assert_eq!(table.hashed(&hash).collect::<Vec<_>>(), want);
            assert!(table.sites(one.site().key()).contains(one.site()));
        }
        assert_eq!(table.hashed(&[0; 32]).count(), 0);
        assert_eq!(table.sites("authorization").len(), 1);
        assert!(table.sites("host").is_empty());
        assert_eq!(table.len(), all.len());
    }
}
