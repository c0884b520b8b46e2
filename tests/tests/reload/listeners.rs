//! Listeners that a reload adds, removes and brings back.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, mpsc};

use weir_tests::client::{self, Connection};
use weir_tests::http2::{Client, receive, run};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{GENERATION, Load, Setup};

#[test]
fn listeners_are_added_and_removed_while_the_others_serve() {
    let setup = Setup::new();
    let weir = Weir::start(&setup.routes(""));
    let load = Load::on(weir.proxy());
    for round in 1..=5 {
        load.goes_on();
        // Another address of the loopback interface, so that both may take any free port.
        let answer = weir.reload(&setup.config(&["127.0.0.1:0", "127.0.0.2:0"], "", ""));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let added = eventually("it listens", || weir.listened().get(round).copied());
        assert_eq!(added.ip().to_string(), "127.0.0.2");
        let mut kept = Connection::open(added);
        kept.send("GET /steady HTTP/1.1\r\nhost: test\r\n\r\n");
        assert_eq!(kept.receive().expect("a response").status, 200);

        load.goes_on();
        assert_eq!(weir.reload(&setup.routes("")).status, 200);
        eventually("the removed one refuses", || {
            TcpStream::connect(added).err()
        });
        kept.send("GET /steady HTTP/1.1\r\nhost: test\r\n\r\n");
        let last = kept.receive().expect("a response");
        assert_eq!(
            (last.status, last.header("connection")),
            (200, Some("close"))
        );
        assert_eq!(kept.read_to_end(), b"");
    }
    load.assert_unharmed();
}

#[test]
fn what_a_removed_listener_has_accepted_is_served_by_what_was_in_place() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let upstream = Upstream::new(move |seen, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
        if seen.target == "/slow" {
            released.lock().expect("lock").recv().expect("the test");
        }
        let _ = stream.write_all(b"hello");
    });
    let setup = Setup { upstream };
    let routes = "  - { match: { path: /old }, upstream: api }
  - { match: { path: /slow }, upstream: api }";
    let both = setup
        .config(&["127.0.0.1:0", "127.0.0.2:0"], routes, "")
        .replace("2:0\" }", "2:0\", timeouts: { head: 1h } }");
    let weir = Weir::start(&both);
    let removed = weir.proxies()[1];
    let ask = |connection: &mut Connection| {
        let request = "GET /old HTTP/1.1\r\nhost: test\r\n\r\n";
        connection.send(request).receive().expect("a response")
    };
    let mut kept: Vec<_> = (0..8).map(|_| Connection::open(removed)).collect();
    for connection in &mut kept {
        assert_eq!(ask(connection).header("connection"), None);
    }
    // Of these, nothing was read yet.
    kept.extend((0..8).map(|_| Connection::open(removed)));
    run(async {
        let idle = Client::open(removed).await;
        assert_eq!(idle.get("/old").await.expect("a response").text(), "hello");
        let busy = Client::open(removed).await;
        let request = http::Request::get("http://test/slow").body(());
        let mut sender = busy.sender.clone().ready().await.expect("ready");
        let (response, _) = sender
            .send_request(request.expect("a request"), true)
            .expect("sent");
        let response = response.await.expect("a head");

        assert_eq!(weir.reload(&setup.routes("")).status, 200);
        assert_eq!(weir.get("/old", &[]).status, 404);
        let ended = idle.connection.await.expect("no panic");
        ended.expect("GOAWAY");
        for connection in &mut kept {
            let last = ask(connection);
            assert_eq!((last.status, last.text().as_str()), (200, "hello"));
            assert_eq!(last.header("connection"), Some("close"));
            assert_eq!(connection.read_to_end(), b"");
        }
        release.send(()).expect("the upstream waits");
        let answer = receive(response).await.expect("the rest");
        assert_eq!(answer.text(), "hello");
        drop((sender, busy.sender));
        let ended = busy.connection.await.expect("no panic");
        ended.expect("GOAWAY");
    });
    eventually("all of them have ended", || {
        (weir.count("weir_connections_open") == 0).then_some(())
    });
}

#[test]
fn a_listener_that_comes_back_has_its_connections_again() {
    let setup = Setup::new();
    let both = |routes| setup.config(&["127.0.0.1:0", "127.0.0.2:0"], routes, "");
    let weir = Weir::start(&both(""));
    let mut kept = Connection::open(weir.proxies()[1]);
    let mut status = |path: &str| {
        kept.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
        kept.receive().expect("a response").status
    };
    assert_eq!(status("/new"), 404);
    assert_eq!(weir.reload(&setup.routes("")).status, 200);
    let new = "  - { match: { path: /new }, upstream: api }";
    assert_eq!(weir.reload(&both(new)).status, 200);
    for _ in 0..3 {
        assert_eq!(status("/new"), 200);
    }
}

/// The listeners' plugins say which it is that answered.
fn several_on_port_0(setup: &Setup, count: usize) -> String {
    let names = ["one", "two", "three"];
    let plugins: String = names
        .iter()
        .map(|name| {
            format!(
                "  {name}: {{ module: builtin:header-rewrite, config: {{ response: {{ set: {{ x-mark: {name} }} }} }} }}\n"
            )
        })
        .collect();
    let listeners: Vec<String> = names[..count]
        .iter()
        .map(|name| format!("{{ address: \"127.0.0.1:0\", plugins: [{name}] }}"))
        .collect();
    let config = setup.config(&[], "", &format!("plugins:\n{plugins}"));
    config.replace(
        "listeners: []",
        &format!("listeners: [{}]", listeners.join(", ")),
    )
}

#[test]
fn listeners_with_port_0_are_told_apart() {
    let setup = Setup::new();
    let weir = Weir::start(&several_on_port_0(&setup, 2));
    let assert_answers = |address: SocketAddr, name: &str| {
        let response = client::get(address, "/steady", &[]);
        assert_eq!(response.header("x-mark"), Some(name));
    };
    let [one, two] = weir.proxies() else {
        panic!("two listeners: {:?}", weir.proxies())
    };
    assert_answers(*one, "one");
    assert_answers(*two, "two");

    assert_eq!(weir.reload(&several_on_port_0(&setup, 3)).status, 200);
    let third = eventually("it listens", || weir.listened().get(2).copied());
    assert_answers(*one, "one");
    assert_answers(*two, "two");
    assert_answers(third, "three");

    assert_eq!(weir.reload(&several_on_port_0(&setup, 1)).status, 200);
    for removed in [*two, third] {
        eventually("the removed one refuses", || {
            TcpStream::connect(removed).err()
        });
    }
    assert_answers(*one, "one");
    assert_eq!(weir.listened().len(), 3);
}

#[test]
fn a_port_that_a_listener_with_port_0_was_given_is_not_shared() {
    let setup = Setup::new();
    let weir = Weir::start(&setup.routes(""));
    let given = weir.proxy().to_string();
    let answer = weir.reload(&setup.config(&["127.0.0.1:0", &given], "", ""));
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains(&given), "{}", answer.text());
    assert_eq!(weir.count(GENERATION), 1);
    // Alone it takes the port over.
    assert_eq!(weir.reload(&setup.config(&[&given], "", "")).status, 200);
    let listened = eventually("it listens", || weir.listened().get(1).copied());
    assert_eq!(listened, weir.proxy());
}
