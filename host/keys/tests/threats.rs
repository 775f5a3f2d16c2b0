//! Every test that the page of threats names is there.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("../THREATS.md");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Rows of tables, without heads and rules: their cells.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let rows = rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect());
    rows.filter(|row: &Vec<&str>| row[0] != "who" && !row[0].starts_with("---")).collect()
}

/// What is wrong with the tests that a row names.
fn problems(row: &[&str]) -> Vec<String> {
    let [who, .., tests] = row else { return vec!["no cells".to_owned()] };
    let words: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
    if words.is_empty() && !tests.contains("**unproven**") {
        return vec![format!("{who}: neither a test nor unproven")];
    }
    let (mut file, mut problems) = (String::new(), Vec::new());
    for word in words {
        if word.contains('/') {
            match std::fs::read_to_string(root().join(word)) {
                Ok(text) => file = text,
                Err(_) => problems.push(format!("{word}: no such file")),
            }
        } else if !file.contains(&format!("fn {word}(")) {
            problems.push(format!("{word}: no such test"));
        }
    }
    problems
}

#[test]
fn every_claim_names_tests_that_exist_or_says_that_it_is_unproven() {
    let rows = rows(PAGE);
    assert!(rows.len() > 15);
    let wrong: Vec<String> = rows
        .iter()
        .flat_map(|row| if row.len() == 4 { problems(row) } else { vec![format!("{row:?}")] })
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_test_that_is_gone_is_noticed() {
    for (tests, problem) in [
        ("`host/keys/tests/threats.rs`: `no_such_thing`", "no_such_thing: no such test"),
        ("`host/keys/tests/none.rs`", "host/keys/tests/none.rs: no such file"),
        ("soon", "who: neither a test nor unproven"),
    ] {
        assert_eq!(problems(&["who", "", "", tests]), [problem]);
    }
    assert!(problems(&["who", "", "", "**unproven**"]).is_empty());
}
