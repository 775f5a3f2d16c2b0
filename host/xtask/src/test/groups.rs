//! The groups of `cargo xtask test`, and what each runs.
//!
//! Invariant: what one group runs is run by a whole run once. What two groups need stands in
//! `also` of one of them, which runs it when it is asked for by its name.

/// One thing a group runs.
pub(super) enum Step {
    /// The tests of these packages.
    Packages(&'static [&'static str]),
    /// The scenario harness on one boundary.
    Scenarios(&'static str),
    /// The scenarios of one folder on one boundary.
    Folder(&'static str, &'static str),
    /// The comparison of our own gateway with Envoy; one test a scenario.
    Conformance,
    /// The attacks on both gateways; one test a case on a boundary.
    Attacks,
    /// The attacks on one other boundary.
    AttacksOn(&'static str),
    /// A short soak of our own gateway; one test.
    Soak,
    /// What the modules compute for requests, held against what is recorded; one test a count.
    Guard,
    /// The vectors of CRP/1, rebuilt by an independent client in Python; one test a file.
    PythonClient,
    /// Signatures of requests, recomputed by botocore and oauthlib; one test a case.
    SigningClient,
    /// Capability tokens, made and verified by an independent client in Python, from the vectors
    /// and live with the command; one test a case.
    CapabilityClient,
    /// Policies, here and in OPA; one test a pair.
    Policies,
    /// The tests of the policies that ship; one test a rule.
    PolicyTests,
    /// Evidence of hardware, judged a second time in Python.
    AttestationClient,
    /// One file of a package's folder `tests`.
    Program(&'static str, &'static str),
    /// The tests of a package whose names begin so.
    Named(&'static str, &'static str),
    /// The tests of a package with the key service's rows in PostgreSQL.
    OnPostgres(&'static str),
    /// Exports of the audit log, verified a second time in Python; one test a vector.
    AuditClient,
    /// What is exported of it for other systems, against their published schema; one test a row.
    AuditForms,
    /// Transparency logs, judged a second time in Python; one test a row.
    LogClient,
    /// Bundles of policies, read and made a second time in Python; one test a case.
    BundleClient,
    /// The modules packaged, verified, pushed to a registry and read in Python; one test a check.
    Package,
    /// The pages of the key service in a real Chromium.
    Browser,
    /// The checks of the tidy command, each counted.
    Tidy,
    /// What is below `deploy`, against published schemas, in Helm's engine and in promtool.
    Deployments,
    /// The modules built by Debian's toolchain have the same imports and exports; one test.
    Way3,
    /// A command of `postern` that has to end well; one test.
    Postern(&'static [&'static str]),
    /// A command of cargo that has to end well; one test.
    Ends(&'static [&'static str]),
}

pub(super) struct Group {
    pub name: &'static str,
    pub steps: &'static [Step],
    /// What other groups run as well.
    pub also: &'static [Step],
}

/// The shipped envoy.yaml is for development: simulated evidence, one plain loopback cluster.
const CHECK_EXAMPLE: &[&str] =
    &["check", "--allow-simulated", "--allow-plain-upstream", "envoy/envoy.yaml"];
const CHECK_TOKENS: &[&str] =
    &["check", "--module", "gate", "--allow-simulated", "examples/access-tokens.yaml"];
const CHECK_SPIN: &[&str] = &["check", "--allow-simulated", "spin/spin.toml"];
const DEMO: &[&str] = &["xtask", "demo", "--once"];
const DEMO_ON_SPIN: &[&str] = &["xtask", "demo", "--once", "--gateway", "spin"];
pub(super) const DEMO_ON_ENVOY: &[&str] = &["xtask", "demo", "--once", "--gateway", "envoy"];

pub(super) const GROUPS: &[Group] = &[
    Group {
        name: "core",
        steps: &[
            Step::Packages(&["postern-core", "postern-crp", "postern-scrub", "postern-proxy-wasm"]),
            Step::Packages(&["postern-fuzz", "postern-bench-scrub"]),
            Step::PythonClient,
            Step::SigningClient,
            Step::Scenarios("core"),
        ],
        also: &[],
    },
    Group {
        name: "identity",
        steps: &[
            Step::Packages(&[
                "postern-attest",
                "postern-capability",
                "postern-identity",
                "postern-jose",
                "postern-bench-identity",
            ]),
            Step::CapabilityClient,
            Step::AttestationClient,
        ],
        also: &[],
    },
    Group {
        name: "policy",
        steps: &[
            Step::Packages(&["postern-rego"]),
            Step::PolicyTests,
            Step::Policies,
            Step::BundleClient,
        ],
        also: &[],
    },
    Group {
        name: "audit",
        steps: &[
            Step::Packages(&["postern-tlog", "postern-witness"]),
            Step::AuditClient,
            Step::AuditForms,
            Step::LogClient,
        ],
        also: &[Step::Named("postern-keys", "audit::")],
    },
    Group {
        name: "keys",
        steps: &[
            Step::Packages(&[
                "postern-azure",
                "postern-files",
                "postern-keys",
                "postern-vault",
                "postern-vaults",
            ]),
            Step::OnPostgres("postern-keys"),
        ],
        also: &[],
    },
    Group {
        name: "operators",
        steps: &[
            Step::Packages(&["postern-cli", "postern-rig", "postern-harness", "xtask"]),
            Step::Deployments,
            Step::Package,
        ],
        also: &[],
    },
    Group {
        name: "host",
        steps: &[
            Step::Packages(&["postern-runtime", "postern-bench"]),
            Step::Scenarios("host"),
            Step::Conformance,
            Step::Soak,
            Step::Guard,
        ],
        also: &[],
    },
    Group { name: "envoy", steps: &[Step::Scenarios("envoy")], also: &[] },
    Group {
        name: "spin",
        steps: &[
            Step::Packages(&["postern-spin", "postern-spin-host"]),
            Step::Scenarios("spin"),
            Step::AttacksOn("spin"),
            Step::Ends(DEMO_ON_SPIN),
        ],
        also: &[],
    },
    Group {
        name: "attacks",
        steps: &[Step::Packages(&["postern-attack"]), Step::Attacks],
        also: &[],
    },
    Group {
        name: "examples",
        steps: &[
            Step::Packages(&["postern-example-plugin-test"]),
            Step::Postern(CHECK_EXAMPLE),
            Step::Postern(CHECK_TOKENS),
            Step::Postern(CHECK_SPIN),
            Step::Ends(DEMO),
            Step::Ends(DEMO_ON_ENVOY),
        ],
        also: &[],
    },
    Group {
        name: "people",
        steps: &[Step::Browser],
        also: &[
            Step::Program("postern-keys", "approvals"),
            Step::Program("postern-keys", "approvals_used"),
            Step::Program("postern-cli", "approvals"),
            Step::Named("postern-cli", "approval::"),
            Step::Folder("core", "people/"),
            Step::Folder("host", "people/"),
            Step::Folder("envoy", "people/"),
            Step::Folder("spin", "people/"),
            Step::Named("postern-keys", "pages::"),
            Step::Named("postern-keys", "people::"),
            Step::Named("postern-keys", "notify::"),
        ],
    },
    Group { name: "tidy", steps: &[Step::Tidy, Step::Way3], also: &[] },
];
