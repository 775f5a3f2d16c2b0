//! What happens on a gRPC call-out, told to its root.
//!
//! Envoy's rules: the root is told, also of what one of its streams has asked for; a unary
//! call is told of once, by its message or by its failure; the status of the last call that
//! was closed stays to be read.

use crate::view::GrpcEvent;

use super::fault::Trapped;
use super::host::{Callout, Host, Lent};
use super::vm::{Vm, length};

impl Vm {
    /// An event of a gRPC call-out. False: nobody waits for it any more; it was dropped.
    pub fn grpc_event(&mut self, token: u32, event: GrpcEvent) -> Result<bool, Trapped> {
        let Some(call) = self.store.data().grpc.get(&token).copied() else { return Ok(false) };
        let told = match event {
            GrpcEvent::Initial(pairs) => {
                let count = length(pairs.len());
                self.store.data_mut().lent = Lent::GrpcInitial(pairs);
                let name = "proxy_on_grpc_receive_initial_metadata";
                self.call(name, call.root, |it| &it.grpc_initial, (call.root, token, count))
            }
            GrpcEvent::Message(message) => {
                let size = length(message.len());
                let host = self.store.data_mut();
                host.lent = Lent::GrpcMessage(message);
                if Callout::of(token) == Some(Callout::GrpcCall) {
                    host.grpc.remove(&token);
                }
                let name = "proxy_on_grpc_receive";
                self.call(name, call.root, |it| &it.grpc_receive, (call.root, token, size))
            }
            GrpcEvent::Trailing(pairs) => {
                let count = length(pairs.len());
                self.store.data_mut().lent = Lent::GrpcTrailing(pairs);
                let name = "proxy_on_grpc_receive_trailing_metadata";
                self.call(name, call.root, |it| &it.grpc_trailing, (call.root, token, count))
            }
            GrpcEvent::Closed { status, message } => {
                self.store.data_mut().close_grpc(token, status, message);
                let arguments = (call.root, token, status.cast_unsigned());
                self.call("proxy_on_grpc_close", call.root, |it| &it.grpc_close, arguments)
            }
        };
        let host = self.store.data_mut();
        host.lent = Lent::Nothing;
        if host.grpc.get(&token).is_some_and(|call| call.closed) {
            host.grpc.remove(&token);
        }
        told.map(|_| true)
    }
}

impl Host {
    fn close_grpc(&mut self, token: u32, status: i32, message: Vec<u8>) {
        let Some(call) = self.grpc.get_mut(&token) else { return };
        call.closed = true;
        if let Some(root) = self.roots.get_mut(&call.root) {
            root.closed = (status, message);
        }
    }
}
