//! Plugins in a lab: what a test can see and script, without a socket or a second of waiting.

mod support;

use std::time::{Duration, Instant, UNIX_EPOCH};

use postern_runtime::lab::{Lab, LabError, Plugin, Request, Response, Setup};
use postern_runtime::proxy::failure::Failure;
use postern_runtime::view::{Level, Reload};
use support::wat;

const SECOND: Duration = Duration::from_secs(1);

/// A module that calls these functions of `env` (with their parameters) and has this body.
fn module(imports: &[(&str, &str)], body: &str) -> Plugin {
    let imports = imports.iter().map(|(name, parameters)| {
        format!(r#"(import "env" "{name}" (func ${name} (param {parameters}) (result i32)))"#)
    });
    Plugin::wasm(wat(&format!("{} {body}", imports.collect::<String>())))
}

fn start(plugin: Plugin) -> Lab {
    Setup::default().filter(plugin).cluster("auth").start().unwrap_or_else(|e| panic!("{e}"))
}

fn nothing() -> Plugin {
    module(&[], "")
}

const HTTP_CALL: (&str, &str) = ("proxy_http_call", "i32 i32 i32 i32 i32 i32 i32 i32 i32 i32");
const CONTINUE: (&str, &str) = ("proxy_continue_stream", "i32");
const VALUE: (&str, &str) = ("proxy_get_header_map_value", "i32 i32 i32 i32 i32");
const ACT_ON: (&str, &str) = ("proxy_set_effective_context", "i32");
const LOG: (&str, &str) = ("proxy_log", "i32 i32 i32");
const TICK: (&str, &str) = ("proxy_set_tick_period_milliseconds", "i32");
const TIME: (&str, &str) = ("proxy_get_current_time_nanoseconds", "i32");

/// `:method GET`, `:path /`, `:authority auth` as the ABI writes maps.
const QUESTION: &str = r#"(data (i32.const 512) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\01\00\00\00\0a\00\00\00\04\00\00\00:method\00GET\00:path\00/\00:authority\00auth\00")"#;

/// Asks `auth` about each request, logs the status of the answer and lets the request go. The
/// answer comes to the root, as in Envoy: the module notes which context has asked.
fn asking() -> Plugin {
    let body = format!(
        r#"{QUESTION} (data (i32.const 1024) "auth:status")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (drop (call $proxy_http_call (i32.const 1024) (i32.const 4) (i32.const 512) (i32.const 64)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2000)
                (i32.const 256)))
            (i32.store (call $place (i32.load (i32.const 256))) (local.get 0)) i32.const 1)
        (func $place (param i32) (result i32)
            (i32.add (i32.const 16384) (i32.shl (i32.and (local.get 0) (i32.const 255)) (i32.const 2))))
        (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
            (drop (call $proxy_get_header_map_value (i32.const 6) (i32.const 1028) (i32.const 7)
                (i32.const 260) (i32.const 264)))
            (drop (call $proxy_log (i32.const 2) (i32.load (i32.const 260)) (i32.load (i32.const 264))))
            (drop (call $proxy_set_effective_context (i32.load (call $place (local.get 1)))))
            (drop (call $proxy_continue_stream (i32.const 0))))"#
    );
    module(&[HTTP_CALL, CONTINUE, VALUE, LOG, ACT_ON], &body)
}

fn texts(lab: &Lab) -> Vec<String> {
    lab.log().into_iter().map(|line| line.text).collect()
}

#[test]
fn a_plugin_that_does_nothing_lets_both_messages_pass_as_they_came() {
    let lab = start(nothing());
    let stream = lab.open(Request::new("POST", "/a?b").field("X-Team", "blue"));
    for piece in ["one", "two"] {
        stream.data(piece);
    }
    stream.trailers(vec![(b"x-sum".to_vec(), b"6".to_vec())]);
    let upstream = stream.upstream().unwrap();
    assert_eq!(stream.cluster().as_deref(), Some("upstream"));
    assert_eq!(upstream.path().as_deref(), Some("/a?b"));
    assert_eq!(upstream.field("x-team").as_deref(), Some("blue"));
    assert_eq!(upstream.chunks, [b"one", b"two"]);
    assert_eq!(upstream.trailer("x-sum").as_deref(), Some("6"));
    assert!(upstream.whole);

    stream.answer_head(Response::new(201)).unwrap();
    lab.advance(SECOND);
    stream.answer_data("three").unwrap();
    assert!(!stream.is_over());
    stream.answer_trailers(vec![(b"x-end".to_vec(), b"yes".to_vec())]).unwrap();
    let response = stream.response().unwrap();
    assert_eq!((response.status(), response.text().as_str()), (201, "three"));
    assert_eq!(response.trailer("x-end").as_deref(), Some("yes"));
    assert_eq!(response.field("date").as_deref(), Some("Fri, 15 Jan 2027 08:00:00 GMT"));
    assert!(stream.is_over() && !stream.is_cut());
    assert_eq!((stream.details().as_str(), stream.flags().as_str()), ("via_upstream", "-"));
    assert!(stream.answer(Response::new(200)).is_err());
}

#[test]
fn a_request_that_waits_for_a_call_out_leaves_when_that_is_answered() {
    let lab = start(asking());
    let (one, two) = (lab.send(Request::get("/1")), lab.send(Request::get("/2")));
    assert!(one.upstream().is_none() && two.upstream().is_none());
    assert_eq!(lab.calls().len(), 2);
    let call = two.calls().pop().unwrap();
    assert_eq!((call.cluster().as_str(), call.is_of_a_stream()), ("auth", true));
    assert_eq!(call.message().field(":authority").as_deref(), Some("auth"));
    call.answer(Response::new(204));
    assert_eq!(two.upstream().unwrap().path().as_deref(), Some("/2"));
    assert!(one.upstream().is_none() && two.calls().is_empty());
    one.calls()[0].fail(Failure::Connect);
    assert!(one.upstream().is_some());
    assert_eq!(texts(&lab), ["204", "503"]);
}

#[test]
fn a_call_out_that_nobody_answers_is_504_when_its_time_is_over() {
    let lab = start(asking());
    let stream = lab.send(Request::get("/"));
    lab.advance(SECOND * 2 - Duration::from_nanos(1));
    assert!(stream.upstream().is_none());
    lab.advance(Duration::from_nanos(1));
    assert!(stream.upstream().is_some());
    assert_eq!(texts(&lab), ["504"]);
}

#[test]
fn a_call_out_to_a_cluster_that_refuses_fails_at_once() {
    let lab = start(asking());
    lab.refuse("auth");
    // The module has ignored the status, so that nobody would ever let the request go.
    let stream = lab.send(Request::get("/"));
    assert!(stream.calls().is_empty());
    lab.advance(SECOND * 300);
    assert_eq!((stream.status(), stream.flags().as_str()), (504, "SI"));
}

#[test]
fn an_entry_in_a_queue_is_told_to_the_root_that_has_registered_it() {
    let plugin = module(
        &[
            ("proxy_register_shared_queue", "i32 i32 i32"),
            ("proxy_enqueue_shared_queue", "i32 i32 i32"),
            ("proxy_dequeue_shared_queue", "i32 i32 i32"),
            LOG,
        ],
        r#"(data (i32.const 1024) "queueentry")
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (i32.eqz (call $proxy_register_shared_queue (i32.const 1024) (i32.const 5) (i32.const 256))))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $proxy_enqueue_shared_queue (i32.load (i32.const 256)) (i32.const 1029) (i32.const 5)))
        (func (export "proxy_on_queue_ready") (param i32 i32)
            (drop (call $proxy_dequeue_shared_queue (local.get 1) (i32.const 260) (i32.const 264)))
            (drop (call $proxy_log (i32.const 2) (i32.load (i32.const 260)) (i32.load (i32.const 264)))))"#,
    );
    let lab = start(plugin);
    for _ in 0..2 {
        assert!(lab.send(Request::get("/")).upstream().is_some());
    }
    assert_eq!(texts(&lab), ["entry", "entry"]);
}

#[test]
fn ticks_come_at_their_times_and_time_is_what_the_lab_says() {
    let plugin = module(
        &[TICK, TIME, LOG],
        r#"(data (i32.const 1024) "tick")
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (i32.eqz (call $proxy_set_tick_period_milliseconds (i32.const 1500))))
        (func (export "proxy_on_tick") (param i32)
            (drop (call $proxy_get_current_time_nanoseconds (i32.const 256)))
            (if (i64.ne (i64.rem_u (i64.load (i32.const 256)) (i64.const 1500000000)) (i64.const 0))
                (then unreachable))
            (drop (call $proxy_log (i32.const 3) (i32.const 1024) (i32.const 4))))"#,
    );
    let start = UNIX_EPOCH + SECOND * 1_500_000;
    let lab = Setup::default().filter(plugin).starts_at(start).start().unwrap();
    lab.advance(SECOND * 5);
    let times: Vec<Duration> = lab.log().iter().map(|line| line.at).collect();
    assert_eq!(times, [1500, 3000, 4500].map(Duration::from_millis));
    assert!(lab.log().iter().all(|line| line.level == Level::Warn && line.text == "tick"));
    assert_eq!(lab.now(), SECOND * 5);
}

#[test]
fn randomness_is_the_same_for_a_seed_and_another_for_another() {
    let random = r#"(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (import "env" "proxy_set_property" (func $set (param i32 i32 i32 i32) (result i32)))
        (data (i32.const 1024) "r")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (drop (call $random (i32.const 256) (i32.const 16)))
            (call $set (i32.const 1024) (i32.const 1) (i32.const 256) (i32.const 16)))"#;
    let drawn = |seed: &str| {
        let lab = Setup::default().filter(Plugin::wasm(wat(random))).seed(seed).start().unwrap();
        let stream = lab.send(Request::get("/"));
        assert_eq!(stream.filter_state_keys(), ["wasm.r"]);
        stream.filter_state("wasm.r").unwrap()
    };
    assert_eq!(drawn("a"), drawn("a"));
    assert_ne!(drawn("a"), drawn("b"));
}

#[test]
fn an_upstream_that_does_not_answer_in_time_is_504_in_the_words_of_envoy() {
    let lab = start(nothing());
    let stream = lab.send(Request::get("/"));
    lab.advance(SECOND * 15);
    let response = stream.response().unwrap();
    assert_eq!((response.status(), response.text().as_str()), (504, "upstream request timeout"));
    assert_eq!((stream.details().as_str(), stream.flags().as_str()), ("response_timeout", "UT"));
    assert!(stream.answer(Response::new(200)).is_err());

    let stream = lab.open(Request::new("POST", "/"));
    lab.advance(SECOND * 300);
    assert_eq!((stream.status(), stream.flags().as_str()), (408, "SI"));
}

#[test]
fn an_upstream_that_fails_is_told_before_and_cut_after_its_head() {
    let lab = start(nothing());
    let stream = lab.send(Request::get("/"));
    stream.answer_failure(Failure::Closed).unwrap();
    assert_eq!((stream.status(), stream.flags().as_str()), (503, "UC"));
    let stream = lab.send(Request::get("/"));
    stream.answer_head(Response::new(200)).unwrap();
    stream.answer_data("half").unwrap();
    stream.answer_failure(Failure::Protocol).unwrap();
    assert!(stream.is_cut() && stream.is_over());
    assert_eq!(stream.response().map(|it| (it.status(), it.whole)), Some((200, false)));
    let lab = start(nothing());
    lab.refuse("upstream");
    let stream = lab.send(Request::get("/"));
    assert_eq!((stream.status(), stream.flags().as_str()), (503, "UO"));
}

#[test]
fn more_content_than_a_filter_may_hold_is_413() {
    let holding = || {
        let body = r#"(func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) i32.const 1)"#;
        Setup::default().filter(module(&[], body)).buffer(1000).start().unwrap()
    };
    let lab = holding();
    let stream = lab.open(Request::new("POST", "/"));
    stream.data(vec![b'x'; 1000]);
    assert_eq!(stream.status(), 0);
    stream.data("x");
    assert_eq!(stream.status(), 413);
    assert_eq!(stream.details(), "request_payload_too_large");
}

#[test]
fn content_waits_outside_while_the_headers_are_paused() {
    let lab = Setup::default().filter(asking()).cluster("auth").buffer(4).start().unwrap();
    let stream = lab.open(Request::new("POST", "/"));
    for piece in ["12345", "678", "9"] {
        stream.data(piece);
    }
    stream.end();
    assert_eq!(stream.status(), 0);
    stream.calls()[0].answer(Response::new(200));
    assert_eq!(stream.upstream().map(|it| (it.text(), it.whole)), Some(("123456789".into(), true)));
}

#[test]
fn content_that_is_longer_than_was_said_cuts_the_stream() {
    let lab = start(nothing());
    let stream = lab.open(Request::new("POST", "/").field("content-length", "3"));
    stream.data("1234");
    assert!(stream.is_cut() && stream.response().is_none());
}

#[test]
fn a_caller_that_goes_away_ends_the_stream() {
    let lab = start(asking());
    let stream = lab.send(Request::get("/"));
    stream.disconnect();
    assert!(stream.is_over());
    let ended = (stream.details(), stream.flags());
    assert_eq!(ended, ("downstream_remote_disconnect".to_owned(), "DC".to_owned()));
    // Its call-out is still answered, to the plugin's root.
    lab.calls()[0].answer(Response::new(200));
    assert!(lab.calls().is_empty());
    assert_eq!(texts(&lab), ["200"]);
}

/// Ends badly with `fault` on a request with `x-bad`.
fn faulty(fault: &str) -> Plugin {
    let body = format!(
        r#"(data (i32.const 1024) "x-bad")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (if (i32.eqz (call $proxy_get_header_map_value (i32.const 0) (i32.const 1024)
                (i32.const 5) (i32.const 256) (i32.const 260))) (then {fault}))
            i32.const 0)"#
    );
    module(&[VALUE], &body)
}

#[test]
fn a_trap_is_503_and_what_follows_is_up_to_the_failure_policy() {
    let lab = start(faulty("unreachable"));
    let bad = lab.send(Request::get("/").field("x-bad", "1"));
    assert_eq!((bad.status(), bad.details().as_str()), (503, "wasm_fail_stream"));
    lab.advance(SECOND * 3600);
    assert_eq!(lab.send(Request::get("/")).status(), 503);

    let lab = start(faulty("unreachable").reload_after(SECOND * 2).name("faulty"));
    for _ in 0..2 {
        assert_eq!(lab.send(Request::get("/").field("x-bad", "1")).status(), 503);
        // The time that was asked for, and at most half of it by chance.
        lab.advance(SECOND * 3);
        assert!(lab.send(Request::get("/")).upstream().is_some());
    }
    assert!(lab.reloads().iter().any(|it| it.plugins == ["faulty"] && it.how == Reload::Success));
}

#[test]
fn an_endless_loop_costs_one_request_and_no_other_plugin() {
    let other = module(&[], "").name("other").vm_id("other");
    let looping = faulty("(loop br 0)").vm_id("looping").reload_after(SECOND);
    let setup = Setup::default().filter(other).filter(looping);
    let lab = setup.deadline(Duration::from_millis(50)).start().unwrap();
    let before = lab.send(Request::get("/before"));
    let began = Instant::now();
    let bad = lab.send(Request::get("/").field("x-bad", "1"));
    assert_eq!((bad.status(), bad.details().as_str()), (503, "wasm_fail_stream"));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    // A stream that had passed the machine before it died has lost its context there.
    assert_eq!(before.upstream().map(|it| it.whole), Some(true));
    lab.advance(SECOND * 2);
    let after = lab.send(Request::get("/after"));
    after.answer(Response::new(200)).unwrap();
    assert_eq!(after.status(), 200);
}

#[test]
fn a_plugin_that_overwrites_all_of_its_memory_changes_nothing_of_another() {
    let vandal = module(
        &[],
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (memory.fill (i32.const 0) (i32.const 255) (i32.const 131072)) i32.const 0)"#,
    );
    let keeper = || {
        module(
            &[],
            r#"(data (i32.const 64) "kept") (global $seen (mut i32) (i32.const 0))
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                (if (i32.ne (i32.load (i32.const 64)) (i32.const 0x7470656b)) (then unreachable))
                (if (i32.ne (i32.load (i32.const 68)) (global.get $seen)) (then unreachable))
                (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
                (i32.store (i32.const 68) (global.get $seen)) i32.const 0)"#,
        )
    };
    // Two of them are one module in machines of their own.
    let setup = Setup::default().filter(keeper().vm_id("a")).filter(vandal.vm_id("b"));
    let lab = setup.filter(keeper().vm_id("c")).start().unwrap();
    for turn in 0..3 {
        assert!(lab.send(Request::get("/")).upstream().is_some(), "turn {turn}");
    }
}

#[test]
fn plugins_of_one_vm_id_share_their_data_and_others_do_not() {
    let writing = module(
        &[
            ("proxy_set_shared_data", "i32 i32 i32 i32 i32"),
            ("proxy_define_metric", "i32 i32 i32 i32"),
            ("proxy_increment_metric", "i32 i64"),
        ],
        r#"(data (i32.const 1024) "key")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (drop (call $proxy_define_metric (i32.const 0) (i32.const 1024) (i32.const 3) (i32.const 256)))
            (drop (call $proxy_increment_metric (i32.load (i32.const 256)) (i64.const 2)))
            (call $proxy_set_shared_data (i32.const 1024) (i32.const 3) (i32.const 1024) (i32.const 2) (i32.const 0)))"#,
    );
    let setup = Setup::default().filter(writing.vm_id("a")).filter(nothing().vm_id("b"));
    let lab = setup.start().unwrap();
    assert_eq!(lab.shared_data("a", "key"), None);
    lab.send(Request::get("/"));
    lab.send(Request::get("/"));
    assert_eq!(lab.shared_data("a", "key").as_deref(), Some(&b"ke"[..]));
    assert_eq!(lab.shared_data("b", "key"), None);
    assert_eq!((lab.metric("key"), lab.metric("other")), (Some(4), None));
}

#[test]
fn what_does_not_start_says_why() {
    let refusing = module(
        &[LOG],
        r#"(data (i32.const 1024) "no such colour")
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (call $proxy_log (i32.const 4) (i32.const 1024) (i32.const 14)))"#,
    );
    let error = Setup::default().filter(refusing).start().err().unwrap().to_string();
    assert!(error.contains("refuses its configuration\n  no such colour"), "{error}");
    let both = Setup::yaml("static_resources: {}").filter(nothing()).start();
    assert!(matches!(both.err(), Some(LabError::Both)));
    let unread = Setup::yaml("static_resources: {}").start().err().unwrap();
    assert!(matches!(unread, LabError::Config(_)), "{unread}");
    let missing = Setup::default().filter(Plugin::file("none.wasm")).start().err().unwrap();
    assert!(missing.to_string().starts_with("none.wasm: "), "{missing}");
}

#[test]
fn a_request_that_the_gateway_refuses_never_reaches_a_plugin() {
    let lab = start(faulty("unreachable"));
    let refused = lab.send(Request::new("GET", "nowhere").field("x-bad", "1"));
    assert_eq!(refused.status(), 400);
    assert_eq!(lab.send(Request::get("/").host("a b")).status(), 400);
}
