//! The plugin, as whoever wrote it would test it.

use std::time::Duration;

use postern_example_plugin_test::PLUGIN;
use postern_runtime::lab::{Lab, Plugin, Request, Response, Setup};
use postern_runtime::proxy::failure::Failure;

fn lab() -> Lab {
    // With a module that was built: Plugin::file("target/wasm32-wasip1/release/team.wasm").
    let plugin = Plugin::wasm(wat::parse_str(PLUGIN).unwrap()).name("team");
    Setup::default().filter(plugin).cluster("teams").start().unwrap_or_else(|e| panic!("{e}"))
}

fn request() -> Request {
    Request::get("/orders").field("x-team", "blue")
}

#[test]
fn a_request_without_a_team_is_401_and_nobody_is_asked() {
    let lab = lab();
    let stream = lab.send(Request::get("/orders"));
    assert_eq!((stream.status(), stream.response().unwrap().text()), (401, "no team".to_owned()));
    assert!(lab.calls().is_empty() && stream.upstream().is_none());
    assert_eq!(lab.metric("team.asked"), Some(0));
}

#[test]
fn a_team_that_is_known_passes_and_the_upstream_learns_that_it_was_checked() {
    let lab = lab();
    let stream = lab.send(request());
    assert!(stream.upstream().is_none(), "nothing leaves before the answer");

    let question = stream.calls().pop().unwrap();
    assert_eq!(question.cluster(), "teams");
    assert_eq!(question.message().path().as_deref(), Some("/check"));
    assert_eq!(question.message().text(), "blue");
    question.answer(Response::new(200));

    assert_eq!(stream.upstream().unwrap().field("x-checked").as_deref(), Some("yes"));
    stream.answer(Response::new(200).content("12 orders")).unwrap();
    assert_eq!(stream.response().unwrap().text(), "12 orders");
    assert_eq!(lab.metric("team.asked"), Some(1));
}

#[test]
fn no_answer_of_the_team_service_lets_a_request_pass_but_200() {
    type Answer = fn(&Lab);
    let answers: [Answer; 4] = [
        |lab| lab.calls()[0].answer(Response::new(404)),
        |lab| lab.calls()[0].answer(Response::new(500).content("200")),
        |lab| lab.calls()[0].fail(Failure::Connect),
        // Half a second passes in no time.
        |lab| lab.advance(Duration::from_millis(500)),
    ];
    for answer in answers {
        let lab = lab();
        let stream = lab.send(request());
        answer(&lab);
        assert_eq!((stream.status(), stream.upstream()), (403, None));
    }
}

#[test]
fn a_team_service_that_cannot_be_asked_is_403_at_once() {
    let lab = lab();
    lab.refuse("teams");
    assert_eq!(lab.send(request()).status(), 403);
}

#[test]
fn requests_that_wait_together_are_told_apart() {
    let lab = lab();
    let (blue, red) = (lab.send(request()), lab.send(Request::get("/").field("x-team", "red")));
    red.calls()[0].answer(Response::new(403));
    blue.calls()[0].answer(Response::new(200));
    assert_eq!(red.status(), 403);
    assert!(blue.upstream().is_some());
}

#[test]
fn a_caller_that_leaves_takes_its_question_along() {
    let lab = lab();
    let stream = lab.send(request());
    stream.disconnect();
    lab.calls()[0].answer(Response::new(200));
    assert!(stream.is_over() && stream.upstream().is_none());
}
