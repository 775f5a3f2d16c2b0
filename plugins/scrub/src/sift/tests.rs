//! Passing over gives the same as reading every byte in every view.
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::rc::Rc;

use postern_core::inject::{InPlay, Keep};
use postern_core::secret::Secret;
use proptest::prelude::*;

use crate::automaton::Automaton;
use crate::forms::{self, Pattern};
use crate::views::{Hit, Search};

fn patterns(value: &str) -> Vec<Pattern> {
    let secret = |text: String| Secret::new(text.into_bytes());
    let rendered = secret(format!("Bearer {value}"));
    forms::patterns(&[InPlay { value: secret(value.to_owned()), rendered, keep: Keep::Worker }])
}

/// All that was found, joined, and what was open behind each chunk.
fn outcome(automaton: Automaton, body: &[u8], size: usize) -> (Vec<(u64, u64)>, Vec<u64>) {
    let mut search = Search::new(Rc::new(automaton));
    let (mut hits, mut open) = (Vec::new(), Vec::new());
    for chunk in body.chunks(size.max(1)) {
        search.read(chunk);
        hits.extend(search.drain_hits());
        open.push(search.open());
    }
    search.finish();
    hits.extend(search.drain_hits());
    (joined(hits), open)
}

/// As they are covered.
fn joined(hits: Vec<Hit>) -> Vec<(u64, u64)> {
    let mut hits: Vec<(u64, u64)> = hits.iter().map(|hit| (hit.start, hit.end)).collect();
    hits.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (start, end) in hits {
        match joined.last_mut() {
            Some(last) if start < last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    joined
}

fn same(value: &str, body: &[u8], size: usize) {
    let automaton = || Automaton::new(&patterns(value)).unwrap();
    assert!(automaton().sift().is_some());
    let (fast, slow) =
        (outcome(automaton(), body, size), outcome(automaton().without_sift(), body, size));
    assert_eq!(fast, slow, "{value} in {:?} by {size}", String::from_utf8_lossy(body));
}

/// One character as an upstream may spell it, or what may stand between two.
fn spelt(how: u8, byte: u8) -> Vec<u8> {
    let c = char::from(byte);
    match how {
        0 => format!("%{byte:02x}"),
        1 => format!("\\u00{byte:02X}"),
        2 => format!("&#{byte};"),
        3 => format!("={byte:02X}"),
        4 => format!("%25{byte:02x}"),
        5 => format!("\\\\u00{byte:02x}"),
        6 => format!("%\\u003{}{:x}", byte >> 4, byte & 15),
        7 => format!("{c}\r\n"),
        8 => format!("{c}\ndata: "),
        9 => format!("{c}=\r\n"),
        10 => format!("{c}\0"),
        11 => format!("{c}: "),
        12 => format!("&amp;#x{byte:x};"),
        13 => format!("&#x0000{byte:x};"),
        14 => format!("\\{c}"),
        15 => format!("{c}\\n"),
        _ => c.to_string(),
    }
    .into_bytes()
}

/// The value from somewhere to somewhere, plain or in a mixture of spellings.
fn echo(value: String) -> impl Strategy<Value = Vec<u8>> {
    let whole = value.len();
    let form = (0..forms::FORMS.len(), any::<prop::sample::Index>());
    let (of_form, mixed) = (value.clone(), value);
    prop_oneof![
        form.prop_map(move |(form, index)| {
            let all = (forms::FORMS[form].spell)(forms::Subject::whole(of_form.as_bytes()));
            if all.is_empty() { Vec::new() } else { all[index.index(all.len())].to_vec() }
        }),
        (0..whole, 0..=whole, 8_u8..60, proptest::collection::vec(any::<u8>(), whole)).prop_map(
            move |(from, to, rare, how)| {
                let spell = |(at, byte): (usize, u8)| spelt(how[at] % rare, byte);
                let bytes = mixed.bytes().enumerate();
                bytes.skip(from).take(to).flat_map(spell).collect()
            }
        ),
    ]
}

/// Something with echoes in it.
fn content(value: String) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => echo(value),
        2 => "[ -~\r\n]{0,60}".prop_map(String::into_bytes),
        1 => "[%\\\\&=#x0-9a-f;u \n:d]{0,20}".prop_map(String::into_bytes),
        1 => "(the |quick |\"brown\": |\\\\n|&amp;|fox, |= |\ndata: |12){0,30}"
            .prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9]{14,40}", "[a-zA-Z0-9/+=_%&\\\\]{16,40}", "xox-[a-c]{12,20}"]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: ProptestConfig::default().cases.saturating_mul(2), ..ProptestConfig::default() })]

    #[test]
    fn passing_over_changes_nothing(
        (value, body) in value().prop_flat_map(|value| (Just(value.clone()), content(value))),
        size in prop_oneof![17_usize..90, 90_usize..2000],
    ) {
        prop_assume!(Automaton::new(&patterns(&value)).unwrap().sift().is_some());
        same(&value, &body, size);
    }
}

/// What looked like an escape for a while is none, and may begin a pattern.
#[test]
fn what_is_no_second_escape_may_be_of_a_pattern() {
    let value = "_T\\+Cpzb+q_/hs+by\\++iEwn_H\\+\\=gMxlZ";
    let body = b"aaa0x\n%\\Cp&#x00007a;b\x00&amp;#x2b;&#113;_/hs%252b";
    for size in 17..60 {
        same(value, body, size);
    }
}

/// What is half read at the end of a chunk may go on as an escape of an escape.
#[test]
fn an_escape_of_an_escape_may_end_with_the_chunk() {
    for escape in
        ["&amp;t", "&amp;", "&amp;#", "&#38;l", "%25", "%254", "\\\\x", "=", "=4", "\ndat"]
    {
        let body = format!("some quick brown words {escape}");
        for size in 17..body.len() + 1 {
            same("9urEKh2aJKN01EcHqdBaFxbxap0vRwjlI", body.as_bytes(), size);
        }
    }
}

/// A pattern may begin with what is left out, and that may be an escape.
#[test]
fn what_is_left_out_may_be_escaped_where_a_pattern_begins() {
    same("xox-baacaccbabba", b"a&amp;#x2d;ba&#x000061;ca%63", 100);
    same("xox-aababaababccb", b"%78%6fx\ndata: %2daaba\0b", 100);
}

/// Reading goes on from where a view has something open, before where content itself has.
#[test]
fn a_reading_may_have_something_open_for_longer_than_content_has() {
    let value = "_&++\\i4\\+F5K_v+gQz=/909";
    let body = b"_v\r\n=309\\n\\#\n\n#1#%=x=694%\\u0035c&amp;#x2b;%2546&#53;K\r\n\\_v\r\n=2B&#x000067;Q\nda";
    for size in 17..body.len() {
        same(value, body, size);
    }
}

/// A secret's end in escapes of escapes, behind its beginning in plain ones.
#[test]
fn an_end_in_escapes_of_escapes_is_found_behind_other_escapes() {
    let value = "=\\%==\\yJ=2Y++h=%\\\\/uphVl_F\\+DG+_Nr%&A";
    let body = b"aPVwlPT1ceUo9MlkrK2g9JVxcL3VwaFZsX0ZcK0RHK19OciUmQQ==%5c%25%3d%3d%5c%79%4a%3d%32%59%2b%2b%68%3d%25%5c%5c%2f%75%70%68%56l\r\n_F&amp;#x5c;+DG+\\u005fNr%&\\A3\xee\xa5\xfc.:\x8aa,\xf4\x12";
    same(&value.replace("\\\\\\\\", "\\\\"), body, 86);
    same("=\\%==\\yJ=2Y++h=%\\/uphVl_F\\+DG+_Nr%&A", body, 86);
}
