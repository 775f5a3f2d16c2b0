//! How a worker goes over to a changed gateway while it serves.
//!
//! Invariant: a stream keeps the filters that it began with to its end; what was replaced is
//! told that it is done (`proxy_on_done`) after the last of those.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::Environment;
use super::connection::Listening;
use super::desk::Desk;
use super::reload::Change;
use super::worker::around;
use crate::engine::VmSettings;
use crate::proxy::launch::{LaunchError, Retired, Worker};

/// How often it is asked whether streams from before a change still run.
const LOOK: Duration = Duration::from_millis(100);

/// A worker's part of a change.
pub(super) struct Going {
    pub desk: Rc<Desk>,
    pub worker: Worker,
    /// One for each listener.
    pub listening: Vec<Rc<Listening>>,
    pub environment: Environment,
    pub vm: VmSettings,
}

impl Going {
    /// Takes changes until nobody makes any.
    pub async fn over(mut self, mut changes: UnboundedReceiver<Change>) {
        while let Some(change) = changes.recv().await {
            let gone = self.go(&change);
            if let Err(error) = &gone {
                tracing::error!(%error, "this worker stays with what it has");
            }
            // Whoever has asked may have stopped waiting.
            let _ = change.done.send(gone.is_ok());
        }
    }

    fn go(&mut self, change: &Change) -> Result<(), LaunchError> {
        let (desk, worker) = (&self.desk, &mut self.worker);
        let retired = around(desk, &self.environment, &self.vm, |around| {
            worker.change(&change.gateway, &change.programs, around)
        })?;
        for (listening, site) in self.listening.iter().zip(&self.worker.sites) {
            listening.site.replace(Rc::clone(site));
        }
        if let (Some(passage), Some(site)) = (&*desk.passage.borrow(), self.worker.sites.first()) {
            passage.change(Rc::clone(site));
        }
        self.place_machines();
        spawn_local(end(Rc::clone(&self.desk), retired));
        Ok(())
    }

    /// The desk finds machines by their numbers.
    fn place_machines(&self) {
        self.desk.machines.borrow_mut().extend(self.worker.machines());
    }
}

/// Ends what was replaced, after the streams that use it.
async fn end(desk: Rc<Desk>, retired: Retired) {
    while retired.is_used() {
        sleep(LOOK).await;
    }
    for number in retired.end() {
        let gone = desk.machines.borrow_mut().remove(&number);
        drop(gone);
    }
}
