//! Declared places, found by their name.
//!
//! Invariant: finding one costs the same with ten thousand declared as with one.

use std::collections::BTreeMap;

use crate::binding::Place;

/// Places inside a field or inside content; those that are a field of their own are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    query: Named,
    cookie: Named,
    form: Named,
    json: Named,
}

/// By the name as it stands in a request.
type Named = BTreeMap<Vec<u8>, Place>;

impl<'a> FromIterator<&'a Place> for Places {
    fn from_iter<I: IntoIterator<Item = &'a Place>>(all: I) -> Self {
        let mut places = Self::default();
        for place in all {
            let (named, name) = match place {
                Place::Header(_) => continue,
                Place::Query(name) => (&mut places.query, name),
                Place::Cookie(name) => (&mut places.cookie, name),
                Place::Form(name) => (&mut places.form, name),
                Place::Json(pointer) => (&mut places.json, pointer),
            };
            named.insert(name.as_bytes().to_vec(), place.clone());
        }
        places
    }
}

impl Places {
    pub(super) fn query(&self) -> &Named {
        &self.query
    }

    pub(super) fn cookie(&self) -> &Named {
        &self.cookie
    }

    pub(super) fn form(&self) -> &Named {
        &self.form
    }

    pub(super) fn json(&self) -> &Named {
        &self.json
    }

    /// Whether there is one in a form.
    pub fn any_in_form(&self) -> bool {
        !self.form.is_empty()
    }

    /// Whether there is one in a JSON document.
    pub fn any_in_json(&self) -> bool {
        !self.json.is_empty()
    }
}
