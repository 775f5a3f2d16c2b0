//! Policies in Rego, with OPA's answers or none.
//!
//! Owns the way from text to decision: [`source`] parses modules, [`admit`] refuses what
//! would be answered differently from OPA and says where it stands, [`rewrite`] puts what
//! remains into the form that the bytecode compiler of `regorus` takes, [`machine`] runs the
//! bytecode, [`input`] builds the document that Envoy's OPA plugin gives to policies, and
//! [`decision`] reads what comes back; [`bundle`] reads OPA's bundles, and `polled` fetches them.
//! It knows nothing of hosts.
//!
//! Invariant: a program is made only of modules that were admitted, and runs under an
//! instruction limit; whatever it ends in that is no decision of the documented form is a
//! reason to deny.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::cell::RefCell;
use std::rc::Rc;

use bundle::Bundle;
use postern_core::config::ConfigError;
use postern_core::config::gate::{BodyMode, BundleSource, Config, PATH, PolicySource};
use postern_core::denial::PolicyReason;
use postern_core::key_service::Background;
use postern_core::policy::{Answer, Policies, Policy, Question};
use postern_jose::KeySet;
use sha2::{Digest, Sha256};

mod admit;
pub mod builtins;
pub mod bundle;
mod decision;
mod finding;
mod input;
mod machine;
mod names;
mod patterns;
mod polled;
pub mod program;
mod reads;
mod rewrite;
mod source;
mod walk;

pub use decision::read as read_decision;
pub use finding::Finding;
pub use machine::{Fault, Machine};
#[cfg(feature = "coverage")]
pub use program::Coverage;
pub use program::{Program, Rules};
pub use regorus::Value;

/// A loaded policy of the gate.
pub struct Rego {
    machine: RefCell<Machine>,
    input: input::Builder,
    revision: Option<String>,
}

/// What a gate has of the policy that its document names.
#[derive(Default)]
pub struct OfGate {
    /// The policy; none where the document has none.
    pub policies: Option<Rc<dyn Policies>>,
    /// What fetches it.
    pub background: Option<Rc<dyn Background>>,
}

/// Loads the policy that a gate's document names. Every problem has file, line and column.
pub fn load(source: &PolicySource) -> Result<Rc<Rego>, ConfigError> {
    let rego = match &source.bundle {
        Some(bundle) => {
            let content = bundle.content.as_deref();
            let content = content.ok_or_else(|| wrong("bundle", "not in the document".into()))?;
            of_bundle(opened(content, keys(bundle)?.as_ref())?, source)
        }
        None => of_modules(&source.modules, &source.data, source),
    };
    rego.map(Rc::new)
}

fn of_modules(
    modules: &[(String, String)],
    data: &serde_json::Value,
    source: &PolicySource,
) -> Result<Rego, ConfigError> {
    let rego = program::load(modules, data, &source.query)
        .and_then(|program| Rego::new(program, source.instructions));
    rego.map_err(|findings| {
        let problems = findings.iter().map(|finding| finding.problem(PATH)).collect();
        ConfigError { problems }
    })
}

pub(crate) fn of_bundle(bundle: Bundle, source: &PolicySource) -> Result<Rego, ConfigError> {
    let rego = of_modules(&bundle.modules, &bundle.data, source)?;
    let revision = Some(bundle.revision).filter(|revision| !revision.is_empty());
    Ok(Rego { revision, ..rego })
}

fn wrong(member: &str, why: String) -> ConfigError {
    ConfigError::one(format!("{PATH}.{member}"), why)
}

fn opened(content: &[u8], keys: Option<&KeySet>) -> Result<Bundle, ConfigError> {
    bundle::read(content, keys).map_err(|why| wrong("bundle", why))
}

/// The keys of which one must have signed it, if the document names any.
fn keys(source: &BundleSource) -> Result<Option<KeySet>, ConfigError> {
    let keys = source.keys.as_deref().map(|keys| {
        let keys = KeySet::parse(keys).map_err(|why| why.to_string())?;
        if keys.keys().is_empty() { Err("no key that verifies".to_owned()) } else { Ok(keys) }
    });
    keys.transpose().map_err(|why| wrong("bundle.keys", why))
}

/// The policy of a gate's document, where it has one, and that content is held if the policy
/// reads it.
pub fn of_gate(config: &Config) -> Result<OfGate, ConfigError> {
    let Some(source) = &config.policy else { return Ok(OfGate::default()) };
    if let Some(bundle) = &source.bundle
        && let Some(poll) = &bundle.poll
    {
        let keys = keys(bundle)?.ok_or_else(|| wrong("bundle.keys", "missing".to_owned()))?;
        let content = bundle.content.as_deref();
        let first = content.map(|content| {
            let opened = opened(content, Some(&keys))?;
            let (serial, digest) = (opened.serial, Sha256::digest(content).into());
            if poll.least_serial > 0 && serial.is_none_or(|it| it < poll.least_serial) {
                let expected = format!("serial: expected at least {}", poll.least_serial);
                return Err(wrong("bundle.inline", expected));
            }
            let rego = of_bundle(opened, source)?;
            config.check_policy(&rego)?;
            Ok((Rc::new(rego), serial, digest))
        });
        let holds = config.body == BodyMode::Hold;
        let polled = Rc::new(polled::Polled::new(poll, source, keys, holds, first.transpose()?));
        return Ok(OfGate { policies: Some(Rc::clone(&polled) as _), background: Some(polled) });
    }
    let policy = load(source)?;
    config.check_policy(&*policy)?;
    Ok(OfGate { policies: Some(policy), background: None })
}

impl Rego {
    fn new(program: Program, instructions: u32) -> Result<Self, Vec<Finding>> {
        let input = input::Builder::new(&program.reads);
        let machine = Machine::new(&program, instructions)?;
        Ok(Self { machine: RefCell::new(machine), input, revision: None })
    }
}

impl Policy for Rego {
    fn reads_content(&self) -> bool {
        self.input.reads_content()
    }

    fn reads_tallies(&self) -> bool {
        self.input.reads_tallies()
    }

    fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    fn decide(&self, question: &Question<'_>) -> Result<Answer, PolicyReason> {
        let input = self.input.build(question)?;
        let mut machine = self.machine.try_borrow_mut().map_err(|_| PolicyReason::Failed)?;
        let now = question.now.0;
        let value = machine.run(input, now).map_err(Fault::reason)?;
        decision::read(&value)
    }
}

#[cfg(test)]
mod tests;
