//! The canary among what an upstream gets: a request to a path of its own, whose value is told
//! by what it begins with.

use anyhow::{Result, bail};

use crate::observation::Seen;
use crate::template::Names;

/// Where bindings of scenarios send it.
const PATH: &str = "/api/canary";
/// What its value begins with there, and how long it is.
const PREFIX: &str = "cnry";
const LENGTH: usize = 40;
/// What stands for the value in what is compared.
const SHOWN: &str = "CANARY";

/// Whether a request with this target is one.
pub fn is_one(target: &str) -> bool {
    target.split('?').next() == Some(PATH)
}

/// The value in a text.
fn value(text: &str) -> Option<&str> {
    let from = text.find(PREFIX)?;
    let value = text.get(from..from.checked_add(LENGTH)?)?;
    value.bytes().all(|byte| byte.is_ascii_alphanumeric()).then_some(value)
}

impl Seen {
    /// The value that it carries as a canary.
    pub fn canary(&self) -> Option<String> {
        let lines = self.fields.values().flatten();
        lines.chain([&self.path]).find_map(|text| value(text)).map(str::to_owned)
    }

    /// The same with a word in the place of the value.
    pub fn settled_canary(mut self) -> Self {
        let Some(value) = self.canary() else { return self };
        let lines = self.fields.values_mut().flatten();
        lines.chain([&mut self.path]).for_each(|text| *text = text.replace(&value, SHOWN));
        self
    }
}

/// What the answer to a canary may name: `${secret canary}`.
pub struct Echo(pub String);

impl Echo {
    /// Of a canary as the upstream got it.
    pub fn of(seen: &Seen) -> Result<Self> {
        match seen.canary() {
            Some(value) => Ok(Self(value)),
            None => bail!("a canary without its value: {seen:?}"),
        }
    }
}

impl Names for Echo {
    fn key(&self, _: &str) -> Option<Vec<u8>> {
        None
    }

    fn token(&self, _: &str) -> Option<Vec<u8>> {
        None
    }

    fn minted(&self, _: &str) -> Option<Vec<u8>> {
        None
    }

    fn secret(&self, name: &str) -> Option<Vec<u8>> {
        (name == "canary").then(|| self.0.clone().into_bytes())
    }
}
