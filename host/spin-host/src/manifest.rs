//! The fields of a `spin.toml` that this host knows.
//!
//! Invariant: a field that is not known is an error that names it, unless it cannot change
//! what a request meets (`build`, `tool`, descriptions).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::Error;
use crate::variables::Template;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    spin_manifest_version: u64,
    application: ApplicationWire,
    #[serde(default)]
    variables: BTreeMap<String, Variable>,
    trigger: TriggerWire,
    component: BTreeMap<String, ComponentWire>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApplicationWire {
    name: String,
    #[serde(rename = "version", default)]
    _version: Option<IgnoredAny>,
    #[serde(rename = "description", default)]
    _description: Option<IgnoredAny>,
    #[serde(rename = "authors", default)]
    _authors: Option<IgnoredAny>,
}

/// A variable of the application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Its value unless another is given.
    pub default: Option<String>,
    /// A value has to be given.
    #[serde(default)]
    pub required: bool,
    /// Its value is never shown.
    #[serde(default)]
    pub secret: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TriggerWire {
    http: Vec<HttpWire>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpWire {
    route: RouteWire,
    component: String,
    #[serde(rename = "id", default)]
    _id: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RouteWire {
    Path(String),
    Private {
        #[serde(rename = "private")]
        _private: IgnoredAny,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ComponentWire {
    source: PathBuf,
    #[serde(default)]
    allowed_outbound_hosts: Vec<String>,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(rename = "description", default)]
    _description: Option<IgnoredAny>,
    #[serde(rename = "build", default)]
    _build: Option<IgnoredAny>,
    #[serde(rename = "tool", default)]
    _tool: Option<IgnoredAny>,
}

/// An application as its manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Its name.
    pub name: String,
    /// Its variables.
    pub variables: BTreeMap<String, Variable>,
    /// Where requests go.
    pub routes: Vec<Route>,
    /// Its components, by id.
    pub components: BTreeMap<String, Component>,
}

/// A path and the component behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// As it is written.
    pub text: String,
    /// The path, or what it has to begin with.
    path: String,
    /// Everything below counts too.
    below: bool,
    /// Id of the component.
    pub component: String,
}

/// A component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its file.
    pub source: PathBuf,
    /// Who it may speak to.
    pub allowed_outbound_hosts: Vec<Template>,
    /// Its variables.
    pub variables: BTreeMap<String, Template>,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
}

impl Application {
    /// Reads a manifest; names of files count from its folder.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Error::Environment(format!("{}: {error}", file.display())))?;
        let folder = file.parent().unwrap_or(Path::new(""));
        Self::parse(&text, folder).map_err(|problem| {
            Error::Manifest(format!("{}: {}", file.display(), problem.trim_end()))
        })
    }

    /// Reads the text of a manifest.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let wire: Wire = toml::from_str(text).map_err(|error| error.to_string())?;
        if wire.spin_manifest_version != 2 {
            return Err("spin_manifest_version: expected 2".to_owned());
        }
        let components: Result<BTreeMap<_, _>, String> = wire
            .component
            .into_iter()
            .map(|(id, component)| Ok((id.clone(), component.read(&id, folder)?)))
            .collect();
        let components = components?;
        let routes: Result<Vec<_>, String> =
            wire.trigger.http.into_iter().map(Route::read).collect();
        let routes: Vec<Route> = routes?;
        for route in &routes {
            if !components.contains_key(&route.component) {
                return Err(format!("route {:?}: no component {:?}", route.text, route.component));
            }
        }
        if routes.is_empty() {
            return Err("trigger.http: expected a route".to_owned());
        }
        Ok(Self { name: wire.application.name, variables: wire.variables, routes, components })
    }

    /// The route of a path: the longest that fits.
    pub fn route(&self, path: &str) -> Option<&Route> {
        let fitting = self.routes.iter().filter(|route| route.fits(path));
        fitting.max_by_key(|route| (route.path.len(), !route.below))
    }
}

impl Route {
    fn read(wire: HttpWire) -> Result<Self, String> {
        let RouteWire::Path(text) = wire.route else {
            // It could be reached by service chaining alone.
            return Err("trigger.http.route.private: there is no service chaining here".into());
        };
        let (path, below) = match text.strip_suffix("/...") {
            Some(path) => (path.to_owned(), true),
            None => (text.clone(), false),
        };
        let plain = !path.contains([':', '*']) && !path.contains("...");
        if !plain || !(text.starts_with('/')) {
            return Err(format!("route {text:?}: expected a path, or one that ends in /..."));
        }
        Ok(Self { text, path, below, component: wire.component })
    }

    fn fits(&self, path: &str) -> bool {
        match path.strip_prefix(self.path.as_str()) {
            Some(rest) => rest.is_empty() || (self.below && rest.starts_with('/')),
            None => false,
        }
    }
}

impl ComponentWire {
    fn read(self, id: &str, folder: &Path) -> Result<Component, String> {
        let template = |key: &str, text: &str| {
            Template::parse(text).map_err(|problem| format!("component {id:?}: {key}: {problem}"))
        };
        let hosts = self.allowed_outbound_hosts.iter();
        let variables = self.variables.iter();
        Ok(Component {
            source: folder.join(self.source),
            allowed_outbound_hosts: hosts
                .map(|host| template("allowed_outbound_hosts", host))
                .collect::<Result<_, _>>()?,
            variables: variables
                .map(|(name, text)| {
                    Ok((name.clone(), template(&format!("variables.{name}"), text)?))
                })
                .collect::<Result<_, String>>()?,
            environment: self.environment,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
spin_manifest_version = 2
[application]
name = "app"
version = "1.0.0"
[variables]
token = { required = true, secret = true }
[[trigger.http]]
route = "/..."
component = "front"
[[trigger.http]]
route = "/admin"
component = "admin"
[component.front]
source = "front.wasm"
allowed_outbound_hosts = ["https://slack.com"]
variables = { token = "Bearer {{ token }}" }
[component.front.build]
command = "cargo build"
[component.admin]
source = "admin.wasm"
"#;

    fn parse(text: &str) -> Result<Application, String> {
        Application::parse(text, Path::new("/apps"))
    }

    #[test]
    fn the_longest_route_that_fits_counts() {
        let application = parse(GOOD).unwrap();
        let behind = |path| application.route(path).map(|route| route.component.as_str());
        assert_eq!(behind("/"), Some("front"));
        assert_eq!(behind("/admin"), Some("admin"));
        assert_eq!(behind("/admin/x"), Some("front"));
        assert_eq!(application.components["front"].source, Path::new("/apps/front.wasm"));
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (from, to, named) in [
            ("spin_manifest_version = 2", "spin_manifest_version = 1", "spin_manifest_version"),
            ("source = \"admin.wasm\"", "source = { url = \"x\" }", "source"),
            ("source = \"admin.wasm\"", "source = \"a\"\nfiles = [\"x\"]", "files"),
            (
                "source = \"admin.wasm\"",
                "source = \"a\"\nsqlite_databases = [\"x\"]",
                "sqlite_databases",
            ),
            ("route = \"/admin\"", "route = \"/:user\"", "/:user"),
            ("route = \"/admin\"", "route = { private = true }", "private"),
            ("route = \"/admin\"", "route = \"/admin\"\nexecutor = {}", "executor"),
            ("component = \"admin\"", "component = \"none\"", "none"),
            ("Bearer {{ token }}", "Bearer {{ token", "variables.token"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let problem = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(problem.contains(named), "{problem}");
        }
    }
}
