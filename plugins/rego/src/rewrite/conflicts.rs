//! Which rules could have two values.
//!
//! Invariant: a rule that is said to have one at most has one at most; the other way round
//! only costs a call.

use std::collections::BTreeSet;

use regorus::unstable::{Expr, Literal, LiteralStmt, Query, Ref, Rule, RuleAssign, RuleHead};

use crate::names::{Chain, Definition, Group, Kind, literal};
use crate::walk::{self, Visit};

impl<'a> Group<'a> {
    /// Whether a decision could give this rule two values, or one of its keys.
    pub(super) fn may_conflict(&self) -> bool {
        if self.kind == Some(Kind::Set) {
            return false;
        }
        if self.definitions.iter().any(|one| one.iterates()) {
            return true;
        }
        let keys: Option<Vec<String>> =
            self.definitions.iter().map(|one| one.constant_key()).collect();
        if let (Some(Kind::Object), Some(mut keys)) = (self.kind, keys) {
            let count = keys.len();
            keys.sort_unstable();
            keys.dedup();
            return keys.len() < count;
        }
        if self.is_told_apart() {
            return false;
        }
        let mut values: Vec<Option<String>> =
            self.definitions.iter().map(Definition::constant_value).collect();
        values.dedup();
        let same = values.len() == 1 && values.iter().all(Option::is_some);
        self.definitions.len() > 1 && !same
    }
}

impl Group<'_> {
    /// Whether one parameter is another text in each definition of a function: then at most
    /// one of them takes a call. Numbers do not count, which can be written in several ways.
    fn is_told_apart(&self) -> bool {
        let most = self.definitions.iter().map(|one| one.parameters().len()).min().unwrap_or(0);
        (0..most).any(|at| {
            let texts = self.definitions.iter().map(|one| literal(one.parameters().get(at)?));
            let texts: Option<BTreeSet<String>> = texts.collect();
            texts.is_some_and(|texts| texts.len() == self.definitions.len())
        })
    }
}

impl<'a> Definition<'a> {
    fn parameters(&self) -> &[Ref<Expr>] {
        match self.rule {
            Rule::Spec { head: RuleHead::Func { args, .. }, .. } => args,
            _ => &[],
        }
    }

    /// The key of a partial object, when it is a literal: as it is written in Rego.
    pub(super) fn constant_key(&self) -> Option<String> {
        let Rule::Spec { head: RuleHead::Compr { refr, .. }, .. } = self.rule else { return None };
        match refr.as_ref() {
            Expr::RefDot { field, .. } => Some(serde_json::json!(field.0.text()).to_string()),
            Expr::RefBrack { index, .. } => match literal(index) {
                Some(text) => Some(serde_json::json!(text).to_string()),
                None => constant(index),
            },
            _ => None,
        }
    }

    /// What its first body gives, where it says so.
    pub(super) fn value(&self) -> Option<&'a RuleAssign> {
        match self.rule {
            Rule::Spec {
                head: RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. },
                ..
            } => assign.as_ref(),
            _ => None,
        }
    }

    /// Whether all values of this definition are of one key, or of none.
    pub(super) fn has_one_key(&self) -> bool {
        let Rule::Spec { head, .. } = self.rule else { return false };
        match head {
            RuleHead::Compr { refr, .. } => {
                Chain::of(refr).steps.is_empty() || self.constant_key().is_some()
            }
            RuleHead::Func { .. } => true,
            RuleHead::Set { .. } => false,
        }
    }

    /// The one value of this definition, when it is a literal in every branch.
    fn constant_value(&self) -> Option<String> {
        let Rule::Spec { head, bodies, .. } = self.rule else { return None };
        let head = match head {
            RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => assign,
            RuleHead::Set { .. } => return None,
        };
        let value = |assign: Option<&Ref<Expr>>| assign.map_or(Some("true".into()), constant);
        let first = value(head.as_ref().map(|assign| &assign.value))?;
        let others = bodies.iter().skip(1);
        let same = others
            .map(|body| value(body.assign.as_ref().map(|assign| &assign.value)))
            .all(|other| other.as_ref() == Some(&first));
        same.then_some(first)
    }

    /// Whether one definition could give several values: it iterates, and the value may
    /// depend on that.
    fn iterates(&self) -> bool {
        let Rule::Spec { head, bodies, .. } = self.rule else { return false };
        let object =
            matches!(head, RuleHead::Compr { refr, .. } if !Chain::of(refr).steps.is_empty());
        let assign = match head {
            RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => assign.as_ref(),
            RuleHead::Set { .. } => None,
        };
        let assigns = bodies.iter().filter_map(|body| body.assign.as_ref()).chain(assign);
        let fixed = assigns.clone().all(|assign| constant(&assign.value).is_some());
        if fixed && (!object || self.constant_key().is_some()) {
            return false;
        }
        let mut visit = Iterates(false);
        assigns.for_each(|assign| walk::expr(&mut visit, &assign.value));
        bodies.iter().for_each(|body| walk::query(&mut visit, &body.query));
        visit.0 || object && self.constant_key().is_none()
    }
}

/// A scalar literal, as it is written.
pub(super) fn constant(expr: &Ref<Expr>) -> Option<String> {
    match expr.as_ref() {
        Expr::String { span, .. } => Some(format!("\"{}\"", span.text())),
        Expr::RawString { span, .. } => Some(format!("`{}`", span.text())),
        Expr::Number { span, .. } | Expr::Bool { span, .. } | Expr::Null { span, .. } => {
            Some(span.text().to_owned())
        }
        _ => None,
    }
}

/// Whether a body may be a loop; an index that is any variable counts.
pub(super) fn loops(query: &Query) -> bool {
    let mut visit = Loops(false);
    walk::query(&mut visit, query);
    visit.0
}

/// The same of a value.
pub(super) fn loops_in(expr: &Ref<Expr>) -> bool {
    let mut visit = Loops(false);
    walk::expr(&mut visit, expr);
    visit.0
}

struct Loops(bool);

impl Visit for Loops {
    fn expr(&mut self, expr: &Ref<Expr>) {
        if let Expr::RefBrack { index, .. } = expr.as_ref() {
            self.0 |= matches!(index.as_ref(), Expr::Var { .. });
        }
    }

    fn stmt(&mut self, stmt: &LiteralStmt) {
        self.0 |= matches!(stmt.literal, Literal::SomeIn { .. } | Literal::SomeVars { .. });
    }
}

/// Whether a body gives names to values, its own or those that the rewrite makes up.
pub(super) fn binds(query: &Query) -> bool {
    let mut visit = Binds(false);
    walk::query(&mut visit, query);
    visit.0 || loops(query)
}

struct Binds(bool);

impl Visit for Binds {
    fn expr(&mut self, expr: &Ref<Expr>) {
        self.0 |= matches!(expr.as_ref(), Expr::AssignExpr { .. });
    }

    fn stmt(&mut self, stmt: &LiteralStmt) {
        self.0 |= matches!(stmt.literal, Literal::NotExpr { .. } | Literal::Every { .. });
    }
}

/// Anything that may have more than one solution.
struct Iterates(bool);

impl Visit for Iterates {
    fn expr(&mut self, expr: &Ref<Expr>) {
        if let Expr::RefBrack { index, .. } = expr.as_ref() {
            self.0 |= constant(index).is_none();
        }
    }

    fn stmt(&mut self, stmt: &LiteralStmt) {
        self.0 |= matches!(stmt.literal, Literal::SomeIn { .. } | Literal::SomeVars { .. });
    }
}
