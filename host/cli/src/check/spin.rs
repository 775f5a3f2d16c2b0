//! Rules over a spin.toml: the documents by the modules' own parsers, and that the manifest
//! lets the component speak to whom they name and to nobody else.

use std::path::Path;

use postern_files::yaml::{At, Node};
use postern_spin_host::Application;
use postern_spin_host::manifest::Component;
use postern_spin_host::outbound::Rule;
use postern_spin_host::variables::Values;
use serde_json::Value;

use super::{Allowed, Module, Report, modules};

const MODULES: [Module; 3] = [Module::Gate, Module::Credential, Module::Audit];
/// The component's list of authorities without TLS.
const PLAIN: &str = "danger_plain_http";

/// Checks a manifest; components without our documents are not ours to judge.
pub fn check(text: &str, allowed: Allowed, report: &mut Report) {
    let application = match Application::parse(text, Path::new("")) {
        Ok(application) => application,
        Err(problem) => return report.at_path("", problem.trim_end()),
    };
    // A secret is not looked at: any text stands for it.
    let values = Values::new(&application.variables, |name| {
        let variable = application.variables.get(name);
        variable.is_some_and(|it| it.default.is_none()).then(String::new)
    });
    let Ok(values) = values else { return };
    let mut ours = false;
    for (id, component) in &application.components {
        if MODULES.iter().any(|module| component.variables.contains_key(module.name())) {
            ours = true;
            let place = Place { application: &application, id, component, values: &values };
            place.check(allowed, report);
        }
    }
    if !ours {
        report.at_path("component", "no component has the variables gate, credential and audit");
    }
}

/// The documents of gate and credential of the first component of ours, and its file.
pub fn documents(application: &Application) -> Option<(Value, Value, Option<String>)> {
    let values = Values::new(&application.variables, |name| {
        let variable = application.variables.get(name);
        variable.is_some_and(|it| it.default.is_none()).then(String::new)
    });
    let values = values.ok()?;
    let read = |component: &Component, name: &str| {
        let text = component.variables.get(name)?.resolve(&values).ok()?;
        serde_json::from_str::<Value>(&text).ok()
    };
    application.components.values().find_map(|component| {
        let (gate, credential) = (read(component, "gate")?, read(component, "credential")?);
        Some((gate, credential, Some(component.source.display().to_string())))
    })
}

/// One component of ours.
struct Place<'a> {
    application: &'a Application,
    id: &'a str,
    component: &'a Component,
    values: &'a Values,
}

impl Place<'_> {
    fn path(&self, key: &str) -> String {
        format!("component.{}.{key}", self.id)
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.component.variables.get(name)?.resolve(self.values).ok()
    }

    fn check(&self, allowed: Allowed, report: &mut Report) {
        let plain = self.variable(PLAIN).unwrap_or_default();
        if !plain.is_empty() && !allowed.plain_upstream {
            report.at_path(&self.path(PLAIN), "credentials leave in plain HTTP");
        }
        let mut named = Vec::new();
        for module in MODULES {
            self.document(module, allowed, &mut named, report);
            self.identity(module, report);
        }
        self.outbound(&named, &plain, report);
    }

    fn document(
        &self,
        module: Module,
        allowed: Allowed,
        named: &mut Vec<String>,
        report: &mut Report,
    ) {
        let path = self.path(&format!("variables.{}", module.name()));
        let Some(text) = self.variable(module.name()) else {
            return report.at_path(&path, "missing");
        };
        let document = serde_json::from_str::<Value>(&text);
        let Ok(document) = document else {
            return report.at_path(&path, "expected JSON");
        };
        authorities(&document, named);
        let Ok(node) = Node::parse(&text) else { return report.at_path(&path, "expected JSON") };
        let mut found = Report::default();
        modules::check_bare(module, &At::root(&node), allowed, &mut found);
        report.below(&path, found);
    }

    /// A seed must not stand in the manifest.
    fn identity(&self, module: Module, report: &mut Report) {
        let name = format!("{}_key", module.name());
        let path = self.path(&format!("variables.{name}"));
        match self.component.variables.get(&name).map(|text| text.variables()) {
            None => report.at_path(&path, "missing"),
            Some(variables) => {
                let secret = |name: &str| {
                    let variable = self.application.variables.get(name);
                    variable.is_some_and(|one| one.secret && one.default.is_none())
                };
                if variables.is_empty() || !variables.iter().all(|name| secret(name)) {
                    report.at_path(&path, "expected a variable with secret = true, and no default");
                }
            }
        }
    }

    fn outbound(&self, named: &[String], plain: &str, report: &mut Report) {
        let path = self.path("allowed_outbound_hosts");
        let mut rules = Vec::new();
        for text in &self.component.allowed_outbound_hosts {
            match text.resolve(self.values).and_then(|text| Rule::parse(&text)) {
                Ok(rule) => rules.push(rule),
                Err(problem) => report.at_path(&path, problem),
            }
        }
        let anybody = |rule: &Rule| {
            let schemes = ["http", "https"];
            let ports = [None, Some(80), Some(443), Some(8443)];
            let hosts =
                ["anybody.invalid", "anybody.com", "anybody.org", "192.0.2.1", "2001:db8::1"];
            schemes.iter().any(|scheme| {
                hosts.iter().any(|host| ports.iter().any(|port| rule.allows(scheme, host, *port)))
            })
        };
        if rules.iter().any(anybody) {
            report.at_path(&path, "lets the component speak to anybody");
        }
        for authority in named {
            let (host, port) = match authority.rsplit_once(':') {
                Some((host, port)) => (host, port.parse().ok()),
                None => (authority.as_str(), None),
            };
            let is_plain = plain.split(',').any(|name| name.trim() == authority);
            let scheme = if is_plain { "http" } else { "https" };
            if !rules.iter().any(|rule| rule.allows(scheme, host, port)) {
                report.at_path(&path, format!("nothing allows {scheme}://{authority}"));
            }
        }
    }
}

/// Every authority that a document names, once: where requests and calls go.
fn authorities(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(authority)) = object.get("authority")
                && !object.contains_key("credential")
                && !found.contains(authority)
            {
                found.push(authority.clone());
            }
            object.values().for_each(|value| authorities(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| authorities(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Allowed, Report, Severity, check_spin};

    const GOOD: &str = include_str!("../../../../spin/spin.toml");
    const LOCAL: Allowed = Allowed { simulated: true, plain_upstream: false };

    fn errors(report: &Report) -> Vec<String> {
        let errors = report.findings.iter().filter(|f| f.severity == Severity::Error);
        errors.map(|f| format!("{}: {}", f.path, f.message)).collect()
    }

    #[test]
    fn the_shipped_manifest_is_good_when_development_is_allowed() {
        assert_eq!(errors(&check_spin(GOOD, LOCAL)), Vec::<String>::new());
        let found = errors(&check_spin(GOOD, Allowed::default()));
        assert_eq!(found.iter().filter(|line| line.contains("SIMULATED")).count(), 3, "{found:?}");
    }

    #[test]
    fn every_rule_has_a_manifest_that_breaks_it() {
        for (from, to, wanted) in [
            (
                "\"role\": \"inject\"",
                "\"role\": \"eject\"",
                "component.gateway.variables.credential.role",
            ),
            ("\"tenant\": \"acme\",\n  \"key", "\"tenants\": \"acme\",\n  \"key", "gate"),
            (", \"https://slack.com\"]", "]", "nothing allows https://slack.com"),
            ("\"https://slack.com\"]", "\"https://*\"]", "speak to anybody"),
            ("\"https://slack.com\"]", "\"https://slack.com\", \"http://*\"]", "speak to anybody"),
            (
                "\"https://slack.com\"]",
                "\"https://slack.com\", \"https://*:8443\"]",
                "speak to anybody",
            ),
            (
                "\"https://slack.com\"]",
                "\"https://slack.com\", \"https://*.com\"]",
                "speak to anybody",
            ),
            ("\"https://slack.com\"]", "\"slack.com\"]", "expected scheme://host"),
            (
                "gate_key = { required = true, secret = true }",
                "gate_key = { default = \"AAAA\", secret = true }",
                "variables.gate_key: expected a variable with secret = true, and no default",
            ),
            (
                "gate_key = \"{{ gate_key }}\"",
                "gate_key = \"AAAA\"",
                "variables.gate_key: expected a variable with secret",
            ),
            (
                "gate_key = { required = true, secret = true }",
                "gate_key = { required = true }",
                "variables.gate_key: expected",
            ),
            ("audit_key = \"{{ audit_key }}\"\n", "", "variables.audit_key: missing"),
            ("# danger_plain_http", "danger_plain_http", "plain HTTP"),
            ("[[trigger.http]]", "[[trigger.redis]]", "redis"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let found = errors(&check_spin(&GOOD.replacen(from, to, 1), LOCAL));
            assert!(found.iter().any(|line| line.contains(wanted)), "{wanted}: {found:?}");
        }
    }
}
