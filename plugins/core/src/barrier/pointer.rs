//! Patterns of JSON pointers: where in a document the sections stand.

/// A JSON pointer (RFC 6901) in which `*` stands for every member or element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Any,
    Named(String),
}

const MOST_STEPS: usize = 16;

impl Pointer {
    /// Reads `/sections/*`; the empty text is the whole document.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected a JSON pointer (RFC 6901) of at most 16 steps";
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let steps = text.strip_prefix('/').ok_or(EXPECTED)?;
        let steps: Option<Vec<Step>> = steps.split('/').map(step).collect();
        steps.filter(|steps| steps.len() <= MOST_STEPS).map(Self).ok_or(EXPECTED)
    }

    /// How many containers it leads through.
    pub(super) fn depth(&self) -> usize {
        self.0.len()
    }

    /// Whether its step at this depth is the member of this name.
    pub(super) fn has_member(&self, depth: usize, name: &str) -> bool {
        match self.0.get(depth) {
            Some(Step::Any) => true,
            Some(Step::Named(wanted)) => wanted == name,
            None => false,
        }
    }

    /// Whether its step at this depth is the element of this index (RFC 6901, 4).
    pub(super) fn has_element(&self, depth: usize, index: usize) -> bool {
        match self.0.get(depth) {
            Some(Step::Any) => true,
            Some(Step::Named(wanted)) => *wanted == index.to_string(),
            None => false,
        }
    }
}

fn step(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::Any);
    }
    let mut escapes = text.split('~').skip(1);
    if !escapes.all(|escaped| escaped.starts_with(['0', '1'])) {
        return None;
    }
    Some(Step::Named(text.replace("~1", "/").replace("~0", "~")))
}
