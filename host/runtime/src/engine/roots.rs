//! How a root ends: `proxy_on_done`, then `proxy_on_delete`, at once or when it says so.
//!
//! Envoy's rules: a root outlives its last stream; one that answers `proxy_on_done` with
//! false keeps ticking until it calls `proxy_done`, and is deleted when the callback has
//! ended in which it did. A stream's answer to `proxy_on_done` counts for nothing.
//!
//! Invariant: a root is asked once whether it is done, and deleted at most once.

use super::fault::Trapped;
use super::vm::{RootId, StreamId, Vm};

impl Vm {
    /// `proxy_on_done` of a root, and `proxy_on_delete` if it has nothing left to do. False:
    /// it lives on until it calls `proxy_done`.
    pub fn close_root(&mut self, root: RootId) -> Result<bool, Trapped> {
        let answer = self.call("proxy_on_done", root.0, |it| &it.done, root.0)?;
        if answer.is_none_or(|done| done != 0) {
            self.delete_root(root.0)?;
            return Ok(true);
        }
        self.store.data_mut().unfinished.insert(root.0);
        Ok(false)
    }

    /// The same once the last stream of the root has been deleted, as after a change of its
    /// configuration.
    pub fn retire_root(&mut self, root: RootId) -> Result<(), Trapped> {
        if self.has_streams(root.0) {
            self.store.data_mut().retiring.insert(root.0);
            return Ok(());
        }
        self.close_root(root).map(drop)
    }

    /// Forgets the stream, after `proxy_on_delete`. On a dead machine it only forgets.
    pub fn delete(&mut self, stream: StreamId) -> Result<(), Trapped> {
        let answer = self.call("proxy_on_delete", stream.0, |it| &it.delete, stream.0);
        let host = self.store.data_mut();
        let context = host.contexts.remove(&stream.0);
        // Its root is told of what it still waits for.
        let root = context.as_ref().map_or(0, |context| context.root);
        for waiting in host.calls.values_mut().filter(|context| **context == stream.0) {
            *waiting = root;
        }
        answer?;
        match context.filter(|it| host.retiring.contains(&it.root)) {
            Some(context) => self.retire_root(RootId(context.root)),
            None => Ok(()),
        }
    }

    /// Deletes the roots that have called `proxy_done` in the callback that has ended.
    pub(super) fn bury(&mut self) -> Result<(), Trapped> {
        while let Some(root) = self.store.data_mut().finished.pop() {
            self.delete_root(root)?;
        }
        Ok(())
    }

    fn delete_root(&mut self, root: u32) -> Result<(), Trapped> {
        let deleted = match self.callbacks.delete.clone() {
            Some(delete) => self.enter_usual("proxy_on_delete", root, &delete, root),
            None => Ok(()),
        };
        self.forget_root(root);
        deleted
    }

    fn has_streams(&self, root: u32) -> bool {
        let contexts = &self.store.data().contexts;
        contexts.iter().any(|(id, context)| context.root == root && *id != root)
    }
}
