//! Whose questions a review answers, and where in the report the answers stand.

/// A framework.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Framework {
    /// SOC 2: the common criteria of the Trust Services Criteria
    Soc2,
    /// ISO/IEC 27001:2022: controls of Annex A
    Iso27001,
}

/// A control, what it asks for in our words, and the section of the report that has it.
pub(super) type Control = (&'static str, &'static str, &'static str);

const SOC2: &[Control] = &[
    ("CC6.1", "access to protected assets is restricted", "Access review"),
    ("CC6.2", "access is registered before it is used, and removed", "Changes of access"),
    ("CC6.3", "roles and least privilege, reviewed", "Access review"),
    ("CC6.7", "secrets are protected where they are moved and kept", "Credentials"),
    ("CC7.2", "components are monitored for anomalies", "Activity"),
    ("CC7.3", "security events are evaluated", "Refusals"),
    ("CC8.1", "changes are authorised", "Policies"),
    ("CC8.1", "what is sensitive is approved before it is done", "Approvals"),
];

const ISO27001: &[Control] = &[
    ("A.5.15", "access control", "Access review"),
    ("A.5.16", "identities are managed", "Changes of access"),
    ("A.5.17", "authentication information is managed", "Access review"),
    ("A.5.18", "access rights are given, reviewed and removed", "Access review"),
    ("A.5.28", "evidence is collected and preserved", "Integrity"),
    ("A.8.2", "privileged access rights are restricted", "Access review"),
    ("A.8.3", "access to information is restricted by policy", "Policies"),
    ("A.8.15", "activities are logged, and logs protected", "Integrity"),
    ("A.8.16", "anomalies are monitored", "Refusals"),
    ("A.8.24", "cryptography and keys are managed", "Credentials"),
];

impl Framework {
    /// As the report names it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Soc2 => "SOC 2",
            Self::Iso27001 => "ISO/IEC 27001:2022",
        }
    }

    pub(super) fn controls(self) -> &'static [Control] {
        match self {
            Self::Soc2 => SOC2,
            Self::Iso27001 => ISO27001,
        }
    }
}
