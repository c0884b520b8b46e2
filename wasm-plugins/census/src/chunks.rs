//! Pieces of bodies, of the interface `http`.

use std::cell::Cell;

use crate::bindings::{Chunk, Flow};
use crate::{named, say, say_text};

/// Calls every function of a piece, and sends it on in brackets.
pub(crate) fn read(chunk: &Chunk) -> Flow {
    let data = chunk.data();
    say_text("chunk.data", &String::from_utf8_lossy(&data));
    say("chunk.len", chunk.len());
    say("chunk.is-last", chunk.is_last());
    say("chunk.trailers", chunk.trailers());
    say("chunk.set-trailer", chunk.set_trailer("x-sum", "2"));
    say("chunk.set-trailer.host", chunk.set_trailer("host", "2"));
    say(
        "chunk.set-trailer.age",
        chunk.set_trailer("set-cookie", "2"),
    );
    say("chunk.remove-trailer", chunk.remove_trailer("x-gone"));
    say("chunk.trailers.after", chunk.trailers());
    say("chunk.streamed.status", chunk.respond_streamed(99, &[]));
    say("chunk.streamed", chunk.respond_streamed(299, &[]));
    say("chunk.respond.status", chunk.respond(99, &[], b""));
    say(
        "chunk.respond",
        chunk.respond(418, &[("x-tea", b"1")], b"tea"),
    );
    say("chunk.write.large", named!(chunk.write(&vec![0; 5 << 20])));
    for bytes in [b"[", &data[..], b"]"] {
        say("chunk.write", named!(chunk.write(bytes)));
    }
    match &data[..] {
        b"pass" => Flow::Pass,
        b"respond" => Flow::Respond,
        b"streamed" => {
            let fields: &[(&str, &[u8])] = &[("x-tea", b"2")];
            say("chunk.streamed.last", chunk.respond_streamed(299, fields));
            Flow::Respond
        }
        b"abort" => Flow::Abort,
        _ => Flow::Replace,
    }
}

thread_local! {
    /// The answer's one piece has been given.
    static GIVEN: Cell<bool> = const { Cell::new(false) };
}

/// Gives an answer's body: a piece, and its end with a trailer.
pub(crate) fn give(chunk: &Chunk) -> Flow {
    say("given.data", chunk.data());
    say("given.is-last", chunk.is_last());
    say("given.respond", chunk.respond(418, &[], b"tea"));
    say("given.streamed", chunk.respond_streamed(418, &[]));
    say("given.write.large", named!(chunk.write(&vec![0; 5 << 20])));
    if GIVEN.replace(true) {
        GIVEN.set(false);
        say("given.set-trailer", chunk.set_trailer("x-sum", "1"));
        return Flow::Pass;
    }
    say("given.write", named!(chunk.write(b"given")));
    Flow::Replace
}
