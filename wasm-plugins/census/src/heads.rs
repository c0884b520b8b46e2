//! The interface `http`.

use std::fmt::Debug;

use crate::bindings::weir::plugin::http::{BodyError, HeaderError, RespondError};
use crate::bindings::{Action, Request, Response};
use crate::{named, say, say_text};

type Field = (String, Vec<u8>);

/// What requests and responses have alike.
pub(crate) trait Head {
    fn header(&self, name: &str) -> Option<String>;
    fn header_values(&self, name: &str) -> Vec<Vec<u8>>;
    fn headers(&self) -> Vec<Field>;
    fn set_header(&self, name: &str, value: &str) -> Result<(), HeaderError>;
    fn add_header(&self, name: &str, value: &str) -> Result<(), HeaderError>;
    fn remove_header(&self, name: &str) -> Result<(), HeaderError>;
    fn body(&self) -> Result<Vec<u8>, BodyError>;
    fn set_body(&self, body: &[u8]) -> Result<(), BodyError>;
    fn respond(
        &self,
        status: u16,
        headers: &[(&str, &[u8])],
        body: &[u8],
    ) -> Result<(), RespondError>;
    fn respond_streamed(&self, status: u16, headers: &[(&str, &[u8])]) -> Result<(), RespondError>;
}

macro_rules! head {
    ($resource:ident) => {
        impl Head for $resource {
            fn header(&self, name: &str) -> Option<String> {
                self.header(name)
            }
            fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
                self.header_values(name)
            }
            fn headers(&self) -> Vec<Field> {
                self.headers()
            }
            fn set_header(&self, name: &str, value: &str) -> Result<(), HeaderError> {
                self.set_header(name, value)
            }
            fn add_header(&self, name: &str, value: &str) -> Result<(), HeaderError> {
                self.add_header(name, value)
            }
            fn remove_header(&self, name: &str) -> Result<(), HeaderError> {
                self.remove_header(name)
            }
            fn body(&self) -> Result<Vec<u8>, BodyError> {
                self.body()
            }
            fn set_body(&self, body: &[u8]) -> Result<(), BodyError> {
                self.set_body(body)
            }
            fn respond(
                &self,
                status: u16,
                headers: &[(&str, &[u8])],
                body: &[u8],
            ) -> Result<(), RespondError> {
                self.respond(status, headers, body)
            }
            fn respond_streamed(
                &self,
                status: u16,
                headers: &[(&str, &[u8])],
            ) -> Result<(), RespondError> {
                self.respond_streamed(status, headers)
            }
        }
    };
}

head!(Request);
head!(Response);

pub(crate) fn read_request(request: &Request) {
    say("method", request.method());
    say("scheme", request.scheme());
    say("authority", request.authority());
    say("path", request.path());
    say("query", request.query());
    say("client-address", request.client_address());
    let shown = request.client_certificate().map(|shown| {
        let names = shown.alternative_names;
        let names = [names.dns, names.uri, names.email, names.ip];
        (shown.subject, shown.issuer, shown.sha256, names)
    });
    say("client-certificate", shown);
    read(request);
}

pub(crate) fn read_response(response: &Response) {
    say("status", response.status());
    say("request-method", response.request_method());
    say("request-path", response.request_path());
    say("request-header", response.request_header("X-Multi"));
    say("request-header.latin", response.request_header("x-latin"));
    say("request-header.empty", response.request_header("x-empty"));
    say("request-header.absent", response.request_header("x-absent"));
    read(response);
}

fn read(head: &impl Head) {
    for name in [
        "x-multi", "X-EMPTY", "x-latin", "x-utf", "x-absent", "", "\0",
    ] {
        let key = format!("{name:?}");
        say(&format!("header {key}"), head.header(name));
        let values: Vec<_> = head.header_values(name);
        let values: Vec<_> = values.iter().map(|value| escaped(value)).collect();
        say(&format!("values {key}"), values);
    }
    say(
        "header.long",
        head.header("x-long").map(|value| value.len()),
    );
    // More than any name has.
    say("header.endless", head.header(&"x".repeat(100 << 10)));
    let fields = head.headers();
    let mut text = String::new();
    for (name, value) in &fields {
        text += &format!("{name}: {}\n", escaped(value));
    }
    say("fields", fields.len());
    say_text("fields.text", &text);
}

/// Replaces the body by itself, with something before and behind.
fn change_body(head: &impl Head) {
    let body = match head.body() {
        Ok(body) => body,
        Err(error) => return say("body", error.name()),
    };
    say("body", (body.len(), escaped(&body[..body.len().min(32)])));
    say("body.none", named!(head.set_body(b"")));
    say("body.now", named!(head.body()));
    say(
        "body.too-large",
        named!(head.set_body(&vec![b'x'; 5 << 20])),
    );
    say(
        "body.set",
        named!(head.set_body(&[b"<", &body[..], b">"].concat())),
    );
    say("body.length", head.header("content-length"));
}

fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

pub(crate) fn change(head: &impl Head) {
    change_body(head);
    say("set", head.set_header("X-Set", "one"));
    say("set.again", head.set_header("x-set", "two"));
    say("set.all", head.set_header("x-multi", "only"));
    say("set.empty", head.set_header("x-set-empty", ""));
    say("set.utf", head.set_header("x-set-utf", "Zensus – 人口調査"));
    say("add", head.add_header("x-added", "one"));
    say("add.again", head.add_header("x-added", ""));
    say("remove", head.remove_header("x-gone"));
    say("remove.absent", head.remove_header("x-absent"));
    say("invalid-name", head.set_header("x y", "a"));
    say("invalid-name.empty", head.add_header("", "a"));
    say("invalid-value", head.add_header("x-a", "a\r\nb"));
    say("forbidden", head.set_header("content-length", "0"));
    say("forbidden.remove", head.remove_header("host"));
    let long = "x".repeat(100 << 10);
    say("too-large", head.set_header("x-a", &long));
    say("too-large.name", head.set_header(&long, "a"));
    // Up to more than there may be.
    let more = (0..120).try_for_each(|n| head.add_header("x-more", &n.to_string()));
    say("more", more);
    say("more.values", head.header_values("x-more").len());
    say("fields.now", head.headers().len());
    say(
        "changed",
        escaped_values(
            head,
            &["x-set", "x-multi", "x-set-empty", "x-added", "x-gone"],
        ),
    );
}

fn escaped_values(head: &impl Head, names: &[&str]) -> Vec<Vec<String>> {
    let values = |name: &&str| {
        let values = head.header_values(name);
        values.iter().map(|value| escaped(value)).collect()
    };
    names.iter().map(values).collect()
}

pub(crate) fn change_status(response: &Response) {
    for status in [0, 99, 199, 600, u16::MAX] {
        say(&format!("status {status}"), response.set_status(status));
    }
    say("status 299", response.set_status(299));
    say("status.now", response.status());
}

/// Ways to route anew, of which only the last two are any.
pub(crate) fn reroute(request: &Request) {
    let mut tries = 0;
    let mut to = |authority, path, upstream| {
        tries += 1;
        let done: Result<(), _> = request.reroute(authority, path, upstream);
        say(&format!("reroute {tries}"), done);
    };
    to(Some("a b"), None, None);
    to(Some(""), None, None);
    to(Some("user@host"), None, None);
    to(None, Some("no-slash"), None);
    to(None, Some(""), None);
    to(None, Some("/ü\u{1}"), None);
    to(None, None, None);
    to(Some("census.test:81"), Some("/%72erouted?n=1"), Some("up"));
    say("authority.now", request.authority());
    say("path.now", request.path());
    say("query.now", request.query());
    say("host.now", request.header("host"));
}

/// Answers that the host does not take.
pub(crate) fn refused_answers(head: &impl Head) {
    fn refused(name: &str, refused: impl Debug) {
        say(&format!("respond.{name}"), refused);
    }
    for status in [0, 199, 600, u16::MAX] {
        refused(&status.to_string(), head.respond(status, &[], b""));
    }
    let field = |name, value| head.respond(200, &[("x-good", b"good"), (name, value)], b"");
    refused("invalid-name", field("x y", b"a"));
    refused("invalid-value", field("x-a", b"a\nb"));
    refused("forbidden", field("transfer-encoding", b"chunked"));
    refused("field-too-large", field("x-a", &[b'x'; 100 << 10]));
    let many: Vec<(&str, &[u8])> = vec![("x-many", b"many"); 300];
    refused("too-many-fields", head.respond(200, &many, b""));
    refused("too-large", head.respond(200, &[], &vec![b'x'; 5 << 20]));
}

/// Answers, twice: the last answer holds.
pub(crate) fn answer(head: &impl Head) -> Action {
    say("answer", head.respond(299, &[("x-first", b"1")], b"first"));
    let mut fields: Vec<(&str, &[u8])> = vec![
        ("Content-Type", b"text/plain"),
        ("x-multi", b"one"),
        ("x-multi", b"two"),
        ("x-empty", b""),
        ("x-latin", b"caf\xe9"),
    ];
    fields.extend([("x-many", b"many" as &[u8]); 200]);
    let body: Vec<u8> = (0..=u8::MAX).cycle().take(100 << 10).collect();
    say("answer.again", head.respond(418, &fields, &body));
    say("immutable", head.add_header("x-late", "late"));
    say("immutable.body", named!(head.set_body(b"late")));
    Action::Respond
}

/// Answers with a body that comes piece by piece; the last answer holds here too.
pub(crate) fn answer_streamed(head: &impl Head) -> Action {
    say("streamed.199", head.respond_streamed(199, &[]));
    let forbidden = head.respond_streamed(200, &[("te", b"trailers")]);
    say("streamed.forbidden", forbidden);
    say("streamed.whole", head.respond(200, &[], b"whole"));
    let fields: &[(&str, &[u8])] = &[("x-multi", b"one"), ("x-multi", b"two")];
    say("streamed", head.respond_streamed(299, fields));
    say("streamed.immutable", head.set_header("x-late", "late"));
    Action::Respond
}
