//! One side of an exchange, with a stream that does what it is told.

use std::collections::VecDeque;

use super::*;

/// A stream that does what it is told, one list of effects for each event.
struct Told {
    steps: VecDeque<(Vec<Effect>, Flow)>,
    effects: VecDeque<Effect>,
    flow: Flow,
}

impl Stream for Told {
    fn handle(&mut self, _: Event, _: UnixMillis) {
        let (effects, flow) = self.steps.pop_front().unwrap_or((Vec::new(), Flow::Pause));
        self.effects.extend(effects);
        self.flow = flow;
    }

    fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn flow(&self) -> Flow {
        self.flow
    }
}

fn side(steps: Vec<(Vec<Effect>, Flow)>) -> Side {
    let (effects, flow) = (VecDeque::new(), Flow::Pause);
    Side::new(Box::new(Told { steps: steps.into(), effects, flow }))
}

fn body(text: &str) -> Event {
    Event::ResponseBody { chunk: text.into(), end: false }
}

fn feed(side: &mut Side, event: Event) -> Vec<Ask> {
    let asks = side.handle(event, UnixMillis(0));
    side.settle(Direction::Response);
    asks
}

#[test]
fn content_that_was_kept_back_goes_on_with_what_comes_after_it() {
    let mut side = side(vec![(vec![], Flow::Pause), (vec![], Flow::Continue)]);
    feed(&mut side, body("ab"));
    assert_eq!((side.response.take_passed(), side.response.holds()), (vec![], true));
    feed(&mut side, body("cd"));
    assert_eq!((side.response.take_passed(), side.response.holds()), (b"abcd".to_vec(), false));
}

#[test]
fn replaced_content_stands_for_all_that_is_held_and_for_nothing_that_went_on() {
    let replace = Effect::ReplaceBody { part: Part::Response, content: b"XY".to_vec() };
    let mut side = side(vec![
        (vec![], Flow::Continue),
        (vec![], Flow::Pause),
        (vec![replace], Flow::Continue),
    ]);
    for text in ["gone", "se", "cret"] {
        feed(&mut side, body(text));
    }
    assert_eq!(side.response.take_passed(), b"goneXY");
}

#[test]
fn nothing_goes_on_after_an_answer_or_a_cut() {
    let reply = Reply { status: 403, fields: vec![], content: vec![], details: "x" };
    let mut replied = side(vec![(vec![Effect::Reply(reply.clone())], Flow::Continue)]);
    feed(&mut replied, body("secret"));
    assert_eq!((replied.response.take_passed(), replied.end()), (vec![], &End::Replied(reply)));
    let mut cut = side(vec![(vec![Effect::Reset], Flow::Continue)]);
    feed(&mut cut, body("secret"));
    assert_eq!((cut.response.take_passed(), cut.end()), (vec![], &End::Cut));
    assert_eq!(cut.flow(), Flow::Pause);
}

#[test]
fn a_field_that_is_set_replaces_all_its_lines_where_the_first_one_stood() {
    let mut fields: Fields = [("a", "1"), ("B", "2"), ("c", "3"), ("b", "4")].into_iter().collect();
    set(&mut fields, "b", b"5");
    let wanted: Fields = [("a", "1"), ("b", "5"), ("c", "3")].into_iter().collect();
    assert_eq!(fields, wanted);
    remove(&mut fields, "A");
    assert_eq!(fields.0.len(), 2);
}
