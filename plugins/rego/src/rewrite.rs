//! Writes admitted modules anew, in the form that the bytecode compiler takes, with the same
//! meaning, and so that contradictions are noticed which the bytecode would pass over.
//!
//! - An import's name becomes what it stands for.
//! - A key that is a constant (`headers["x"] := …`, `result.allowed := …`) becomes an
//!   expression, since the compiler takes no constants there.
//! - Where a rule could have two values, each value passes through `postern.one`, which
//!   notices a second one: OPA calls that a conflict, the bytecode takes one of them.
//! - A value, key or term that may be undefined is computed where its body ends, as in OPA: the
//!   bytecode would take undefined for a value.
//! - Behind `not`, what has to be defined is computed in front.
//! - The values of a body are gathered into an array, whose first element is the value, where
//!   the bytecode would pass over an `else` or notice a value before the body holds.
//! - Where a body has parts that may be passed over, `input` and `data` stand in front of it.
//! - What `every` goes through is given a name in its body, as if it were assigned there.
//! - An object comprehension becomes `postern.object` of its pairs, for the same reason.
//!
//! The text is written from the tree, since the parser's spans do not always cover what
//! they stand for. Invariant: a rule stands on the line on which it was written.

use regorus::unstable::{
    ArithOp, AssignOp, BinOp, BoolOp, Expr, Literal, LiteralStmt, Module, Query, Ref, Rule,
    RuleBody, RuleHead, Span,
};

use crate::names::{Chain, Definition, Group, Names, Path};
use crate::patterns;

mod conflicts;
mod negation;
mod parts;

use conflicts::constant;

/// The modules' texts, rewritten.
pub(crate) fn rewrite(modules: &[Module], names: &Names<'_>, watch: bool) -> Vec<(String, String)> {
    let modules = modules.iter().enumerate();
    modules.map(|(index, module)| text(index, module, names, watch)).collect()
}

fn text(index: usize, module: &Module, names: &Names<'_>, watch: bool) -> (String, String) {
    let package: Path =
        names.scopes.get(index).map(|scope| scope.package.clone()).unwrap_or_default();
    let name = dotted(package.get(1..).unwrap_or_default());
    let mut out = format!("package {name}\nimport rego.v1");
    let (mut line, mut made) = (2_u32, 0);
    for rule in &module.policy {
        out.push('\n');
        line = line.saturating_add(1);
        while line < rule.span().line {
            out.push('\n');
            line = line.saturating_add(1);
        }
        let mut writer = Writer { names, module: index, package: &package, out, made, watch };
        writer.rule(rule);
        (out, made) = (writer.out, writer.made);
    }
    out.push('\n');
    (module.package.span.source.file().clone(), out)
}

/// Writes one module.
struct Writer<'a> {
    names: &'a Names<'a>,
    module: usize,
    package: &'a Path,
    out: String,
    /// Variables that were made up.
    made: u32,
    /// Whether contradictions are to be noticed: the interpreter notices them itself.
    watch: bool,
}

/// How the values of a definition are written.
struct Watch {
    /// What `postern.one` takes before each value; `None` when no second value is possible.
    call: Option<String>,
    /// Statements that end the first body.
    tail: Vec<String>,
    /// The value that the first body gives, and the name of the rule's, where they are two.
    gathered: Option<Gathered>,
}

/// A body whose values are gathered into an array: each of them, what takes the array where
/// contradictions are to be noticed, and the rule's value.
#[derive(Clone)]
struct Gathered {
    inner: String,
    call: Option<String>,
    outer: String,
}

impl Writer<'_> {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn rule(&mut self, rule: &Rule) {
        match rule {
            Rule::Default { refr, value, .. } => {
                self.put("default ");
                self.expr(refr);
                self.put(" := ");
                self.expr(value);
            }
            Rule::Spec { head, bodies, .. } => {
                let definition = Definition { module: self.module, rule };
                let watch = self.head(definition, head, self.gathers(definition, bodies, 0));
                if bodies.is_empty() && !watch.tail.is_empty() {
                    self.braced(" if ", |writer| writer.put(&watch.tail.join("; ")));
                }
                for (index, body) in bodies.iter().enumerate() {
                    self.body(index, body, &watch, self.gathers(definition, bodies, index));
                }
            }
        }
    }

    fn group(&self, name: &str) -> Option<(Path, &Group<'_>)> {
        let path: Path = self.package.iter().cloned().chain([name.to_owned()]).collect();
        self.names.rules.get(&path).map(|group| (path, group))
    }

    fn may_conflict(&self, rule: &Rule) -> bool {
        let Rule::Spec { head, .. } = rule else { return false };
        let (RuleHead::Compr { refr, .. }
        | RuleHead::Set { refr, .. }
        | RuleHead::Func { refr, .. }) = head;
        let name = Chain::of(refr).name().unwrap_or_default();
        self.group(name).is_some_and(|(_, group)| group.may_conflict())
    }

    /// Whether this body's values are gathered: it iterates and has an `else` behind it, which
    /// the bytecode would pass over when no round holds; or it binds names, for which the
    /// compiler moves statements, and a value must not be noticed before the body holds.
    fn gathers(&self, definition: Definition<'_>, bodies: &[RuleBody], index: usize) -> bool {
        let Some(body) = bodies.get(index).filter(|_| self.watch) else { return false };
        let more = index.saturating_add(1) < bodies.len();
        let value = if index == 0 { definition.value() } else { body.assign.as_ref() };
        let loops = conflicts::loops(&body.query)
            || value.is_some_and(|assign| conflicts::loops_in(&assign.value));
        let watched = definition.has_one_key() && self.may_conflict(definition.rule);
        more && loops || watched && conflicts::binds(&body.query)
    }

    fn head(&mut self, definition: Definition<'_>, head: &RuleHead, gather: bool) -> Watch {
        let (RuleHead::Compr { refr, .. }
        | RuleHead::Set { refr, .. }
        | RuleHead::Func { refr, .. }) = head;
        let name = Chain::of(refr).name().unwrap_or_default();
        let watched = self.group(name).filter(|(_, group)| self.watch && group.may_conflict());
        let id = watched.map(|(path, _)| serde_json::json!(path.join(".")).to_string());
        self.put(name);
        let mut tail = Vec::new();
        let (key, assign) = match head {
            RuleHead::Set { key, .. } => {
                if let Some(key) = key {
                    let key = self.named(key, &mut tail);
                    self.put(&format!(" contains {key}"));
                }
                return Watch { call: None, tail, gathered: None };
            }
            RuleHead::Compr { refr, assign, .. } => (self.key(definition, refr, &mut tail), assign),
            RuleHead::Func { args, assign, .. } => (self.arguments(args), assign),
        };
        let call = id.map(|id| format!("{id}, {key}, "));
        let value = assign.as_ref().map(|assign| &assign.value);
        let gathered = self.value(value, call.as_deref(), &mut tail, gather);
        Watch { call, tail, gathered }
    }

    /// Writes the key of a partial object; gives it as an expression of its own.
    fn key(
        &mut self,
        definition: Definition<'_>,
        refr: &Ref<Expr>,
        tail: &mut Vec<String>,
    ) -> String {
        let key = match (definition.constant_key(), refr.as_ref()) {
            (Some(key), _) => {
                // The compiler takes no constants here.
                self.put(&format!("[[{key}][0]]"));
                return key;
            }
            (None, Expr::RefBrack { index, .. }) => self.named(index, tail),
            (None, _) => return "[]".to_owned(),
        };
        self.put(&format!("[{key}]"));
        key
    }

    /// The expression, or a variable that `tail` gives its value: OPA, too, computes what a
    /// head needs in the body, so that undefined is no value.
    fn named(&mut self, expr: &Ref<Expr>, tail: &mut Vec<String>) -> String {
        let text = self.apart(|writer| writer.expr(expr));
        if self.is_defined(expr) {
            return text;
        }
        let name = self.name();
        tail.push(format!("{name} := {text}; type_name({name})"));
        name
    }

    /// A variable of a body, or a literal.
    fn is_defined(&self, expr: &Ref<Expr>) -> bool {
        match expr.as_ref() {
            Expr::Var { span, .. } => {
                let scope = self.names.scopes.get(self.module);
                let import = scope.is_some_and(|scope| scope.imports.contains_key(span.text()));
                let root = ["input", "data", "_"].contains(&span.text());
                !import && !root && self.group(span.text()).is_none()
            }
            _ => constant(expr).is_some(),
        }
    }

    /// Writes a value; a definition without one has the value true.
    fn value(
        &mut self,
        value: Option<&Ref<Expr>>,
        call: Option<&str>,
        tail: &mut Vec<String>,
        gather: bool,
    ) -> Option<Gathered> {
        let text = value.map(|value| self.named(value, tail));
        if gather {
            let (call, outer) = (call.map(str::to_owned), self.name());
            self.put(&format!(" := {outer}"));
            return Some(Gathered { inner: text.unwrap_or_else(|| "true".into()), call, outer });
        }
        let inner = match call {
            None => text,
            Some(call) => {
                let name = self.name();
                let value = text.as_deref().unwrap_or("true");
                tail.push(format!("{name} := postern.one({call}{value})"));
                Some(name)
            }
        };
        if let Some(inner) = inner {
            self.put(&format!(" := {inner}"));
        }
        None
    }

    /// Writes parameters, with a name for each `_`; gives them as an array.
    fn arguments(&mut self, args: &[Ref<Expr>]) -> String {
        let mut named = Vec::new();
        for arg in args {
            let text = self.apart(|writer| writer.expr(arg));
            let nameless = matches!(arg.as_ref(), Expr::Var { span, .. } if span.text() == "_");
            named.push(if nameless { format!("__postern_{}", named.len()) } else { text });
        }
        let named = named.join(", ");
        self.put(&format!("({named})"));
        format!("[{named}]")
    }

    /// What `write` writes, by itself.
    fn apart(&mut self, write: impl FnOnce(&mut Self)) -> String {
        let before = std::mem::take(&mut self.out);
        write(self);
        std::mem::replace(&mut self.out, before)
    }

    fn body(&mut self, index: usize, body: &RuleBody, watch: &Watch, gather: bool) {
        let (mut tail, mut gathered) = (watch.tail.clone(), watch.gathered.clone());
        if index > 0 {
            tail.clear();
            self.put(" else");
            let value = body.assign.as_ref().map(|assign| &assign.value);
            gathered = self.value(value, watch.call.as_deref(), &mut tail, gather);
        }
        if body.query.stmts.is_empty() && tail.is_empty() {
            return;
        }
        self.braced(" if ", |writer| writer.statements(&body.query, &tail, gathered));
    }

    /// What a body says, and what its value needs behind it.
    fn statements(&mut self, query: &Query, tail: &[String], gathered: Option<Gathered>) {
        let list = gathered.as_ref().map(|_| self.name()).unwrap_or_default();
        if let Some(Gathered { inner, .. }) = &gathered {
            self.put(&format!("{list} := [{inner} | "));
        }
        self.stmts(query);
        if !query.stmts.is_empty() && !tail.is_empty() {
            self.put("; ");
        }
        self.put(&tail.join("; "));
        if let Some(Gathered { call, outer, .. }) = &gathered {
            let first = match call {
                Some(call) => format!("postern.all({call}{list})"),
                None => format!("{list}[0]"),
            };
            self.put(&format!("]; count({list}) > 0; {outer} := {first}"));
        }
    }

    fn stmts(&mut self, query: &Query) {
        for (index, stmt) in query.stmts.iter().enumerate() {
            if index > 0 {
                self.put("; ");
            }
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &LiteralStmt) {
        if stmt.with_mods.is_empty() {
            return self.literal(stmt, true);
        }
        // Only in tests, which run on the interpreter.
        self.literal(stmt, false);
        for with in &stmt.with_mods {
            self.put(" with ");
            self.expr(&with.refr);
            self.put(" as ");
            self.expr(&with.r#as);
        }
    }

    fn literal(&mut self, stmt: &LiteralStmt, guard: bool) {
        match &stmt.literal {
            Literal::SomeVars { vars, .. } => {
                let names: Vec<&str> = vars.iter().map(|var| var.text()).collect();
                self.put(&format!("some {}", names.join(", ")));
            }
            Literal::SomeIn { key, value, collection, .. } => {
                self.put("some ");
                self.pair(key.as_ref(), value);
                self.put(" in ");
                self.expr(collection);
            }
            Literal::Expr { expr, .. } => match expr.as_ref() {
                Expr::AssignExpr { op: AssignOp::ColEq, lhs, rhs, .. } if guard => {
                    self.assign(lhs, rhs);
                }
                _ => self.top(expr),
            },
            Literal::NotExpr { expr, .. } if guard => self.negation(expr),
            Literal::NotExpr { expr, .. } => {
                self.put("not ");
                self.top(expr);
            }
            Literal::Every { key, value, domain, query, .. } => {
                self.every(key.as_ref().map(Span::text), value.text(), domain, query);
            }
        }
    }

    /// The bytecode goes on when what is assigned is undefined; a call of it does not.
    fn assign(&mut self, lhs: &Ref<Expr>, rhs: &Ref<Expr>) {
        if let Some(names) = patterns::flat(lhs) {
            return self.elements(&names, rhs);
        }
        if self.is_defined(rhs) {
            return self.infix(lhs, ":=", rhs);
        }
        let name = self.name();
        self.put(&format!("{name} := "));
        self.expr(rhs);
        self.put(&format!("; type_name({name}); "));
        self.expr(lhs);
        self.put(&format!(" := {name}"));
    }

    /// `[a, b] := rhs`: the bytecode passes over a value of another type or length.
    fn elements(&mut self, names: &[&str], rhs: &Ref<Expr>) {
        let (list, length) = (self.name(), names.len());
        self.put(&format!("{list} := "));
        self.expr(rhs);
        self.put(&format!("; is_array({list}); count({list}) == {length}"));
        for (index, name) in names.iter().enumerate().filter(|(_, name)| **name != "_") {
            self.put(&format!("; {name} := {list}[{index}]"));
        }
    }

    fn pair(&mut self, key: Option<&Ref<Expr>>, value: &Ref<Expr>) {
        if let Some(key) = key {
            self.expr(key);
            self.put(", ");
        }
        self.expr(value);
    }

    /// An expression as a statement: without the brackets that it needs inside of another.
    fn top(&mut self, expr: &Ref<Expr>) {
        match expr.as_ref() {
            Expr::BoolExpr { op, lhs, rhs, .. } => self.infix(lhs, comparison(op), rhs),
            Expr::AssignExpr { op, lhs, rhs, .. } => self.infix(lhs, assignment(op), rhs),
            Expr::Membership { key, value, collection, .. } => {
                self.pair(key.as_ref(), value);
                self.put(" in ");
                self.expr(collection);
            }
            _ => self.expr(expr),
        }
    }

    fn infix(&mut self, lhs: &Ref<Expr>, op: &str, rhs: &Ref<Expr>) {
        self.expr(lhs);
        self.put(&format!(" {op} "));
        self.expr(rhs);
    }

    fn list(&mut self, items: &[Ref<Expr>]) {
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.put(", ");
            }
            self.expr(item);
        }
    }

    fn around(&mut self, open: &str, close: &str, inside: impl FnOnce(&mut Self)) {
        self.put(open);
        inside(self);
        self.put(close);
    }

    fn var(&mut self, name: &str) {
        let scope = self.names.scopes.get(self.module);
        match scope.and_then(|scope| scope.imports.get(name)) {
            Some(path) => self.put(&dotted(path)),
            None => self.put(name),
        }
    }

    fn expr(&mut self, expr: &Ref<Expr>) {
        match expr.as_ref() {
            Expr::Var { span, .. } => self.var(span.text()),
            Expr::RefDot { refr, field, .. } => {
                self.expr(refr);
                self.put(".");
                self.put(field.0.text());
            }
            Expr::RefBrack { refr, index, .. } => {
                self.expr(refr);
                self.around("[", "]", |writer| writer.expr(index));
            }
            Expr::Call { fcn, params, .. } => {
                self.expr(fcn);
                self.around("(", ")", |writer| writer.list(params));
            }
            Expr::UnaryExpr { expr, .. } => {
                self.put("-");
                self.expr(expr);
            }
            Expr::BinExpr { op, lhs, rhs, .. } => {
                let op = if *op == BinOp::Union { "|" } else { "&" };
                self.around("(", ")", |writer| writer.infix(lhs, op, rhs));
            }
            Expr::ArithExpr { op, lhs, rhs, .. } => {
                self.around("(", ")", |writer| writer.infix(lhs, arithmetic(op), rhs));
            }
            Expr::BoolExpr { .. } | Expr::AssignExpr { .. } | Expr::Membership { .. } => {
                self.around("(", ")", |writer| writer.top(expr));
            }
            _ => self.term(expr),
        }
    }

    fn term(&mut self, expr: &Ref<Expr>) {
        match expr.as_ref() {
            Expr::Array { items, .. } => self.around("[", "]", |writer| writer.list(items)),
            Expr::Set { items, .. } if items.is_empty() => self.put("set()"),
            Expr::Set { items, .. } => self.around("{", "}", |writer| writer.list(items)),
            Expr::Object { fields, .. } => self.around("{", "}", |writer| {
                for (index, (_, key, value)) in fields.iter().enumerate() {
                    if index > 0 {
                        writer.put(", ");
                    }
                    writer.infix(key, ":", value);
                }
            }),
            Expr::ArrayCompr { term, query, .. } => {
                self.around("[", "]", |writer| writer.comprehension(&[term], query));
            }
            Expr::SetCompr { term, query, .. } => {
                self.around("{", "}", |writer| writer.comprehension(&[term], query));
            }
            Expr::ObjectCompr { key, value, query, .. } => {
                self.around("postern.object([", "])", |writer| {
                    writer.comprehension(&[key, value], query);
                });
            }
            _ => {
                if let Some(text) = constant(expr) {
                    self.put(&text);
                }
            }
        }
    }

    /// A term that may be undefined gets a name in the query: the bytecode would take
    /// undefined for a value.
    fn comprehension(&mut self, terms: &[&Ref<Expr>], query: &Query) {
        let terms: Vec<Ref<Expr>> = terms.iter().map(|term| (*term).clone()).collect();
        let term = self.apart(|writer| match terms.as_slice() {
            [one] => writer.expr(one),
            pair => writer.around("[", "]", |writer| writer.list(pair)),
        });
        if terms.iter().all(|term| self.is_defined(term)) {
            self.put(&format!("{term} | "));
            return self.stmts(query);
        }
        let name = self.name();
        self.put(&format!("{name} | "));
        self.stmts(query);
        self.put(&format!("; {name} := {term}; type_name({name})"));
    }

    fn name(&mut self) -> String {
        self.made = self.made.saturating_add(1);
        format!("__postern_v{}", self.made)
    }
}

fn comparison(op: &BoolOp) -> &'static str {
    match op {
        BoolOp::Lt => "<",
        BoolOp::Le => "<=",
        BoolOp::Eq => "==",
        BoolOp::Ge => ">=",
        BoolOp::Gt => ">",
        BoolOp::Ne => "!=",
    }
}

fn assignment(op: &AssignOp) -> &'static str {
    match op {
        AssignOp::Eq => "=",
        AssignOp::ColEq => ":=",
    }
}

fn arithmetic(op: &ArithOp) -> &'static str {
    match op {
        ArithOp::Add => "+",
        ArithOp::Sub => "-",
        ArithOp::Mul => "*",
        ArithOp::Div => "/",
        ArithOp::Mod => "%",
    }
}

/// A path as a reference; a part that is no name stands in brackets.
fn dotted(path: &[String]) -> String {
    let name = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let mut text = String::new();
    for part in path {
        match (text.is_empty(), name(part)) {
            (true, _) => text.push_str(part),
            (false, true) => text.extend([".", part]),
            (false, false) => text.push_str(&format!("[{}]", serde_json::json!(part))),
        }
    }
    text
}
