//! Bodies that go through a plugin piece by piece, on the fake host.

use http::HeaderMap;

use super::backend;
use super::head::check_answer;
use super::host::Exchange;
use crate::{Chunk, Flow, Hook, Plugin};

/// What became of a body that a plugin streams.
#[derive(Debug, Default)]
pub struct Stream {
    /// What went on, for each piece that came, in order; without empty ones.
    pub pieces: Vec<Vec<u8>>,
    /// The trailers behind it.
    pub trailers: HeaderMap,
    /// What was answered instead of sending the request on; of an answer in pieces
    /// [`Exchange::stream_answer`] has the body.
    pub answer: Option<http::Response<Vec<u8>>>,
    /// The plugin broke it off.
    pub aborted: bool,
    /// It has come to its end.
    pub ended: bool,
}

/// The pieces in which a body comes that the plugin streams, among the extensions of its request or
/// response; without it, a body comes in one.
#[derive(Clone, Debug)]
pub struct InPieces(pub Vec<Vec<u8>>);

impl Stream {
    /// All that went on.
    pub fn bytes(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

impl<P: Plugin> Exchange<'_, P> {
    /// Sends pieces of a request's body through the plugin, and an empty last one behind them. What it
    /// notes is on the request hook's span.
    ///
    /// ```
    /// use serde_json::json;
    /// use weir_sdk::testing::Host;
    /// # use weir_sdk::{Chunk, Error, Flow, Interests, Plugin, http};
    /// # struct Shout;
    /// # impl Plugin for Shout {
    /// # type Config = ();
    /// # fn new((): ()) -> Result<Self, Error> { Ok(Self) }
    /// # fn interests(&self) -> Interests { Interests::none().stream_request_body() }
    /// # fn on_request_body(&self, chunk: &mut Chunk) -> Flow {
    /// #     Flow::Replace(chunk.data().to_ascii_uppercase())
    /// # }
    /// # }
    /// let host = Host::<Shout>::new(json!(null)).unwrap();
    /// let mut exchange = host.request(http::Request::post("/").body(()).unwrap());
    /// let sent = exchange.stream_request(["one", "two"]);
    /// assert_eq!(sent.pieces, [b"ONE", b"TWO"]);
    /// ```
    ///
    /// # Panics
    ///
    /// If the plugin's `interests` do not ask for it, or the host would refuse what it answers.
    pub fn stream_request<B: Into<Vec<u8>>>(
        &mut self,
        pieces: impl IntoIterator<Item = B>,
    ) -> Stream {
        assert!(
            self.interests().streams_request_body(),
            "`interests` did not ask for the pieces of requests"
        );
        self.stream(Hook::Request, P::on_request_body, pieces)
    }

    /// As [`Exchange::stream_request`], of the response.
    ///
    /// # Panics
    ///
    /// As [`Exchange::stream_request`].
    pub fn stream_response<B: Into<Vec<u8>>>(
        &mut self,
        pieces: impl IntoIterator<Item = B>,
    ) -> Stream {
        assert!(
            self.interests().streams_response_body(),
            "`interests` did not ask for the pieces of responses"
        );
        self.stream(Hook::Response, P::on_response_body, pieces)
    }

    /// Asks for the pieces of an answer that streams, as a client takes them: until its end, or that many
    /// times. What the plugin notes is on the span of the hook that answered.
    ///
    /// ```
    /// use serde_json::json;
    /// use weir_sdk::testing::Host;
    /// # use weir_sdk::{Action, Chunk, Error, Flow, Interests, Plugin, Request, http};
    /// # struct Endless;
    /// # impl Plugin for Endless {
    /// # type Config = ();
    /// # fn new((): ()) -> Result<Self, Error> { Ok(Self) }
    /// # fn interests(&self) -> Interests { Interests::none().on_request() }
    /// # fn on_request(&self, _: &mut Request) -> Action {
    /// #     Action::RespondStreamed(http::Response::new(()))
    /// # }
    /// # fn on_answer_body(&self, _: &mut Chunk) -> Flow { Flow::Replace(b"on".to_vec()) }
    /// # }
    /// let host = Host::<Endless>::new(json!(null)).unwrap();
    /// let mut exchange = host.request(http::Request::get("/").body(()).unwrap());
    /// let sent = exchange.stream_answer(2);
    /// assert_eq!(sent.pieces, [b"on", b"on"]);
    /// assert!(!sent.ended);
    /// ```
    ///
    /// # Panics
    ///
    /// If no hook gave such an answer, or its body has ended before, or the plugin answers once more.
    pub fn stream_answer(&mut self, most: usize) -> Stream {
        let hook = self.streamed.expect("an answer that streams");
        let mut stream = Stream::default();
        for _ in 0..most {
            let mut chunk = Chunk(backend::Chunk {
                last: true,
                ..backend::Chunk::default()
            });
            match self.note_on(hook, |plugin| plugin.on_answer_body(&mut chunk)) {
                Flow::Pass => {
                    stream.ended = true;
                    stream.trailers = chunk.0.trailers.0;
                }
                Flow::Replace(bytes) => {
                    stream.pieces.append(&mut chunk.0.written);
                    stream.pieces.push(bytes);
                }
                Flow::Respond(_) | Flow::RespondStreamed(_) => {
                    panic!("the host refuses the answer: there is one")
                }
                Flow::Abort => stream.aborted = true,
            }
            if stream.ended || stream.aborted {
                self.streamed = None;
                break;
            }
        }
        stream.pieces.retain(|piece| !piece.is_empty());
        stream
    }

    fn stream<B: Into<Vec<u8>>>(
        &mut self,
        hook: Hook,
        call: fn(&P, &mut Chunk) -> Flow,
        pieces: impl IntoIterator<Item = B>,
    ) -> Stream {
        let mut stream = Stream::default();
        let pieces = pieces.into_iter().map(|piece| (piece.into(), false));
        for (data, last) in pieces.chain([(Vec::new(), true)]) {
            let mut chunk = Chunk(backend::Chunk {
                data: data.clone(),
                last,
                ..backend::Chunk::default()
            });
            match self.note_on(hook, |plugin| call(plugin, &mut chunk)) {
                Flow::Pass => stream.pieces.push(data),
                Flow::Replace(bytes) => {
                    stream.pieces.append(&mut chunk.0.written);
                    stream.pieces.push(bytes);
                }
                Flow::Respond(answer) => {
                    stream.answer = Some(given(hook, answer));
                    break;
                }
                Flow::RespondStreamed(answer) => {
                    stream.answer = Some(given(hook, answer.map(|()| Vec::new())));
                    self.streamed = Some(hook);
                    break;
                }
                Flow::Abort => {
                    stream.aborted = true;
                    break;
                }
            }
            stream.trailers = chunk.0.trailers.0;
            stream.ended = last;
        }
        stream.pieces.retain(|piece| !piece.is_empty());
        stream
    }
}

/// An answer to a piece, as the host takes it.
fn given(hook: Hook, answer: http::Response<Vec<u8>>) -> http::Response<Vec<u8>> {
    assert!(hook == Hook::Request, "only a request can be answered");
    if let Err(refused) = check_answer(&answer) {
        panic!("the host refuses the answer: {refused}");
    }
    answer
}
