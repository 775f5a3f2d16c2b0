//! No order of events yields a permit without a caller and, where content is held, without
//! its end.

use std::time::Duration;

use proptest::prelude::*;

use super::fixture::*;
use crate::effect::Flow;
use crate::event::Event;
use crate::fields::Fields;

#[derive(Clone, Copy, Debug)]
enum Happens {
    Head { good: bool, end: bool },
    Body { clean: bool, end: bool },
    Trailers,
    Reply { ok: bool },
    Response,
    Failed,
    Tick,
    Done,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        3 => (any::<bool>(), any::<bool>()).prop_map(|(good, end)| Happens::Head { good, end }),
        3 => (any::<bool>(), any::<bool>()).prop_map(|(clean, end)| Happens::Body { clean, end }),
        1 => Just(Happens::Trailers),
        3 => any::<bool>().prop_map(|ok| Happens::Reply { ok }),
        1 => Just(Happens::Response),
        1 => Just(Happens::Failed),
        1 => Just(Happens::Tick),
        1 => Just(Happens::Done),
    ]
}

fn event(happens: Happens) -> Event {
    match happens {
        Happens::Head { good: true, end } => headers(fields(&[("x-tap-credential", "slack")]), end),
        Happens::Head { good: false, end } => headers(fields(&[("x-tap-key", "pk_x")]), end),
        Happens::Body { clean: true, end } => Event::RequestBody { chunk: b"fine".to_vec(), end },
        Happens::Body { clean: false, end } => {
            Event::RequestBody { chunk: b"<CREDENTIAL:slack>".to_vec(), end }
        }
        Happens::Trailers => Event::RequestTrailers(Fields::default()),
        Happens::Reply { ok } => reply(ok),
        Happens::Response => Event::ResponseHeaders { fields: Fields::default(), end: true },
        Happens::Failed => Event::EffectFailed,
        Happens::Tick => Event::Tick,
        Happens::Done => Event::Done,
    }
}

/// What must have been seen before a permit, by a reading of the events alone.
#[derive(Default)]
struct Seen {
    good_head: bool,
    reply: bool,
    end: bool,
    dirty: bool,
}

impl Seen {
    fn take(&mut self, happens: Happens) {
        match happens {
            Happens::Head { good, end } => {
                self.good_head |= good;
                self.end |= end;
            }
            Happens::Body { clean, end } => {
                self.dirty |= !clean;
                self.end |= end;
            }
            Happens::Trailers => self.end = true,
            Happens::Reply { ok } => self.reply |= ok,
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn no_order_of_events_yields_a_permit_without_caller_and_end(
        cached in any::<bool>(),
        end in any::<bool>(),
        head_first in proptest::bool::weighted(0.8),
        events in proptest::collection::vec((happens(), 0u64..1500), 0..8),
    ) {
        let head = head_first.then_some((Happens::Head { good: true, end }, 0));
        let gate = Gate::new();
        gate.directory.mode.set(if cached { Mode::Cached } else { Mode::Asks });
        let mut run = Run::new(gate.pipeline.stream());
        let mut seen = Seen::default();
        for (happens, wait) in head.into_iter().chain(events) {
            run.advance(Duration::from_millis(wait));
            let before = run.publications.iter().any(|p| p.permit.is_some());
            let flow = run.event(event(happens));
            seen.take(happens);
            let granted = run.publications.iter().any(|p| p.permit.is_some());
            if granted && !before {
                prop_assert!(seen.good_head && seen.end && !seen.dirty);
                prop_assert!(cached || seen.reply);
            }
            let request = matches!(happens, Happens::Head { .. } | Happens::Body { .. });
            prop_assert!(!(request && flow == Flow::Continue) || granted);
            let refused = !run.replies.is_empty() || run.resets > 0;
            prop_assert!(!(refused && request && flow == Flow::Continue));
        }
        prop_assert!(run.publications.iter().filter(|p| p.permit.is_some()).count() <= 1);
        prop_assert!(run.replies.len() <= 1);
    }
}
