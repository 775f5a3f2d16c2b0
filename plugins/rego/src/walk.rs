//! Goes through a syntax tree. The parser bounds its depth, so recursion is safe.

use regorus::unstable::{
    AssignOp, Expr, Literal, LiteralStmt, Query, Ref, Rule, RuleBody, RuleHead,
};

/// What is done at each node; a visitor overrides what it needs.
pub(crate) trait Visit {
    /// An expression, before its parts.
    fn expr(&mut self, _: &Ref<Expr>) {}
    /// A statement, before its parts.
    fn stmt(&mut self, _: &LiteralStmt) {}
    /// What follows, up to [`Visit::leave`], may use these variables.
    fn enter(&mut self, _: Vec<String>) {}
    /// The end of it.
    fn leave(&mut self) {}
}

/// Every part of a rule but its head's reference.
pub(crate) fn rule(visit: &mut dyn Visit, rule: &Rule) {
    match rule {
        Rule::Default { value, args, .. } => {
            args.iter().for_each(|arg| expr(visit, arg));
            expr(visit, value);
        }
        Rule::Spec { head, bodies, .. } => {
            let RuleHead::Func { args, .. } = head else {
                return spec(visit, head, bodies);
            };
            visit.enter(args.iter().flat_map(variables).collect());
            spec(visit, head, bodies);
            visit.leave();
        }
    }
}

fn spec(visit: &mut dyn Visit, head: &RuleHead, bodies: &[RuleBody]) {
    // The value of a head is computed where its body ends.
    visit.enter(bodies.iter().take(1).flat_map(|body| declared(&body.query)).collect());
    self::head(visit, head);
    visit.leave();
    for body in bodies {
        visit.enter(declared(&body.query));
        if let Some(assign) = &body.assign {
            expr(visit, &assign.value);
        }
        stmts(visit, &body.query);
        visit.leave();
    }
}

/// Variables that the statements of a query declare.
fn declared(query: &Query) -> Vec<String> {
    let mut names = Vec::new();
    for stmt in &query.stmts {
        match &stmt.literal {
            Literal::SomeVars { vars, .. } => {
                names.extend(vars.iter().map(|var| var.text().to_owned()));
            }
            Literal::SomeIn { key, value, .. } => {
                names.extend(key.iter().chain([value]).flat_map(variables));
            }
            Literal::Expr { expr, .. } => {
                if let Expr::AssignExpr { op: AssignOp::ColEq, lhs, .. } = expr.as_ref() {
                    names.extend(variables(lhs));
                }
            }
            Literal::NotExpr { .. } | Literal::Every { .. } => {}
        }
    }
    names
}

/// Variables of a pattern.
fn variables(pattern: &Ref<Expr>) -> Vec<String> {
    struct Vars(Vec<String>);
    impl Visit for Vars {
        fn expr(&mut self, expr: &Ref<Expr>) {
            if let Expr::Var { span, .. } = expr.as_ref() {
                self.0.push(span.text().to_owned());
            }
        }
    }
    let mut vars = Vars(Vec::new());
    expr(&mut vars, pattern);
    vars.0
}

fn head(visit: &mut dyn Visit, head: &RuleHead) {
    match head {
        RuleHead::Compr { refr, assign, .. } => {
            keys(visit, refr);
            if let Some(assign) = assign {
                expr(visit, &assign.value);
            }
        }
        RuleHead::Set { refr, key, .. } => {
            keys(visit, refr);
            if let Some(key) = key {
                expr(visit, key);
            }
        }
        RuleHead::Func { args, assign, .. } => {
            args.iter().for_each(|arg| expr(visit, arg));
            if let Some(assign) = assign {
                expr(visit, &assign.value);
            }
        }
    }
}

fn keys(visit: &mut dyn Visit, refr: &Ref<Expr>) {
    match refr.as_ref() {
        Expr::RefDot { refr, .. } => keys(visit, refr),
        Expr::RefBrack { refr, index, .. } => {
            keys(visit, refr);
            expr(visit, index);
        }
        _ => {}
    }
}

/// A query and everything in it.
pub(crate) fn query(visit: &mut dyn Visit, query: &Query) {
    visit.enter(declared(query));
    stmts(visit, query);
    visit.leave();
}

fn stmts(visit: &mut dyn Visit, query: &Query) {
    for one in &query.stmts {
        stmt(visit, one);
    }
}

fn stmt(visit: &mut dyn Visit, stmt: &LiteralStmt) {
    visit.stmt(stmt);
    match &stmt.literal {
        Literal::SomeVars { .. } => {}
        Literal::SomeIn { key, value, collection, .. } => {
            if let Some(key) = key {
                expr(visit, key);
            }
            expr(visit, value);
            expr(visit, collection);
        }
        Literal::Expr { expr: one, .. } | Literal::NotExpr { expr: one, .. } => expr(visit, one),
        Literal::Every { key, value, domain, query: body, .. } => {
            expr(visit, domain);
            let names = key.iter().chain([value]).map(|name| name.text().to_owned());
            visit.enter(names.collect());
            query(visit, body);
            visit.leave();
        }
    }
    for with in &stmt.with_mods {
        expr(visit, &with.refr);
        expr(visit, &with.r#as);
    }
}

/// An expression and everything in it.
pub(crate) fn expr(visit: &mut dyn Visit, node: &Ref<Expr>) {
    visit.expr(node);
    match node.as_ref() {
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::Var { .. } => {}
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            items.iter().for_each(|item| expr(visit, item));
        }
        Expr::Object { fields, .. } => fields.iter().for_each(|(_, key, value)| {
            expr(visit, key);
            expr(visit, value);
        }),
        Expr::ArrayCompr { term, query: body, .. } | Expr::SetCompr { term, query: body, .. } => {
            visit.enter(declared(body));
            expr(visit, term);
            stmts(visit, body);
            visit.leave();
        }
        Expr::ObjectCompr { key, value, query: body, .. } => {
            visit.enter(declared(body));
            expr(visit, key);
            expr(visit, value);
            stmts(visit, body);
            visit.leave();
        }
        // The name of a function is no value.
        Expr::Call { params, .. } => params.iter().for_each(|param| expr(visit, param)),
        Expr::UnaryExpr { expr: one, .. } => expr(visit, one),
        Expr::RefDot { refr, .. } => expr(visit, refr),
        Expr::RefBrack { refr, index, .. } => {
            expr(visit, refr);
            expr(visit, index);
        }
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => {
            expr(visit, lhs);
            expr(visit, rhs);
        }
        Expr::Membership { key, value, collection, .. } => {
            if let Some(key) = key {
                expr(visit, key);
            }
            expr(visit, value);
            expr(visit, collection);
        }
    }
}
