//! The effective right: what all blocks of a chain allow (SPEC.md, 4).
//!
//! Invariant: [`Right::narrow`] only takes away. What a block asks for beyond what is left
//! is reported and has no effect.

use crate::claims::{Claims, label};
use crate::form::Set;
use crate::refusal::Refusal;
use crate::request_path;

/// What a token allows. An absent limit (`None`) limits nothing; an empty set allows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Right {
    /// Ends at this second.
    pub expires: u64,
    /// Starts at this second.
    pub not_before: u64,
    /// Tenant.
    pub tenant: String,
    /// Organisation in which roles hold.
    pub organisation: Option<String>,
    /// Scopes.
    pub scopes: Set,
    /// Roles.
    pub roles: Set,
    /// Level of trust.
    pub trust: u8,
    /// Level of clearance.
    pub clearance: u8,
    /// Credentials that may be used.
    pub credentials: Set,
    /// Hosts.
    pub hosts: Option<Set>,
    /// Methods.
    pub methods: Option<Set>,
    /// Paths, each with all below it.
    pub paths: Option<Set>,
    /// Tools.
    pub tools: Option<Set>,
    /// Models.
    pub models: Option<Set>,
    /// Budget.
    pub budget: Option<u64>,
    /// The one document.
    pub document: Option<String>,
    /// Class of approval that requests need at least.
    pub approval: u8,
}

/// Numbers of the claims by which a block asked for more than was left.
pub type Widened = Vec<i64>;

impl Right {
    /// What the first block gives. Its claims have been checked for their place.
    pub fn granted(claims: Claims) -> Self {
        Self {
            expires: claims.expires.unwrap_or(0),
            not_before: claims.not_before.unwrap_or(0),
            tenant: claims.tenant.unwrap_or_default(),
            organisation: claims.organisation,
            scopes: claims.scopes.unwrap_or_default(),
            roles: claims.roles.unwrap_or_default(),
            trust: claims.trust.unwrap_or(0),
            clearance: claims.clearance.unwrap_or(0),
            credentials: claims.credentials.unwrap_or_default(),
            hosts: claims.hosts,
            methods: claims.methods,
            paths: claims.paths,
            tools: claims.tools,
            models: claims.models,
            budget: claims.budget,
            document: claims.document,
            approval: claims.approval.unwrap_or(0),
        }
    }

    /// Takes away what a further block does not allow.
    pub fn narrow(&mut self, claims: &Claims) -> Result<Widened, Refusal> {
        let mut asked = Widened::new();
        let mut note = |claim: i64, widened: bool| asked.extend(widened.then_some(claim));
        if claims.tenant.as_ref().is_some_and(|tenant| *tenant != self.tenant) {
            return Err(Refusal::Tenant);
        }
        note(label::ORGANISATION, granted_name(&self.organisation, &claims.organisation)?);
        limited_name(&mut self.document, &claims.document)?;
        note(label::EXPIRES, lower(&mut self.expires, claims.expires));
        note(label::NOT_BEFORE, raise(&mut self.not_before, claims.not_before));
        note(label::TRUST, lower(&mut self.trust, claims.trust));
        note(label::CLEARANCE, lower(&mut self.clearance, claims.clearance));
        note(label::APPROVAL, raise(&mut self.approval, claims.approval));
        note(label::SCOPES, common(&mut self.scopes, &claims.scopes));
        note(label::ROLES, common(&mut self.roles, &claims.roles));
        note(label::CREDENTIALS, common(&mut self.credentials, &claims.credentials));
        note(label::HOSTS, limit(&mut self.hosts, &claims.hosts));
        note(label::METHODS, limit(&mut self.methods, &claims.methods));
        note(label::TOOLS, limit(&mut self.tools, &claims.tools));
        note(label::MODELS, limit(&mut self.models, &claims.models));
        note(label::PATHS, limit_paths(&mut self.paths, &claims.paths));
        note(label::BUDGET, limit_number(&mut self.budget, claims.budget));
        Ok(asked)
    }

    /// Whether a request may be made. `authority` is in lower case without the scheme's
    /// default port; `path` has no query.
    pub fn admits(&self, method: &str, authority: &str, path: &str) -> bool {
        let within = |paths: &Set| paths.iter().any(|it| request_path::lies_within(path, it));
        holds(&self.methods, method)
            && holds(&self.hosts, authority)
            && self.paths.as_ref().is_none_or(within)
    }

    /// Whether a tool may be called.
    pub fn admits_tool(&self, tool: &str) -> bool {
        holds(&self.tools, tool)
    }

    /// Whether a model may be used.
    pub fn admits_model(&self, model: &str) -> bool {
        holds(&self.models, model)
    }

    /// Whether this right allows nothing that `other` does not.
    pub fn lies_within(&self, other: &Self) -> bool {
        let names =
            |mine: &Option<String>, theirs: &Option<String>| theirs.is_none() || mine == theirs;
        let no_path_more = || match (&self.paths, &other.paths) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(mine), Some(theirs)) => mine.iter().all(|path| covered(path, theirs)),
        };
        self.expires <= other.expires
            && self.not_before >= other.not_before
            && self.tenant == other.tenant
            && (self.organisation.is_none() || self.organisation == other.organisation)
            && names(&self.document, &other.document)
            && self.trust <= other.trust
            && self.clearance <= other.clearance
            && self.approval >= other.approval
            && self.scopes.is_subset(&other.scopes)
            && self.roles.is_subset(&other.roles)
            && self.credentials.is_subset(&other.credentials)
            && part(&self.hosts, &other.hosts)
            && part(&self.methods, &other.methods)
            && part(&self.tools, &other.tools)
            && part(&self.models, &other.models)
            && other.budget.is_none_or(|most| self.budget.is_some_and(|budget| budget <= most))
            && no_path_more()
    }
}

fn holds(limit: &Option<Set>, item: &str) -> bool {
    limit.as_ref().is_none_or(|set| set.contains(item))
}

fn part(mine: &Option<Set>, theirs: &Option<Set>) -> bool {
    let Some(theirs) = theirs else { return true };
    mine.as_ref().is_some_and(|mine| mine.is_subset(theirs))
}

/// A name that the first block gives or withholds for good; whether more was asked for.
fn granted_name(left: &Option<String>, asked: &Option<String>) -> Result<bool, Refusal> {
    match (left, asked) {
        (Some(left), Some(asked)) if left != asked => Err(Refusal::Disjoint),
        (None, Some(_)) => Ok(true),
        _ => Ok(false),
    }
}

fn limited_name(left: &mut Option<String>, asked: &Option<String>) -> Result<(), Refusal> {
    match (&*left, asked) {
        (Some(left), Some(asked)) if left != asked => return Err(Refusal::Disjoint),
        (None, Some(asked)) => *left = Some(asked.clone()),
        _ => {}
    }
    Ok(())
}

fn lower<T: Copy + Ord>(left: &mut T, asked: Option<T>) -> bool {
    let more = asked.is_some_and(|asked| asked > *left);
    *left = asked.map_or(*left, |asked| asked.min(*left));
    more
}

fn raise<T: Copy + Ord>(left: &mut T, asked: Option<T>) -> bool {
    let more = asked.is_some_and(|asked| asked < *left);
    *left = asked.map_or(*left, |asked| asked.max(*left));
    more
}

fn common(left: &mut Set, asked: &Option<Set>) -> bool {
    let Some(asked) = asked else { return false };
    let more = !asked.is_subset(left);
    left.retain(|item| asked.contains(item));
    more
}

fn limit(left: &mut Option<Set>, asked: &Option<Set>) -> bool {
    match (left, asked) {
        (Some(left), Some(_)) => common(left, asked),
        (left @ None, Some(_)) => {
            left.clone_from(asked);
            false
        }
        (_, None) => false,
    }
}

fn limit_number(left: &mut Option<u64>, asked: Option<u64>) -> bool {
    match left {
        Some(left) => lower(left, asked),
        None => {
            *left = asked;
            false
        }
    }
}

fn limit_paths(left: &mut Option<Set>, asked: &Option<Set>) -> bool {
    let (Some(mine), Some(theirs)) = (&*left, asked) else { return limit(left, asked) };
    let more = !theirs.iter().all(|path| covered(path, mine));
    let both = mine.iter().filter(|path| covered(path, theirs));
    let both = both.chain(theirs.iter().filter(|path| covered(path, mine)));
    *left = Some(both.cloned().collect());
    more
}

fn covered(path: &str, paths: &Set) -> bool {
    paths.iter().any(|prefix| request_path::starts_with(path, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(items: &[&str]) -> Set {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    fn paths(items: &[&str]) -> Claims {
        Claims { paths: Some(set(items)), ..Claims::default() }
    }

    #[test]
    fn paths_meet_by_segment() {
        type Row =
            (&'static [&'static str], &'static [&'static str], &'static [&'static str], bool);
        let rows: [Row; 6] = [
            (&["/"], &["/a"], &["/a"], false),
            (&["/a"], &["/"], &["/a"], true),
            (&["/a", "/b/c"], &["/a/x", "/b"], &["/a/x", "/b/c"], true),
            (&["/a"], &["/ab"], &[], true),
            (&["/a"], &["/a"], &["/a"], false),
            (&["/a", "/a/b"], &["/a/b/c"], &["/a/b/c"], false),
        ];
        for (first, second, both, asked) in rows {
            let mut right = Right::granted(paths(first));
            let widened = right.narrow(&paths(second)).unwrap();
            assert_eq!(right.paths, Some(set(both)), "{first:?} and {second:?}");
            assert_eq!(widened == [label::PATHS], asked, "{first:?} and {second:?}");
        }
    }

    #[test]
    fn an_empty_meeting_admits_nothing() {
        let mut right = Right::granted(paths(&["/a"]));
        right.narrow(&paths(&["/b"])).unwrap();
        assert!(!right.admits("GET", "a.test", "/a"));
        assert!(!right.admits("GET", "a.test", "/b"));
    }

    #[test]
    fn what_the_first_block_withholds_no_later_one_gives() {
        let mut right = Right::granted(Claims::default());
        let asked = Claims {
            organisation: Some("acme".into()),
            scopes: Some(set(&["a"])),
            roles: Some(set(&["a"])),
            credentials: Some(set(&["a"])),
            trust: Some(3),
            clearance: Some(9),
            expires: Some(1),
            ..Claims::default()
        };
        let before = right.clone();
        let widened = right.narrow(&asked).unwrap();
        assert_eq!(right, before);
        assert_eq!(widened.len(), 7);
    }
}
