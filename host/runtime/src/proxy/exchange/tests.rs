//! What views of an exchange see and change.

use std::cell::Cell;

use super::*;
use crate::proxy::filters::Turn;
use crate::view::StreamView;

#[derive(Default)]
struct Woken(Cell<u32>);

impl Turn for Woken {
    fn begin(&self, _: usize) {}
    fn end(&self) {}
    fn wake(&self, filter: usize) {
        assert_eq!(filter, 1);
        self.0.set(self.0.get() + 1);
    }
}

fn exchange() -> Shared {
    Rc::new(RefCell::new(Exchange::new(vec![(b"x".to_vec(), b"1".to_vec())])))
}

#[test]
fn what_another_callback_asks_waits_for_the_filter_and_wakes_it_once() {
    let (exchange, woken) = (exchange(), Rc::new(Woken::default()));
    let view = View::filter(Rc::clone(&exchange), 1, woken.clone());
    for running in [None, Some(0)] {
        exchange.borrow_mut().running = running;
        view.continue_stream(Direction::Request).unwrap();
        view.close_stream(Direction::Request).unwrap();
    }
    assert_eq!(woken.0.get(), 1);
    assert_eq!(exchange.borrow_mut().leave(), Verdict::default());
    let late = exchange.borrow_mut().take_late(1);
    assert_eq!(late, Verdict { continue_request: true, close: true, ..Verdict::default() });
    assert_eq!(exchange.borrow_mut().take_late(1), Verdict::default());

    exchange.borrow_mut().enter(1);
    view.continue_stream(Direction::Response).unwrap();
    let asked = exchange.borrow_mut().leave();
    assert_eq!(asked, Verdict { continue_response: true, ..Verdict::default() });
    assert_eq!(woken.0.get(), 1);
}

#[test]
fn another_callback_sees_the_fields_that_wait_at_the_filter() {
    let exchange = exchange();
    let view = View::filter(Rc::clone(&exchange), 1, Rc::new(()));
    let read = || view.value(MapKind::RequestHeaders, b"x");
    assert_eq!(read(), Err(Status::BadArgument));
    let waits = [Sight { headers: true, trailers: false }, Sight::default()];
    exchange.borrow_mut().park([Parked::default(), waits].into_iter());
    assert_eq!(read(), Ok(Some(b"1".to_vec())));
    assert_eq!(view.replace(MapKind::RequestHeaders, b"x", b"2"), Ok(()));
    assert_eq!(read(), Ok(Some(b"2".to_vec())));
    assert_eq!(view.pairs(MapKind::RequestTrailers), Err(Status::BadArgument));
    assert_eq!(view.pairs(MapKind::ResponseHeaders), Err(Status::BadArgument));
}

#[test]
fn an_access_logger_reads_fields_and_filter_state_and_writes_neither() {
    let exchange = exchange();
    let filter = View::filter(Rc::clone(&exchange), 0, Rc::new(()));
    filter.set_property(b"k", b"v", Declared::default()).unwrap();
    exchange.borrow_mut().log(true);
    let logger = View::logger(exchange);
    assert_eq!(logger.property(&[b"k"]), Ok(b"v".to_vec()));
    assert_eq!(logger.value(MapKind::RequestHeaders, b"x"), Ok(Some(b"1".to_vec())));
    let write = logger.set_property(b"k", b"w", Declared::default());
    assert_eq!(write, Err(Status::NotFound));
    let add = logger.add(MapKind::RequestHeaders, b"y", b"1");
    assert_eq!(add, Err(Status::BadArgument));
}
