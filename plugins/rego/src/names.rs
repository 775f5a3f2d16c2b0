//! Which rules there are, and what a reference means.
//!
//! Owns the resolution of names: imports, rules of the same package, `data` and `input`; which
//! variables are in sight is known to who asks.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Module, Ref, Rule, RuleHead, Span};

use crate::finding::Finding;

/// A path from `data` or `input` on.
pub(crate) type Path = Vec<String>;

/// What a rule makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Complete,
    Set,
    Object,
    Function,
}

impl Kind {
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Complete => "a value",
            Self::Set => "a set",
            Self::Object => "an object",
            Self::Function => "a function",
        }
    }
}

/// One definition of a rule.
#[derive(Clone, Copy)]
pub(crate) struct Definition<'a> {
    pub(crate) module: usize,
    pub(crate) rule: &'a Rule,
}

/// All definitions of one name, in one package.
#[derive(Default)]
pub(crate) struct Group<'a> {
    pub(crate) kind: Option<Kind>,
    pub(crate) definitions: Vec<Definition<'a>>,
    pub(crate) defaults: Vec<Definition<'a>>,
}

/// What names mean in one module.
pub(crate) struct Scope {
    pub(crate) package: Path,
    /// Alias to what it stands for.
    pub(crate) imports: BTreeMap<String, Path>,
}

/// All modules together.
pub(crate) struct Names<'a> {
    pub(crate) scopes: Vec<Scope>,
    pub(crate) rules: BTreeMap<Path, Group<'a>>,
}

/// One step of a reference.
pub(crate) enum Step {
    Field(String),
    /// Something that is not known before a decision.
    Index,
}

/// A reference: what it starts from, and the steps behind.
pub(crate) struct Chain<'a> {
    pub(crate) root: &'a Ref<Expr>,
    pub(crate) steps: Vec<Step>,
}

impl<'a> Chain<'a> {
    pub(crate) fn of(expr: &'a Ref<Expr>) -> Self {
        let mut steps = Vec::new();
        let mut at = expr;
        loop {
            match at.as_ref() {
                Expr::RefDot { refr, field, .. } => {
                    steps.push(Step::Field(field.0.text().to_owned()));
                    at = refr;
                }
                Expr::RefBrack { refr, index, .. } => {
                    let text = literal(index);
                    steps.push(text.map_or(Step::Index, Step::Field));
                    at = refr;
                }
                _ => break,
            }
        }
        steps.reverse();
        Self { root: at, steps }
    }

    /// Name of the variable that it starts from.
    pub(crate) fn name(&self) -> Option<&'a str> {
        match self.root.as_ref() {
            Expr::Var { span, .. } => Some(span.text()),
            _ => None,
        }
    }

    /// The fields before the first step that is not known.
    fn fixed(&self) -> Path {
        let fixed = self.steps.iter().map_while(|step| match step {
            Step::Field(name) => Some(name.clone()),
            Step::Index => None,
        });
        fixed.collect()
    }

    /// All steps, when each is a field.
    pub(crate) fn whole(&self) -> Option<Path> {
        let fixed = self.fixed();
        (fixed.len() == self.steps.len()).then_some(fixed)
    }
}

/// The text of a string literal.
pub(crate) fn literal(expr: &Ref<Expr>) -> Option<String> {
    match expr.as_ref() {
        Expr::String { value, .. } | Expr::RawString { value, .. } => {
            value.as_string().ok().map(|text| text.to_string())
        }
        _ => None,
    }
}

/// Where a reference leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Into `input`, at least as deep as this.
    Input(Path),
    /// To a rule.
    Rule(Path),
    /// To a package or through one: a document that rules make.
    Package(Path),
    /// Into `data` where no rule is.
    Data(Path),
    /// A variable, or what an expression gives.
    Local,
}

impl<'a> Names<'a> {
    pub(crate) fn new(modules: &'a [Module]) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let scopes: Vec<Scope> = modules.iter().map(|one| scope(one, &mut findings)).collect();
        let mut rules: BTreeMap<Path, Group<'_>> = BTreeMap::new();
        for (module, (one, scope)) in modules.iter().zip(&scopes).enumerate() {
            for rule in &one.policy {
                let definition = Definition { module, rule: rule.as_ref() };
                match declared(definition.rule) {
                    Ok((name, kind)) => {
                        let path = scope.package.iter().cloned().chain([name]).collect();
                        let group: &mut Group<'_> = rules.entry(path).or_default();
                        if let Err(finding) = group.add(definition, kind) {
                            findings.push(finding);
                        }
                    }
                    Err(finding) => findings.push(finding),
                }
            }
        }
        if findings.is_empty() { Ok(Self { scopes, rules }) } else { Err(findings) }
    }

    /// Where a reference in this module leads.
    pub(crate) fn target(&self, module: usize, chain: &Chain<'_>) -> Target {
        let (Some(name), Some(scope)) = (chain.name(), self.scopes.get(module)) else {
            return Target::Local;
        };
        let mut path: Path = match name {
            "input" | "data" => vec![name.to_owned()],
            _ => match scope.imports.get(name) {
                Some(path) => path.clone(),
                None => {
                    let path: Path =
                        scope.package.iter().cloned().chain([name.to_owned()]).collect();
                    if !self.rules.contains_key(&path) {
                        return Target::Local;
                    }
                    path
                }
            },
        };
        path.extend(chain.fixed());
        if path.first().is_some_and(|first| first == "input") {
            return Target::Input(path);
        }
        let rule = (1..=path.len()).rev().find_map(|end| {
            let start = path.get(..end)?;
            self.rules.contains_key(start).then(|| start.to_vec())
        });
        if let Some(rule) = rule {
            return Target::Rule(rule);
        }
        let above = self.rules.keys().any(|rule| rule.starts_with(&path));
        if above { Target::Package(path) } else { Target::Data(path) }
    }

    /// Rules that could decide: those that make a value or an object.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Path> {
        let makes = |kind| !matches!(kind, Some(Kind::Function | Kind::Set));
        self.rules.iter().filter(move |(_, group)| makes(group.kind)).map(|(path, _)| path)
    }

    /// The function of ours that a call names, if it is not a builtin.
    pub(crate) fn function(&self, module: usize, name: &Ref<Expr>) -> Option<Path> {
        let chain = Chain::of(name);
        chain.whole()?;
        match self.target(module, &chain) {
            Target::Rule(path) => Some(path),
            _ => None,
        }
    }
}

impl<'a> Group<'a> {
    fn add(&mut self, definition: Definition<'a>, kind: Option<Kind>) -> Result<(), Finding> {
        let Some(kind) = kind else {
            self.defaults.push(definition);
            return Ok(());
        };
        self.definitions.push(definition);
        match self.kind.replace(kind) {
            Some(before) if before != kind => {
                let (before, now) = (before.noun(), kind.noun());
                let message = format!("a rule that makes {now} is {before} elsewhere");
                Err(Finding::at(definition.rule.span(), message))
            }
            _ => Ok(()),
        }
    }
}

/// Name and kind; no kind for a default.
fn declared(rule: &Rule) -> Result<(String, Option<Kind>), Finding> {
    let (refr, kind) = match rule {
        Rule::Default { refr, .. } => (refr, None),
        Rule::Spec { head: RuleHead::Func { refr, .. }, .. } => (refr, Some(Kind::Function)),
        Rule::Spec { head: RuleHead::Set { refr, .. }, .. } => (refr, Some(Kind::Set)),
        Rule::Spec { head: RuleHead::Compr { refr, .. }, .. } => {
            let keys = Chain::of(refr).steps.len();
            (refr, Some(if keys == 0 { Kind::Complete } else { Kind::Object }))
        }
    };
    let chain = Chain::of(refr);
    let keys = usize::from(kind == Some(Kind::Object));
    match chain.name() {
        Some(name) if chain.steps.len() == keys => Ok((name.to_owned(), kind)),
        _ => {
            let message = "a rule's head may be a name, or a name with one key; nested keys and \
                           functions with a path are not supported: build the object in one rule";
            Err(Finding::at(refr.span(), message))
        }
    }
}

fn scope(module: &Module, findings: &mut Vec<Finding>) -> Scope {
    let mut package = vec!["data".to_owned()];
    let chain = Chain::of(&module.package.refr);
    package.extend(chain.name().map(str::to_owned));
    match chain.whole() {
        Some(rest) => package.extend(rest),
        None => findings.push(Finding::at(&module.package.span, "expected a package of names")),
    }
    let mut imports = BTreeMap::new();
    for import in &module.imports {
        let chain = Chain::of(&import.refr);
        let root = chain.name().unwrap_or_default();
        let Some(rest) = chain.whole().filter(|_| ["input", "data"].contains(&root)) else {
            if !["rego", "future"].contains(&root) {
                let expected = "expected an import of input, data, rego.v1 or future.keywords";
                findings.push(Finding::at(&import.span, expected));
            }
            continue;
        };
        let alias = alias(import.r#as.as_ref(), &rest, root);
        let path: Path = [root.to_owned()].into_iter().chain(rest).collect();
        if imports.insert(alias, path).is_some() {
            findings.push(Finding::at(&import.span, "two imports have the same name"));
        }
    }
    let taken: BTreeSet<&str> = ["input", "data"].into();
    for import in module.imports.iter().filter_map(|import| import.r#as.as_ref()) {
        if taken.contains(import.text()) {
            findings.push(Finding::at(import, "an import may not be named input or data"));
        }
    }
    Scope { package, imports }
}

fn alias(written: Option<&Span>, rest: &[String], root: &str) -> String {
    let last = rest.last().map_or(root, String::as_str);
    written.map_or(last, Span::text).to_owned()
}
