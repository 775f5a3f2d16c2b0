//! Properties of chains: nothing widens, nothing damaged is taken.

use proptest::collection::{btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::fixture::{NOW, bare, check, full, further, token};
use super::raw::text;
use crate::claims::Claims;
use crate::form::Set;
use crate::right::Right;
use crate::token::blocks;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];
const HOSTS: [&str; 3] = ["a.test", "b.test", "c.test:8443"];
const PATHS: [&str; 7] = ["/", "/a", "/a/b", "/a/b/c", "/ab", "/b", "/b/c"];

fn sets(items: &'static [&'static str]) -> impl Strategy<Value = Option<Set>> {
    of(btree_set(select(items), 1..=items.len()))
        .prop_map(|set| set.map(|set| set.into_iter().map(str::to_owned).collect()))
}

/// What a block may say about rights, of all that there is.
fn said() -> impl Strategy<Value = Claims> {
    let names = || sets(&NAMES);
    let some = || (names(), names(), names(), names(), names());
    let where_to = (sets(&HOSTS), sets(&METHODS), sets(&PATHS));
    let levels = (of(0..4u8), of(0..6u8), of(0..4u8), of(0..9u64));
    let times = (of(NOW + 1..NOW + 800), of(NOW - 9..NOW + 5));
    let identity = (of(Just("org-7".to_owned())), of(Just("doc-1".to_owned())));
    (some(), where_to, levels, times, identity).prop_map(
        |(sets, (hosts, methods, paths), levels, (expires, not_before), identity)| {
            let (scopes, roles, credentials, tools, models) = sets;
            let (trust, clearance, approval, budget) = levels;
            let (organisation, document) = identity;
            Claims {
                scopes,
                roles,
                credentials,
                tools,
                models,
                hosts,
                methods,
                paths,
                trust,
                clearance,
                approval,
                budget,
                expires,
                not_before,
                organisation,
                document,
                ..Claims::default()
            }
        },
    )
}

/// A first block and further ones, complete.
fn chain() -> impl Strategy<Value = Vec<Claims>> {
    (said(), vec(said(), 0..5)).prop_map(|(first, rest)| {
        let start = bare();
        let first = Claims {
            issuer: start.issuer,
            subject: start.subject,
            audience: start.audience,
            expires: first.expires.or(start.expires),
            issued_at: start.issued_at,
            id: start.id,
            holder: start.holder,
            tenant: start.tenant,
            ..first
        };
        let complete = |(place, claims): (u8, Claims)| {
            let must = further(place);
            Claims { id: must.id, holder: must.holder, ..claims }
        };
        std::iter::once(first).chain((1..).zip(rest).map(complete)).collect()
    })
}

/// Everything that can be asked of a right.
fn allowed(right: &Right) -> Vec<bool> {
    let mut answers = Vec::new();
    for name in NAMES {
        let granted = [&right.scopes, &right.roles, &right.credentials];
        answers.extend(granted.map(|set| set.contains(name)));
        answers.extend([right.admits_tool(name), right.admits_model(name)]);
    }
    for (method, host) in METHODS.iter().flat_map(|it| HOSTS.map(|host| (it, host))) {
        let paths = ["/", "/a", "/a/", "/a/b", "/a/b/x", "/ab", "/b/c", "/c", "/a/../b"];
        answers.extend(paths.map(|path| right.admits(method, host, path)));
    }
    answers.extend((0..4).map(|level| right.trust >= level));
    answers.extend((0..6).map(|level| right.clearance >= level));
    answers.extend((0..4).map(|class| right.approval <= class));
    answers.extend((0..9).map(|cost| right.budget.is_none_or(|budget| budget >= cost)));
    answers.extend((NOW..NOW + 900).step_by(7).map(|now| now < right.expires));
    answers.extend((NOW - 9..NOW + 9).map(|now| now >= right.not_before));
    answers.extend(["doc-1", "doc-2"].map(|it| right.document.as_deref().is_none_or(|d| d == it)));
    answers.push(right.organisation.is_some());
    answers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_added_block_widens(blocks in chain()) {
        let mut before: Option<Right> = None;
        for length in 1..=blocks.len() {
            let right = check(&token(&blocks[..length])).unwrap().right().clone();
            if let Some(before) = &before {
                prop_assert!(right.lies_within(before));
                let (now, then) = (allowed(&right), allowed(before));
                prop_assert!(now.iter().zip(&then).all(|(now, then)| *then || !now));
            }
            before = Some(right);
        }
    }

    #[test]
    fn the_right_is_what_every_block_allows(blocks in chain()) {
        let whole = check(&token(&blocks)).unwrap();
        // What each block alone would allow of limits; grants come from the first.
        for claims in &blocks {
            let limits = Right::granted(Claims { tenant: bare().tenant, ..claims.clone() });
            let alone = |path: &str, method: &str, host: &str| limits.admits(method, host, path);
            for path in PATHS {
                for method in METHODS {
                    for host in HOSTS {
                        let allowed = whole.right().admits(method, host, path);
                        prop_assert!(!allowed || alone(path, method, host));
                    }
                }
            }
        }
        for path in PATHS {
            let each = blocks.iter().all(|claims| {
                Right::granted(Claims { hosts: None, methods: None, ..claims.clone() })
                    .admits("GET", "a.test", path)
            });
            let right = Right { hosts: None, methods: None, ..whole.right().clone() };
            prop_assert_eq!(right.admits("GET", "a.test", path), each, "{}", path);
        }
    }

    #[test]
    fn claims_are_read_as_they_were_written(blocks in chain()) {
        for claims in blocks {
            let payload = claims.encode().unwrap();
            let read = Claims::decode(&payload).unwrap();
            prop_assert_eq!(read.encode().unwrap(), payload);
            prop_assert_eq!(read, claims);
        }
    }

    #[test]
    fn blocks_rearranged_are_refused(chain in chain(), other in chain(), order in vec(0..12usize, 1..8)) {
        let good = blocks(token(&chain).as_bytes()).unwrap();
        let foreign = Claims { id: Some([7; 16]), ..other[0].clone() };
        let foreign: Vec<Claims> = std::iter::once(foreign).chain(other[1..].iter().cloned()).collect();
        let foreign = blocks(token(&foreign).as_bytes()).unwrap();
        let pool: Vec<&Vec<u8>> = good.iter().chain(&foreign).collect();
        let picked: Vec<Vec<u8>> = order.iter().map(|at| pool[at % pool.len()].clone()).collect();
        let is_prefix = good.starts_with(&picked) || foreign.starts_with(&picked);
        let verdict = check(&text(&picked));
        prop_assert_eq!(verdict.is_ok(), is_prefix);
        // A shorter chain verifies, but names another key to sign requests.
        if let Ok(chain) = verdict {
            let whole = if good.starts_with(&picked) { token_of(&good) } else { token_of(&foreign) };
            let length = if good.starts_with(&picked) { good.len() } else { foreign.len() };
            prop_assert_eq!(chain.holder() == check(&whole).unwrap().holder(), picked.len() == length);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..300), token in "pct1\\.[A-Za-z0-9_-]{0,200}") {
        prop_assert!(check(&crate::mint::text(&bytes)).is_err());
        prop_assert!(check(&token).is_err());
        prop_assert!(check(&text(&[bytes])).is_err());
    }
}

fn token_of(blocks: &[Vec<u8>]) -> String {
    text(blocks)
}

#[test]
fn a_flip_of_any_bit_is_refused() {
    let good = token(&[full(), further(1)]);
    assert!(check(&good).is_ok());
    let bytes = good.into_bytes();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let issuers = super::fixture::issuers();
            let context = super::fixture::context(&issuers);
            let verdict = crate::verify(&flipped, &context, &crate::Strict);
            assert!(verdict.is_err(), "bit {bit} of character {at}");
        }
    }
}

#[test]
fn a_cut_at_any_place_is_refused() {
    let good = token(&[full(), further(1)]);
    for length in 0..good.len() {
        assert!(check(&good[..length]).is_err(), "{length} characters");
    }
}
