//! Patterns of paths, found by a path: one walk along its segments, however many there are.
//!
//! Invariant: what is found are exactly the patterns that match, in the order in which they were
//! given.

use std::collections::BTreeMap;

use super::{PathPattern, RequestPath, Segment};

/// Numbers of patterns, from 0 in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathTable {
    root: Node,
}

/// What begins with the segments that lead here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    exact: BTreeMap<Vec<u8>, Node>,
    any: Option<Box<Node>>,
    /// Patterns that end here, and those of everything below.
    here: Vec<usize>,
    below: Vec<usize>,
}

impl<'a> FromIterator<&'a PathPattern> for PathTable {
    fn from_iter<I: IntoIterator<Item = &'a PathPattern>>(patterns: I) -> Self {
        let mut table = Self::default();
        for (number, pattern) in patterns.into_iter().enumerate() {
            let mut node = &mut table.root;
            for segment in &pattern.segments {
                node = match segment {
                    Segment::Exact(name) => node.exact.entry(name.clone()).or_default(),
                    Segment::Any => node.any.get_or_insert_default(),
                };
            }
            if pattern.below { &mut node.below } else { &mut node.here }.push(number);
        }
        table
    }
}

impl PathTable {
    /// The patterns that match.
    pub fn matching(&self, path: &RequestPath) -> Vec<usize> {
        let mut found = Vec::new();
        let mut nodes = vec![&self.root];
        for segment in &path.segments {
            let mut next = Vec::with_capacity(nodes.len());
            for node in nodes {
                found.extend_from_slice(&node.below);
                next.extend(node.exact.get(segment));
                next.extend(node.any.as_deref().filter(|_| !segment.is_empty()));
            }
            nodes = next;
        }
        for node in nodes {
            found.extend_from_slice(&node.below);
            found.extend_from_slice(&node.here);
        }
        found.sort_unstable();
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_found_is_what_matches(
            patterns in prop::collection::vec("(/(a|b|\\{x\\}|\\{y\\})){0,4}(/\\*\\*)?", 0..12),
            paths in prop::collection::vec("(/(a|b|c)){0,5}/?", 1..8),
        ) {
            let patterns: Vec<PathPattern> =
                patterns.iter().filter_map(|text| PathPattern::template(text).ok()).collect();
            let table: PathTable = patterns.iter().collect();
            for path in paths.iter().filter_map(|text| RequestPath::parse(text.as_bytes())) {
                let matches = |number: &usize| patterns[*number].matches(&path);
                let want: Vec<usize> = (0..patterns.len()).filter(matches).collect();
                prop_assert_eq!(table.matching(&path), want);
            }
        }
    }
}
