//! Policies in Rego, with OPA's answers or none.
//!
//! Owns the way from text to decision: [`source`] parses modules, [`admit`] refuses what
//! would be answered differently from OPA and says where it stands, [`rewrite`] puts what
//! remains into the form that the bytecode compiler of `regorus` takes, [`machine`] runs the
//! bytecode, [`input`] builds the document that Envoy's OPA plugin gives to policies, and
//! [`decision`] reads what comes back; [`bundle`] reads OPA's bundles. It knows nothing of hosts.
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
use postern_core::config::gate::{BundleSource, Config, PATH, PolicySource};
use postern_core::denial::PolicyReason;
use postern_core::policy::{Answer, Policy, Question};
use postern_jose::KeySet;

mod admit;
pub mod builtins;
pub mod bundle;
mod decision;
mod finding;
mod input;
mod machine;
mod names;
mod patterns;
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

/// Loads the policy that a gate's document names. Every problem has file, line and column.
pub fn load(source: &PolicySource) -> Result<Rc<Rego>, ConfigError> {
    let opened = source.bundle.as_ref().map(opened).transpose()?;
    let (modules, data) = match &opened {
        Some(bundle) => (&bundle.modules, &bundle.data),
        None => (&source.modules, &source.data),
    };
    let rego = program::load(modules, data, &source.query)
        .and_then(|program| Rego::new(program, source.instructions));
    let revision = opened.map(|bundle| bundle.revision).filter(|revision| !revision.is_empty());
    rego.map(|rego| Rc::new(Rego { revision, ..rego })).map_err(|findings| {
        let problems = findings.iter().map(|finding| finding.problem(PATH)).collect();
        ConfigError { problems }
    })
}

/// A bundle whose signature holds, where its source names keys.
fn opened(source: &BundleSource) -> Result<Bundle, ConfigError> {
    let wrong = |member: &str, why: String| ConfigError::one(format!("{PATH}.{member}"), why);
    let keys = source.keys.as_deref().map(|keys| {
        let keys = KeySet::parse(keys).map_err(|why| why.to_string())?;
        if keys.keys().is_empty() { Err("no key that verifies".to_owned()) } else { Ok(keys) }
    });
    let keys = keys.transpose().map_err(|why| wrong("bundle.keys", why))?;
    bundle::read(&source.content, keys.as_ref()).map_err(|why| wrong("bundle", why))
}

/// The policy of a gate's document, where it has one, and that content is held if the policy
/// reads it.
pub fn of_gate(config: &Config) -> Result<Option<Rc<dyn Policy>>, ConfigError> {
    let Some(source) = &config.policy else { return Ok(None) };
    let policy: Rc<dyn Policy> = load(source)?;
    config.check_policy(&*policy)?;
    Ok(Some(policy))
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
