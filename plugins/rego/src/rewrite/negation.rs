//! What stands behind `not`.
//!
//! OPA computes the parts of a negated expression in front of it, so that an undefined part
//! makes the statement undefined: `not startswith(input.missing, "/admin")` does not hold.
//! The engine would take the whole for undefined, and the negation for true. References at
//! either side of `==`, or alone, are no parts: `not input.missing == "x"` holds.
//!
//! Invariant: after what is written in front, no part of what is negated is undefined but those.

use regorus::unstable::{AssignOp, BoolOp, Expr, Ref};

use super::{Writer, conflicts::constant};

impl Writer<'_> {
    /// Writes `not expr`, and in front of it the parts that have to be defined.
    pub(super) fn negation(&mut self, expr: &Ref<Expr>) {
        let mut front = Vec::new();
        let negated = self.negated(expr, &mut front);
        for part in front {
            self.put(&format!("{part}; "));
        }
        self.put("not ");
        self.put(&negated);
    }

    fn negated(&mut self, expr: &Ref<Expr>, front: &mut Vec<String>) -> String {
        match expr.as_ref() {
            Expr::BoolExpr { op: BoolOp::Eq, lhs, rhs, .. } => {
                format!("{} == {}", self.side(lhs, front), self.side(rhs, front))
            }
            Expr::AssignExpr { op: AssignOp::Eq, lhs, rhs, .. } => {
                format!("{} = {}", self.side(lhs, front), self.side(rhs, front))
            }
            Expr::BoolExpr { op, lhs, rhs, .. } => {
                let op = super::comparison(op);
                format!("{} {op} {}", self.part(lhs, front), self.part(rhs, front))
            }
            Expr::Membership { key, value, collection, .. } => {
                let key = key.as_ref().map(|key| format!("{}, ", self.part(key, front)));
                let value = self.part(value, front);
                format!("{}{value} in {}", key.unwrap_or_default(), self.part(collection, front))
            }
            Expr::Call { fcn, params, .. } => {
                let name = self.apart(|writer| writer.expr(fcn));
                format!("{name}({})", self.parts(params, front))
            }
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => {
                self.reference(expr, front)
            }
            _ => self.part(expr, front),
        }
    }

    /// A side of a comparison: a reference may be undefined.
    fn side(&mut self, expr: &Ref<Expr>, front: &mut Vec<String>) -> String {
        match expr.as_ref() {
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => {
                self.reference(expr, front)
            }
            _ => self.part(expr, front),
        }
    }

    /// A reference, with the parts that stand in its brackets.
    fn reference(&mut self, expr: &Ref<Expr>, front: &mut Vec<String>) -> String {
        match expr.as_ref() {
            Expr::RefDot { refr, field, .. } => {
                format!("{}.{}", self.reference(refr, front), field.0.text())
            }
            Expr::RefBrack { refr, index, .. } => {
                let base = self.reference(refr, front);
                format!("{base}[{}]", self.part(index, front))
            }
            Expr::Var { .. } => self.apart(|writer| writer.expr(expr)),
            _ => self.part(expr, front),
        }
    }

    fn parts(&mut self, items: &[Ref<Expr>], front: &mut Vec<String>) -> String {
        let parts: Vec<String> = items.iter().map(|item| self.part(item, front)).collect();
        parts.join(", ")
    }

    /// What has to be defined: a name that `front` gives its value, if it may not be.
    fn part(&mut self, expr: &Ref<Expr>, front: &mut Vec<String>) -> String {
        match expr.as_ref() {
            Expr::ArrayCompr { .. } | Expr::SetCompr { .. } | Expr::ObjectCompr { .. } => {
                self.apart(|writer| writer.expr(expr))
            }
            Expr::Array { items, .. } => format!("[{}]", self.parts(items, front)),
            Expr::Set { items, .. } if !items.is_empty() => {
                format!("{{{}}}", self.parts(items, front))
            }
            Expr::Set { .. } => "set()".to_owned(),
            Expr::Object { fields, .. } => {
                let mut members = Vec::new();
                for (_, key, value) in fields {
                    members.push(format!("{}: {}", self.part(key, front), self.part(value, front)));
                }
                format!("{{{}}}", members.join(", "))
            }
            Expr::UnaryExpr { expr: inner, .. } if constant(inner).is_some() => {
                self.apart(|writer| writer.expr(expr))
            }
            _ => self.named(expr, front),
        }
    }
}
