//! The load gate: what the bytecode does not do, or would do differently from OPA, is
//! refused before anything compiles, with file, line and column.
//!
//! Invariant: the call graph of what is admitted has no cycle; every call names a rule, or
//! a builtin of the table; no reference leads to a document that several rules make.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Literal, LiteralStmt, Module, Ref, Rule, RuleHead, Span};

use crate::builtins;
use crate::finding::Finding;
use crate::input;
use crate::names::{Chain, Group, Kind, Names, Path, Step, Target, literal};
use crate::patterns;
use crate::reads::Reads;
use crate::walk::{self, Visit};

/// The bytecode passes no more arguments than this, and drops the rest.
const MOST_ARGUMENTS: usize = 8;

/// Checks everything; what the policy reads of `input` when nothing was found.
pub(crate) fn admit(
    modules: &[Module],
    names: &Names<'_>,
    data: &serde_json::Value,
    query: &[String],
) -> Result<Reads, Vec<Finding>> {
    let mut found = Vec::new();
    entry(names, query, &mut found);
    match every_rule(modules, names, data) {
        Ok(reads) if found.is_empty() => Ok(reads),
        Ok(_) => Err(found),
        Err(more) => {
            found.extend(more);
            found.sort();
            found.dedup();
            Err(found)
        }
    }
}

/// The same without a rule that decides.
pub(crate) fn every_rule(
    modules: &[Module],
    names: &Names<'_>,
    data: &serde_json::Value,
) -> Result<Reads, Vec<Finding>> {
    let mut found = Vec::new();
    let mut calls: BTreeMap<Path, BTreeSet<Path>> = BTreeMap::new();
    let mut all = Reads::default();
    for (path, group) in &names.rules {
        shape(path, group, &mut found);
        for definition in group.definitions.iter().chain(&group.defaults) {
            let module = definition.module;
            patterns::check(definition.rule, &mut found);
            let mut inside = Inside::new(names, module, &mut found);
            walk::rule(&mut inside, definition.rule);
            let Inside { reads, calls: called, .. } = inside;
            calls.entry(path.clone()).or_default().extend(called);
            reads.iter().for_each(|path| all.add(path));
        }
        if let Some(message) = overlap(path, data) {
            let at = group.definitions.iter().chain(&group.defaults).next();
            found.extend(at.map(|one| Finding::at(one.rule.span(), message)));
        }
    }
    imports(modules, names, &mut found);
    recursion(names, &calls, &mut found);
    found.sort();
    found.dedup();
    if found.is_empty() { Ok(all) } else { Err(found) }
}

fn entry(names: &Names<'_>, query: &[String], found: &mut Vec<Finding>) {
    let shown = query.join(".");
    match names.rules.get(query).map(|group| group.kind) {
        None => found.push(Finding::whole(format!("query: no rule {shown}"))),
        Some(Some(Kind::Function | Kind::Set)) => {
            let group = names.rules.get(query);
            let at = group.and_then(|group| group.definitions.first());
            let message = format!("query: {shown} is no rule that makes a value");
            found.extend(at.map(|one| Finding::at(one.rule.span(), message)));
        }
        Some(Some(Kind::Complete | Kind::Object) | None) => {}
    }
}

/// What a rule's definitions have to be like.
fn shape(path: &[String], group: &Group<'_>, found: &mut Vec<Finding>) {
    let name = path.last().map_or("", String::as_str);
    for default in &group.defaults {
        let Rule::Default { span, args, value, .. } = default.rule else { continue };
        if !args.is_empty() || group.kind == Some(Kind::Function) {
            found.push(Finding::at(
                span,
                format!("default of a function ({name}) is not supported: end it with else"),
            ));
        }
        if matches!(group.kind, Some(Kind::Set | Kind::Object)) {
            found.push(Finding::at(
                span,
                format!("{name} makes a set or an object: it has no default"),
            ));
        }
        if !is_constant(value) {
            found.push(Finding::at(value.span(), "expected a constant as a default"));
        }
    }
    if let [_, second, ..] = group.defaults.as_slice() {
        found.push(Finding::at(second.rule.span(), format!("{name} has a default already")));
    }
    for definition in &group.definitions {
        let Rule::Spec { head, bodies, span } = definition.rule else { continue };
        if bodies.iter().skip(1).any(|body| !body.is_else) {
            found.push(Finding::at(span, "a rule may have one body, and else"));
        }
        if bodies.len() > 1 && matches!(group.kind, Some(Kind::Set | Kind::Object)) {
            found.push(Finding::at(span, "else is for rules that make a value, and functions"));
        }
        if let RuleHead::Func { args, .. } = head
            && args.len() > MOST_ARGUMENTS
        {
            found.push(Finding::at(span, "expected at most 8 parameters"));
        }
    }
}

fn is_constant(expr: &Ref<Expr>) -> bool {
    match expr.as_ref() {
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. } => true,
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().all(is_constant),
        Expr::Object { fields, .. } => {
            fields.iter().all(|(_, key, value)| is_constant(key) && is_constant(value))
        }
        Expr::UnaryExpr { expr, .. } => is_constant(expr),
        _ => false,
    }
}

/// Data where a rule stands, or a value where a package goes through.
fn overlap(path: &[String], data: &serde_json::Value) -> Option<String> {
    let mut at = data;
    for part in path.get(1..)? {
        at = match at {
            serde_json::Value::Object(map) => map.get(part)?,
            _ => break,
        };
    }
    Some(format!("data has a value at {} or above it, where this rule stands", path.join(".")))
}

/// A local variable with an import's name would be taken for the import.
fn imports(modules: &[Module], names: &Names<'_>, found: &mut Vec<Finding>) {
    for (module, scope) in modules.iter().zip(&names.scopes) {
        let mut visit = Declared(Vec::new());
        module.policy.iter().for_each(|rule| {
            if let Rule::Spec { head: RuleHead::Func { args, .. }, .. } = rule.as_ref() {
                args.iter().for_each(|arg| visit.pattern(arg));
            }
            walk::rule(&mut visit, rule);
        });
        let taken = |span: &&Span| {
            scope.imports.contains_key(span.text()) || ["input", "data"].contains(&span.text())
        };
        found.extend(visit.0.iter().filter(taken).map(|span| {
            Finding::at(span, format!("variable {} has the name of an import", span.text()))
        }));
        let rule = |span: &&Span| {
            let name = span.text().to_owned();
            let path: Path = scope.package.iter().cloned().chain([name]).collect();
            names.rules.contains_key(&path)
        };
        found.extend(visit.0.iter().filter(rule).map(|span| {
            Finding::at(span, format!("variable {} has the name of a rule", span.text()))
        }));
    }
}

/// Variables that are declared.
struct Declared(Vec<Span>);

impl Declared {
    fn pattern(&mut self, expr: &Ref<Expr>) {
        struct Vars<'a>(&'a mut Vec<Span>);
        impl Visit for Vars<'_> {
            fn expr(&mut self, expr: &Ref<Expr>) {
                if let Expr::Var { span, .. } = expr.as_ref() {
                    self.0.push(span.clone());
                }
            }
        }
        walk::expr(&mut Vars(&mut self.0), expr);
    }
}

impl Visit for Declared {
    fn expr(&mut self, expr: &Ref<Expr>) {
        if let Expr::AssignExpr { op: regorus::unstable::AssignOp::ColEq, lhs, .. } = expr.as_ref()
        {
            self.pattern(lhs);
        }
    }

    fn stmt(&mut self, stmt: &LiteralStmt) {
        match &stmt.literal {
            Literal::SomeVars { vars, .. } => self.0.extend(vars.iter().cloned()),
            Literal::SomeIn { key, value, .. } => {
                key.iter().chain([value]).for_each(|one| self.pattern(one));
            }
            Literal::Every { key, value, .. } => {
                self.0.extend(key.iter().chain([value]).cloned());
            }
            Literal::Expr { .. } | Literal::NotExpr { .. } => {}
        }
    }
}

/// Rules that call each other in a circle; each circle once.
fn recursion(names: &Names<'_>, calls: &BTreeMap<Path, BTreeSet<Path>>, found: &mut Vec<Finding>) {
    let mut done: BTreeSet<&Path> = BTreeSet::new();
    for start in names.rules.keys() {
        // Depth first with a list of its own: a policy may be a thousand rules deep.
        let mut trail: Vec<(&Path, Vec<&Path>)> = vec![(start, next(calls, start))];
        while let Some((path, rest)) = trail.last_mut() {
            let Some(to) = rest.pop() else {
                done.insert(path);
                trail.pop();
                continue;
            };
            if let Some(at) = trail.iter().position(|(path, _)| *path == to) {
                let circle = trail.iter().skip(at).map(|(path, _)| path.join("."));
                let shown: Vec<String> = circle.chain([to.join(".")]).collect();
                found.extend(circular(names, to, &shown.join(" -> ")));
                return;
            }
            if !done.contains(to) {
                trail.push((to, next(calls, to)));
            }
        }
    }
}

fn next<'a>(calls: &'a BTreeMap<Path, BTreeSet<Path>>, path: &Path) -> Vec<&'a Path> {
    calls.get(path).into_iter().flatten().collect()
}

fn circular(names: &Names<'_>, path: &Path, circle: &str) -> Option<Finding> {
    let group = names.rules.get(path)?;
    let first = group.definitions.iter().chain(&group.defaults).next()?;
    Some(Finding::at(first.rule.span(), format!("recursion: {circle}")))
}

/// What stands in a rule.
struct Inside<'a> {
    names: &'a Names<'a>,
    module: usize,
    found: &'a mut Vec<Finding>,
    reads: Vec<Path>,
    calls: BTreeSet<Path>,
    /// References inside of longer ones, which were seen as part of those.
    seen: BTreeSet<u32>,
    /// Variables in sight.
    locals: Vec<Vec<String>>,
}

impl<'a> Inside<'a> {
    fn new(names: &'a Names<'a>, module: usize, found: &'a mut Vec<Finding>) -> Self {
        Self {
            names,
            module,
            found,
            reads: Vec::new(),
            calls: BTreeSet::new(),
            seen: BTreeSet::new(),
            locals: Vec::new(),
        }
    }

    fn note(&mut self, span: &Span, message: impl Into<String>) {
        self.found.push(Finding::at(span, message));
    }

    fn reference(&mut self, expr: &Ref<Expr>) {
        if self.seen.contains(&expr.eidx()) {
            return;
        }
        let chain = Chain::of(expr);
        self.see(expr);
        if self.is_local(&chain) {
            return;
        }
        match self.names.target(self.module, &chain) {
            Target::Input(path) => self.input(expr.span(), path),
            Target::Rule(path) => {
                let group = self.names.rules.get(&path);
                if group.is_some_and(|group| group.kind == Some(Kind::Function)) {
                    self.note(expr.span(), "a function is named and not called");
                }
                self.calls.insert(path);
            }
            Target::Package(path) => {
                let path = path.join(".");
                self.note(
                    expr.span(),
                    format!("{path} is a package: name one of its rules, without variables"),
                );
            }
            Target::Data(path) if path.len() == 1 => {
                self.note(expr.span(), "data as a whole: name a document in it");
            }
            Target::Data(_) | Target::Local => {}
        }
    }

    /// This reference is known, with those that it begins with.
    fn see(&mut self, expr: &Ref<Expr>) {
        let mut inner = expr;
        self.seen.insert(inner.eidx());
        while let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = inner.as_ref() {
            self.seen.insert(refr.eidx());
            inner = refr;
        }
    }

    fn is_local(&self, chain: &Chain<'_>) -> bool {
        chain.name().is_some_and(|name| self.locals.iter().flatten().any(|one| one == name))
    }

    /// `object.get(input…, "a", …)` and `object.get(input…, ["a", "b"], …)` read `input….a.b`.
    fn lookup(&mut self, object: &Ref<Expr>, key: &Ref<Expr>) {
        let chain = Chain::of(object);
        let whole = chain.steps.iter().all(|step| matches!(step, Step::Field(_)));
        if !whole || self.is_local(&chain) {
            return;
        }
        let Target::Input(mut path) = self.names.target(self.module, &chain) else { return };
        match key.as_ref() {
            Expr::Array { items, .. } => path.extend(items.iter().map_while(literal)),
            _ => path.extend(literal(key)),
        }
        self.see(object);
        self.input(object.span(), path);
    }

    fn input(&mut self, span: &Span, path: Path) {
        if let Some(missing) = input::missing(&path) {
            self.note(span, missing);
        }
        self.reads.push(path);
    }

    fn call(&mut self, name: &Ref<Expr>, params: &[Ref<Expr>]) {
        let span = &Chain::of(name).root.span().clone();
        if let Some(path) = self.names.function(self.module, name) {
            self.calls.insert(path);
            if params.len() > MOST_ARGUMENTS {
                self.note(span, "expected at most 8 arguments");
            }
            return;
        }
        let shown = name.span().text().to_owned();
        let Some(arity) = builtins::arity(&shown) else {
            let why = builtins::why_not(&shown).unwrap_or("no rule and no builtin has this name");
            return self.note(span, format!("{shown}: {why}"));
        };
        if params.len() != arity {
            return self.note(span, format!("{shown}: expected {arity} arguments"));
        }
        if let ("sprintf", [format, args]) = (shown.as_str(), params) {
            self.sprintf(format, args);
        }
        if let ("object.get", [object, key, _]) = (shown.as_str(), params) {
            self.lookup(object, key);
        }
    }

    /// What is formatted otherwise than Go does it is refused.
    fn sprintf(&mut self, format: &Ref<Expr>, args: &Ref<Expr>) {
        let verbs = literal(format).as_deref().and_then(builtins::verbs);
        let Some(verbs) = verbs else {
            let expected = "sprintf: expected a literal format with %s, %d, %v and %% only";
            return self.note(format.span(), expected);
        };
        let count = match args.as_ref() {
            Expr::Array { items, .. } => Some(items.len()),
            _ => None,
        };
        if count != Some(verbs) {
            self.note(args.span(), format!("sprintf: expected an array of {verbs} values here"));
        }
    }
}

impl Visit for Inside<'_> {
    fn enter(&mut self, names: Vec<String>) {
        self.locals.push(names);
    }

    fn leave(&mut self) {
        self.locals.pop();
    }

    fn expr(&mut self, expr: &Ref<Expr>) {
        match expr.as_ref() {
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.reference(expr),
            Expr::Call { fcn, params, .. } => self.call(fcn, params),
            Expr::ArithExpr { lhs, rhs, .. } => {
                for side in [lhs, rhs] {
                    if is_fraction(side) {
                        let message = "arithmetic on fractions: OPA computes in decimal, this \
                                       engine in binary";
                        self.note(side.span(), message);
                    }
                }
            }
            _ => {}
        }
    }

    fn stmt(&mut self, stmt: &LiteralStmt) {
        if let Some(with) = stmt.with_mods.first() {
            self.note(&with.span, "with is for tests: it is not supported in a gate's policy");
        }
    }
}

fn is_fraction(expr: &Ref<Expr>) -> bool {
    matches!(expr.as_ref(), Expr::Number { span, .. } if span.text().contains(['.', 'e', 'E']))
}

/// Only what would overflow a stack: for the interpreter, which knows the rest.
pub(crate) fn recursion_only(names: &Names<'_>) -> Result<(), Vec<Finding>> {
    let mut found = Vec::new();
    let mut calls: BTreeMap<Path, BTreeSet<Path>> = BTreeMap::new();
    for (path, group) in &names.rules {
        for definition in group.definitions.iter().chain(&group.defaults) {
            let mut ignored = Vec::new();
            let mut inside = Inside::new(names, definition.module, &mut ignored);
            walk::rule(&mut inside, definition.rule);
            let called = inside.calls;
            calls.entry(path.clone()).or_default().extend(called);
        }
    }
    recursion(names, &calls, &mut found);
    if found.is_empty() { Ok(()) } else { Err(found) }
}
