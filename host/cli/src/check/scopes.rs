//! What the gate's scope rules leave to a weaker rule.
//!
//! Paths are compared byte by byte, and some upstreams are laxer: they serve `/admin/` and
//! `/ADMIN` as `/admin`. Invariant: which rule decides about a spelling is asked of the
//! gate's own configuration and never worked out here.

use std::collections::BTreeSet;

use postern_core::config::gate::{Config, ScopeRule};
use postern_core::path::RequestPath;

use super::report::Report;
use super::yaml::At;

/// Notes each rule whose path has another spelling that a rule with less decides about.
pub fn check(config: &Config, at: &At<'_>, report: &mut Report) {
    for (index, rule) in config.scopes.iter().enumerate() {
        let path = rule.path.as_str();
        for spelling in spellings(path) {
            let Some(weaker) = weaker(config, rule, &spelling) else { continue };
            let text = format!(
                "{spelling} falls to the rule for {}, which requires less; some upstreams serve it \
                 like {path}",
                weaker.path.as_str()
            );
            report.note(&at.nearest(&format!("scopes[{index}].path")), text);
        }
    }
}

/// The rule that decides about `spelling` for a method of `rule` and lacks one of its scopes.
fn weaker<'a>(config: &'a Config, rule: &ScopeRule, spelling: &str) -> Option<&'a ScopeRule> {
    let path = RequestPath::parse(sample(spelling).as_bytes())?;
    let mut found = rule.methods.iter().filter_map(|method| config.rule(method, &path));
    found.find(|other| {
        let asked: BTreeSet<&String> = other.require.iter().collect();
        rule.require.iter().any(|scope| !asked.contains(scope))
    })
}

/// With or without the slash at the end, and in letters of the other case.
fn spellings(path: &str) -> Vec<String> {
    let mut found = Vec::new();
    match path.strip_suffix('/') {
        _ if path.ends_with("/**") => {}
        None => found.push(format!("{path}/")),
        Some("") => {}
        Some(bare) => found.push(bare.to_owned()),
    }
    let other: Vec<String> = path.split('/').map(other_case).collect();
    let other = other.join("/");
    found.extend((other != path).then_some(other));
    found
}

/// Capitals, or small letters where there is nothing but capitals. A parameter stays.
fn other_case(segment: &str) -> String {
    let upper = segment.to_ascii_uppercase();
    match segment {
        _ if segment.starts_with('{') => segment.to_owned(),
        _ if upper == segment => segment.to_ascii_lowercase(),
        _ => upper,
    }
}

/// A path that the template `text` covers.
fn sample(text: &str) -> String {
    let one = |segment: &str| match segment {
        "**" => "x".to_owned(),
        _ if segment.starts_with('{') => "x".to_owned(),
        _ => segment.to_owned(),
    };
    text.split('/').map(one).collect::<Vec<_>>().join("/")
}
