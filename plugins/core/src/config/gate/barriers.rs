//! `barriers` of the gate's document: the levels there are, and where in answers the
//! sections stand that have one.
//!
//! Invariant: a request whose path no rule covers has no rule, and is refused; every level
//! that is named is one of the framework.

use std::rc::Rc;

use serde::Deserialize;

use crate::barrier::{Framework, Level, Pointer, Section};
use crate::config::{ConfigError, Problems, units};
use crate::identity::{Identity, Kind};
use crate::path::{PathPattern, RequestPath};

/// `barriers` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wire {
    /// Levels of the classification framework, lowest first. Required, 1 to 32.
    #[serde(default)]
    pub levels: Vec<String>,
    /// Clearance of callers whose identity has none. Default: none, and they see no section
    /// that has a level.
    pub clearance: Option<String>,
    /// Which answers have sections: the first rule that covers the path decides, and a
    /// request that none covers is denied. Required, 1 to 256.
    ///
    /// Paths are compared byte by byte, as in `scopes`: write `/documents/**`, and no
    /// catch-all without sections behind it where an upstream does not tell letters of either
    /// case apart.
    #[serde(default)]
    pub rules: Vec<RuleWire>,
    /// Most bytes of a section that are held until its tags were read. An answer with a
    /// section whose tags come later is cut. Default `64KiB`, limit `1MiB`.
    pub hold: Option<String>,
}

/// One rule as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleWire {
    /// Path template: exact, `{name}` for one segment, `/**` at the end for all below.
    /// Required.
    pub path: Option<String>,
    /// Sections of the answers; at most 16. Required; with `[]` answers pass unread.
    pub sections: Option<Vec<SectionWire>>,
}

/// One kind of section as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SectionWire {
    /// JSON pointer (RFC 6901) to the sections, in which `*` is every member or element.
    /// Required; the empty text is the whole document.
    pub at: Option<String>,
    /// Member of each section that names its level. This or `organisation` is required.
    pub level: Option<String>,
    /// Member of each section that names the organisation it belongs to.
    pub organisation: Option<String>,
}

/// Which sections of answers which callers may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barriers {
    /// The levels.
    pub framework: Rc<Framework>,
    /// Clearance of callers whose identity has none.
    pub clearance: Option<Level>,
    /// Rules; the first that covers the path decides.
    pub rules: Vec<Rule>,
    /// Most bytes of a section that wait for its tags.
    pub hold: usize,
}

/// Which sections some answers have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Paths it covers.
    pub path: PathPattern,
    /// The sections.
    pub sections: Rc<[Section]>,
}

const MOST_LEVELS: usize = 32;
const MOST_RULES: usize = 256;
const MOST_SECTIONS: usize = 16;
const DEFAULT_HOLD: usize = 64 * 1024;
const LARGEST_HOLD: usize = 1024 * 1024;

impl Barriers {
    /// The rule that decides about answers to requests for this path.
    pub fn rule(&self, path: &RequestPath) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.path.matches(path))
    }

    /// What the caller is cleared for. `Err`: his clearance is no level of the framework.
    pub fn clearance(&self, caller: &Identity) -> Result<Option<Level>, UnknownLevel> {
        let Some(name) = &caller.clearance else {
            // A token without clearance has none, as one that was narrowed to nothing.
            let none = caller.kind == Kind::Capability;
            return Ok(if none { None } else { self.clearance });
        };
        let level = match caller.kind {
            // These have no names, since they are verified without the framework.
            Kind::Capability => {
                name.parse().ok().and_then(|number| self.framework.numbered(number))
            }
            _ => self.framework.level(name),
        };
        level.map(Some).ok_or(UnknownLevel)
    }
}

/// A name that is no level of the framework.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownLevel;

impl TryFrom<Wire> for Barriers {
    type Error = ConfigError;

    fn try_from(wire: Wire) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let framework = framework(wire.levels, &mut problems);
        let clearance = wire.clearance.and_then(|name| {
            let level = framework.level(&name).ok_or("expected one of levels");
            problems.scalar("clearance", level)
        });
        if !(1..=MOST_RULES).contains(&wire.rules.len()) {
            problems.note("rules", "expected 1 to 256: what no rule covers is denied");
        }
        let rules = problems.list("rules", wire.rules, rule);
        let hold = wire.hold.map_or(Ok(DEFAULT_HOLD), |text| {
            let fits = |size: &usize| (1..=LARGEST_HOLD).contains(size);
            units::size(&text).and_then(|size| Some(size).filter(fits).ok_or("expected 1B to 1MiB"))
        });
        let hold = problems.scalar("hold", hold);
        let framework = Rc::new(framework);
        problems.finish(hold.map(|hold| Self { framework, clearance, rules, hold }))
    }
}

fn framework(levels: Vec<String>, problems: &mut Problems) -> Framework {
    if !(1..=MOST_LEVELS).contains(&levels.len()) {
        problems.note("levels", "expected 1 to 32, lowest first");
    }
    for (index, level) in levels.iter().enumerate() {
        let path = format!("levels[{index}]");
        if !is_name(level) {
            problems.note(path, "expected 1 to 64 bytes without control characters");
        } else if levels.iter().take(index).any(|earlier| earlier == level) {
            problems.note(path, "expected every level once");
        }
    }
    Framework::new(levels)
}

fn rule(wire: RuleWire) -> Result<Rule, ConfigError> {
    let mut problems = Problems::default();
    let path = problems.required("path", wire.path);
    let path = path.and_then(|text| problems.scalar("path", PathPattern::template(&text)));
    let sections = problems.required("sections", wire.sections).map(|sections| {
        if sections.len() > MOST_SECTIONS {
            problems.note("sections", "expected at most 16");
        }
        problems.list("sections", sections, section)
    });
    let read = path.zip(sections);
    problems.finish(read.map(|(path, sections)| Rule { path, sections: sections.into() }))
}

fn section(wire: SectionWire) -> Result<Section, ConfigError> {
    let mut problems = Problems::default();
    let at = problems.required("at", wire.at);
    let at = at.and_then(|text| problems.scalar("at", Pointer::parse(&text)));
    if wire.level.is_none() && wire.organisation.is_none() {
        problems.note("", "expected level, organisation, or both");
    }
    for (key, member) in [("level", &wire.level), ("organisation", &wire.organisation)] {
        if member.as_ref().is_some_and(|member| !is_name(member)) {
            problems.note(key, "expected the name of a member, of 1 to 64 bytes");
        }
    }
    let (level, organisation) = (wire.level, wire.organisation);
    problems.finish(at.map(|at| Section { at, level, organisation }))
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && !text.chars().any(char::is_control)
}
