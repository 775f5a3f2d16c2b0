//! What wakes the requests of an instance that wait for something another one does.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Rung when something may have changed for requests that wait.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Bell {
    /// Wakes everybody who waits now.
    pub fn ring(&self) {
        self.rung.set(self.rung.get().wrapping_add(1));
        let waiting = self.waiting.try_borrow_mut().map(|mut all| std::mem::take(&mut *all));
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    /// Waits until it rings for the first time from now on.
    pub fn rings(&self) -> impl Future<Output = ()> {
        let before = self.rung.get();
        poll_fn(move |context| {
            if self.rung.get() != before {
                return Poll::Ready(());
            }
            if let Ok(mut waiting) = self.waiting.try_borrow_mut()
                && !waiting.iter().any(|waker| waker.will_wake(context.waker()))
            {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    use super::*;

    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_waits_is_woken_once_and_who_comes_later_waits_again() {
        let bell = Bell::default();
        let counted = Arc::new(Counted(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&counted));
        let mut context = Context::from_waker(&waker);
        let mut first = pin!(bell.rings());
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert!(first.as_mut().poll(&mut context).is_pending());
        bell.ring();
        assert_eq!(counted.0.load(Ordering::Relaxed), 1);
        assert!(first.poll(&mut context).is_ready());
        assert!(pin!(bell.rings()).poll(&mut context).is_pending());
    }
}
