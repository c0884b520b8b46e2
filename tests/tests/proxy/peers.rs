//! The same doubtful bytes through Weir to nginx and to Node: what Weir takes for a request, they
//! take for one, and nothing else.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use weir_tests::client::Connection;
use weir_tests::nginx;
use weir_tests::weir::Weir;

use crate::{Setup, doubtful};

/// Every combination of what says how long a request is, with bodies that fit some of them, and a
/// request behind each that is one only where the body ended before it; and all the tables of what is doubtful.
fn requests() -> Vec<String> {
    let lengths = [
        "",
        "content-length: 3\r\n",
        "content-length: 0\r\n",
        "content-length: 13\r\n",
        "content-length: 3\r\ncontent-length: 3\r\n",
        "content-length: 3\r\ncontent-length: 13\r\n",
        "content-length: 3, 3\r\n",
        "content-length: +3\r\n",
        "content-length: 03\r\n",
        "content-length : 3\r\n",
        "content_length: 3\r\n",
    ];
    let codings = [
        "",
        "transfer-encoding: chunked\r\n",
        "Transfer-Encoding: Chunked\r\n",
        "transfer-encoding:\tchunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer_encoding: chunked\r\n",
        "x: y\n transfer-encoding: chunked\r\n",
        "x: y\ntransfer-encoding: chunked\r\n",
    ];
    let bodies = [
        "",
        "abc",
        "3\r\nabc\r\n0\r\n\r\n",
        "3;x=\"\n\"\r\nabc\r\n0\r\n\r\n",
        "3\nabc\n0\n\n",
        "0\r\ncontent-length: 9\r\n\r\n",
    ];
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let mut requests = doubtful::all();
    for length in lengths {
        for coding in codings {
            for body in bodies {
                for fields in [format!("{length}{coding}"), format!("{coding}{length}")] {
                    let head = format!("POST /first HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
                    requests.push(format!("{head}{body}{smuggled}"));
                }
            }
        }
    }
    requests
}

/// Requests by path.
type Counts = BTreeMap<String, u64>;

/// A server that counts the requests it understands.
struct Peer {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    fn nginx() -> Self {
        let folder = tempfile::TempDir::new().expect("a folder");
        let (child, port) = nginx::start(folder.path(), "", "return 200 'ok';");
        Self {
            child,
            port,
            folder,
        }
    }

    fn node() -> Self {
        let folder = tempfile::TempDir::new().expect("a folder");
        let script = "
            const fs = require('fs');
            const log = line => fs.appendFileSync(process.argv[1] + '/access.log', line + '\\n');
            const server = require('http').createServer((request, response) => {
                log(request.url + ' 200');
                request.resume();
                response.end('ok');
            });
            server.on('clientError', (error, socket) => {
                // A body that breaks off is none that is malformed.
                const broken = ['ECONNRESET', 'EPIPE', 'HPE_INVALID_EOF_STATE'];
                if (!broken.includes(error.code)) log('error ' + error.code);
                socket.destroy();
            });
            server.listen(0, '127.0.0.1', () => console.log(server.address().port));
        ";
        let mut child = Command::new("node")
            .args(["-e", script])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("a port");
        Self {
            child,
            port: line.trim().parse().expect("a port"),
            folder,
        }
    }

    /// Requests that it understood, and those that it did not.
    fn counts(&self) -> (Counts, u64) {
        let (mut counts, mut bad) = (Counts::new(), 0);
        let log = std::fs::read_to_string(self.folder.path().join("access.log"));
        for line in log.unwrap_or_default().lines() {
            match line.split_once(' ') {
                Some((path, "200")) => *counts.entry(path.to_owned()).or_default() += 1,
                _ => bad += 1,
            }
        }
        (counts, bad)
    }
}

/// What Weir's access log says: requests that were sent to the upstream, those with an answer of its
/// first.
fn calls(log: &Path) -> (Counts, Counts) {
    let (mut answered, mut sent) = (Counts::new(), Counts::new());
    for line in std::fs::read_to_string(log).expect("a log").lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let path = line["path"].as_str().expect("a path").to_owned();
        if line["tries"].as_u64().unwrap_or_default() > 0 {
            if line["status"] == 200 {
                *answered.entry(path.clone()).or_default() += 1;
            }
            *sent.entry(path).or_default() += 1;
        }
    }
    (answered, sent)
}

#[track_caller]
fn assert_agree(peer: &Peer) {
    let log = peer.folder.path().join("weir.log");
    let mut setup = Setup::to(format!("http://127.0.0.1:{}", peer.port));
    let access_log = format!("access_log: {{ path: '{}' }}", log.display());
    setup.listener = "timeouts: { head: 1s, body: 1s }";
    setup.rest = Box::leak(access_log.into_boxed_str());
    let mut weir: Weir = setup.start();
    let (requests, address) = (requests(), weir.proxy());
    std::thread::scope(|scope| {
        // Some wait for more, and are ended by Weir: many at once take less time.
        for requests in requests.chunks(requests.len().div_ceil(16)) {
            scope.spawn(move || {
                for request in requests {
                    let mut client = Connection::open(address);
                    let _ = client.stream().write_all(request.as_bytes());
                    client.read_to_end();
                }
            });
        }
    });
    weir.signal("TERM");
    assert!(weir.wait().success());
    let (answered, sent) = calls(&log);
    let (counts, bad) = peer.counts();
    assert_eq!(bad, 0, "Weir sends nothing that is malformed");
    assert_eq!(counts.get("/smuggled"), answered.get("/smuggled"));
    assert_eq!(answered.get("/smuggled"), sent.get("/smuggled"));
    assert!(answered["/smuggled"] > 20, "some are requests of their own");
    // Of those whose body breaks off, the peer may have seen the head or not.
    let first = (answered["/first"], sent["/first"]);
    assert!((first.0..=first.1).contains(&counts["/first"]), "{first:?}");
    // Each may write a path in its own way; it has as many as were sent to it all the same.
    let all = |counts: &Counts| counts.values().sum::<u64>();
    let sum = all(&answered)..=all(&sent);
    assert!(sum.contains(&all(&counts)), "{counts:?} of {sent:?}");
    assert!(counts.len() <= sent.len(), "{counts:?} of {sent:?}");
}

#[test]
fn nginx_sees_the_requests_that_weir_sees() {
    assert_agree(&Peer::nginx());
}

#[test]
fn node_sees_the_requests_that_weir_sees() {
    assert_agree(&Peer::node());
}
