//! What a filter or an access logger gets of an exchange.

use std::rc::Rc;

use super::{OBJECTS, Shared, place};
use crate::engine::splice;
use crate::proxy::chain::Verdict;
use crate::proxy::fields;
use crate::proxy::filters::Turn;
use crate::view::{BodyKind, Declared, Direction, LocalReply, MapKind, Pairs, Status, StreamView};

/// A filter's view of an exchange, or an access logger's.
///
/// A callback of another context may act on it too (`proxy_set_effective_context`): it sees
/// the fields and the content that wait at the filter, and what it asks for is done once the
/// stream has been woken.
#[derive(Clone)]
pub struct View {
    exchange: Shared,
    seat: Option<(usize, Rc<dyn Turn>)>,
}

impl View {
    /// The view of an access logger, which reads and writes nothing.
    pub fn logger(exchange: Shared) -> Self {
        Self { exchange, seat: None }
    }

    /// The view of a filter.
    pub fn filter(exchange: Shared, filter: usize, turn: Rc<dyn Turn>) -> Self {
        Self { exchange, seat: Some((filter, turn)) }
    }

    fn place(&self) -> Option<usize> {
        self.seat.as_ref().map(|(filter, _)| *filter)
    }

    /// Notes what a callback asks for.
    fn ask(&self, note: impl FnOnce(&mut Verdict)) {
        let mut exchange = self.exchange.borrow_mut();
        match &self.seat {
            Some((filter, turn)) if exchange.running != Some(*filter) => {
                let told = exchange.late.contains_key(filter);
                note(exchange.late.entry(*filter).or_default());
                drop(exchange);
                if !told {
                    turn.wake(*filter);
                }
            }
            _ => note(&mut exchange.asked),
        }
    }
}

impl StreamView for View {
    fn pairs(&self, map: MapKind) -> Result<Pairs, Status> {
        self.exchange.borrow().map(map, self.place()).cloned()
    }

    fn size(&self, map: MapKind) -> Result<usize, Status> {
        let mut exchange = self.exchange.borrow_mut();
        Ok(fields::size(exchange.map_mut(map, self.place())?))
    }

    fn logs(&self) -> bool {
        self.exchange.borrow().logging
    }

    fn set_pairs(&self, map: MapKind, pairs: Pairs) -> Result<(), Status> {
        *self.exchange.borrow_mut().map_mut(map, self.place())? = pairs;
        Ok(())
    }

    fn value(&self, map: MapKind, name: &[u8]) -> Result<Option<Vec<u8>>, Status> {
        let exchange = self.exchange.borrow();
        match exchange.map(map, self.place()) {
            // Of several lines Envoy gives the first.
            Ok(pairs) => Ok(first(pairs, alias(map, name))),
            Err(_) if exchange.logging => Ok(None),
            Err(status) => Err(status),
        }
    }

    fn add(&self, map: MapKind, name: &[u8], value: &[u8]) -> Result<(), Status> {
        let mut exchange = self.exchange.borrow_mut();
        let pairs = exchange.map_mut(map, self.place())?;
        let joined = match place(map) {
            (direction, false) => Some(direction),
            (_, true) => None,
        };
        fields::add(pairs, joined, alias(map, name), value);
        Ok(())
    }

    fn replace(&self, map: MapKind, name: &[u8], value: &[u8]) -> Result<(), Status> {
        let mut exchange = self.exchange.borrow_mut();
        let (pairs, name) = (exchange.map_mut(map, self.place())?, alias(map, name));
        pairs.retain(|(have, _)| *have != name);
        fields::add(pairs, None, name, value);
        Ok(())
    }

    fn remove(&self, map: MapKind, name: &[u8]) -> Result<(), Status> {
        let name = alias(map, name);
        self.exchange.borrow_mut().map_mut(map, self.place())?.retain(|(have, _)| *have != name);
        Ok(())
    }

    fn body(&self, body: BodyKind, start: usize, length: usize) -> Result<Vec<u8>, Status> {
        self.exchange.borrow_mut().with_body(body, self.place(), |buffer| {
            let start = start.min(buffer.len());
            let end = start.saturating_add(length).min(buffer.len());
            Ok(buffer[start..end].to_vec())
        })
    }

    fn set_body(
        &self,
        body: BodyKind,
        start: usize,
        length: usize,
        bytes: &[u8],
    ) -> Result<(), Status> {
        let mut exchange = self.exchange.borrow_mut();
        exchange.with_body(body, self.place(), |buffer| splice(buffer, start, length, bytes))
    }

    fn property(&self, path: &[&[u8]]) -> Result<Vec<u8>, Status> {
        self.exchange.borrow().property(path, self.place())
    }

    fn set_property(&self, path: &[u8], value: &[u8], declared: Declared) -> Result<(), Status> {
        if self.seat.is_none() {
            return Err(Status::NotFound);
        }
        let key = [b"wasm.", path].concat();
        let mut exchange = self.exchange.borrow_mut();
        if exchange.state.get(&key).is_some_and(|(_, declared)| declared.readonly) {
            return Err(Status::BadArgument);
        }
        exchange.state.insert(key, (value.to_vec(), declared));
        Ok(())
    }

    fn set_filter_state(&self, key: &[u8], value: &[u8]) -> Result<(), Status> {
        if self.seat.is_none() || !OBJECTS.contains(&key) {
            return Err(Status::NotFound);
        }
        let entry = (value.to_vec(), Declared { string: true, ..Declared::default() });
        self.exchange.borrow_mut().state.insert(key.to_vec(), entry);
        Ok(())
    }

    fn continue_stream(&self, direction: Direction) -> Result<(), Status> {
        self.ask(|asked| match direction {
            Direction::Request => asked.continue_request = true,
            Direction::Response => asked.continue_response = true,
        });
        Ok(())
    }

    fn close_stream(&self, _: Direction) -> Result<(), Status> {
        self.ask(|asked| asked.close = true);
        Ok(())
    }

    fn local_reply(&self, reply: LocalReply) -> Result<(), Status> {
        // The first stands, as in Envoy.
        self.ask(|asked| {
            asked.reply.get_or_insert(reply);
        });
        Ok(())
    }

    fn begin_call(&self) {
        if let Some((filter, turn)) = &self.seat {
            turn.begin(*filter);
        }
    }

    fn end_call(&self) {
        if let Some((_, turn)) = &self.seat {
            turn.end();
        }
    }

    fn number(&self) -> u64 {
        self.exchange.borrow().number
    }
}

fn first(pairs: &Pairs, name: &[u8]) -> Option<Vec<u8>> {
    pairs.iter().find(|(have, _)| have == name).map(|(_, value)| value.clone())
}

/// `host` of a request is its authority, as in Envoy.
fn alias(map: MapKind, name: &[u8]) -> &[u8] {
    if map == MapKind::RequestHeaders && name == b"host" { b":authority" } else { name }
}
