//! Changes that filters make to fields, with Envoy's order of them.

use super::joined;
use crate::view::{Direction, Pairs};

/// Bytes of all names and values.
pub(in crate::proxy) fn size(pairs: &Pairs) -> usize {
    pairs.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// Adds a line: to the one line of a field that has only one, if `joined` says whose fields
/// these are, else behind all others. Pseudo fields stand in front, in their own order.
pub(in crate::proxy) fn add(
    pairs: &mut Pairs,
    joined: Option<Direction>,
    name: &[u8],
    value: &[u8],
) {
    let single = joined.is_some_and(|direction| joined::is_joined(direction, name));
    match pairs.iter_mut().find(|(have, _)| single && have == name) {
        Some((_, before)) => joined::append(before, value),
        None if name.starts_with(b":") => {
            let end = pairs.iter().take_while(|(have, _)| have.starts_with(b":")).count();
            pairs.insert(end, (name.to_vec(), value.to_vec()));
        }
        None => pairs.push((name.to_vec(), value.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pairs: &Pairs) -> String {
        let line = |(name, value): &(Vec<u8>, Vec<u8>)| {
            format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
        };
        pairs.iter().map(line).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_line_goes_behind_the_others_or_into_the_one_that_there_may_be() {
        let mut pairs = Pairs::new();
        for (name, value) in [
            (":path", "/"),
            ("user-agent", "1"),
            ("x-c", "4"),
            ("user-agent", "9"),
            ("x-c", "9"),
            (":method", "GET"),
            (":path", "/2"),
            ("accept", "5"),
        ] {
            add(&mut pairs, Some(Direction::Request), name.as_bytes(), value.as_bytes());
        }
        let want = ":path=/,/2 :method=GET user-agent=1,9 x-c=4 x-c=9 accept=5";
        assert_eq!(text(&pairs), want);
        assert_eq!(size(&pairs), 47);
        add(&mut pairs, None, b"accept", b"6");
        assert!(text(&pairs).ends_with("accept=5 accept=6"));
    }
}
