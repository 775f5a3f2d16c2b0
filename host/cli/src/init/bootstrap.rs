//! `envoy.yaml` from the shipped one.
//!
//! Invariant: text is replaced and nothing is rendered anew. A mark that the shipped file
//! no longer has is our bug, and a test finds it.

use std::path::Path;

use super::Upstream;
use crate::failure::{Failure, Outcome};

/// The file that is shipped.
pub const SHIPPED: &str = include_str!("../../../../envoy/envoy.yaml");

const HEAD: &str = "\
# Postern, written by `postern init`: one listener, a credentialed cluster over TLS for each
# upstream, one on loopback. It runs in `postern gateway` and in Envoy 1.40.
#
# Its variables are in gateway/gateway.env: `--env-file` of `postern gateway`, or the environment
# of Envoy. To let something else be called, change these four together: `upstreams`, `bindings`,
# `virtual_hosts`, `clusters`. `postern check envoy.yaml` reports what does not fit together.
# Comments say what breaks when a line is taken out.

";

/// Where operating systems keep the certificates that they trust, the shipped file's first.
const ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Parts of the shipped file that are about its one TLS upstream: first and last line.
const ENTRY: (&str, &str) = ("                      slack: {", "}\n");
const BINDING: (&str, &str) = ("                    - credential: slack\n", "max_occurrences: 1\n");
const HOST: (&str, &str) = ("            - name: slack\n", "timeout: 30s}\n");
const CLUSTER: (&str, &str) = ("\n  - name: slack\n", "typed_extension_protocol_options: ");
/// What follows on its cluster.
const AFTER: &str = "  # A credentialed upstream on this machine, for trying things out.\n";
/// What a region is for an upstream that only its operator knows.
const REGION: &str = "region: us, ";

/// The last line of the shipped gate's part about content; approvals and the policy follow.
const CONTENT: &str = "                    body_limit: 256KiB\n";
const APPROVALS: &str = "\
                    # Writes wait for a person: `postern approval list`, or the key service's page.
                    # Taken out, with the policy, they go as reads do. A credential that was put
                    # with --approval is not released without one all the same.
                    approvals: {page: \"https://127.0.0.1:8843/.postern/approvals\"}
                    policy:
                      rego:
                        query: data.postern.approval.result
                        inline: |
";

/// What is put in.
pub struct Values<'a> {
    /// Tenant.
    pub tenant: &'a str,
    /// Id of the gateway.
    pub gateway_id: &'a str,
    /// Key of simulated evidence, base64url.
    pub simulated: &'a str,
    /// Folder of the modules.
    pub modules: &'a Path,
    /// Authority of the key service's certificate.
    pub ca: &'a Path,
    /// At least one.
    pub upstreams: &'a [Upstream],
}

/// The file's text.
pub fn envoy_yaml(values: &Values<'_>) -> Outcome<String> {
    let mut text = Text(SHIPPED.to_owned());
    let (head, _) = SHIPPED.split_once("admin:\n").ok_or_else(|| gone("admin"))?;
    text.swap(head, HEAD)?;
    text.upstreams(values.upstreams)?;
    text.swap("tenant: acme\n", &format!("tenant: {}\n", scalar(values.tenant)))?;
    text.swap("\"00112233445566778899aabbccddeeff\"", &quoted(values.gateway_id))?;
    text.swap("GYH9HAEhaoYrHHyIyqTIh407DfTiVDUqtPWkS5-DuLs", &quoted(values.simulated))?;
    text.swap(CONTENT, &format!("{CONTENT}{APPROVALS}{}", indented(super::POLICY)))?;
    for module in ["gate", "credential", "audit"] {
        let file = values.modules.join(format!("{module}.wasm"));
        text.swap(&format!("target/plugins/{module}.wasm"), &path(&file)?)?;
    }
    text.swap("/etc/postern/keys-ca.pem", &path(values.ca)?)?;
    let roots = ROOTS.iter().find(|file| Path::new(file).exists()).unwrap_or(&ROOTS[0]);
    text.swap(ROOTS[0], roots)?;
    Ok(text.0)
}

/// The policy as a block of YAML, without the comments that are about its copy.
fn indented(policy: &str) -> String {
    let code = policy.lines().skip_while(|line| !line.starts_with("package "));
    let line = |line: &str| match line.is_empty() {
        true => "\n".to_owned(),
        false => format!("                          {}\n", line.replace('\t', "  ")),
    };
    code.map(line).collect()
}

/// The file on its way.
struct Text(String);

impl Text {
    /// Puts `to` in every place of `from`.
    fn swap(&mut self, from: &str, to: &str) -> Outcome {
        if !self.0.contains(from) {
            return Err(gone(from));
        }
        self.0 = self.0.replace(from, to);
        Ok(())
    }

    fn upstreams(&mut self, upstreams: &[Upstream]) -> Outcome {
        let each = |block: &str| upstreams.iter().map(|it| about(block, it)).collect::<String>();
        let entry = part(ENTRY)?;
        self.swap(entry, &each(&entry.replace(REGION, "")))?;
        let binding = part(BINDING)?;
        let local = binding.replace("slack.com", "local.test").replace("slack", "local");
        self.swap(binding, &format!("{}{local}", each(binding)))?;
        let host = part(HOST)?;
        self.swap(host, &each(host))?;
        let cluster = part(CLUSTER)?;
        let (first, more) = upstreams.split_first().ok_or_else(|| Failure::bug("no upstream"))?;
        self.swap(cluster, &about(cluster, first))?;
        // The first has the module's configuration; the others refer to it.
        let more =
            more.iter().map(|it| about(cluster.trim_start_matches('\n'), it) + "*credentialed\n\n");
        self.swap(AFTER, &format!("{}{AFTER}", more.collect::<String>()))
    }
}

/// From the first to the last line of a part of the shipped file.
fn part((first, last): (&str, &'static str)) -> Outcome<&'static str> {
    let start = SHIPPED.find(first).ok_or_else(|| gone(first))?;
    let length = SHIPPED[start..].find(last).ok_or_else(|| gone(last))?;
    Ok(&SHIPPED[start..start + length + last.len()])
}

/// A part of the shipped file for another upstream.
fn about(block: &str, upstream: &Upstream) -> String {
    // Characters that no YAML has keep the old names apart from the new ones.
    const HOST: &str = "\u{1}";
    const AUTHORITY: &str = "\u{2}";
    let mut text = block.replace("port_value: 443", &format!("port_value: {}", upstream.port()));
    // Where a name is resolved or a certificate checked, there is no port.
    for key in ["address: ", "sni: ", "exact: ", "tls_name: "] {
        text = text.replace(&format!("{key}slack.com"), &format!("{key}{HOST}"));
    }
    text.replace("slack.com", AUTHORITY)
        .replace("slack", &scalar(&upstream.name))
        .replace(HOST, &scalar(upstream.authority.host()))
        .replace(AUTHORITY, &scalar(&upstream.authority.to_string()))
}

/// A value as YAML: plain where every reader takes it for text.
fn scalar(text: &str) -> String {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    let word = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&text);
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if starts && !word && text.bytes().all(plain) { text.to_owned() } else { quoted(text) }
}

/// JSON's strings are YAML's double-quoted ones.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn path(path: &Path) -> Outcome<String> {
    let text = path.to_str().ok_or_else(|| {
        Failure::environment(format_args!("{}: expected a path in UTF-8", path.display()))
    })?;
    Ok(quoted(text))
}

fn gone(mark: &str) -> Failure {
    Failure::bug(format_args!("the shipped envoy.yaml has no {:?}", mark.lines().next()))
}

#[cfg(test)]
mod tests {
    use postern_runtime::config::{Discovery, Gateway};

    use super::*;
    use crate::check::{Allowed, check};

    fn written(upstreams: &[&str], tenant: &str) -> String {
        let upstreams: Vec<Upstream> =
            upstreams.iter().map(|text| Upstream::parse(text).unwrap()).collect();
        envoy_yaml(&Values {
            tenant,
            gateway_id: "ffeeddccbbaa99887766554433221100",
            simulated: "GYH9HAEhaoYrHHyIyqTIh407DfTiVDUqtPWkS5-DuLs",
            modules: Path::new("/opt/a folder/plugins"),
            ca: Path::new("/srv/postern/gateway/keys-ca.pem"),
            upstreams: &upstreams,
        })
        .unwrap()
    }

    #[test]
    fn what_is_written_is_checked_and_read() {
        let allowed = Allowed { simulated: true, plain_upstream: true };
        for (upstreams, tenant) in [
            (&["slack=slack.com"][..], "acme"),
            (&["1=api.example.com:8443", "true=x1.example", "slack2=hooks.slack.com"], "null"),
        ] {
            let text = written(upstreams, tenant);
            let report = check(&text, None, allowed);
            assert!(!report.is_bad(), "{upstreams:?}: {:?}", report.findings);
            let gateway = Gateway::parse(&text).unwrap();
            assert_eq!(gateway.clusters.len(), upstreams.len() + 2);
        }
    }

    #[test]
    fn writes_wait_for_a_person() {
        let text = written(&["a=a.test"], "acme");
        let document: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let found = text.contains("approvals: {page:") && text.contains("\"approval\"");
        assert!(found && document.is_object(), "{text}");
    }

    #[test]
    fn every_upstream_gets_its_port_and_the_credential_module() {
        let gateway = Gateway::parse(&written(&["a=a.test", "b=b.test:8443"], "acme")).unwrap();
        for (name, host, port) in [("a", "a.test", 443), ("b", "b.test", 8443)] {
            let cluster = &gateway.clusters[name];
            assert_eq!(cluster.hosts.discovery, Discovery::LogicalDns);
            let address = &cluster.hosts.addresses[0];
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(
                cluster.filters[0].plugin().unwrap().module,
                "/opt/a folder/plugins/credential.wasm"
            );
        }
    }

    #[test]
    fn nothing_of_the_shipped_example_is_left() {
        let text = written(&["billing=billing.example"], "shop");
        for old in ["slack", "acme", "00112233", "/etc/postern", "target/plugins", "Copy this"] {
            assert!(!text.contains(old), "{old}");
        }
        let comments = |text: &str| text.lines().filter(|line| line.contains("# ")).count();
        assert!(comments(&text) + 8 > comments(SHIPPED), "comments are lost");
    }
}
