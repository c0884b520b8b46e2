//! Which of several endpoints gets a request, as `balance` says.

use std::io::{Read as _, Write as _};

use serde_json::{Value, json};
use weir_tests::client::Connection;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{config, start, urls};

/// Two that say which they are, and answer `/held` only once it is cut.
fn two() -> [Upstream; 2] {
    ["one", "two"].map(|name| {
        Upstream::new(move |seen, stream| {
            if seen.target == "/held" {
                let _ = stream.read_to_end(&mut Vec::new());
            }
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{name}");
        })
    })
}

/// Who answers so many requests.
fn answers(all: &[Upstream; 2], keys: Value, count: usize) -> Vec<String> {
    let weir = start(&urls(&all.each_ref()), keys);
    (0..count).map(|_| weir.get("/", &[]).text()).collect()
}

#[test]
fn in_turn_or_by_chance() {
    let all = two();
    let in_turn = answers(&all, json!({}), 100);
    assert!(
        in_turn.windows(2).all(|two| two[0] != two[1]),
        "{in_turn:?}"
    );
    let by_chance = answers(&all, json!({ "balance": "random" }), 200);
    assert!(by_chance.windows(2).any(|two| two[0] == two[1]));
    let ones = by_chance.iter().filter(|name| *name == "one").count();
    // 100 are expected; the bounds are ten standard deviations away.
    assert!((30..=170).contains(&ones), "{ones}");
}

#[test]
fn of_two_the_one_with_fewer_requests_under_way() {
    let all = two();
    let weir = start(
        &urls(&all.each_ref()),
        json!({ "balance": "least_requests" }),
    );
    let mut held = Connection::open(weir.proxy());
    held.send("GET /held HTTP/1.1\r\nhost: test\r\n\r\n");
    let busy = eventually("one has it", || {
        all.iter().position(|one| !one.seen().is_empty())
    });
    for _ in 0..20 {
        assert_eq!(weir.get("/", &[]).text(), ["two", "one"][busy]);
    }
    assert_eq!(all[busy].seen().len(), 1);
}

#[test]
fn the_same_for_the_same_key_in_every_worker_and_process() {
    let all = two();
    let keys = json!({ "balance": "consistent_hash", "hash_by": { "header": "x-user" } });
    let mut config = config(&urls(&all.each_ref()), keys);
    config["workers"] = json!(2);
    config["listeners"][0]["balance"] = json!("exact");
    let config = config.to_string();
    let processes = [Weir::start(&config), Weir::start(&config)];
    let of = |weir: &Weir| -> Vec<String> {
        let user = |user: usize| weir.get("/", &[&format!("x-user: {user}")]).text();
        (0..30).map(user).collect()
    };
    let first = of(&processes[0]);
    for name in ["one", "two"] {
        assert!(first.iter().any(|one| one == name), "{first:?}");
    }
    for _ in 0..3 {
        for weir in &processes {
            assert_eq!(of(weir), first);
        }
    }
}
