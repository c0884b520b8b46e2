//! Mirrored requests: another upstream gets a copy, and no request sees anything of it.

use std::io::Write as _;
use std::thread;

use weir_tests::client::{self, Connection};
use weir_tests::service::nobody;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

fn start(upstream: &Upstream, shadow: &str, keys: &str) -> Weir {
    Weir::start(&format!(
        "workers: 1\nadmin: {{ address: '127.0.0.1:0' }}\n\
         listeners: [{{ address: '127.0.0.1:0' }}]\n\
         upstreams: {{ api: {{ endpoints: ['{}'] }}, shadow: {{ endpoints: ['{shadow}'] }} }}\n\
         routes: [{{ name: all, upstream: api, mirror: {{ upstream: shadow, {keys} }} }}]\n",
        upstream.url()
    ))
}

fn until_seen(shadow: &Upstream, count: usize) {
    eventually("the copies have come", || {
        (shadow.seen().len() >= count).then_some(())
    });
    assert_eq!(shadow.seen().len(), count);
}

#[test]
fn a_copy_has_method_target_fields_and_body_of_the_request() {
    let upstream = Upstream::hello();
    let shadow = Upstream::answering("HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno");
    let weir = start(&upstream, &shadow.url(), "");
    assert_eq!(weir.get("/a?b=c", &["x: y"]).text(), "hello");
    until_seen(&shadow, 1);
    let bodies = [
        "content-length: 6\r\n\r\nabcdef",
        "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
    ];
    for (index, framed) in bodies.into_iter().enumerate() {
        let request = format!("POST /up HTTP/1.1\r\nhost: test\r\n{framed}");
        assert_eq!(client::send(weir.proxy(), request).text(), "hello");
        until_seen(&shadow, 2 + index);
    }
    for (copy, seen) in shadow.seen().iter().zip(upstream.seen()) {
        assert_eq!(
            (&copy.method, &copy.target, &copy.body),
            (&seen.method, &seen.target, &seen.body)
        );
        for name in ["host", "x", "traceparent", "x-forwarded-for"] {
            assert_eq!(copy.header(name), seen.header(name), "{name}");
        }
    }
    // Copies go over a connection that is kept.
    assert_eq!(shadow.connections(), 1);
}

#[test]
fn a_body_that_is_too_large_has_no_copy() {
    let (upstream, shadow) = (Upstream::hello(), Upstream::hello());
    let weir = start(&upstream, &shadow.url(), "max_body_bytes: 5B");
    for framed in [
        "content-length: 6\r\n\r\nabcdef",
        "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
        "content-length: 5\r\n\r\nabcde",
    ] {
        let request = format!("POST / HTTP/1.1\r\nhost: test\r\n{framed}");
        assert_eq!(client::send(weir.proxy(), request).text(), "hello");
    }
    until_seen(&shadow, 1);
    assert_eq!(shadow.seen()[0].body, b"abcde");
    assert_eq!(upstream.seen().len(), 3);
}

#[test]
fn a_copy_goes_to_the_endpoint_of_its_field_or_cookie() {
    for (by, field) in [
        ("header: x-user", "x-user: "),
        ("cookie: id", "cookie: id="),
    ] {
        let upstream = Upstream::hello();
        let shadows = [Upstream::hello(), Upstream::hello()];
        let [one, two] = shadows.each_ref().map(Upstream::url);
        let weir = Weir::start(&format!(
            "workers: 1\nadmin: {{ address: '127.0.0.1:0' }}\n\
             listeners: [{{ address: '127.0.0.1:0' }}]\n\
             upstreams:\n\
             \x20 api: {{ endpoints: ['{}'] }}\n\
             \x20 shadow:\n\
             \x20   endpoints: ['{one}', '{two}']\n\
             \x20   balance: consistent_hash\n\
             \x20   hash_by: {{ {by} }}\n\
             routes: [{{ name: all, upstream: api, mirror: {{ upstream: shadow }} }}]\n",
            upstream.url()
        ));
        for user in (0..20).chain(0..20) {
            let target = format!("/{user}");
            let field = format!("{field}{user}");
            assert_eq!(weir.get(&target, &[&field]).text(), "hello");
        }
        let seen = |shadow: &Upstream| {
            let seen = shadow.seen().into_iter();
            seen.map(|seen| seen.target).collect::<Vec<_>>()
        };
        let users = eventually("the copies have come", || {
            let users = shadows.each_ref().map(seen);
            (users.concat().len() == 40).then_some(users)
        });
        for (mine, other) in [(&users[0], &users[1]), (&users[1], &users[0])] {
            assert!(!mine.is_empty(), "all go to one");
            assert!(mine.iter().all(|user| !other.contains(user)), "{users:?}");
        }
    }
}

#[test]
fn no_request_waits_for_a_mirror_that_hangs_or_is_away() {
    let upstream = Upstream::hello();
    let hanging = Upstream::new(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n");
        loop {
            thread::park();
        }
    });
    let away = format!("http://{}", nobody());
    // They go on until the copies have come, which may be after the responses.
    let _weirs = [hanging.url(), away].map(|shadow| {
        let weir = start(&upstream, &shadow, "");
        let mut client = Connection::open(weir.proxy());
        for _ in 0..50 {
            client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
            assert_eq!(client.receive().expect("a response").text(), "hello");
        }
        weir
    });
    until_seen(&hanging, 50);
}

#[test]
fn a_share_of_the_requests_may_be_mirrored_or_none() {
    let (upstream, shadow) = (Upstream::hello(), Upstream::hello());
    let weir = start(&upstream, &shadow.url(), "percent: 50");
    let mut client = Connection::open(weir.proxy());
    for _ in 0..400 {
        client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
        assert_eq!(client.receive().expect("a response").text(), "hello");
    }
    // 200 are expected; the bounds are ten standard deviations away.
    eventually("copies have come", || {
        (100..=300).contains(&shadow.seen().len()).then_some(())
    });
    let none = Upstream::hello();
    let weir = start(&upstream, &none.url(), "percent: 0");
    for _ in 0..20 {
        assert_eq!(weir.get("/", &[]).status, 200);
    }
    let connects = weir.count("weir_upstream_connects_total{upstream=\"shadow\"}");
    assert_eq!((connects, none.connections()), (0, 0));
}
