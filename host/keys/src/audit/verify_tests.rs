//! Every way a chain can be damaged, and what the verifier calls it.

use postern_core::secret::Secret;
use postern_core::time::UnixMillis;

use postern_core::chain::service_link;

use super::*;
use crate::audit::changes::{self, Tried};
use crate::audit::{AuditLog, Event};

fn log() -> AuditLog {
    AuditLog::new(&Secret::new(vec![1; 32]), "simulated").unwrap()
}

/// `count` genuine lines and the header.
fn lines(log: &AuditLog, count: u64) -> Vec<String> {
    let mut prev = START;
    let mut lines = vec![String::new()];
    for n in 1..=count {
        let bytes = Event::new("test", "acme").bytes(n, UnixMillis(n), "simulated");
        let hash = service_link(&prev, &bytes);
        let line = Line {
            n: n.to_string(),
            prev: B64.encode(prev),
            hash: B64.encode(hash),
            sig: B64.encode(log.sign(&hash)),
            bytes: Some(B64.encode(bytes)),
            gone: None,
        };
        lines.push(serde_json::to_string(&line).unwrap());
        prev = hash;
    }
    let header = Header {
        postern_audit: 1,
        key: B64.encode(log.public_key().as_bytes()),
        count: count.to_string(),
        head: B64.encode(prev),
    };
    lines[0] = serde_json::to_string(&header).unwrap();
    lines
}

fn note(log: &AuditLog, lines: &[String], n: u64) -> String {
    let (mut tree, mut hash) = (Growing::default(), START);
    for line in &lines[1..=n as usize] {
        let line: Line = serde_json::from_str(line).unwrap();
        hash = B64.decode(line.hash).unwrap().try_into().unwrap();
        tree.push(merkle::leaf(&hash));
    }
    Checkpoint { head: Link { n, hash }, root: tree.root(), at: UnixMillis(1) }.sign(log)
}

fn verify(lines: &[String], note: Option<&str>) -> Report {
    verify_export(lines.join("\n").as_bytes(), &log().public_key(), note)
}

/// What someone who cuts the export writes at its top.
fn header_for(lines: &mut [String], count: u64) {
    let mut header: Header = serde_json::from_str(&lines[0]).unwrap();
    let last: Line = serde_json::from_str(&lines[count as usize]).unwrap();
    (header.count, header.head) = (count.to_string(), last.hash);
    lines[0] = serde_json::to_string(&header).unwrap();
}

#[test]
fn an_untouched_chain_is_good_to_its_last_event() {
    let lines = lines(&log(), 5);
    let report = verify(&lines, Some(&note(&log(), &lines, 5)));
    assert_eq!((report.good, report.broken), (5, None));
}

#[test]
fn a_changed_event_is_named_whatever_part_of_it_changed() {
    let whole = lines(&log(), 5);
    for member in ["n", "prev", "hash", "sig", "bytes"] {
        let mut value: serde_json::Value = serde_json::from_str(&whole[3]).unwrap();
        let text = value[member].as_str().unwrap();
        let first = if text.starts_with('B') { "C" } else { "B" };
        let changed = if member == "n" { "4".to_owned() } else { format!("{first}{}", &text[1..]) };
        value[member] = changed.into();
        let mut lines = whole.clone();
        lines[3] = value.to_string();
        let report = verify(&lines, None);
        assert_eq!((report.good, report.broken), (2, Some(Break::Changed { n: 3 })), "{member}");
    }
    let mut lines = whole;
    lines[3].truncate(20);
    assert_eq!(verify(&lines, None).broken, Some(Break::Changed { n: 3 }));
}

#[test]
fn a_deleted_event_is_named() {
    let mut lines = lines(&log(), 5);
    lines.drain(2..4);
    assert_eq!(verify(&lines, None).broken, Some(Break::Deleted { first: 2, last: 3 }));
}

#[test]
fn an_inserted_event_is_named_forged_or_repeated() {
    let whole = lines(&log(), 5);
    let mut forged = whole.clone();
    let other = AuditLog::new(&Secret::new(vec![2; 32]), "simulated").unwrap();
    forged.insert(3, self::lines(&other, 5)[3].clone());
    assert_eq!(verify(&forged, None).broken, Some(Break::Inserted { n: 3 }));
    let mut repeated = whole.clone();
    repeated.insert(3, whole[1].clone());
    assert_eq!(verify(&repeated, None).broken, Some(Break::Inserted { n: 3 }));
}

#[test]
fn a_cut_off_end_is_named_by_the_header_or_by_the_checkpoint() {
    let mut lines = lines(&log(), 5);
    let point = note(&log(), &lines, 5);
    lines.truncate(4);
    assert_eq!(verify(&lines, None).broken, Some(Break::Truncated { first: 4, last: 5 }));
    header_for(&mut lines, 3);
    assert_eq!(verify(&lines, None).broken, None);
    assert_eq!(verify(&lines, Some(&point)).broken, Some(Break::Truncated { first: 4, last: 5 }));
}

#[test]
fn a_chain_written_anew_by_the_key_holder_is_not_the_checkpointed_one() {
    let lines = lines(&log(), 5);
    let good = Checkpoint::open(&note(&log(), &lines, 4), &log().public_key()).unwrap();
    let other_head = Checkpoint { head: Link { n: 4, hash: [9; 32] }, ..good };
    for point in [other_head, Checkpoint { root: [9; 32], ..good }] {
        let point = point.sign(&log());
        assert_eq!(verify(&lines, Some(&point)).broken, Some(Break::Forked { n: 4 }));
    }
}

#[test]
fn withheld_bytes_keep_the_chain_whole() {
    let mut lines = lines(&log(), 5);
    let mut line: Line = serde_json::from_str(&lines[3]).unwrap();
    line.bytes = None;
    lines[3] = serde_json::to_string(&line).unwrap();
    let report = verify(&lines, None);
    assert_eq!((report.good, report.withheld, report.broken), (5, 1, None));
}

#[test]
fn no_header_another_key_or_a_false_checkpoint_is_said() {
    let lines = lines(&log(), 5);
    assert_eq!(verify(&lines[1..], None).broken, Some(Break::Header));
    let other = AuditLog::new(&Secret::new(vec![2; 32]), "simulated").unwrap();
    assert_eq!(verify(&self::lines(&other, 5), None).broken, Some(Break::OtherKey));
    let point = note(&other, &lines, 5);
    assert_eq!(verify(&lines, Some(&point)).broken, Some(Break::Checkpoint));
}

#[test]
fn a_header_that_does_not_speak_of_these_events_is_said() {
    let whole = lines(&log(), 5);
    let mut header: Header = serde_json::from_str(&whole[0]).unwrap();
    // A count that nobody writes is seen before the events are, the others behind them.
    for (count, head, good) in
        [("5", B64.encode(START), 5), ("4", header.head.clone(), 5), ("05", header.head.clone(), 0)]
    {
        (header.count, header.head) = (count.to_owned(), head);
        let mut lines = whole.clone();
        lines[0] = serde_json::to_string(&header).unwrap();
        let report = verify(&lines, None);
        assert_eq!((report.good, report.broken), (good, Some(Break::Header)), "{count}");
    }
}

#[test]
fn what_follows_the_last_event_is_said() {
    let whole = lines(&log(), 5);
    for garbage in ["", "{}", "x", "\u{0}"] {
        let mut lines = whole.clone();
        lines.extend([garbage.to_owned(), String::new()]);
        let report = verify(&lines, None);
        assert_eq!((report.good, report.broken), (5, Some(Break::Changed { n: 6 })), "{garbage}");
    }
    let mut lines = whole;
    lines.push(lines[5].clone());
    assert_eq!(verify(&lines, None).broken, Some(Break::Inserted { n: 6 }));
}

#[test]
fn an_empty_export_and_two_exchanged_events_are_said() {
    assert_eq!(verify(&[], None).broken, Some(Break::Header));
    let mut lines = lines(&log(), 5);
    lines.swap(2, 3);
    let report = verify(&lines, None);
    assert_eq!(report.good, 1);
    assert!(report.broken.is_some());
}

#[test]
fn the_longest_record_of_a_gateway_that_means_harm_can_still_be_read() {
    let record = "\u{1}".repeat(postern_crp::message::audit::MAX_BYTES - 2);
    let event = Event::new("request", "acme").with("record", record);
    let bytes = event.bytes(1, UnixMillis(1), "simulated");
    let hash = service_link(&START, &bytes);
    let line = Line {
        n: "1".into(),
        prev: B64.encode(START),
        hash: B64.encode(hash),
        sig: B64.encode(log().sign(&hash)),
        bytes: Some(B64.encode(bytes)),
        gone: None,
    };
    let header = Header {
        postern_audit: 1,
        key: B64.encode(log().public_key().as_bytes()),
        count: "1".into(),
        head: B64.encode(hash),
    };
    let lines = [serde_json::to_string(&header).unwrap(), serde_json::to_string(&line).unwrap()];
    assert_eq!(verify(&lines, None).broken, None);
}

/// The text of an export of `count` events.
fn export(count: u64) -> Vec<u8> {
    let text: String = lines(&log(), count).into_iter().map(|line| line + "\n").collect();
    text.into_bytes()
}

#[test]
fn a_long_export_is_judged_by_several_threads_with_the_verdict_of_one() {
    let whole = lines(&log(), 5000);
    let key = log().public_key();
    let point = note(&log(), &whole, 4096);
    let report = verify(&whole, Some(&point));
    assert_eq!((report.good, report.broken), (5000, None));
    for at in [1, 1023, 1024, 1025, 3000, 4999, 5000] {
        let mut lines = whole.clone();
        lines[at] = lines[at].replacen("sig\":\"", "sig\":\"A", 1);
        let broken = Some(Break::Changed { n: at as u64 });
        assert_eq!(verify(&lines, None).broken, broken);
        lines.remove(at);
        let missing = verify(&lines, None).broken.unwrap();
        assert!(missing.to_string().contains(&at.to_string()), "{at}: {missing}");
    }
    let mut bytes = export(3000);
    let cut = bytes.len() - 10;
    bytes[cut] = 0xff;
    let report = verify_export(bytes.as_slice(), &key, None);
    assert!(matches!(report.broken, Some(Break::Unreadable { after }) if after < 3000));
}

/// An export of `count` events, and what of its bytes' changes is not found.
fn tried(count: u64, others: impl Fn(usize, u8) -> Vec<u8>) -> Tried {
    let (log, mut export) = (log(), Vec::new());
    changes::write_export(&mut export, &log, count).unwrap();
    changes::every_byte(&export, &log.public_key(), others).unwrap()
}

#[test]
fn every_other_value_of_every_byte_of_a_short_export_is_found() {
    let tried = tried(1, |_, written| (0..=255).filter(|other| *other != written).collect());
    assert!(tried.changes > 200_000, "{}", tried.changes);
    assert_eq!(tried.unseen, []);
}

#[test]
fn a_change_of_any_byte_of_a_thousand_events_is_found() {
    // In each run of sixteen bytes one, and not the same in every line; a line's end always.
    let tried = tried(1000, |at, written| match written {
        b'\n' => vec![b' '],
        _ if at % 16 == at / 4096 % 16 => vec![written ^ 1],
        _ => Vec::new(),
    });
    assert!(tried.changes > 50_000, "{}", tried.changes);
    assert_eq!(tried.unseen, []);
}

/// Content of some events is gone by a later one: every change of a byte is found, each
/// judged by the whole verifier.
#[test]
fn every_change_of_a_byte_is_found_where_content_was_taken_out() {
    let log = log();
    let mut lines = lines(&log, 4);
    let mut tally = Tally::default();
    for n in [1, 3] {
        let mut line: Line = serde_json::from_str(&lines[n]).unwrap();
        tally.push(n as u64, &B64.decode(&line.hash).unwrap().try_into().unwrap());
        (line.bytes, line.gone) = (None, Some("5".to_owned()));
        lines[n] = serde_json::to_string(&line).unwrap();
    }
    let told = tally.removed();
    let event = Event::new(crate::audit::removal::KIND, "acme")
        .with("first", told.first.to_string())
        .with("last", told.last.to_string())
        .with("count", told.count.to_string())
        .with_hex("digest", &told.digest);
    let prev: Line = serde_json::from_str(&lines[4]).unwrap();
    let prev = B64.decode(prev.hash).unwrap().try_into().unwrap();
    lines.push(signed(&log, prev, &event.bytes(5, UnixMillis(5), "simulated"), 5));
    header_for(&mut lines, 5);
    let good = verify(&lines, None);
    assert_eq!((good.good, good.removed, good.broken), (5, 2, None));
    let (key, mut export) = (log.public_key(), lines.join("\n").into_bytes());
    let mut tried = 0;
    for at in 0..export.len() {
        let written = export[at];
        for other in [written ^ 1, b'\n'] {
            export[at] = other;
            let found = verify_export(export.as_slice(), &key, None);
            assert!(other == written || found.broken.is_some(), "{at}: {written} {other}");
            tried += 1;
        }
        export[at] = written;
    }
    assert!(tried > 3_000, "{tried}");
}

fn signed(log: &AuditLog, prev: [u8; 32], bytes: &[u8], n: u64) -> String {
    let hash = service_link(&prev, bytes);
    let line = Line {
        n: n.to_string(),
        prev: B64.encode(prev),
        hash: B64.encode(hash),
        sig: B64.encode(log.sign(&hash)),
        bytes: Some(B64.encode(bytes)),
        gone: None,
    };
    serde_json::to_string(&line).unwrap()
}
