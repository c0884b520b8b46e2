//! A new process takes the listeners over while clients come, and what both have reaches the topic.

use std::io::{Read as _, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use http::Request;
use serde_json::json;
use weir_tests::client::{self, Connection};
use weir_tests::config::config;
use weir_tests::http2::{self, run};
use weir_tests::kafka::shared;
use weir_tests::load::upstream;
use weir_tests::tls::{self, Authority, Dial};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{Arrivals, Spooled};

/// Clients that keep a connection until they are told not to, and clients that open one for each
/// request. None tries again.
struct Clients {
    answered: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<(Vec<String>, usize)>>,
}

/// A client's connection, to whichever process accepts it.
trait Asking {
    /// Sends a request with this id, which is the last where the client does not keep the connection; says
    /// whether it was answered, and then whether Weir is to close.
    fn ask(&mut self, id: &str, keeps: bool) -> Option<bool>;
}

impl Asking for Connection {
    fn ask(&mut self, id: &str, keeps: bool) -> Option<bool> {
        let close = if keeps { "" } else { "connection: close\r\n" };
        self.send(format!(
            "GET / HTTP/1.1\r\nhost: test\r\nx-request-id: {id}\r\n{close}\r\n"
        ));
        let answer = self.receive()?;
        let whole = answer.status == 200 && answer.complete;
        whole.then(|| answer.header("connection") == Some("close"))
    }
}

impl Asking for tls::Connection {
    fn ask(&mut self, _id: &str, _keeps: bool) -> Option<bool> {
        let answer = self.get("/").ok()?;
        let whole = answer.starts_with("http/1.1 200") && answer.ends_with("hello");
        whole.then(|| answer.contains("\r\nconnection: close\r\n"))
    }
}

impl Clients {
    fn start(address: SocketAddr, count: usize) -> Self {
        Self::by(count, move || Connection::open(address))
    }

    /// Clients of TLS, all of whose handshakes are to succeed.
    fn start_tls(address: SocketAddr, count: usize, authority: &Arc<Authority>) -> Self {
        let config = Dial::to(authority, "a.example").config();
        let authority = Arc::clone(authority);
        Self::by(count, move || {
            let dial = Dial::to(&authority, "a.example");
            let connected = dial.connect_by(Arc::clone(&config), address);
            connected.expect("a handshake")
        })
    }

    fn by<C: Asking>(count: usize, open: impl Fn() -> C + Clone + Send + 'static) -> Self {
        let (answered, stop): (Arc<AtomicUsize>, Arc<AtomicBool>) = Default::default();
        let client = |number: usize| {
            let (answered, stop) = (Arc::clone(&answered), Arc::clone(&stop));
            let open = open.clone();
            thread::spawn(move || {
                let keeps = number.is_multiple_of(2);
                let (mut ids, mut failed) = (Vec::new(), 0);
                let mut kept = None;
                while !stop.load(Ordering::Relaxed) {
                    let id = format!("client{number}-{}", ids.len() + failed);
                    let mut connection = kept.take().unwrap_or_else(&open);
                    match connection.ask(&id, keeps) {
                        Some(last) => {
                            ids.push(id);
                            answered.fetch_add(1, Ordering::Relaxed);
                            kept = (keeps && !last).then_some(connection);
                        }
                        None => failed += 1,
                    }
                }
                (ids, failed)
            })
        };
        Self {
            threads: (0..count).map(client).collect(),
            answered,
            stop,
        }
    }

    /// Waits for so many more answers.
    fn go_on(&self, answers: usize) {
        let until = self.answered.load(Ordering::Relaxed) + answers;
        eventually("requests are answered", || {
            (self.answered.load(Ordering::Relaxed) >= until).then_some(())
        });
    }

    /// The ids of what was answered, and how many requests were not.
    fn join(self) -> (Vec<String>, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let clients = self.threads.into_iter();
        let ended = clients.map(|client| client.join().expect("a client"));
        ended.fold((Vec::new(), 0), |(mut ids, failed), (more, others)| {
            ids.extend(more);
            (ids, failed + others)
        })
    }
}

#[test]
fn no_request_fails_and_no_trace_is_lost_while_processes_take_over_from_each_other() {
    let topic = shared().topic();
    let mut spooled = Spooled::new(&upstream()).to(shared(), &topic);
    spooled.config["workers"] = json!(2);
    let mut weir = spooled.start();
    let admin = weir.admin();
    let clients = Clients::start(weir.proxy(), 8);
    let first = weir.id();
    for _ in 0..3 {
        clients.go_on(300);
        weir.hand_over();
        clients.go_on(300);
        // The admin address is the new process's.
        assert_eq!(client::get(admin, "/readyz", &[]).status, 200);
    }
    assert_ne!(weir.id(), first);
    let (ids, failed) = clients.join();
    assert_eq!(failed, 0, "of {}", ids.len());
    let mut arrivals = Arrivals::of(shared(), &topic);
    arrivals.wait_for(&ids);
}

#[test]
fn another_number_of_workers_leaves_no_socket_without_one() {
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    for (before, after, balance) in [(3, 1, "kernel"), (1, 3, "kernel"), (3, 2, "exact")] {
        config["listeners"][0]["balance"] = json!(balance);
        config["workers"] = json!(before);
        let mut weir = Weir::start(&config.to_string());
        let clients = Clients::start(weir.proxy(), 4);
        clients.go_on(50);
        config["workers"] = json!(after);
        weir.write(&config.to_string());
        weir.hand_over();
        clients.go_on(200);
        let (ids, failed) = clients.join();
        assert_eq!(failed, 0, "of {}", ids.len());
    }
}

#[test]
fn streams_of_http2_end_and_the_connection_is_told_to_go() {
    let upstream = Upstream::hello();
    let mut weir = Weir::start(&config(&upstream).to_string());
    let address = weir.proxy();
    run(async move {
        let client = http2::Client::open(address).await;
        let answer = client.get("/").await.expect("a response");
        assert_eq!(answer.status(), 200);
        let taking_over = tokio::task::spawn_blocking(move || weir.hand_over());
        let ended = client.connection.await.expect("no panic");
        ended.expect("a clean end");
        taking_over.await.expect("handed over");
    });
}

/// Answers `/gated` in two pieces, the second when it is told to; says on a connection that is switched what it
/// hears.
fn gated(released: mpsc::Receiver<()>) -> Upstream {
    let released = Mutex::new(released);
    Upstream::new(move |seen, stream| match seen.target.as_str() {
        "/gated" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nbefore");
            let _ = released.lock().expect("lock").recv();
            let _ = stream.write_all(b"after.");
        }
        "/socket" => {
            let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                          upgrade: websocket\r\n\r\n";
            let _ = stream.write_all(switch.as_bytes());
            let mut heard = [0; 64];
            while let Ok(len @ 1..) = stream.read(&mut heard) {
                let _ = stream.write_all(&heard[..len]);
            }
        }
        _ => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
        }
    })
}

#[test]
fn a_stream_and_a_tunnel_outlast_a_hand_over_while_clients_of_tls_come() {
    let (release, released) = mpsc::channel();
    let upstream = gated(released);
    let authority = Arc::new(Authority::default());
    let certificate = authority.issue(&["a.example"]).json();
    let mut config = config(&upstream);
    config["shutdown_grace"] = json!("1h");
    config["listeners"] = json!([
        { "address": "127.0.0.1:0" },
        { "address": "127.0.0.2:0", "tls": { "certificates": [certificate] } },
    ]);
    let mut weir = Weir::start(&config.to_string());
    let clients = Clients::start_tls(weir.proxies()[1], 4, &authority);
    clients.go_on(20);
    let mut socket = Connection::open(weir.proxy());
    socket.send(
        "GET /socket HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    );
    assert_eq!(socket.receive_head().expect("a head").status, 101);
    assert_eq!(socket.send("one").read_exactly(3), b"one");
    run(async {
        let client = http2::Client::open(weir.proxy()).await;
        let mut sender = client.sender.clone().ready().await.expect("ready");
        let request = Request::get("http://test/gated").body(());
        let sent = sender.send_request(request.expect("a request"), true);
        let response = sent.expect("a stream").0.await.expect("a head");
        let mut body = response.into_body();
        let piece = body.data().await.expect("a piece").expect("a piece");
        assert_eq!(piece, "before");

        weir.signal("USR2");
        weir.follow("handed over");
        clients.go_on(50);
        assert_eq!(socket.send("two").read_exactly(3), b"two");
        release.send(()).expect("the upstream waits");
        let piece = body.data().await.expect("a piece").expect("the rest");
        assert_eq!(piece, "after.");
        assert!(body.data().await.is_none(), "and its end");
        drop((body, sender, client.sender));
        let ended = client.connection.await.expect("no panic");
        ended.expect("a clean end");
    });
    // The tunnel is the last of the process before.
    assert_eq!(socket.send("end").read_exactly(3), b"end");
    drop(socket);
    assert!(weir.wait().success());
    clients.go_on(50);
    let (ids, failed) = clients.join();
    assert_eq!(failed, 0, "of {}", ids.len());
}

/// A service manager that stops the service asks both processes, each once.
#[test]
fn a_first_signal_does_not_cut_what_the_process_before_still_answers() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let upstream = Upstream::new(move |_, stream| {
        let _ = released.lock().expect("lock").recv();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    let mut config = config(&upstream);
    config["shutdown_grace"] = json!("1h");
    let mut weir = Weir::start(&config.to_string());
    let mut client = Connection::open(weir.proxy());
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    eventually("the upstream has it", || {
        (upstream.seen().len() == 1).then_some(())
    });
    weir.signal("USR2");
    weir.says("handed over");
    weir.signal("TERM");
    weir.says("asked to stop; what is under way still ends");
    release.send(()).expect("it waits");
    let response = client.receive().expect("a response");
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    assert_eq!(weir.wait().code(), Some(0));
    // The other is ended with the test.
    weir.follow("handed over");
}

#[test]
fn a_process_that_does_not_start_changes_nothing() {
    let upstream = Upstream::hello();
    let good = config(&upstream).to_string();
    let mut weir = Weir::start(&good);
    let process = weir.id();
    weir.write("listeners: nonsense\n");
    weir.signal("USR2");
    weir.says("did not start; going on");
    assert_eq!(weir.get("/", &[]).status, 200);
    assert_eq!(weir.id(), process);
    // It may be tried again.
    weir.write(&good);
    weir.hand_over();
    assert_eq!(weir.get("/", &[]).status, 200);
}

#[test]
fn what_the_link_leads_to_by_which_it_was_started_takes_over() {
    let upstream = Upstream::hello();
    let mut weir = Weir::linked(&config(&upstream).to_string());
    weir.link(r#"touch "$FOLDER/started"; exec "$WEIR" "$@""#);
    weir.hand_over();
    assert!(weir.folder().join("started").exists());
    assert_eq!(weir.get("/", &[]).status, 200);
}

#[test]
fn a_process_whose_predecessor_has_ended_serves_what_comes_to_its_sockets() {
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    config["workers"] = json!(3);
    let mut weir = Weir::linked(&config.to_string());
    let address = weir.proxy();
    weir.link(r#"until [ -e "$FOLDER/go" ]; do sleep 0.01; done; exec "$WEIR" "$@""#);
    weir.signal("USR2");
    weir.says("started a process to take over");
    weir.signal("KILL");
    weir.wait();
    weir.follow("started a process to take over");
    // They wait in the sockets, among which the kernel shares them out.
    let mut waiting: Vec<_> = (0..50).map(|_| Connection::open(address)).collect();
    std::fs::write(weir.folder().join("go"), "").expect("a file");
    let ask = |connection: &mut Connection| {
        connection.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
        connection.receive().expect("a response").status
    };
    assert!(waiting.iter_mut().all(|connection| ask(connection) == 200));
    assert!((0..50).all(|_| ask(&mut Connection::open(address)) == 200));
}

#[test]
fn a_listener_that_is_gone_or_new_does_not_hinder() {
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    config["listeners"] = json!([{ "address": "127.0.0.1:0" }, { "address": "127.0.0.2:0" }]);
    let mut weir = Weir::start(&config.to_string());
    let kept = weir.proxy();
    config["listeners"] = json!([{ "address": "127.0.0.1:0" }, { "address": "127.0.0.3:0" }]);
    weir.write(&config.to_string());
    weir.hand_over();
    assert_eq!(client::get(kept, "/", &[]).status, 200);
    let new = weir
        .listened()
        .into_iter()
        .find(|one| one.ip().to_string() == "127.0.0.3");
    assert_eq!(client::get(new.expect("it listens"), "/", &[]).status, 200);
}
