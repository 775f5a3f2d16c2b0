//! What a gateway says once it serves.
//!
//! On stderr in both forms: stdout carries the access log.

use postern_runtime::serve::{Bound, Report};
use serde_json::{Value, json};

use super::Facts;
use crate::logging::{self, Format};
use crate::output::{Output, table};

/// A gateway that has started.
pub struct Started<'a> {
    /// Its file.
    pub file: String,
    /// What runs.
    pub report: &'a Report,
    /// What the file says.
    pub facts: &'a Facts,
}

impl Started<'_> {
    /// Lines for people, or one line of JSON.
    pub fn say(&self, format: Format, out: Output) {
        match format {
            Format::Human => out.note(&self.text()),
            Format::Json => logging::note(out, "INFO", "serving", &self.document()),
        }
    }

    fn text(&self) -> String {
        let Report { listeners, admin, workers, modules, took } = self.report;
        let row = |what: &str, text: String| vec![format!("  {what}"), text];
        let mut rows: Vec<Vec<String>> = listeners.iter().map(listener).collect();
        rows.extend(admin.map(|address| row("admin", format!("http://{address}"))));
        rows.extend(modules.iter().map(|file| row("module", file.clone())));
        rows.push(row("workers", workers.to_string()));
        rows.push(row("started in", format!("{} ms", took.as_millis())));
        if !self.facts.simulated.is_empty() {
            let names = self.facts.simulated.join(", ");
            let text = format!("{names}: SIMULATED evidence is accepted; development only");
            rows.push(row("warning", text));
        }
        rows.extend(self.curl().map(|command| row("try", command)));
        format!("serving {}\n{}", self.file, table(&rows))
    }

    fn document(&self) -> Value {
        let Report { listeners, admin, workers, modules, took } = self.report;
        let listeners = listeners.iter().map(|Bound { name, address, tls }| {
            json!({"name": name, "address": address.to_string(), "tls": tls})
        });
        json!({
            "file": self.file,
            "listeners": listeners.collect::<Vec<_>>(),
            "admin": admin.map(|address| address.to_string()),
            "workers": workers,
            "modules": modules,
            "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "simulated": self.facts.simulated,
        })
    }

    fn curl(&self) -> Option<String> {
        let first = self.report.listeners.first()?;
        self.facts.curl(&url(first))
    }
}

fn listener(bound: &Bound) -> Vec<String> {
    let how = if bound.tls { "TLS" } else { "plain HTTP" };
    vec!["  listener".to_owned(), format!("{} ({}, {how})", url(bound), bound.name)]
}

fn url(bound: &Bound) -> String {
    let scheme = if bound.tls { "https" } else { "http" };
    format!("{scheme}://{}", bound.address)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postern_runtime::config::Gateway;

    use super::super::Variables;
    use super::*;

    #[test]
    fn the_report_lines_up_and_says_everything() {
        let gateway = Gateway::parse(crate::init::SHIPPED).unwrap();
        let facts = Facts::of(&gateway, &Variables::default());
        let address = "127.0.0.1:10000".parse().unwrap();
        let report = Report {
            listeners: vec![Bound { name: "ingress".to_owned(), address, tls: false }],
            admin: Some("127.0.0.1:9901".parse().unwrap()),
            workers: 2,
            modules: vec!["gate.wasm".to_owned()],
            took: Duration::from_millis(412),
        };
        let started = Started { file: "envoy.yaml".to_owned(), report: &report, facts: &facts };
        let expected = "\
serving envoy.yaml
  listener    http://127.0.0.1:10000 (ingress, plain HTTP)
  admin       http://127.0.0.1:9901
  module      gate.wasm
  workers     2
  started in  412 ms
  warning     audit, credential, gate: SIMULATED evidence is accepted; development only
  try         curl -i -H 'Host: slack.com' -H 'authorization: Bearer pk_…' \
                    -H 'X-TAP-Credential: slack' http://127.0.0.1:10000/api/";
        assert_eq!(started.text(), expected);
        assert_eq!(started.document()["listeners"][0]["address"], "127.0.0.1:10000");
    }
}
