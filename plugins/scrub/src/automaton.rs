//! The compiled pattern set: an Aho-Corasick automaton that knows how much is open.
//!
//! Every match is reported, not only the leftmost longest: the scrubber covers the union
//! of all matches, so that of two overlapping secrets no end sticks out. It is our own
//! because each state has to say how much of a pattern is open there, and because its
//! memory spells secrets and has to be wiped; the crate `aho-corasick` gives access to
//! neither.
//!
//! Invariant: a state stands for the longest suffix read that begins some pattern.

use zeroize::Zeroize as _;

use crate::forms::Pattern;
use crate::sift::Sift;

/// A state of the automaton.
pub type State = u32;

/// Nothing is open.
const START: State = 0;
/// No state, no row.
const NONE: u32 = u32::MAX;
/// Patterns of more bytes in all are not compiled.
const MOST: usize = 1 << 22;

/// Finds every pattern; knows at each position how much of one may still be open.
pub struct Automaton {
    nodes: Vec<Node>,
    /// Where a state goes on with each class of bytes, for states with several ways on.
    rows: Vec<State>,
    /// The class of each byte: one for all that no pattern has, one for each other.
    classes: [u16; 256],
    /// How many classes there are.
    width: u32,
    first: [bool; 256],
    /// Length of the longest pattern.
    most: usize,
    sift: Option<Sift>,
}

/// What is known of a state.
#[derive(Clone, Copy)]
struct Node {
    /// Stands for the longest proper suffix that begins a pattern.
    fail: State,
    /// Length of the longest suffix that some pattern goes on from.
    live: u32,
    /// Length of the longest pattern that ends here, or nothing.
    longest: u32,
    /// Where its row begins, if it has one.
    row: u32,
    /// The one way on, for a state without a row, and the class that leads there.
    next: State,
    class: u16,
}

impl Automaton {
    /// Compiles `patterns`; `None` when they are too long.
    pub fn new(patterns: &[Pattern]) -> Option<Self> {
        let mut sorted: Vec<&Pattern> = patterns.iter().filter(|it| !it.is_empty()).collect();
        sorted.sort_unstable_by(|a, b| a.order(b));
        if sorted.iter().map(|pattern| pattern.len()).sum::<usize>() > MOST {
            return None;
        }
        let mut made = Self {
            nodes: Vec::new(),
            rows: Vec::new(),
            classes: [0; 256],
            width: 1,
            first: [false; 256],
            most: sorted.iter().map(|pattern| pattern.len()).max().unwrap_or(0),
            sift: Sift::new(&sorted),
        };
        for pattern in &sorted {
            made.classify(pattern)?;
        }
        let depths = made.grow(&sorted)?;
        made.link(&depths)?;
        Some(made)
    }

    /// Gives each byte that occurs a class.
    fn classify(&mut self, pattern: &[u8]) -> Option<()> {
        *self.first.get_mut(usize::from(*pattern.first()?))? = true;
        for byte in pattern {
            let class = self.classes.get_mut(usize::from(*byte))?;
            if *class == 0 {
                *class = u16::try_from(self.width).ok()?;
                self.width = self.width.checked_add(1)?;
            }
        }
        Some(())
    }

    /// Makes the states of the sorted patterns; gives back how deep each is.
    fn grow(&mut self, sorted: &[&Pattern]) -> Option<Vec<usize>> {
        let mut depths: Vec<usize> = Vec::new();
        self.node(&mut depths, 0)?;
        self.row(START)?;
        let (mut path, mut last) = (vec![START], [].as_slice());
        for &pattern in sorted {
            let shared = pattern.iter().zip(last).take_while(|(a, b)| a == b).count();
            path.truncate(shared.checked_add(1)?);
            for (depth, byte) in (0_usize..).zip(pattern.iter()).skip(shared) {
                let new = self.node(&mut depths, depth.checked_add(1)?)?;
                self.join(*path.last()?, *byte, new)?;
                path.push(new);
            }
            for (depth, state) in (0_u32..).zip(&path).skip(pattern.least()) {
                self.nodes.get_mut(index(*state))?.longest = depth;
            }
            last = pattern;
        }
        Some(depths)
    }

    fn node(&mut self, depths: &mut Vec<usize>, depth: usize) -> Option<State> {
        let new = u32::try_from(self.nodes.len()).ok()?;
        let node = Node { fail: START, live: 0, longest: 0, row: NONE, next: NONE, class: 0 };
        self.nodes.push(node);
        depths.push(depth);
        Some(new)
    }

    /// Gives `state` a row.
    fn row(&mut self, state: State) -> Option<usize> {
        let begin = self.rows.len();
        self.rows.resize(begin.checked_add(index(self.width))?, NONE);
        self.nodes.get_mut(index(state))?.row = u32::try_from(begin).ok()?;
        Some(begin)
    }

    /// Makes `to` follow `from`; a second way on needs a row.
    fn join(&mut self, from: State, byte: u8, to: State) -> Option<()> {
        let class = *self.classes.get(usize::from(byte))?;
        let node = *self.nodes.get(index(from))?;
        let row = match node.row {
            NONE if node.next == NONE => {
                let node = self.nodes.get_mut(index(from))?;
                (node.next, node.class) = (to, class);
                return Some(());
            }
            NONE => {
                let row = self.row(from)?;
                *self.rows.get_mut(row.checked_add(usize::from(node.class))?)? = node.next;
                row
            }
            row => index(row),
        };
        *self.rows.get_mut(row.checked_add(usize::from(class))?)? = to;
        Some(())
    }

    /// Says of each state what it falls back to, shallow ones first, and fills the rows.
    fn link(&mut self, depths: &[usize]) -> Option<()> {
        for state in by_depth(depths)? {
            let depth = u32::try_from(*depths.get(index(state))?).ok()?;
            let node = *self.nodes.get(index(state))?;
            let back = *self.nodes.get(index(node.fail))?;
            let leaf = node.row == NONE && node.next == NONE;
            let node_now = self.nodes.get_mut(index(state))?;
            node_now.live = if leaf { back.live } else { depth };
            node_now.longest = node.longest.max(if depth == 0 { 0 } else { back.longest });
            if node.next != NONE && node.row == NONE {
                self.fall_back(node.next, node.fail, node.class, depth)?;
            }
            for class in 0..if node.row == NONE { 0 } else { self.width } {
                let at = index(node.row).checked_add(index(class))?;
                let class = u16::try_from(class).ok()?;
                match *self.rows.get(at)? {
                    NONE => {
                        let to = if depth == 0 { START } else { self.step(node.fail, class) };
                        *self.rows.get_mut(at)? = to;
                    }
                    child => self.fall_back(child, node.fail, class, depth)?,
                }
            }
        }
        Some(())
    }

    /// Says what `child` falls back to, which follows a state that falls back to `fail`.
    fn fall_back(&mut self, child: State, fail: State, class: u16, depth: u32) -> Option<()> {
        let to = if depth == 0 { START } else { self.step(fail, class) };
        self.nodes.get_mut(index(child))?.fail = to;
        Some(())
    }

    fn step(&self, from: State, class: u16) -> State {
        let mut state = from;
        // A state that falls back is shorter each time, and the start has a row.
        while let Some(node) = self.nodes.get(index(state)) {
            if node.row != NONE {
                let at = index(node.row).wrapping_add(usize::from(class));
                return self.rows.get(at).copied().unwrap_or(START);
            }
            if node.class == class && node.next != NONE {
                return node.next;
            }
            state = node.fail;
        }
        START
    }

    /// The state in which nothing is open.
    pub fn start(&self) -> State {
        START
    }

    /// The state after one more byte.
    pub(crate) fn next(&self, state: State, byte: u8) -> State {
        self.step(state, self.classes.get(usize::from(byte)).copied().unwrap_or(0))
    }

    /// Length of the longest pattern that ends in `state`, or nothing.
    pub(crate) fn longest(&self, state: State) -> usize {
        self.nodes.get(index(state)).map_or(0, |node| index(node.longest))
    }

    /// Length of the longest pattern there is.
    pub(crate) fn longest_pattern(&self) -> usize {
        self.most
    }

    /// Length of the longest suffix read that is a proper prefix of some pattern.
    pub fn live(&self, state: State) -> usize {
        self.nodes.get(index(state)).map_or(0, |node| index(node.live))
    }

    /// Whether some pattern begins with `byte`.
    pub(crate) fn begins(&self, byte: u8) -> bool {
        self.first.get(usize::from(byte)).copied().unwrap_or(true)
    }

    /// What passes over content that has no pattern, if these patterns allow it.
    pub(crate) fn sift(&self) -> Option<&Sift> {
        self.sift.as_ref()
    }

    /// The same without that.
    #[cfg(test)]
    pub(crate) fn without_sift(self) -> Self {
        let mut made = self;
        made.sift = None;
        made
    }

    /// About how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        let nodes = self.nodes.len().saturating_mul(size_of::<Node>());
        let rows = self.rows.len().saturating_mul(size_of::<State>());
        let sift = self.sift.as_ref().map_or(0, Sift::size);
        nodes.saturating_add(rows).saturating_add(sift)
    }
}

/// All states, shallow ones first: counted by depth, then put in their places.
fn by_depth(depths: &[usize]) -> Option<Vec<State>> {
    let deepest = depths.iter().max().copied().unwrap_or(0);
    let mut places = vec![0_usize; deepest.checked_add(2)?];
    for depth in depths {
        let next = places.get_mut(depth.checked_add(1)?)?;
        *next = next.checked_add(1)?;
    }
    let mut before = 0_usize;
    for place in &mut places {
        before = before.checked_add(*place)?;
        *place = before;
    }
    let mut states = vec![START; depths.len()];
    for (state, depth) in (0_u32..).zip(depths) {
        let place = places.get_mut(*depth)?;
        *states.get_mut(*place)? = state;
        *place = place.checked_add(1)?;
    }
    Some(states)
}

impl Drop for Automaton {
    fn drop(&mut self) {
        self.rows.zeroize();
        self.classes.zeroize();
        for node in &mut self.nodes {
            node.class.zeroize();
            node.next.zeroize();
        }
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn automaton(patterns: &[Vec<u8>]) -> Automaton {
        let patterns: Vec<Pattern> = patterns.iter().map(|p| Pattern::whole(p.clone())).collect();
        Automaton::new(&patterns).unwrap()
    }

    /// What is said of each end of a text, found by comparing.
    fn said(patterns: &[Vec<u8>], read: &[u8]) -> (usize, usize) {
        let ends = |length: &usize| {
            let end = &read[read.len() - length..];
            patterns.iter().any(|p| p == end)
        };
        let open = |length: &usize| {
            let end = &read[read.len() - length..];
            patterns.iter().any(|p| p.len() > *length && p.starts_with(end))
        };
        let lengths = || (1..=read.len()).rev();
        (lengths().find(ends).unwrap_or(0), lengths().find(open).unwrap_or(0))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn each_state_says_what_ends_and_what_is_open(
            patterns in proptest::collection::vec("[abc]{1,6}".prop_map(String::into_bytes), 0..12),
            text in "[abcd]{0,40}",
        ) {
            let automaton = automaton(&patterns);
            let mut state = automaton.start();
            for (at, byte) in text.bytes().enumerate() {
                state = automaton.next(state, byte);
                let says = (automaton.longest(state), automaton.live(state));
                prop_assert_eq!(says, said(&patterns, &text.as_bytes()[..=at]));
            }
        }
    }

    #[test]
    fn a_pattern_may_have_all_bytes_there_are() {
        let all: Vec<u8> = (0..=255).collect();
        let automaton = automaton(std::slice::from_ref(&all));
        let end = all.iter().fold(automaton.start(), |state, byte| automaton.next(state, *byte));
        assert_eq!(automaton.longest(end), 256);
    }
}
