//! A plugin of somebody else, `plugin/team.wat`, and its tests in `tests/team.rs`.
//!
//! The plugin lets a request pass when the cluster `teams` answers 200 for the team that the
//! request names in `x-team`. `README.md` says how to test a plugin of yours like this.
#![forbid(unsafe_code)]

/// Text of the plugin.
pub const PLUGIN: &str = include_str!("../plugin/team.wat");
