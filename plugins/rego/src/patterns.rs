//! Values that are taken apart: only in the forms that the bytecode reads as OPA does.
//!
//! Invariant: in what is admitted, a variable gets its value by its plain name, or by
//! `[a, b] := …` as a statement of its own; everything else that has the form of a pattern
//! is refused.

use std::collections::BTreeSet;

use regorus::unstable::{AssignOp, Expr, Literal, LiteralStmt, Ref, Rule, RuleHead, Span};

use crate::finding::Finding;
use crate::walk::{self, Visit};

/// Notes every pattern of this rule that is not admitted.
pub(crate) fn check(rule: &Rule, found: &mut Vec<Finding>) {
    let mut patterns = Patterns { found, statements: BTreeSet::new() };
    if let Rule::Spec { head: RuleHead::Func { args, .. }, .. } = rule {
        patterns.parameters(args);
    }
    walk::rule(&mut patterns, rule);
}

/// The variables of `[a, b]`, each with a name of its own or `_`; `None` for anything else.
pub(crate) fn flat(pattern: &Ref<Expr>) -> Option<Vec<&str>> {
    let Expr::Array { items, .. } = pattern.as_ref() else { return None };
    let names: Vec<&str> = items.iter().map(variable).collect::<Option<_>>()?;
    let mut known = BTreeSet::new();
    names.iter().all(|name| *name == "_" || known.insert(*name)).then_some(names)
}

fn variable(expr: &Ref<Expr>) -> Option<&str> {
    match expr.as_ref() {
        Expr::Var { span, .. } => Some(span.text()),
        _ => None,
    }
}

/// Whether a variable stands in a literal array, set or object.
fn takes_apart(expr: &Ref<Expr>) -> bool {
    let holds = |part: &Ref<Expr>| variable(part).is_some() || takes_apart(part);
    match expr.as_ref() {
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().any(holds),
        Expr::Object { fields, .. } => {
            fields.iter().any(|(_, key, value)| holds(key) || holds(value))
        }
        _ => false,
    }
}

struct Patterns<'a> {
    found: &'a mut Vec<Finding>,
    /// Assignments that are statements.
    statements: BTreeSet<u32>,
}

impl Patterns<'_> {
    fn note(&mut self, span: &Span, message: &str) {
        self.found.push(Finding::at(span, message));
    }

    /// The bytecode gives a parameter that is named twice its last value.
    fn parameters(&mut self, args: &[Ref<Expr>]) {
        let mut known = BTreeSet::new();
        for arg in args {
            let good = match arg.as_ref() {
                Expr::Var { span, .. } => span.text() == "_" || known.insert(span.text()),
                Expr::String { .. }
                | Expr::RawString { .. }
                | Expr::Number { .. }
                | Expr::Bool { .. }
                | Expr::Null { .. } => true,
                _ => false,
            };
            if !good {
                let expected = "expected a variable of its own or a constant as a parameter";
                self.note(arg.span(), expected);
            }
        }
    }

    fn statement(&mut self, expr: &Ref<Expr>, negated: bool) {
        let Expr::AssignExpr { op, lhs, rhs, .. } = expr.as_ref() else { return };
        self.statements.insert(expr.eidx());
        match op {
            AssignOp::ColEq if negated => {
                self.note(expr.span(), "an assignment behind not: write == to compare");
            }
            AssignOp::ColEq if variable(lhs).is_none() && flat(lhs).is_none() => {
                let expected = "expected a variable, or an array of variables, before :=";
                self.note(lhs.span(), expected);
            }
            AssignOp::Eq if takes_apart(lhs) || takes_apart(rhs) => {
                let message = "= with a pattern: write [a, b] := to assign, == to compare";
                self.note(expr.span(), message);
            }
            AssignOp::ColEq | AssignOp::Eq => {}
        }
    }
}

impl Visit for Patterns<'_> {
    fn expr(&mut self, expr: &Ref<Expr>) {
        match expr.as_ref() {
            Expr::AssignExpr { .. } if !self.statements.contains(&expr.eidx()) => {
                self.note(expr.span(), "an assignment inside of an expression");
            }
            Expr::RefBrack { index, .. } if takes_apart(index) => {
                self.note(index.span(), "an index with a pattern: iterate with some, and compare");
            }
            _ => {}
        }
    }

    fn stmt(&mut self, stmt: &LiteralStmt) {
        match &stmt.literal {
            Literal::SomeIn { key, value, .. } => {
                for part in key.iter().chain([value]).filter(|part| variable(part).is_none()) {
                    self.note(part.span(), "expected a variable behind some");
                }
            }
            Literal::Expr { expr, .. } => self.statement(expr, false),
            Literal::NotExpr { expr, .. } => self.statement(expr, true),
            Literal::SomeVars { .. } | Literal::Every { .. } => {}
        }
    }
}
