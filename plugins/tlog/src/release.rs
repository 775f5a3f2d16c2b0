//! The leaf of a release: what was built of which commit, and what the hardware says of it
//! when it runs.
//!
//! Owns the text: RFC 8785 JSON whose strings need no escapes, so that reading it takes no
//! parser of JSON. Invariant: [`Leaf::parse`] takes exactly what [`Leaf::text`] writes.

use postern_core::hex;

use crate::decimal;

/// Most measurements of utility VMs in a leaf.
pub const MEASUREMENTS: usize = 16;

/// What the log says of a release from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It may be authorised by release sets.
    Authorised,
    /// It was taken out of them.
    Pruned,
}

/// A release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The commit: a SHA-1 or SHA-256 name, lower-case hex.
    pub commit: String,
    /// SHA-256 of the image's manifest.
    pub image: [u8; 32],
    /// SHA-256 of the policy that the launch is bound to.
    pub host_data: [u8; 32],
    /// Launch measurements of the utility VM, ascending, each once.
    pub measurements: Vec<[u8; 48]>,
    /// Least firmware, as the eight bytes of `reported_tcb`; zeros when there is no floor.
    pub least_tcb: [u8; 8],
    /// Authorised or pruned.
    pub state: State,
    /// Number of the release set that this leaf goes with.
    pub sequence: u64,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Authorised => "authorised",
            Self::Pruned => "pruned",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Authorised, Self::Pruned].into_iter().find(|state| state.name() == text)
    }
}

impl Leaf {
    /// The bytes that are hashed into the tree.
    pub fn text(&self) -> String {
        let [host_data, image] = [&self.host_data, &self.image].map(|hash| hex::lower(hash));
        let tcb = hex::lower(&self.least_tcb);
        let measurements = self.measurements.iter().map(|it| format!("\"{}\"", hex::lower(it)));
        let measurements = measurements.collect::<Vec<_>>().join(",");
        let (commit, state, sequence) = (&self.commit, self.state.name(), self.sequence);
        format!(
            "{{\"hostdata\":\"{host_data}\",\"image\":\"sha256:{image}\",\"min_tcb\":\"{tcb}\",\
             \"seq\":\"{sequence}\",\"sha\":\"{commit}\",\"state\":\"{state}\",\
             \"uvm\":[{measurements}],\"v\":1}}"
        )
    }

    /// Reads a text.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("{\"hostdata\":\"")?;
        let (host_data, rest) = rest.split_once("\",\"image\":\"sha256:")?;
        let (image, rest) = rest.split_once("\",\"min_tcb\":\"")?;
        let (tcb, rest) = rest.split_once("\",\"seq\":\"")?;
        let (sequence, rest) = rest.split_once("\",\"sha\":\"")?;
        let (commit, rest) = rest.split_once("\",\"state\":\"")?;
        let (state, rest) = rest.split_once("\",\"uvm\":[")?;
        let leaf = Self {
            commit: commit.to_owned(),
            image: hex::read(image.as_bytes())?,
            host_data: hex::read(host_data.as_bytes())?,
            measurements: measurements(rest.strip_suffix("],\"v\":1}")?)?,
            least_tcb: hex::read(tcb.as_bytes())?,
            state: State::parse(state)?,
            sequence: decimal(sequence)?,
        };
        (leaf.is_canonical() && leaf.text() == text).then_some(leaf)
    }

    /// Whether the commit is one, and the measurements are few, in order and each there once.
    pub fn is_canonical(&self) -> bool {
        let digits = self.commit.as_bytes();
        let commit = hex::read::<20>(digits).is_some() || hex::read::<32>(digits).is_some();
        let ascending = self.measurements.is_sorted_by(|one, next| one < next);
        commit && ascending && self.measurements.len() <= MEASUREMENTS
    }
}

fn measurements(text: &str) -> Option<Vec<[u8; 48]>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let quoted = |word: &str| hex::read(word.strip_prefix('"')?.strip_suffix('"')?.as_bytes());
    text.split(',').map(quoted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_is_read_in_its_one_form_alone() {
        let leaf = Leaf {
            commit: "ab".repeat(20),
            image: [1; 32],
            host_data: [2; 32],
            measurements: vec![[3; 48], [4; 48]],
            least_tcb: [5; 8],
            state: State::Authorised,
            sequence: 8,
        };
        let text = leaf.text();
        assert_eq!(Leaf::parse(&text), Some(leaf.clone()));
        let none = Leaf { measurements: vec![], state: State::Pruned, ..leaf.clone() };
        assert_eq!(Leaf::parse(&none.text()), Some(none));
        let backwards = Leaf { measurements: vec![[4; 48], [3; 48]], ..leaf.clone() };
        let twice = Leaf { measurements: vec![[3; 48]; 2], ..leaf };
        for bad in [
            backwards.text(),
            twice.text(),
            text.replace("\"v\":1", "\"v\":2"),
            text.replace("\"seq\":\"8\"", "\"seq\":\"08\""),
            text.replace("\"seq\":\"8\"", "\"seq\":8"),
            text.replace("abab", "ABAB"),
            text.replace("authorised", "revoked"),
            text.replace("sha256:", ""),
            text.replace(',', ", "),
            text.replace("],\"v\"", ",],\"v\""),
            format!("{text}\n"),
            format!(" {text}"),
            String::new(),
        ] {
            assert_eq!(Leaf::parse(&bad), None, "{bad}");
        }
    }
}
