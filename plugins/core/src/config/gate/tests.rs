//! The gate's document: defaults, and every problem at once.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;

fn good() -> Value {
    json!({
        "tenant": "acme",
        "key_service": {
            "cluster": "keys",
            "authority": "keys.internal",
            "gateway_id": "000102030405060708090a0b0c0d0e0f",
        },
        "danger_allow_simulated": {"key": URL_SAFE_NO_PAD.encode([7; 32])},
        "authenticators": [
            {"api_key": {}},
            {"api_key": {"header": "X-TAP-Key", "prefixes": ["tp_", "tailor_sk_"]}},
        ],
        "scopes": [
            {"methods": ["GET"], "path": "/documents/{id}/**", "require": ["documents:read"]},
        ],
        "bindings": [{
            "credential": "slack", "tenant": "acme", "authority": "slack.com",
            "methods": ["POST"], "paths": ["/api/**"],
            "site": {"header": "Authorization", "style": "bearer"},
        }],
        "upstreams": {"slack": {"authority": "slack.com:443"}},
    })
}

fn parse(document: &Value) -> Result<Config, ConfigError> {
    Config::parse(document.to_string().as_bytes())
}

fn problems(document: &Value) -> Vec<String> {
    parse(document).unwrap_err().problems.iter().map(ToString::to_string).collect()
}

fn with(path: &str, value: Value) -> Value {
    let mut document = good();
    match document.pointer_mut(path) {
        Some(place) => *place = value,
        None => document[path.trim_start_matches('/')] = value,
    }
    document
}

#[test]
fn defaults_are_the_safe_ones() {
    let config = parse(&good()).unwrap();
    assert_eq!((config.body, config.body_limit), (BodyMode::Hold, 262_144));
    assert_eq!(config.credential_header, "x-tap-credential");
    assert_eq!(
        config.authenticators,
        [
            Authentication::ApiKey(ApiKeyField {
                header: "authorization".into(),
                prefixes: vec!["pk_".into()]
            }),
            Authentication::ApiKey(ApiKeyField {
                header: "x-tap-key".into(),
                prefixes: vec!["tp_".into(), "tailor_sk_".into()],
            }),
        ]
    );
    assert_eq!(config.revision, <[u8; 32]>::from(Sha256::digest(good().to_string())));
}

#[test]
fn what_no_rule_covers_has_no_rule() {
    let config = parse(&good()).unwrap();
    let path = |text: &str| RequestPath::parse(text.as_bytes()).unwrap();
    assert!(config.rule("GET", &path("/documents/7/x")).is_some());
    assert!(config.rule("POST", &path("/documents/7/x")).is_none());
    assert!(config.rule("GET", &path("/other")).is_none());
}

#[test]
fn every_problem_is_reported_at_once_with_its_path() {
    let document = json!({
        "tenant": 7,
        "policy": {},
        "key_service": {"cluster": "keys", "authority": "a", "gateway_id": "x", "extra": 1},
        "danger_allow_simulated": {"key": URL_SAFE_NO_PAD.encode([7; 32])},
        "authenticators": [{"api_key": {"prefixes": [3, "a b"]}}, {"jwt": {}}, {"api_key": {}}],
        "scopes": [{"methods": ["get"], "path": "/a/../b", "require": ["a\"b"]}, {}],
        "bindings": [{
            "credential": "slack", "tenant": "acme", "authority": "evil.com",
            "methods": ["POST"], "paths": ["/api/**"],
            "site": {"header": "Authorization", "style": "digest"},
        }],
        "upstreams": {"slack": {"authority": "slack.com"}},
        "body": "maybe",
        "body_limit": "1GiB",
        "credential_header": "Host",
    });
    let paths: Vec<String> =
        parse(&document).unwrap_err().problems.into_iter().map(|problem| problem.path).collect();
    let mut sorted = paths.clone();
    sorted.sort();
    assert_eq!(
        sorted,
        [
            "authenticators[0].api_key.prefixes[0]",
            "authenticators[0].api_key.prefixes[1]",
            "authenticators[1].jwt.audience",
            "authenticators[1].jwt.issuer",
            "authenticators[1].jwt.jwks",
            "bindings[0].site.style",
            "body",
            "body_limit",
            "credential_header",
            "key_service.extra",
            "key_service.gateway_id",
            "policy.rego",
            "scopes[0].methods[0]",
            "scopes[0].path",
            "scopes[0].require[0]",
            "scopes[1].methods",
            "scopes[1].path",
            "scopes[1].require",
            "tenant",
        ]
    );
}

#[test]
fn an_empty_document_lists_what_is_required() {
    assert_eq!(
        problems(&json!({})),
        [
            "tenant: missing",
            "danger_allow_simulated: missing: key_service.evidence asks for simulated evidence, \
             and that needs the key",
            "key_service: missing",
            "authenticators: expected 1 to 8",
            "scopes: expected at least one: what no rule covers is denied",
        ]
    );
}

#[test]
fn a_binding_to_an_authority_that_no_cluster_leads_to_is_refused() {
    assert_eq!(
        problems(&with("/bindings/0/authority", json!("slack.com.evil"))),
        ["bindings[0].authority: no cluster in upstreams leads to it"]
    );
}

#[test]
fn a_field_with_two_meanings_is_refused() {
    assert_eq!(
        problems(&with("/authenticators/1/api_key/header", json!("Authorization"))),
        ["authenticators[1].api_key.header: expected a field that nothing else uses"]
    );
    assert_eq!(
        problems(&with("/credential_header", json!("x-tap-key"))),
        ["authenticators[1].api_key.header: expected a field that nothing else uses"]
    );
}

#[test]
fn what_is_no_document_is_refused_without_repeating_it() {
    for (json, expected) in [
        (&b"[]"[..], "expected an object"),
        (b"{\"tenant\":\"a\",\"tenant\":\"b\"}", "key given twice in one object"),
        (b"{", "EOF"),
        (b"\xff", "expected value"),
    ] {
        let error = Config::parse(json).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_forward_endpoint_has_an_exact_path_and_fields_of_its_own() {
    assert_eq!(parse(&good()).unwrap().forward, None);
    let path = |document: &Value| parse(document).unwrap().forward.unwrap().text;
    assert_eq!(path(&with("/forward", json!({}))), "/forward");
    assert_eq!(path(&with("/forward", json!({"path": "/a/b"}))), "/a/b");
    let expected = "forward.path: expected a clean absolute path, exact, not /";
    for path in ["", "/", "a", "/a/", "/a/**", "/a?b", "/{a}", "/a/../b", "/a;b", "/a//b"] {
        assert_eq!(problems(&with("/forward", json!({"path": path}))), [expected], "{path}");
    }
    assert_eq!(
        problems(&with("/forward", json!({"to": 1})))[0].split(':').next(),
        Some("forward.to")
    );
    let mut taken = with("/forward", json!({}));
    taken["bind_headers"] = json!(["X-TAP-Target"]);
    assert_eq!(
        problems(&taken),
        ["forward: expected x-tap-target and x-tap-method to mean nothing else"]
    );
    let mut nowhere = with("/forward", json!({}));
    nowhere["upstreams"] = json!({});
    nowhere["bindings"] = json!([]);
    assert_eq!(problems(&nowhere), ["forward: expected upstreams: a target must be one of them"]);
}

#[test]
fn a_policy_is_text_and_data_with_defaults() {
    let config = parse(&with("/policy", json!({"rego": {"inline": "package a"}}))).unwrap();
    let source = config.policy.unwrap();
    assert_eq!(source.modules, [("inline.rego".to_owned(), "package a".to_owned())]);
    assert_eq!((source.query.as_str(), source.instructions), ("data.envoy.authz.allow", 25_000));
    assert_eq!(source.data, json!({}));
}

/// A polled bundle with this change.
fn polled(change: serde_json::Value) -> serde_json::Value {
    let from = json!({"cluster": "b", "authority": "b.test", "path": "/b"});
    let mut poll = json!({"from": from});
    for (name, value) in change.as_object().unwrap() {
        poll[name] = value.clone();
    }
    json!({"rego": {"bundle": {"poll": poll, "keys": {"keys": []}}}})
}

#[test]
fn a_polled_bundle_has_an_end_and_an_interval_by_default() {
    let config = parse(&with("/policy", polled(json!({})))).unwrap();
    let poll = config.policy.unwrap().bundle.unwrap().poll.unwrap();
    let (minute, day) = (Duration::from_secs(60), Duration::from_secs(86_400));
    assert_eq!((poll.every, poll.keep, poll.least_serial), (minute, day, 0));
}

#[test]
fn a_policy_that_cannot_be_one_is_reported_with_its_path() {
    let rows = [
        (json!({}), "policy.rego: missing"),
        (json!({"rego": {}}), "policy.rego: expected either inline, 1 to 256 modules, or a bundle"),
        (
            json!({"rego": {"inline": "", "modules": [{"name": "a", "text": ""}]}}),
            "policy.rego: expected either inline, 1 to 256 modules, or a bundle",
        ),
        (json!({"rego": {"modules": [{"text": ""}]}}), "policy.rego.modules[0].name: missing"),
        (
            json!({"rego": {"modules": [{"name": "a", "text": ""}, {"name": "a", "text": ""}]}}),
            "policy.rego.modules: expected every name once",
        ),
        (json!({"rego": {"inline": "", "data": []}}), "policy.rego.data: expected an object"),
        (
            json!({"rego": {"inline": "", "instructions": 0}}),
            "policy.rego.instructions: expected 1 to 1000000",
        ),
        (
            json!({"rego": {"inline": "", "bundle": {"inline": "AA=="}}}),
            "policy.rego: expected either inline, 1 to 256 modules, or a bundle",
        ),
        (
            json!({"rego": {"bundle": {"inline": "AA=="}, "data": {}}}),
            "policy.rego.data: expected none beside a bundle, which brings its own",
        ),
        (
            json!({"rego": {"bundle": {"inline": "!"}}}),
            "policy.rego.bundle.inline: expected base64",
        ),
        (json!({"rego": {"bundle": {}}}), "policy.rego.bundle: expected inline, poll or both"),
        (polled(json!({"from": null})), "policy.rego.bundle.poll.from: missing"),
        (polled(json!({"every": "0s"})), "policy.rego.bundle.poll.every: expected 1s to 24h"),
        (polled(json!({"every": "25h"})), "policy.rego.bundle.poll.every: expected 1s to 24h"),
        (
            polled(json!({"every": "1h", "keep": "59m"})),
            "policy.rego.bundle.poll.keep: expected at least every, and at most 168h",
        ),
        (
            polled(json!({"keep": "169h"})),
            "policy.rego.bundle.poll.keep: expected at least every, and at most 168h",
        ),
        (
            json!({"rego": {"bundle": {"poll": {}}}}),
            "policy.rego.bundle.keys: expected keys: what is polled has to be signed",
        ),
    ];
    for (policy, expected) in rows {
        let found = problems(&with("/policy", policy));
        assert!(found.iter().any(|problem| problem == expected), "{expected}: {found:?}");
    }
}

#[test]
fn what_bindings_mint_has_bindings_too_and_leads_to_an_upstream() {
    let mint = |name: &str, authority: &str| {
        json!({"value": format!("/{name}"), "name": name, "authority": authority, "methods": ["GET"],
               "paths": ["/api/**"], "site": {"header": "x-minted", "style": "template", "template": "{}"}})
    };
    let mut document = good();
    document["bindings"][0]["mints"] = json!([mint("access", "slack.com")]);
    let config = parse(&document).unwrap();
    let names: Vec<_> =
        config.bindings.iter().map(|one| (one.credential().as_str(), one.is_family())).collect();
    assert_eq!(names, [("slack", false), ("access", true)]);
    assert!(config.is_site("x-minted"));
    document["bindings"][0]["mints"] = json!([mint("access", "other.com")]);
    let expected = "bindings.mints (access).authority: no cluster in upstreams leads to it";
    assert_eq!(problems(&document), [expected]);
    let mut family = good();
    family["bindings"][0]["credential"] = Value::Null;
    family["bindings"][0]["minted"] = json!("access");
    assert_eq!(problems(&family), ["bindings[0].minted: expected credential; mints makes these"]);
    // Its content is read, or its site is in content that nobody reads.
    let mut form = good();
    let mut renewal = mint("renewal", "slack.com");
    renewal["site"] = json!({"form": "refresh_token"});
    form["bindings"][0]["mints"] = json!([renewal]);
    form["body"] = json!("stream");
    assert_eq!(
        problems(&form),
        ["body: expected hold, since a binding has its site in the content"]
    );
}

#[test]
fn a_token_endpoint_shares_no_request_with_a_binding_that_mints_otherwise() {
    let mut document = good();
    let endpoint = json!({
        "credential": "oauth", "tenant": "acme", "authority": "slack.com",
        "methods": ["POST"], "paths": ["/api/token"], "site": {"header": "x-client", "style": "bearer"},
        "mints": [{"value": "/access_token", "name": "access", "authority": "slack.com",
                   "methods": ["GET"], "paths": ["/api/**"], "site": {"style": "bearer"}}],
    });
    document["bindings"].as_array_mut().unwrap().push(endpoint.clone());
    let expected = "expected other methods or paths than those of slack, or the same mints";
    assert_eq!(problems(&document), [format!("bindings (oauth): {expected}")]);
    let rows = [
        ("methods", json!(["PUT"])),
        ("paths", json!(["/token"])),
        ("mints", json!([])),
        ("authority", json!("auth.slack.com")),
    ];
    for (key, value) in rows {
        let mut apart = document.clone();
        apart["bindings"][1][key] = value;
        apart["upstreams"]["auth"] = json!({"authority": "auth.slack.com"});
        assert!(parse(&apart).is_ok(), "{key}");
    }
    // The same client at another site mints the same.
    document["bindings"] = json!([endpoint.clone(), endpoint]);
    document["bindings"][1]["site"] = json!({"header": "x-other", "style": "bearer"});
    assert!(parse(&document).is_ok());
    document["bindings"][1]["mints"][0]["max_life"] = json!("2h");
    assert!(!problems(&document).is_empty());
}

fn capability() -> Value {
    let key = URL_SAFE_NO_PAD.encode([7; 32]);
    json!({"capability": {"audience": "gw", "issuers": [{"kid": "k", "issuer": "i", "key": key}]}})
}

#[test]
fn capability_tokens_have_one_authenticator_and_no_forward_endpoint() {
    let mut document = good();
    document["authenticators"] = json!([capability()]);
    assert!(parse(&document).is_ok());
    document["forward"] = json!({});
    let expected = "forward: expected no capability and no dpop among the authenticators: \
                    a proof covers neither x-tap-target nor x-tap-method";
    assert_eq!(problems(&document), [expected]);
    document["authenticators"] = json!([{"jwt": {
        "issuer": "https://idp.test", "audience": ["gw"], "jwks": {"inline": {}}, "dpop": {}}}]);
    assert_eq!(problems(&document), [expected]);
    let mut twice = good();
    twice["authenticators"] = json!([capability(), capability()]);
    let expected = "authenticators[1].capability: expected capability once: \
                    several issuers go into its list";
    assert_eq!(problems(&twice), [expected]);
}

fn introspecting(more: Value) -> Value {
    let mut one = json!({
        "issuer": "https://idp.test", "audience": ["gw"], "client": {"id": "gateway"},
        "endpoint": {"cluster": "idp", "authority": "idp.test", "path": "/introspect"},
    });
    for (key, value) in more.as_object().unwrap() {
        one[key] = value.clone();
    }
    let mut document = good();
    document["authenticators"] = json!([
        {"api_key": {}},
        {"jwt": {"issuer": "https://jwt.test", "audience": ["gw"], "jwks": {"inline": {"keys": []}}}},
        {"introspected": one},
    ]);
    document
}

#[test]
fn an_introspection_endpoint_has_safe_defaults() {
    let config = parse(&introspecting(json!({}))).unwrap();
    let Some(Authentication::Introspected(one)) = config.authenticators.last() else {
        panic!("none")
    };
    assert_eq!((one.header.as_str(), one.ttl.as_secs(), one.cache), ("authorization", 30, 1024));
    assert!(one.typed && one.prefixes.is_empty() && one.jwt_issuers.is_empty());
    let names: Vec<_> = config.secret_variables().collect();
    assert_eq!(names, ["POSTERN_INTROSPECTION_SECRET"]);
    assert!(config.reads_certificates() && !config.takes_proofs());
    assert!(parse(&introspecting(json!({"dpop": {}}))).unwrap().takes_proofs());
}

#[test]
fn an_introspection_endpoint_that_cannot_be_asked_is_reported_with_its_path() {
    let rows = [
        (json!({"audience": []}), "audience: expected 1 to 16: a token for anybody is for nobody"),
        (json!({"issuer": ""}), "issuer: missing"),
        (json!({"endpoint": null}), "endpoint: missing"),
        (json!({"client": {}}), "client.id: missing"),
        (json!({"client": {"id": ""}}), "client.id: expected 1 to 256 printable ASCII characters"),
        (json!({"ttl": "31s"}), "ttl: expected at most 30s"),
        (json!({"cache": 20000}), "cache: expected at most 16384"),
        (json!({"prefixes": []}), "prefixes: expected 1 to 16"),
        (json!({"prefixes": ["a b"]}), "prefixes[0]: expected 1 to 32 of [A-Za-z0-9._~+/-]"),
        (json!({"jwt_issuers": [""]}), "jwt_issuers: expected at most 16, none empty"),
        (
            json!({"header": "x-token", "dpop": {}}),
            "dpop: expected the header Authorization, whose scheme says it",
        ),
        (
            json!({"jwt_issuers": ["https://jwt.test"]}),
            "jwt_issuers: expected none that a jwt here is for",
        ),
    ];
    for (more, expected) in rows {
        let found = problems(&introspecting(more));
        let expected = format!("authenticators[2].introspected.{expected}");
        assert!(found.contains(&expected), "{expected}: {found:?}");
    }
}

#[test]
fn no_other_secret_of_a_module_can_be_shown_to_an_introspection_endpoint() {
    let named = |name: &str| introspecting(json!({"client": {"id": "g", "secret_variable": name}}));
    for name in ["POSTERN_INTROSPECTION_SECRET", "POSTERN_INTROSPECTION_SECRET_B2"] {
        assert!(parse(&named(name)).is_ok(), "{name}");
    }
    for name in [
        "POSTERN_PERMIT_KEY",
        "POSTERN_GATE_KEY",
        "POSTERN_INTROSPECTION_SECRETS",
        "POSTERN_INTROSPECTION_SECRET_x",
        "PATH",
        "",
        "the secret itself",
    ] {
        let found = problems(&named(name));
        let expected = "authenticators[2].introspected.client.secret_variable: expected the name \
                        of an environment variable: POSTERN_INTROSPECTION_SECRET, or that and _NAME";
        assert_eq!(found, [expected], "{name}");
    }
}

#[test]
fn what_others_recognise_stands_before_what_is_introspected() {
    let mut document = introspecting(json!({}));
    let list = document["authenticators"].as_array_mut().unwrap();
    list.rotate_right(1);
    let expected = "expected before introspected without prefixes, which takes what is left";
    assert_eq!(
        problems(&document),
        [
            format!("authenticators[1].api_key.header: {expected}"),
            format!("authenticators[2].jwt.header: {expected}"),
        ]
    );
    // Two endpoints of one field are told apart by prefixes.
    let mut two = introspecting(json!({"prefixes": ["a_"]}));
    let one = two["authenticators"][2].clone();
    two["authenticators"].as_array_mut().unwrap().push(one);
    assert!(parse(&two).is_ok());
    two["authenticators"][2]["introspected"]["prefixes"] = Value::Null;
    assert_eq!(problems(&two), [format!("authenticators[3].introspected.header: {expected}")]);
    // Another endpoint does not learn the secret of the first.
    two["authenticators"][2]["introspected"]["prefixes"] = json!(["b_"]);
    let other = &mut two["authenticators"][3]["introspected"];
    other["endpoint"]["authority"] = json!("other.test");
    let expected = "expected a secret of its own for each authority";
    let path = "authenticators[3].introspected.client.secret_variable";
    assert_eq!(problems(&two), [format!("{path}: {expected}")]);
    let other = &mut two["authenticators"][3]["introspected"];
    other["client"]["secret_variable"] = json!("POSTERN_INTROSPECTION_SECRET_OTHER");
    assert!(parse(&two).is_ok());
    // In another field nothing is taken from anybody.
    let mut apart = introspecting(json!({"header": "x-token"}));
    apart["authenticators"].as_array_mut().unwrap().rotate_right(1);
    assert!(parse(&apart).is_ok());
}

#[test]
fn labels_of_sessions_need_content_that_is_held() {
    let mut document = good();
    document["taints"] = json!({"labels": ["pii"], "life": "8h"});
    assert!(parse(&document).is_ok());
    document["body"] = json!("stream");
    let found = problems(&document);
    assert!(found.iter().any(|one| one.starts_with("taints: expected body: hold")), "{found:?}");
}
