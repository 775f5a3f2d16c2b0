//! Effects to `wasi:http`, requests to events: the adapter of the components for Spin.
//!
//! Owns the use of WASI 0.3 and of Spin's variables: the clock and the random source
//! ([`host`]), heads and content ([`head`], [`content`]), calls ([`call`]), what the requests of
//! an instance share ([`gateway`]) and one request and its answer ([`exchange`]). Decides
//! nothing: everything is an event of the core, and its effects are performed literally.
//!
//! Invariant: without a configuration that was accepted every request is refused, and a
//! request whose effects cannot be performed ends.
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod answer;
mod call;
mod content;
mod documents;
mod exchange;
pub mod gateway;
mod head;
pub mod host;

pub use documents::{Documents, configured};
#[doc(hidden)]
pub use spin_sdk::wasip3;

use std::rc::Rc;

use gateway::Gateway;
use postern_core::config::ConfigError;
use spin_sdk::wasip3::http::types::{ErrorCode, Request, Response};

/// Turns the documents of an application into a gateway.
pub type Configure = fn(&Documents) -> Result<Gateway, ConfigError>;

/// Handles one request; the first ones of an instance configure it.
pub async fn handle(request: Request, configure: Configure) -> Result<Response, ErrorCode> {
    match configured(configure).await {
        Some(gateway) => exchange::run(Rc::clone(&gateway), request).await,
        None => answer::unconfigured(),
    }
}

/// Makes this crate's component: the function that turns its documents into a
/// [`gateway::Gateway`].
#[macro_export]
macro_rules! component {
    ($configure:ident) => {
        mod component {
            use $crate::wasip3;
            use wasip3::http::types::{ErrorCode, Request, Response};

            struct Component;

            impl wasip3::exports::http::handler::Guest for Component {
                async fn handle(request: Request) -> Result<Response, ErrorCode> {
                    $crate::handle(request, super::$configure).await
                }
            }

            wasip3::http::service::export!(Component with_types_in wasip3);
        }
    };
}
