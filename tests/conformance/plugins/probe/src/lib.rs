//! A plugin that does what a script says and logs everything it sees.
//!
//! The script of a stream stands in the request field `x-probe-<plugin name>`, that of a root
//! context in the plugin's configuration; [`script`] says how they are written and [`ops`] what
//! they can ask for. Each callback and each hostcall writes one line to the proxy's log, between
//! the marks of [`report`], so that the lines of two gateways can be compared.
//!
//! Invariant: the module has no opinion of its own. What it returns and what it calls, right or
//! wrong, comes from the script; without one it lets everything pass.

mod abi;
mod ops;
mod report;
mod script;
mod state;
