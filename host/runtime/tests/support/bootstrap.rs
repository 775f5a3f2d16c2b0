//! The file of a small gateway: one listener, one cluster, and what a test adds to them.

/// What is added, each line at the place that its name says.
pub struct Parts<'a> {
    /// To the connection manager.
    pub manager: &'a str,
    /// To `http_filters`, before the router; whole entries, each on lines of their own.
    pub filters: &'a str,
    /// To the route.
    pub route: &'a str,
    /// To the cluster.
    pub cluster: &'a str,
}

/// The file, with the cluster at a port of this machine.
pub fn bootstrap(parts: &Parts<'_>, upstream: u16) -> String {
    let Parts { manager, filters, route, cluster } = parts;
    format!(
        r#"
admin:
  address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
static_resources:
  listeners:
  - name: in
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          {manager}
          http_filters:{filters}
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            name: in
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /}}
                route: {{cluster: up, {route}}}
  clusters:
  - name: up
    type: STATIC
    connect_timeout: 1s
    {cluster}
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
"#
    )
}
