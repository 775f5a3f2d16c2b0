//! Filters that do what a row says, and what leaves in what order.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;
use crate::proxy::exchange::{Exchange, View};
use crate::view::{BodyKind, MapKind, Status, StreamView};
use Direction::{Request, Response};

type Script = Box<dyn FnMut(&View, &str) -> Verdict>;

/// Filters by script; a script gets `request headers end`, `response body` and so on.
struct Fakes {
    view: View,
    scripts: Vec<Script>,
    route: Routed,
    asked: Vec<String>,
}

impl Fakes {
    fn ask(&mut self, filter: usize, direction: Direction, what: &str, end: bool) -> Verdict {
        let direction = if direction == Request { "request" } else { "response" };
        let event = format!("{direction} {what}{}", if end { " end" } else { "" });
        self.asked.push(format!("{filter} {event}"));
        (self.scripts[filter])(&self.view, &event)
    }
}

impl Guests for Fakes {
    fn headers(&mut self, filter: usize, direction: Direction, end: bool) -> Verdict {
        self.ask(filter, direction, "headers", end)
    }

    fn body(&mut self, filter: usize, direction: Direction, end: bool) -> Verdict {
        self.ask(filter, direction, "body", end)
    }

    fn trailers(&mut self, filter: usize, direction: Direction) -> Verdict {
        self.ask(filter, direction, "trailers", false)
    }

    fn route(&mut self) -> Routed {
        self.asked.push("route".into());
        self.route.clone()
    }

    fn leaves_router(&mut self, _: &mut Pairs) {
        self.asked.push("router".into());
    }
}

struct World {
    chain: Chain,
    fakes: Fakes,
    exchange: Shared,
}

const SLOT: Slot = Slot { body_while_headers_paused: false, limit: 16 };
const HOLDING: Slot = Slot { body_while_headers_paused: true, limit: 16 };

fn pairs(lines: &[(&str, &str)]) -> Pairs {
    lines
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect()
}

fn pause() -> Verdict {
    Verdict { pause: true, ..Verdict::default() }
}

fn resumed() -> Verdict {
    Verdict { continue_request: true, continue_response: true, ..Verdict::default() }
}

fn refusal() -> Verdict {
    Verdict { reply: Some(own(403, "no", "no")), pause: true, ..Verdict::default() }
}

fn pass() -> Script {
    Box::new(|_, _| Verdict::default())
}

/// Pauses on these events and passes all others.
fn pausing(on: &'static [&'static str]) -> Script {
    Box::new(move |_, event| if on.contains(&event) { pause() } else { Verdict::default() })
}

/// Answers on this event.
fn refusing(on: &'static str) -> Script {
    Box::new(move |_, event| if event == on { refusal() } else { Verdict::default() })
}

impl World {
    /// The filters that have a context.
    fn contexts(&self) -> Vec<usize> {
        let members = self.chain.members.iter().enumerate();
        members.filter(|(_, member)| member.created).map(|(index, _)| index).collect()
    }

    /// Filters of the listener, then of the cluster.
    fn new(listener: Vec<(Slot, Script)>, cluster: Vec<(Slot, Script)>) -> Self {
        let exchange = Rc::new(RefCell::new(Exchange::new(pairs(&[(":method", "POST")]))));
        let slots: Vec<Slot> = listener.iter().map(|(slot, _)| *slot).collect();
        let route = Routed::To(cluster.iter().map(|(slot, _)| *slot).collect());
        let scripts = listener.into_iter().chain(cluster).map(|(_, script)| script).collect();
        let view = View::logger(Rc::clone(&exchange));
        let fakes = Fakes { view, scripts, route, asked: Vec::new() };
        Self { chain: Chain::new(Rc::clone(&exchange), &slots), fakes, exchange }
    }

    fn request(&mut self, body: Option<&str>) {
        self.chain.request_headers(&mut self.fakes, body.is_none());
        if let Some(body) = body {
            self.chain.request_body(&mut self.fakes, body.as_bytes(), true);
        }
    }

    fn respond(&mut self, body: Option<&str>) {
        self.exchange.borrow_mut().set_headers(Response, pairs(&[(":status", "200")]));
        self.chain.response_headers(&mut self.fakes, body.is_none());
        if let Some(body) = body {
            self.chain.response_body(&mut self.fakes, body.as_bytes(), true);
        }
    }

    /// A callback of `filter` outside of a direction.
    fn call_reply(&mut self, filter: usize, verdict: Verdict) {
        self.chain.meanwhile(&mut self.fakes, filter, |_| verdict);
    }

    /// What has left since the last call, one word each.
    fn left(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        while let Some(output) = self.chain.poll() {
            let side = |direction| if direction == Request { '>' } else { '<' };
            let end = |end| if end { "." } else { "" };
            words.push(match output {
                Output::Headers(direction, pairs, last) => {
                    let status = pairs.iter().find(|(name, _)| name == b":status");
                    let status = status.map_or(b"headers".to_vec(), |(_, value)| value.clone());
                    let status = String::from_utf8_lossy(&status).into_owned();
                    format!("{}{status}{}", side(direction), end(last))
                }
                Output::Body(direction, bytes, last) => {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    format!("{}{text}{}", side(direction), end(last))
                }
                Output::Trailers(direction, _) => format!("{}trailers", side(direction)),
                Output::CancelUpstream => "cancel".into(),
                Output::Reset => "reset".into(),
            });
        }
        words
    }
}

#[test]
fn requests_run_through_listener_router_and_cluster_and_responses_back() {
    let mut world = World::new(vec![(SLOT, pass()), (SLOT, pass())], vec![(SLOT, pass())]);
    world.request(None);
    assert_eq!(world.left(), [">headers."]);
    world.respond(Some("a"));
    assert_eq!(world.left(), ["<200", "<a."]);
    let want = [
        "0 request headers end",
        "1 request headers end",
        "route",
        "2 request headers end",
        "2 response headers",
        "router",
        "1 response headers",
        "0 response headers",
        "2 response body end",
        "1 response body end",
        "0 response body end",
    ];
    assert_eq!(world.fakes.asked, want);
    assert!(world.chain.is_over());
    assert_eq!(world.contexts(), [0, 1, 2]);
}

#[test]
fn a_pause_in_headers_holds_everything_until_it_is_continued() {
    let script = pausing(&["request headers"]);
    let mut world = World::new(vec![(SLOT, script)], vec![]);
    world.request(Some("this is more than the limit of the filter"));
    assert!(world.left().is_empty());
    assert!(!world.chain.wants(Request), "back-pressure instead of a refusal");
    assert_eq!(world.fakes.asked, ["0 request headers"]);
    world.call_reply(0, resumed());
    assert_eq!(world.left(), [">headers", ">this is more than the limit of the filter."]);
    assert_eq!(world.fakes.asked, ["0 request headers", "route", "0 request body end"]);
}

#[test]
fn with_the_switch_the_body_is_seen_while_the_headers_wait() {
    let script: Script = Box::new(|view, event| match event {
        "request headers" | "request body" => pause(),
        "request body end" => {
            assert_eq!(view.body(BodyKind::Request, 0, 9).as_deref(), Ok(b"ab".as_slice()));
            assert_eq!(view.replace(MapKind::RequestHeaders, b"x-late", b"1"), Ok(()));
            Verdict::default()
        }
        _ => Verdict::default(),
    });
    let mut world = World::new(vec![(HOLDING, script)], vec![(SLOT, pass())]);
    world.chain.request_headers(&mut world.fakes, false);
    world.chain.request_body(&mut world.fakes, b"a", false);
    assert!(world.left().is_empty());
    world.chain.request_body(&mut world.fakes, b"b", true);
    assert_eq!(world.left(), [">headers", ">ab."]);
    assert_eq!(world.exchange.borrow().request_field(b"x-late"), Some(b"1".to_vec()));
}

#[test]
fn held_content_and_trailers_go_on_after_a_call_with_the_switch() {
    let script = pausing(&["request headers", "request body", "request trailers"]);
    let mut world = World::new(vec![(HOLDING, script)], vec![]);
    world.chain.request_headers(&mut world.fakes, false);
    world.chain.request_body(&mut world.fakes, b"a", false);
    world.chain.request_trailers(&mut world.fakes);
    assert!(world.left().is_empty());
    world.call_reply(0, resumed());
    assert_eq!(world.left(), [">headers", ">a", ">trailers"]);
}

#[test]
fn trailers_let_go_what_the_body_has_paused() {
    let mut world = World::new(vec![(SLOT, pausing(&["response body"]))], vec![]);
    world.request(None);
    world.exchange.borrow_mut().set_headers(Response, pairs(&[(":status", "200")]));
    world.chain.response_headers(&mut world.fakes, false);
    world.chain.response_body(&mut world.fakes, b"tail", false);
    assert_eq!(world.left(), [">headers.", "<200"]);
    world.chain.response_trailers(&mut world.fakes);
    assert_eq!(world.left(), ["<tail", "<trailers"]);
}

#[test]
fn what_is_held_is_shown_again_with_what_is_new_and_a_change_stays() {
    let script: Script = Box::new(|view, event| match event {
        "response body" => {
            view.set_body(BodyKind::Response, 0, usize::MAX, b"[x]").unwrap();
            pause()
        }
        "response body end" => {
            assert_eq!(view.body(BodyKind::Response, 0, 99).as_deref(), Ok(b"[x]b".as_slice()));
            Verdict::default()
        }
        _ => Verdict::default(),
    });
    let mut world = World::new(vec![(SLOT, script)], vec![]);
    world.request(None);
    world.exchange.borrow_mut().set_headers(Response, pairs(&[(":status", "200")]));
    world.chain.response_headers(&mut world.fakes, false);
    world.chain.response_body(&mut world.fakes, b"a", false);
    world.chain.response_body(&mut world.fakes, b"b", true);
    assert_eq!(world.left(), [">headers.", "<200", "<[x]b."]);
}

#[test]
fn a_reply_passes_the_filters_that_have_seen_the_request() {
    let filters = vec![(SLOT, pass()), (SLOT, refusing("request headers end")), (SLOT, pass())];
    let mut world = World::new(filters, vec![]);
    world.request(None);
    assert_eq!(world.left(), ["<403", "<no."]);
    let asked: Vec<&str> = world.fakes.asked.iter().map(String::as_str).collect();
    let want = [
        "0 request headers end",
        "1 request headers end",
        "1 response headers",
        "0 response headers",
        "1 response body end",
        "0 response body end",
    ];
    assert_eq!(asked, want);
    assert_eq!(world.contexts(), [0, 1]);
}

#[test]
fn a_reply_of_a_cluster_filter_keeps_the_request_from_leaving() {
    let listener = vec![(SLOT, pass())];
    let mut world = World::new(listener, vec![(SLOT, refusing("request headers"))]);
    world.request(Some("a"));
    assert_eq!(world.left(), ["<403", "<no."]);
    assert_eq!(world.fakes.asked.iter().filter(|line| line.contains("request body")).count(), 0);
}

#[test]
fn a_reply_to_the_body_cancels_what_has_gone_out() {
    let mut world = World::new(vec![(SLOT, refusing("request body end"))], vec![]);
    world.request(Some("a"));
    assert_eq!(world.left(), [">headers", "cancel", "<403", "<no."]);
}

#[test]
fn a_reply_to_response_headers_goes_past_the_filters() {
    let filters = vec![(SLOT, pass()), (SLOT, refusing("response headers"))];
    let mut world = World::new(filters, vec![]);
    world.request(None);
    world.respond(Some("secret"));
    assert_eq!(world.left(), [">headers.", "cancel", "<403", "<no."]);
    let seen = world.fakes.asked.iter().filter(|line| line.starts_with("0 response")).count();
    assert_eq!(seen, 0);
}

#[test]
fn a_reply_after_the_headers_have_left_cuts_the_stream() {
    let mut world = World::new(vec![(SLOT, refusing("response body end"))], vec![]);
    world.request(None);
    world.respond(Some("secret"));
    assert_eq!(world.left(), [">headers.", "<200", "reset"]);
    assert!(world.chain.is_over());
}

#[test]
fn more_than_the_limit_is_413_or_500_or_a_cut() {
    let long = "more than sixteen bytes";
    let mut world =
        World::new(vec![(HOLDING, pausing(&["request headers", "request body end"]))], vec![]);
    world.request(Some(long));
    assert_eq!(world.left(), ["<413", "<Payload Too Large."]);
    let script = pausing(&["response headers", "response body end"]);
    let mut world = World::new(vec![(HOLDING, script)], vec![]);
    world.request(None);
    world.respond(Some(long));
    assert_eq!(world.left(), [">headers.", "cancel", "<500", "<Internal Server Error."]);
    let mut world = World::new(vec![(SLOT, pausing(&["response body end"]))], vec![]);
    world.request(None);
    world.respond(Some(long));
    assert_eq!(world.left(), [">headers.", "<200", "reset"]);
}

#[test]
fn a_dead_machine_is_503_and_hears_no_more_of_the_stream() {
    let script: Script = Box::new(|_, _| Verdict { failed: true, ..Verdict::default() });
    let mut world = World::new(vec![(SLOT, pass()), (SLOT, script)], vec![]);
    world.request(None);
    assert_eq!(world.left(), ["<503."]);
    assert_eq!(world.exchange.borrow().details, b"wasm_fail_stream");
    assert_eq!(world.contexts(), [0]);
    assert_eq!(world.fakes.asked.last().map(String::as_str), Some("0 response headers end"));
}

#[test]
fn a_failure_of_the_router_is_seen_by_the_listener_and_not_by_the_cluster() {
    let mut world = World::new(vec![(SLOT, pass())], vec![(SLOT, pass())]);
    world.request(None);
    world.chain.fail(&mut world.fakes, own(503, "upstream", "upstream connect error"));
    assert_eq!(world.left(), [">headers.", "cancel", "<503", "<upstream connect error."]);
    assert!(!world.fakes.asked.iter().any(|line| line.starts_with("1 response")));
}

#[test]
fn a_request_without_a_route_never_leaves() {
    let mut world = World::new(vec![(SLOT, pass())], vec![]);
    world.fakes.route = Routed::Refused(own(404, "route_not_found", ""));
    world.request(Some("a"));
    assert_eq!(world.left(), ["<404."]);
}

#[test]
fn fields_are_there_only_while_they_are_at_the_filter() {
    let script: Script = Box::new(|view, event| {
        let request = view.pairs(MapKind::RequestHeaders).err();
        let trailers = view.pairs(MapKind::RequestTrailers).err();
        let body = view.body(BodyKind::Request, 0, 9).err();
        let bad = Some(Status::BadArgument);
        let no_body = Some(Status::NotFound);
        let want = match event {
            "request headers" => (None, bad, no_body),
            "request trailers" => (bad, None, no_body),
            "request body" => (bad, bad, None),
            _ => (bad, bad, no_body),
        };
        assert_eq!((request, trailers, body), want, "{event}");
        Verdict::default()
    });
    let mut world = World::new(vec![(SLOT, script)], vec![]);
    world.chain.request_headers(&mut world.fakes, false);
    world.chain.request_body(&mut world.fakes, b"a", false);
    world.chain.request_trailers(&mut world.fakes);
    world.respond(None);
    assert_eq!(world.left(), [">headers", ">a", ">trailers", "<200."]);
    assert!(world.fakes.view.pairs(MapKind::RequestHeaders).is_err());
    world.exchange.borrow_mut().log(true);
    assert!(world.fakes.view.pairs(MapKind::RequestHeaders).is_ok());
}

#[test]
fn nothing_moves_after_the_caller_has_gone() {
    let mut world = World::new(vec![(SLOT, pausing(&["request headers end"]))], vec![]);
    world.request(None);
    world.chain.abandon();
    world.call_reply(0, resumed());
    world.respond(None);
    assert_eq!(world.left(), ["reset"]);
}

#[test]
fn a_head_request_gets_a_reply_without_content() {
    let mut world = World::new(vec![(SLOT, refusing("request headers end"))], vec![]);
    let head = vec![(b":method".to_vec(), b"HEAD".to_vec())];
    world.exchange.borrow_mut().set_headers(Direction::Request, head);
    world.request(None);
    assert_eq!(world.left(), ["<403."]);
}

#[test]
fn trailers_that_a_filter_adds_are_seen_by_those_behind_it() {
    let adding: Script = Box::new(|_, event| {
        let adds_trailers = event == "response body end";
        Verdict { adds_trailers, ..Verdict::default() }
    });
    // Responses pass the last filter first; the first one holds the content.
    let holding = pausing(&["response body"]);
    let mut world = World::new(vec![(SLOT, holding), (SLOT, adding)], Vec::new());
    world.request(None);
    world.left();
    world.respond(Some("text"));
    assert_eq!(world.left(), ["<200", "<text", "<trailers"]);
    let asked = world.fakes.asked.iter().filter(|it| it.contains("response")).cloned();
    let want = [
        "1 response headers",
        "0 response headers",
        "1 response body end",
        "0 response body",
        "0 response trailers",
    ];
    assert_eq!(asked.collect::<Vec<_>>(), want);
    assert!(world.chain.is_over());
}

#[test]
fn an_answer_is_changed_where_it_leaves_the_router() {
    let told = |world: &World| {
        let asked = world.fakes.asked.iter().filter(|it| !it.contains("request"));
        asked.cloned().collect::<Vec<_>>()
    };
    let mut world = World::new(vec![(SLOT, pass())], vec![(SLOT, pass())]);
    world.request(None);
    world.respond(None);
    let want = ["route", "1 response headers end", "router", "0 response headers end"];
    assert_eq!(told(&world), want);
    let mut world = World::new(vec![(SLOT, pass())], vec![(SLOT, pass())]);
    world.request(None);
    world.chain.fail(&mut world.fakes, own(503, "", ""));
    assert_eq!(told(&world), ["route", "router", "0 response headers end"]);
    // A filter's own reply does not come from there.
    let mut world = World::new(vec![(SLOT, pass())], vec![(SLOT, refusing("request headers end"))]);
    world.request(None);
    assert!(!told(&world).contains(&"router".to_owned()));
}

/// Makes trailers at the end of the content, each way, and pauses there or not.
fn making(pauses: bool) -> Script {
    Box::new(move |view, event| {
        let map = match event {
            "request body end" => MapKind::RequestTrailers,
            "response body end" => MapKind::ResponseTrailers,
            "request body" => {
                let early = view.add(MapKind::RequestTrailers, b"x-made", b"1");
                assert_eq!(early, Err(Status::BadArgument));
                return Verdict::default();
            }
            _ => return Verdict::default(),
        };
        assert_eq!(view.value(map, b"x-made"), Err(Status::BadArgument));
        assert_eq!(view.add(map, b"x-made", b"1"), Ok(()));
        assert_eq!(view.value(map, b"x-made"), Ok(Some(b"1".to_vec())));
        if pauses { pause() } else { Verdict::default() }
    })
}

#[test]
fn trailers_that_a_filter_makes_end_the_message_for_all_after_it() {
    for pauses in [false, true] {
        let mut world = World::new(vec![(SLOT, making(pauses))], vec![(SLOT, pass())]);
        world.chain.request_headers(&mut world.fakes, false);
        world.chain.request_body(&mut world.fakes, b"a", false);
        world.chain.request_body(&mut world.fakes, b"b", true);
        if pauses {
            world.call_reply(0, resumed());
        }
        assert_eq!(world.left(), [">headers", ">a", ">b", ">trailers"], "{pauses}");
        let later = world.fakes.asked.iter().filter(|asked| asked.starts_with('1'));
        let later: Vec<&str> = later.map(String::as_str).collect();
        let want = ["1 request headers", "1 request body", "1 request body", "1 request trailers"];
        assert_eq!(later, want, "{pauses}");
        let made = world.exchange.borrow().trailers(Request);
        assert_eq!(made, pairs(&[("x-made", "1")]), "{pauses}");
    }
    let mut world = World::new(vec![(SLOT, making(false))], vec![]);
    world.request(None);
    world.respond(Some("ab"));
    assert_eq!(world.left(), [">headers.", "<200", "<ab", "<trailers"]);
}
