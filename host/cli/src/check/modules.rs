//! Rules for each of our modules, wherever it stands, and the modules' own parsers.

use std::collections::BTreeSet;

use postern_core::authority::Authority;
use postern_core::config::{self, ConfigError};
use postern_crp::evidence::Trust;
use serde_json::Value;

use super::Allowed;
use super::bootstrap::{Bootstrap, is_type};
use super::report::Report;
use super::scopes;
use super::yaml::At;

/// The name of our VMs and of nothing else, wherever a proxy's file can give one.
pub const VM_ID: &str = "postern";
/// Exports that load a module: Envoy needs them and does not restrict them.
const LOADERS: &[&str] = &["_initialize", "proxy_abi_version_0_2_1", "proxy_on_memory_allocate"];

fn is_loader(line: &str) -> bool {
    LOADERS.contains(&bare(line))
}

/// `import env.proxy_log` and `export proxy_on_log` without what stands before the name.
fn bare(line: &str) -> &str {
    line.rsplit([' ', '.']).next().unwrap_or(line)
}

/// One of our three modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Module {
    /// Authenticates and decides.
    Gate,
    /// Injects and scrubs.
    Credential,
    /// Writes the audit record.
    Audit,
}

impl Module {
    /// The name in file names and configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Credential => "credential",
            Self::Audit => "audit",
        }
    }

    /// What the built module imports and exports, and what of it the proxy withholds.
    fn lists(self) -> (&'static str, &'static str) {
        match self {
            Self::Gate => (
                include_str!("../../../../envoy/imports/gate.txt"),
                include_str!("../../../../envoy/imports/gate.withheld.txt"),
            ),
            Self::Credential => (
                include_str!("../../../../envoy/imports/credential.txt"),
                include_str!("../../../../envoy/imports/credential.withheld.txt"),
            ),
            Self::Audit => (include_str!("../../../../envoy/imports/audit.txt"), ""),
        }
    }

    /// What `capability_restriction_config` must list: hostcalls and callbacks.
    fn capabilities(self) -> BTreeSet<&'static str> {
        let restricted = |line: &&str| {
            line.starts_with("import ") || line.starts_with("export proxy_on_") && !is_loader(line)
        };
        self.used().filter(restricted).map(bare).collect()
    }

    /// What it may list besides: exports that Envoy looks up whatever the list says.
    fn is_export(self, name: &str) -> bool {
        self.used().any(|line| is_loader(line) && bare(line) == name)
    }

    /// Lines of the module's list that are not withheld.
    fn used(self) -> impl Iterator<Item = &'static str> {
        let (all, withheld) = self.lists();
        let withheld: BTreeSet<&str> = withheld.lines().collect();
        all.lines().filter(move |line| !withheld.contains(line))
    }

    /// The variables its VM needs, and the only ones of ours it may have.
    fn environment(self) -> &'static [&'static str] {
        match self {
            Self::Gate => &["POSTERN_GATE_KEY", "POSTERN_PERMIT_KEY", "POSTERN_SHARED_KEY"],
            Self::Credential => {
                &["POSTERN_CREDENTIAL_KEY", "POSTERN_PERMIT_KEY", "POSTERN_SHARED_KEY"]
            }
            Self::Audit => &["POSTERN_AUDIT_KEY", "POSTERN_SHARED_KEY"],
        }
    }

    /// The same and what a configuration asks for besides; one that does not parse is reported
    /// elsewhere.
    pub fn environment_with(self, settings: &Value) -> Vec<String> {
        let mut names: Vec<String> = self.environment().iter().copied().map(String::from).collect();
        if self == Self::Gate
            && let Ok(config) = config::gate::Config::parse(settings.to_string().as_bytes())
        {
            names.extend(config.secret_variables().map(String::from));
        }
        names
    }

    /// The module's own parser.
    fn parse(self, json: &[u8]) -> Result<(), ConfigError> {
        let key_service = match self {
            Self::Gate => {
                let config = config::gate::Config::parse(json)?;
                postern_rego::of_gate(&config)?;
                config.key_service
            }
            Self::Credential => config::credential::Config::parse(json)?.key_service,
            Self::Audit => config::audit::Config::parse(json)?.key_service,
        };
        Trust::of(&key_service.evidence).map(drop)
    }

    /// Which module a path or address ends in: `/x/gate.wasm`, `oci://x/gate:1@sha256:…`.
    pub fn of_file(path: &str) -> Option<Self> {
        let last = path.rsplit('/').next()?.split(['@', ':']).next()?;
        Self::of_name(last.trim_end_matches(".wasm"))
    }

    /// Which module has this name.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Gate, Self::Credential, Self::Audit].into_iter().find(|one| one.name() == name)
    }

    /// Which module a bare configuration is for, by the keys that only it has.
    pub fn of_settings(root: &At<'_>) -> Option<Self> {
        let has = |keys: &[&str]| keys.iter().any(|key| root.get(key).is_some());
        if has(&["authenticators", "scopes", "body", "policy", "forward"]) {
            Some(Self::Gate)
        } else if has(&["role", "cache", "scrub"]) {
            Some(Self::Credential)
        } else if has(&["batch", "buffer", "when_full"]) {
            Some(Self::Audit)
        } else {
            None
        }
    }
}

/// A Wasm `PluginConfig` of the document.
#[derive(Clone)]
pub struct Instance<'a> {
    /// Which of ours it is, if it is one of ours.
    pub module: Option<Module>,
    /// The `PluginConfig`.
    pub plugin: At<'a>,
    /// Its `configuration`'s value: where findings about it are reported.
    value: Option<At<'a>>,
    /// The configuration itself.
    settings: Value,
}

impl<'a> Instance<'a> {
    /// The plugin at `at`, if `at` is a `PluginConfig`.
    pub fn of_plugin(at: &At<'a>) -> Option<Self> {
        let vm = at.get("vm_config")?;
        let value = at.at(&["configuration", "value"]);
        let settings = value.as_ref().map(read_settings).unwrap_or(Value::Null);
        Some(Self { module: module_of(at, &vm), plugin: at.clone(), value, settings })
    }

    /// The plugin that a resource of Kubernetes describes at `at`, with its configuration.
    pub fn of_resource(module: Option<Module>, at: &At<'a>, value: Option<At<'a>>) -> Self {
        let settings = value.as_ref().map(read_settings).unwrap_or(Value::Null);
        Self { module, plugin: at.clone(), value, settings }
    }

    /// Whether a resource of Kubernetes describes it, and no file of the proxy.
    fn is_resource(&self) -> bool {
        self.plugin.get("vm_config").is_none()
    }

    /// Its configuration.
    pub fn settings(&self) -> &Value {
        &self.settings
    }

    /// The file that it is loaded from.
    pub fn file(&self) -> Option<&str> {
        let path = ["vm_config", "code", "local", "filename"];
        self.plugin.at(&path).and_then(|at| at.text())
    }

    /// `upstreams` of its configuration: cluster name and what is said of it.
    pub fn upstreams(&self) -> Vec<(String, Value)> {
        let map = self.settings.get("upstreams").and_then(Value::as_object);
        map.into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// The text at `path` of its configuration.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        path.iter().try_fold(&self.settings, |value, key| value.get(key))?.as_str()
    }

    /// Whether a binding of its configuration mints.
    fn mints(&self) -> bool {
        self.list("bindings").iter().any(|binding| !mints_of(binding).is_empty())
    }

    /// Whether answers of this upstream are token endpoints' answers.
    pub fn mints_at(&self, authority: &str) -> bool {
        let authority = Authority::parse(authority);
        let is = |written: &Value| {
            let written = written.get("authority").and_then(Value::as_str);
            written.and_then(Authority::parse) == authority && authority.is_some()
        };
        self.list("bindings").iter().any(|binding| {
            let mints = mints_of(binding);
            let again = |mint: &Value| mint.get("again") == Some(&Value::Bool(true)) && is(mint);
            (!mints.is_empty() && is(binding)) || mints.iter().any(again)
        })
    }

    /// Whether its configuration has a key.
    pub fn has(&self, key: &str) -> bool {
        self.settings.get(key).is_some_and(|value| !value.is_null())
    }

    /// A list of its configuration.
    pub fn list(&self, key: &str) -> &[Value] {
        self.settings.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Where `path` of its configuration stands, as near as can be.
    pub fn place(&self, path: &str) -> At<'a> {
        self.value.as_ref().map_or_else(|| self.plugin.clone(), |value| value.nearest(path))
    }
}

fn mints_of(binding: &Value) -> &[Value] {
    binding.get("mints").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// By the file it loads; by its name where the file does not say.
fn module_of(plugin: &At<'_>, vm: &At<'_>) -> Option<Module> {
    let file = vm.at(&["code", "local", "filename"]);
    let uri = vm.at(&["code", "remote", "http_uri", "uri"]);
    let file = file.or(uri).and_then(|at| at.text());
    file.and_then(Module::of_file).or_else(|| plugin.text_of("name").and_then(Module::of_name))
}

/// Envoy hands a `Struct` to the plugin as JSON and a `StringValue` as it stands.
fn read_settings(value: &At<'_>) -> Value {
    match value.text() {
        Some(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        None => value.node.to_json(),
    }
}

/// The rules over every plugin of a bootstrap.
pub fn check(bootstrap: &Bootstrap<'_>, allowed: Allowed, report: &mut Report) {
    check_plugins(&bootstrap.plugins, Some(VM_ID), allowed, report);
}

/// The rules over plugins that work together; `vm_id` is the name of their VMs, none where the
/// platform gives them none.
pub fn check_plugins(
    plugins: &[Instance<'_>],
    vm_id: Option<&str>,
    allowed: Allowed,
    report: &mut Report,
) {
    for instance in plugins {
        match instance.module {
            Some(module) => check_instance((module, vm_id), instance, allowed, report),
            None => check_foreign(instance, report),
        }
    }
    check_agreement(plugins, report);
}

/// A configuration that stands alone.
pub fn check_bare(module: Module, root: &At<'_>, allowed: Allowed, report: &mut Report) {
    let json = root.node.to_json();
    parse(module, json.to_string().as_bytes(), root, report);
    check_simulated(root, allowed, report);
}

fn check_instance(
    (module, vm_id): (Module, Option<&str>),
    instance: &Instance<'_>,
    allowed: Allowed,
    report: &mut Report,
) {
    if instance.is_resource() {
        return check_settings(module, instance, allowed, report);
    }
    check_vm(instance, vm_id, report);
    check_environment(module, instance, report);
    check_capabilities(module, instance, report);
    check_header_pause(module, instance, report);
    check_configuration(module, instance, report);
    if let Some(value) = &instance.value {
        check_simulated(value, allowed, report);
    }
}

/// The configuration in a resource: the platform hands it to the plugin as JSON.
fn check_settings(module: Module, instance: &Instance<'_>, allowed: Allowed, report: &mut Report) {
    let Some(value) = &instance.value else {
        let text = format!("missing, expected the configuration of the {} module", module.name());
        return report.missing(&instance.plugin, "pluginConfig", text);
    };
    check_bare(module, value, allowed, report);
}

fn check_vm(instance: &Instance<'_>, vm_id: Option<&str>, report: &mut Report) {
    let plugin = &instance.plugin;
    if plugin.get("fail_open").is_some_and(|at| at.is_true()) {
        report.missing(plugin, "fail_open", "expected failure_policy: FAIL_RELOAD");
    }
    match plugin.get("failure_policy") {
        Some(at) if at.text() == Some("FAIL_RELOAD") => {}
        Some(at) => report.error(
            &at,
            "expected FAIL_RELOAD: a filter that fails open is skipped, \
                                       one that fails closed stays closed for ever",
        ),
        None => report.missing(plugin, "failure_policy", "missing, expected FAIL_RELOAD"),
    }
    match (plugin.at(&["vm_config", "vm_id"]), vm_id) {
        (Some(at), Some(_)) if at.text() == vm_id => {}
        (Some(at), Some(name)) => {
            report.error(&at, format!("expected {name}: the modules share data under this name"));
        }
        (None, Some(name)) => {
            report.missing(plugin, "vm_config.vm_id", format!("missing, expected {name}"));
        }
        (Some(at), None) => report.error(
            &at,
            "expected none: a module installed by WasmPlugin has none, and the modules share \
             data under the name they have in common",
        ),
        (None, None) => {}
    }
    match plugin.at(&["vm_config", "runtime"]) {
        Some(at) if at.text() == Some("envoy.wasm.runtime.v8") => {}
        Some(at) => report.error(&at, "expected envoy.wasm.runtime.v8"),
        None => {
            report.missing(plugin, "vm_config.runtime", "missing, expected envoy.wasm.runtime.v8")
        }
    }
}

fn check_foreign(instance: &Instance<'_>, report: &mut Report) {
    let Some(at) = instance.plugin.at(&["vm_config", "vm_id"]) else { return };
    if at.text() == Some(VM_ID) {
        report.error(
            &at,
            "postern names the VMs of gate, credential and audit and no other: \
                           this plugin could read and write their shared data",
        );
    }
}

fn check_environment(module: Module, instance: &Instance<'_>, report: &mut Report) {
    let needed = module.environment_with(&instance.settings);
    let path = "vm_config.environment_variables";
    let variables = instance.plugin.at(&["vm_config", "environment_variables"]);
    if let Some(at) = variables.as_ref().and_then(|at| at.get("key_values")) {
        report.error(&at, "values written here are shown by /config_dump; expected host_env_keys");
    }
    let Some(keys) = variables.and_then(|at| at.get("host_env_keys")) else {
        let text = format!("missing, expected {}", needed.join(", "));
        return report.missing(&instance.plugin, &format!("{path}.host_env_keys"), text);
    };
    let listed: Vec<At<'_>> = keys.items();
    let absent = |name: &&String| !listed.iter().any(|at| at.text() == Some(name.as_str()));
    for name in needed.iter().filter(absent) {
        report.error(&keys, format!("{name} is missing: the {} module needs it", module.name()));
    }
    for at in &listed {
        let name = at.text().unwrap_or("");
        if name.starts_with("POSTERN_") && !needed.iter().any(|one| one == name) {
            report.error(at, format!("the {} module must not hold {name}", module.name()));
        }
    }
}

fn check_capabilities(module: Module, instance: &Instance<'_>, report: &mut Report) {
    let path = "vm_config.capability_restriction_config.allowed_capabilities";
    let keys: Vec<&str> = path.split('.').collect();
    let source = format!("envoy/imports/{}.txt", module.name());
    let Some(list) = instance.plugin.at(&keys) else {
        return report.missing(
            &instance.plugin,
            path,
            format!("missing, expected the list of {source}"),
        );
    };
    let expected = module.capabilities();
    let found: BTreeSet<&str> = list.entries().iter().map(|(name, _)| *name).collect();
    let missing: Vec<&str> = expected.difference(&found).copied().collect();
    if !missing.is_empty() {
        report.error(&list, format!("not as in {source}: missing {}", missing.join(", ")));
    }
    for (name, at) in list.entries() {
        if !expected.contains(name) && !module.is_export(name) {
            report.error(
                &at,
                format!("not in {source}: the {} module does not need it", module.name()),
            );
        }
    }
}

/// Headers pause exactly where content is held (design: what leaves must be what was checked).
fn check_header_pause(module: Module, instance: &Instance<'_>, report: &mut Report) {
    let key = "allow_on_headers_stop_iteration";
    let on = instance.plugin.get(key).is_some_and(|at| at.is_true());
    // The gate's own default for `body` is `hold`.
    let hold = instance.text(&["body"]).unwrap_or("hold") == "hold";
    match (module, on) {
        (Module::Gate, false) if hold => report.missing(
            &instance.plugin,
            key,
            "expected true with body: hold, or headers leave before the content was read",
        ),
        (Module::Gate, true) if !hold => report.missing(
            &instance.plugin,
            key,
            "expected false unless the configuration says body: hold",
        ),
        // Where something is minted, it depends on the cluster.
        (Module::Credential, true) if instance.mints() => {}
        (Module::Credential | Module::Audit, true) => report.missing(
            &instance.plugin,
            key,
            format!("expected false for {}: it would buffer uploads", module.name()),
        ),
        _ => {}
    }
}

fn check_configuration(module: Module, instance: &Instance<'_>, report: &mut Report) {
    let Some(configuration) = instance.plugin.get("configuration") else {
        let text = format!("missing, expected the configuration of the {} module", module.name());
        return report.missing(&instance.plugin, "configuration", text);
    };
    let Some(value) = &instance.value else {
        return report.missing(&configuration, "value", "missing");
    };
    let json = if is_type(&configuration, "Struct") {
        value.node.to_json().to_string()
    } else if let (true, Some(text)) = (is_type(&configuration, "StringValue"), value.text()) {
        text.to_owned()
    } else {
        return report
            .error(&configuration, "expected @type google.protobuf.Struct or StringValue");
    };
    parse(module, json.as_bytes(), value, report);
}

fn parse(module: Module, json: &[u8], at: &At<'_>, report: &mut Report) {
    let Err(error) = module.parse(json) else {
        if let (Module::Gate, Ok(config)) = (module, config::gate::Config::parse(json)) {
            scopes::check(&config, at, report);
        }
        return;
    };
    for problem in error.problems {
        match problem.path.as_str() {
            "" => report.error(at, problem.message),
            path => report.missing(at, path, problem.message),
        }
    }
}

fn check_simulated(settings: &At<'_>, allowed: Allowed, report: &mut Report) {
    let Some(at) = settings.get("danger_allow_simulated") else { return };
    if allowed.simulated {
        report
            .note(&at, "SIMULATED evidence is accepted: no hardware stands behind the key service");
    } else {
        report.error(
            &at,
            "accepts SIMULATED evidence, which no hardware stands behind \
                           (development only: --allow-simulated)",
        );
    }
}

/// The gate decides under a binding and the credential module injects under its own copy.
fn check_agreement(plugins: &[Instance<'_>], report: &mut Report) {
    let of = |module| plugins.iter().filter(move |p| p.module == Some(module));
    for credential in of(Module::Credential) {
        for gate in of(Module::Gate) {
            for key in ["bindings", "upstreams", "residency"] {
                if credential.settings.get(key) != gate.settings.get(key) {
                    let text = "not the same as in the gate: what one allows the other refuses";
                    report.error(&credential.place(key), text);
                }
            }
        }
    }
}
