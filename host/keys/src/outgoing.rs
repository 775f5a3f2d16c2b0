//! How the service asks other machines.
//!
//! Blocking. Invariant: every call ends by its deadline, follows no redirect and uses no proxy of
//! the environment; a status is an answer and no error.

use std::time::Duration;

use ureq::Agent;

/// A client whose calls end within `patience`.
pub(crate) fn agent(patience: Duration) -> Agent {
    Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(patience))
        .build()
        .into()
}
