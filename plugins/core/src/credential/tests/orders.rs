//! No order of events injects without a permit.

use proptest::prelude::*;

use super::world::*;
use crate::event::Event;
use crate::fields::Fields;
use crate::time::Entropy;

/// One event, by number; half of the heads come with a good permit.
fn event(which: u8, world: &World) -> Event {
    let fields = || request(&[]);
    let status = || [(":status", "200")].into_iter().collect::<Fields>();
    let head = |sealed| Event::RequestHeaders {
        fields: fields(),
        end: which & 16 != 0,
        around: around(sealed),
        entropy: Entropy([which; 32]),
    };
    match which % 14 {
        0 | 1 => head(world.permit(&["slack"])),
        2 => head(Vec::new()),
        3 => head(world.permit(&[])),
        4 => Event::RequestBody { chunk: b"s3cret-Value".to_vec(), end: which & 16 != 0 },
        5 => Event::RequestTrailers(Fields::default()),
        6 | 7 => Event::CallReply {
            id: crate::key_service::CallId(u32::from(which >> 4) % 3),
            result: Err(crate::key_service::CallFailure::NotSent),
            entropy: Entropy([0; 32]),
        },
        8 => Event::ResponseHeaders { fields: status(), end: which & 16 != 0 },
        9 => Event::ResponseBody { chunk: b"s3cret-Value".to_vec(), end: which & 16 != 0 },
        10 => Event::ResponseTrailers(Fields::default()),
        11 => Event::EffectFailed,
        12 => Event::Tick,
        _ => Event::Done,
    }
}

proptest! {
    #[test]
    fn no_order_of_events_injects_without_a_permit(events in prop::collection::vec(any::<u8>(), 0..12)) {
        let mut world = World::new();
        for which in events {
            // Every head but those with a good permit and a credential.
            if which % 14 < 2 {
                continue;
            }
            let event = event(which, &world);
            let effects = world.handle(event);
            prop_assert!(!effects.iter().any(|effect| effect.starts_with("inject")));
            prop_assert!(world.keys.asked.borrow().is_empty());
        }
    }

    #[test]
    fn no_order_of_events_injects_twice_or_passes_content_unscrubbed(
        events in prop::collection::vec(any::<u8>(), 0..16)
    ) {
        let mut world = World::new();
        let (mut injected, mut ended) = (0, false);
        for which in events {
            let is_content = which % 14 == 9;
            let event = event(which, &world);
            let effects = world.handle(event);
            injected += effects.iter().filter(|effect| effect.starts_with("inject")).count();
            prop_assert!(injected <= 1);
            let replaced = effects.iter().any(|effect| effect.starts_with("replace response *"));
            if is_content && injected == 1 && !ended {
                prop_assert!(replaced || world.flow() == crate::effect::Flow::Pause);
            }
            ended |= which % 14 == 13;
        }
    }
}
