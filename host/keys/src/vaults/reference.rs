//! Where the value of a credential is: `vault:NAME/PATH#FIELD`, for each of its fields.
//!
//! Invariant: a path is counted from the folder of the tenant, so there is no way to say one
//! that is not in it; all fields are of one secret, so that they are of one version.

use postern_core::placeholder::Name;
use postern_core::secret::Secret;
use postern_vaults::{Path, Place};

/// What every reference begins with.
const SCHEME: &str = "vault:";
/// Most fields of a credential.
const MOST: usize = 16;

/// Where the fields of one credential of one tenant are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    tenant: String,
    vault: String,
    /// Name in the credential (empty for its only one) and place, ascending by name.
    fields: Vec<(String, Place)>,
}

impl Reference {
    /// Of what an operator says: the name of each field, and where it is.
    ///
    /// # Errors
    /// What was expected.
    pub(crate) fn parse<'a>(
        tenant: &str,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, &'static str> {
        let mut vaults = Vec::new();
        let mut places = Vec::new();
        for (name, text) in fields {
            let rest = text.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/'));
            let (vault, place) = rest.ok_or("Expected vault:NAME/PATH#FIELD")?;
            let place = Place::parse(place).map_err(
                |_| "Expected vault:NAME/PATH#FIELD with a path of letters, digits, - _ . and /",
            )?;
            vaults.push(vault.to_owned());
            places.push((name.to_owned(), place));
        }
        vaults.dedup();
        let [vault] = vaults.as_slice() else { return Err("Expected fields of one vault") };
        if Name::new(vault).is_none() {
            return Err("Expected the name of a vault, as in keys.yaml");
        }
        Self::of(tenant, vault, places).ok_or("Expected 1 to 16 fields of one path, each once")
    }

    /// Names of the fields; empty for the only one.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_str())
    }

    /// Of what is stored with a credential.
    pub(crate) fn stored(tenant: &str, vault: &str, fields: &[(String, Secret)]) -> Option<Self> {
        let place = |(name, place): &(String, Secret)| {
            let place = Place::parse(str::from_utf8(place.expose()).ok()?).ok()?;
            Some((name.clone(), place))
        };
        Self::of(tenant, vault, fields.iter().map(place).collect::<Option<_>>()?)
    }

    fn of(tenant: &str, vault: &str, mut fields: Vec<(String, Place)>) -> Option<Self> {
        fields.sort_by(|(left, _), (right, _)| left.cmp(right));
        let first = fields.first()?.1.path().clone();
        let one_path = fields.iter().all(|(_, place)| *place.path() == first);
        let once = fields.is_sorted_by(|(left, _), (right, _)| left < right);
        let fits = one_path && once && fields.len() <= MOST;
        fits.then(|| Self { tenant: tenant.to_owned(), vault: vault.to_owned(), fields })
    }

    /// What is sealed in place of the value: `PATH#FIELD` by the name of the field.
    pub(crate) fn to_store(&self) -> Vec<(String, Secret)> {
        let text = |place: &Place| Secret::new(place.to_string().into_bytes());
        self.fields.iter().map(|(name, place)| (name.clone(), text(place))).collect()
    }

    pub(crate) fn tenant(&self) -> &str {
        &self.tenant
    }

    pub(crate) fn vault(&self) -> &str {
        &self.vault
    }

    /// Each field's place in the vault; `None` where it is no place there.
    pub(super) fn under(&self, folder: Option<&Path>) -> Option<Vec<(String, Place)>> {
        let whole = |place: &Place| match folder {
            None => Some(place.clone()),
            Some(folder) => Place::parse(&format!("{folder}/{place}")).ok(),
        };
        self.fields.iter().map(|(name, place)| Some((name.clone(), whole(place)?))).collect()
    }

    /// Every part with its length.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |text: &str| {
            bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        };
        put(&self.tenant);
        put(&self.vault);
        for (name, place) in &self.fields {
            put(name);
            put(&place.to_string());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_a_vault_and_a_place_under_the_tenants_folder() {
        let one = |text: &str| Reference::parse("acme", [("", text)]);
        let good = one("vault:main/payments/stripe#api_key").unwrap();
        let folder = Path::parse("teams/acme").unwrap();
        let text = |place: &[(String, Place)]| place[0].1.to_string();
        let under = good.under(Some(&folder)).unwrap();
        assert_eq!(text(&under), "teams/acme/payments/stripe#api_key");
        assert_eq!(text(&good.under(None).unwrap()), "payments/stripe#api_key");
        let stored = Reference::stored("acme", "main", &good.to_store()).unwrap();
        assert_eq!(stored, good);
        for bad in [
            "main/a#b",
            "vault:main",
            "vault:main/a",
            "vault:/a#b",
            "vault:Main/a#b",
            "vault:main/../other/a#b",
            "vault:main/a/../../other#b",
            "vault:main//a#b",
            "vault:main/%2e%2e/a#b",
            "vault:main/a?version=1#b",
        ] {
            assert!(one(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fields_are_of_one_secret_and_there_once() {
        let many = |fields: &[(&'static str, &'static str)]| {
            Reference::parse("acme", fields.iter().copied()).is_ok()
        };
        assert!(many(&[("b", "vault:main/a#x"), ("a", "vault:main/a#y")]));
        assert!(!many(&[("a", "vault:main/a#x"), ("b", "vault:main/b#x")]));
        assert!(!many(&[("a", "vault:main/a#x"), ("b", "vault:other/a#x")]));
        assert!(!many(&[("a", "vault:main/a#x"), ("a", "vault:main/a#y")]));
        assert!(!many(&[]));
    }
}
