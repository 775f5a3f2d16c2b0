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
fn another_callback_sees_the_fields_and_the_content_that_wait_at_the_filter() {
    let exchange = exchange();
    let view = View::filter(Rc::clone(&exchange), 1, Rc::new(()));
    let read = || view.value(MapKind::RequestHeaders, b"x");
    assert_eq!(read(), Err(Status::BadArgument));
    assert_eq!(view.body(BodyKind::Request, 0, 9), Err(Status::NotFound));
    let held = Held::default();
    held.borrow_mut().extend(b"abc");
    let sight = Sight { headers: true, trailers: false };
    let request = Waiting { sight, held: Some(Rc::clone(&held)) };
    let waits = [request, Waiting::default()];
    exchange.borrow_mut().park([Parked::default(), waits].into_iter());
    assert_eq!(read(), Ok(Some(b"1".to_vec())));
    assert_eq!(view.replace(MapKind::RequestHeaders, b"x", b"2"), Ok(()));
    assert_eq!(read(), Ok(Some(b"2".to_vec())));
    assert_eq!(view.pairs(MapKind::RequestTrailers), Err(Status::BadArgument));
    assert_eq!(view.pairs(MapKind::ResponseHeaders), Err(Status::BadArgument));
    assert_eq!(view.body(BodyKind::Request, 1, 9), Ok(b"bc".to_vec()));
    assert_eq!(view.set_body(BodyKind::Request, 0, 1, b"X"), Ok(()));
    assert_eq!(*held.borrow(), b"Xbc");
    assert_eq!(view.body(BodyKind::Response, 0, 9), Err(Status::NotFound));
    // While a callback of the filter itself runs, what is lent to it is what there is.
    exchange.borrow_mut().enter(1);
    assert_eq!(view.body(BodyKind::Request, 0, 9), Err(Status::NotFound));
}

#[test]
fn fields_keep_the_order_that_envoy_gives_them() {
    let fields = [(":authority", "h"), (":path", "/"), ("x-a", "1"), ("x-b", "2"), ("x-a", "3")];
    let fields = fields.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    let exchange = Rc::new(RefCell::new(Exchange::new(fields.to_vec())));
    exchange.borrow_mut().show(Direction::Request, true, None, false);
    let view = View::filter(Rc::clone(&exchange), 0, Rc::new(()));
    exchange.borrow_mut().enter(0);
    let map = MapKind::RequestHeaders;
    view.replace(map, b"x-a", b"9").unwrap();
    view.add(map, b"x-b", b"8").unwrap();
    view.add(map, b":path", b"/2").unwrap();
    view.replace(map, b"host", b"zz").unwrap();
    let line = |(name, value): &(Vec<u8>, Vec<u8>)| {
        format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
    };
    let pairs = view.pairs(map).unwrap();
    let text: Vec<String> = pairs.iter().map(line).collect();
    assert_eq!(text.join(" "), ":path=/,/2 :authority=zz x-b=2 x-a=9 x-b=8");
    assert_eq!(view.value(map, b"host"), Ok(Some(b"zz".to_vec())));
    assert_eq!(view.size(map), Ok(10 + 11 + 4 + 4 + 4));
    view.remove(map, b"host").unwrap();
    assert_eq!(view.value(map, b":authority"), Ok(None));
}

#[test]
fn content_is_written_by_the_rules_of_envoy() {
    for (start, length, new, want) in [
        (0, 0, "<", Ok("<abcdef")),
        (0, 3, "Z", Ok("Zdef")),
        (0, 6, "Z", Ok("Z")),
        (0, usize::MAX, "", Ok("")),
        (6, 0, "Z", Ok("abcdefZ")),
        (99, 9, "Z", Ok("abcdefZ")),
        (1, 1, "X", Err(Status::BadArgument)),
        (2, 99, "", Err(Status::BadArgument)),
    ] {
        let exchange = exchange();
        exchange.borrow_mut().show(Direction::Response, false, Some(b"abcdef".to_vec()), false);
        let view = View::filter(Rc::clone(&exchange), 0, Rc::new(()));
        exchange.borrow_mut().enter(0);
        let wrote = view.set_body(BodyKind::Response, start, length, new.as_bytes());
        let wrote = wrote.and_then(|()| view.body(BodyKind::Response, 0, 99));
        assert_eq!(wrote, want.map(|text| text.as_bytes().to_vec()), "{start} {length}");
    }
}

#[test]
fn numbers_and_whole_maps_are_read_as_envoy_encodes_them() {
    let exchange = exchange();
    exchange.borrow_mut().received = 3;
    let view = View::filter(Rc::clone(&exchange), 0, Rc::new(()));
    let number = |value: u64| Ok(value.to_le_bytes().to_vec());
    let none = Ok(0u32.to_le_bytes().to_vec());
    exchange.borrow_mut().enter(0);
    assert_eq!(view.property(&[b"request", b"total_size"]), number(3));
    assert_eq!(view.property(&[b"request", b"headers"]), none);
    assert_eq!(view.property(&[b"request", b"headers", b"x"]), Err(Status::NotFound));
    exchange.borrow_mut().show(Direction::Request, true, None, false);
    let fields = [("x", "1"), ("content-length", "12"), ("x", "2")];
    let fields = fields.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    exchange.borrow_mut().set_headers(Direction::Request, fields.to_vec());
    assert_eq!(view.property(&[b"request", b"size"]), number(12));
    assert_eq!(view.property(&[b"request", b"total_size"]), number(3 + 2 + 16 + 2));
    let map = b"\x02\0\0\0\x01\0\0\0\x03\0\0\0\x0e\0\0\0\x02\0\0\0x\x001,2\0content-length\x0012\0";
    assert_eq!(view.property(&[b"request", b"headers"]), Ok(map.to_vec()));
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
