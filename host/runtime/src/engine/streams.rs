//! The callbacks of one stream, in the order in which the proxy makes them: `stream`, headers,
//! body and trailers of both directions, `log`, `done`, `delete`; and answers to call-outs.

use std::rc::Rc;

use crate::view::{CallAnswer, StreamView};

use super::fault::Trapped;
use super::host::{Context, Lent};
use super::vm::{RootId, StreamId, Vm, length};

/// What a callback wants done with what it was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Pass it on.
    Continue,
    /// Keep it until `continue_stream`, or until a later callback of the direction continues.
    /// Every answer but 0: the SDK has no others.
    Pause,
}

impl Action {
    /// A module without the callback continues.
    fn of(answer: Option<u32>) -> Self {
        if answer.unwrap_or(0) == 0 { Self::Continue } else { Self::Pause }
    }
}

impl Vm {
    /// Makes a context for a stream under `root`.
    pub fn stream(&mut self, root: RootId, view: Rc<dyn StreamView>) -> Result<StreamId, Trapped> {
        if let Some(trapped) = self.trapped() {
            return Err(trapped.clone());
        }
        let id = self.next_context();
        self.store.data_mut().contexts.insert(id, Context::new(root.0, Some(view)));
        self.call("proxy_on_context_create", id, |it| &it.context_create, (id, root.0))?;
        Ok(StreamId(id))
    }

    /// Fields of the request: how many, and whether nothing follows.
    pub fn request_headers(
        &mut self,
        stream: StreamId,
        count: usize,
        end: bool,
    ) -> Result<Action, Trapped> {
        let arguments = (stream.0, length(count), u32::from(end));
        let answer =
            self.call("proxy_on_request_headers", stream.0, |it| &it.request_headers, arguments);
        answer.map(Action::of)
    }

    /// Content of the request: bytes held by now, and whether it ends here.
    pub fn request_body(
        &mut self,
        stream: StreamId,
        size: usize,
        end: bool,
    ) -> Result<Action, Trapped> {
        let arguments = (stream.0, length(size), u32::from(end));
        let answer = self.call("proxy_on_request_body", stream.0, |it| &it.request_body, arguments);
        answer.map(Action::of)
    }

    /// Trailers of the request, its second kind of end.
    pub fn request_trailers(&mut self, stream: StreamId, count: usize) -> Result<Action, Trapped> {
        let arguments = (stream.0, length(count));
        let answer =
            self.call("proxy_on_request_trailers", stream.0, |it| &it.request_trailers, arguments);
        answer.map(Action::of)
    }

    /// Fields of the response.
    pub fn response_headers(
        &mut self,
        stream: StreamId,
        count: usize,
        end: bool,
    ) -> Result<Action, Trapped> {
        let arguments = (stream.0, length(count), u32::from(end));
        let answer =
            self.call("proxy_on_response_headers", stream.0, |it| &it.response_headers, arguments);
        answer.map(Action::of)
    }

    /// Content of the response.
    pub fn response_body(
        &mut self,
        stream: StreamId,
        size: usize,
        end: bool,
    ) -> Result<Action, Trapped> {
        let arguments = (stream.0, length(size), u32::from(end));
        let answer =
            self.call("proxy_on_response_body", stream.0, |it| &it.response_body, arguments);
        answer.map(Action::of)
    }

    /// Trailers of the response.
    pub fn response_trailers(&mut self, stream: StreamId, count: usize) -> Result<Action, Trapped> {
        let arguments = (stream.0, length(count));
        let answer = self.call(
            "proxy_on_response_trailers",
            stream.0,
            |it| &it.response_trailers,
            arguments,
        );
        answer.map(Action::of)
    }

    /// The stream is over; false if the module wants more time, which it does not get, as in
    /// Envoy.
    pub fn done(&mut self, stream: StreamId) -> Result<bool, Trapped> {
        let answer = self.call("proxy_on_done", stream.0, |it| &it.done, stream.0)?;
        Ok(answer.is_none_or(|yes| yes != 0))
    }

    /// `proxy_on_log` of a filter.
    pub fn log(&mut self, stream: StreamId) -> Result<(), Trapped> {
        self.call("proxy_on_log", stream.0, |it| &it.log, stream.0).map(drop)
    }

    /// `proxy_on_log` of an access logger: on the root, with the stream's view lent to it.
    pub fn log_root(&mut self, root: RootId, view: Rc<dyn StreamView>) -> Result<(), Trapped> {
        self.lend_view(root, Some(view));
        let answer = self.call("proxy_on_log", root.0, |it| &it.log, root.0);
        self.lend_view(root, None);
        answer.map(drop)
    }

    /// The answer to a call-out. Its root is told, as in Envoy: a module that wants to act on
    /// the stream that has called makes it the effective context. False: the machine does not
    /// know of the call.
    pub fn http_call_response(&mut self, token: u32, answer: CallAnswer) -> Result<bool, Trapped> {
        let host = self.store.data_mut();
        let context =
            host.calls.remove(&token).filter(|context| host.contexts.contains_key(context));
        let Some(context) = context else { return Ok(false) };
        host.services.answered(token, &answer);
        let context = host.contexts.get(&context).map_or(context, |it| it.root);
        let (headers, trailers) = (length(answer.headers.len()), length(answer.trailers.len()));
        let arguments = (context, token, headers, length(answer.body.len()), trailers);
        host.lent = Lent::Answer(answer);
        let name = "proxy_on_http_call_response";
        let result = self.call(name, context, |it| &it.http_call_response, arguments);
        self.store.data_mut().lent = Lent::Nothing;
        result.map(|_| true)
    }

    fn lend_view(&mut self, root: RootId, view: Option<Rc<dyn StreamView>>) {
        if let Some(context) = self.store.data_mut().contexts.get_mut(&root.0) {
            context.view = view;
        }
    }
}
