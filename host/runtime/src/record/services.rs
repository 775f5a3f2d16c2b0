//! The services of a machine while a worker records.
//!
//! gRPC call-outs and queues work and are not recorded: what a module does in their callbacks
//! is missing in a replay.

use std::rc::Rc;
use std::time::Duration;

use super::event::In;
use super::tape::Tape;
use crate::view::{
    CallAnswer, CallOut, GrpcCall, Level, MetricId, MetricKind, QueueToken, Reload, Services,
    Status,
};

/// Services that note what is asked of them; clock and randomness are the tape's.
pub(crate) struct Recorded {
    pub inner: Rc<dyn Services>,
    pub tape: Rc<Tape>,
    pub machine: usize,
}

impl Services for Recorded {
    fn http_call(&self, token: u32, call: CallOut) -> Result<(), Status> {
        let noted = call.clone();
        let answer = match self.tape.refused() {
            Some(status) => Err(status),
            None => self.inner.http_call(token, call),
        };
        self.tape.call(token, &noted, answer.err());
        answer
    }

    fn shared_data(&self, key: &[u8]) -> Result<(Vec<u8>, u32), Status> {
        self.inner.shared_data(key)
    }

    fn set_shared_data(&self, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        self.inner.set_shared_data(key, value, cas)
    }

    fn define_metric(&self, kind: MetricKind, name: &[u8]) -> Result<MetricId, Status> {
        self.inner.define_metric(kind, name)
    }

    fn increment_metric(&self, id: MetricId, by: i64) -> Result<(), Status> {
        self.inner.increment_metric(id, by)
    }

    fn record_metric(&self, id: MetricId, value: u64) -> Result<(), Status> {
        self.inner.record_metric(id, value)
    }

    fn metric(&self, id: MetricId) -> Result<u64, Status> {
        self.inner.metric(id)
    }

    fn has_cluster(&self, name: &[u8]) -> bool {
        self.inner.has_cluster(name)
    }

    fn grpc_start(&self, token: u32, call: GrpcCall) -> Result<(), Status> {
        self.inner.grpc_start(token, call)
    }

    fn grpc_send(&self, token: u32, message: Option<Vec<u8>>, end: bool) -> Result<(), Status> {
        self.inner.grpc_send(token, message, end)
    }

    fn grpc_cancel(&self, token: u32) {
        self.inner.grpc_cancel(token);
    }

    fn register_queue(&self, root: u32, name: &[u8]) -> Result<QueueToken, Status> {
        self.inner.register_queue(root, name)
    }

    fn resolve_queue(&self, vm_id: &[u8], name: &[u8]) -> Result<QueueToken, Status> {
        self.inner.resolve_queue(vm_id, name)
    }

    fn enqueue(&self, queue: QueueToken, entry: &[u8]) -> Result<(), Status> {
        self.inner.enqueue(queue, entry)
    }

    fn dequeue(&self, queue: QueueToken) -> Result<Vec<u8>, Status> {
        self.inner.dequeue(queue)
    }

    fn set_tick_period(&self, root: u32, period: Duration) {
        self.inner.set_tick_period(root, period);
    }

    fn reloaded(&self, plugins: &[&str], how: Reload) {
        self.inner.reloaded(plugins, how);
    }

    fn log_level(&self) -> Level {
        self.tape.level()
    }

    fn log(&self, level: Level, text: &str) {
        self.tape.log(level, text);
        self.inner.log(level, text);
    }

    fn now_nanos(&self) -> u64 {
        self.tape.wall()
    }

    fn monotonic_nanos(&self) -> Option<u64> {
        Some(self.tape.at())
    }

    fn random(&self, bytes: &mut [u8]) -> Result<(), Status> {
        self.tape.fill(bytes);
        Ok(())
    }

    fn property(&self, path: &[&[u8]]) -> Result<Vec<u8>, Status> {
        self.inner.property(path)
    }

    fn answered(&self, token: u32, answer: &CallAnswer) {
        self.tape.called(token, answer);
    }

    fn ticked(&self, root: u32) {
        self.tape.given(In::Tick { machine: self.machine, root });
    }

    fn closing(&self) {
        self.tape.given(In::Close { machine: self.machine });
    }
}
