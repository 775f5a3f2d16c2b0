//! Runs bytecode: one decision at a time, under an instruction limit.
//!
//! Owns the answers to suspensions, by which the program calls our builtins. Invariant: a
//! run ends in a value or a [`Fault`], whatever the program does; nothing of one run is
//! left for the next.

use postern_core::denial::PolicyReason;
use regorus::Value;
use regorus::rvm::RegoVM;
use regorus::rvm::vm::{ExecutionMode, ExecutionState, SuspendReason, VmError};

use crate::builtins::{Context, Shared};
use crate::finding::Finding;
use crate::program::Program;

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Two values for one rule, or for one key.
    Conflict,
    /// More instructions than allowed.
    Limit,
    /// Anything else.
    Failed,
}

impl Fault {
    pub(crate) fn reason(self) -> PolicyReason {
        match self {
            Self::Conflict => PolicyReason::Conflict,
            Self::Limit => PolicyReason::Limit,
            Self::Failed => PolicyReason::Failed,
        }
    }

    /// The interpreter tells conflicts by a text.
    pub(crate) fn of_interpreter(text: &str) -> Self {
        let conflict = ["multiple outputs", "conflict", "must produce", "same key"];
        if conflict.iter().any(|word| text.contains(word)) { Self::Conflict } else { Self::Failed }
    }
}

/// A machine with one program.
pub struct Machine {
    vm: RegoVM,
    shared: Shared,
}

impl Machine {
    /// Loads a program and its data.
    pub fn new(program: &Program, instructions: u32) -> Result<Self, Vec<Finding>> {
        let mut vm = RegoVM::new();
        vm.load_program(program.code.clone());
        vm.set_execution_mode(ExecutionMode::Suspendable);
        vm.set_max_instructions(usize::try_from(instructions).unwrap_or(usize::MAX));
        vm.set_strict_builtin_errors(false);
        let data = vm.set_data(program.data.clone());
        data.map_err(|error| vec![Finding::whole(error.to_string())])?;
        Ok(Self { vm, shared: Shared::default() })
    }

    /// The value of the program's rule for this input, at this time in milliseconds since
    /// the epoch.
    pub fn run(&mut self, input: Value, now: u64) -> Result<Value, Fault> {
        self.shared.begin(Context::at(now));
        self.vm.set_input(input);
        let result = self.finish();
        self.vm.set_input(Value::Null);
        self.shared.begin(Context::default());
        result
    }

    /// From the entry point to a value, with every suspension answered.
    fn finish(&mut self) -> Result<Value, Fault> {
        let mut result = self.vm.execute_entry_point_by_index(0);
        while let Some((name, argument)) = self.waits() {
            let answer = self.shared.answer(&name, &argument);
            if let Some(fault) = self.shared.fault() {
                return Err(fault);
            }
            result = self.vm.resume(Some(answer));
        }
        result.map_err(|error| match error {
            VmError::InstructionLimitExceeded { .. } => Fault::Limit,
            _ => Fault::Failed,
        })
    }

    /// The builtin that the program waits for, and its arguments.
    fn waits(&self) -> Option<(Value, Value)> {
        match self.vm.execution_state() {
            ExecutionState::Suspended {
                reason: SuspendReason::HostAwait { identifier, argument, .. },
                ..
            } => Some((identifier.clone(), argument.clone())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::program;

    #[test]
    fn a_fault_leaves_nothing_for_the_next_decision() {
        let text = "package t\nx := numbers.range(1, input.to)";
        let modules = [("t.rego".to_owned(), text.to_owned())];
        let program = program::load(&modules, &json!({}), "data.t.x").unwrap();
        let mut machine = Machine::new(&program, 1000).unwrap();
        let input = |to: u32| Value::from(json!({"to": to}));
        assert_eq!(machine.run(input(1_000_000), 0), Err(Fault::Failed));
        assert_eq!(machine.shared.fault(), None);
        assert_eq!(machine.run(input(2), 0), Ok(Value::from(json!([1, 2]))));
    }
}
