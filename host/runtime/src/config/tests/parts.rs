//! Rows for one part of a small file: what stands there, and the one problem that it is.

use super::super::*;

/// A file of one listener and one cluster, in which one part is replaced.
const SMALL: &str = r#"
static_resources:
  listeners:
  - name: in
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          http_filters: [FILTERS{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
          route_config:
            TABLE
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{ROUTE}]HOST}
  clusters:
  - {name: up, CLUSTER}
"#;

const TABLE: &str = "name: t";
const ROUTE: &str = "match: {prefix: /}, route: {cluster: up}";
const CLUSTER: &str = "type: STATIC, load_assignment: {cluster_name: up, endpoints: [{lb_endpoints: \
                       [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}]}]}";

/// The file with a part replaced.
pub fn small(part: &str, text: &str) -> String {
    let mut file = SMALL.to_owned();
    for (name, usual) in
        [("TABLE", TABLE), ("ROUTE", ROUTE), ("HOST", ""), ("FILTERS", ""), ("CLUSTER", CLUSTER)]
    {
        let text = if name == part { text } else { usual };
        file = file.replacen(name, text, 1);
    }
    file
}

/// Reads the file with a part replaced.
pub fn read(part: &str, text: &str) -> Result<Gateway, Problems> {
    Gateway::parse(&small(part, text))
}

/// Each row is a part, its text, and what the one problem says.
pub fn refuse(rows: &[(&str, &str, &str)]) {
    let said = |problem: &Problem| format!("{}: {}", problem.path, problem.message);
    let wrong = rows.iter().filter_map(|(part, text, message)| {
        let found = read(part, text).err().map(|problems| problems.0).unwrap_or_default();
        let said: Vec<String> = found.iter().map(said).collect();
        let good = said.len() == 1 && said[0].contains(message);
        (!good).then(|| format!("{text}: want {message:?}, got {said:#?}"))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
