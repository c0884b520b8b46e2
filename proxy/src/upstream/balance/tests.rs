//! Choices among endpoints, without a socket.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::{self, Ejection, Retries, UpstreamTimeouts};
use crate::upstream::resolve::Names;

fn upstream(endpoints: usize, balance: Balance) -> Upstream {
    weighted(&vec![1; endpoints], balance)
}

fn weighted(weights: &[u32], balance: Balance) -> Upstream {
    let second = Duration::from_secs(1);
    let config = config::Upstream {
        endpoints: (1..)
            .zip(weights)
            .map(|(port, weight)| config::Entry {
                endpoint: config::Endpoint::new("127.0.0.1", port),
                weight: *weight,
                srv: false,
            })
            .collect(),
        timeouts: UpstreamTimeouts {
            connect: second,
            response: second,
            body: second,
            idle: second,
            tunnel: second,
        },
        upgrades: Vec::new(),
        max_requests: Some(1),
        limits: config::UpstreamLimits {
            connections: None,
            pending: 0,
        },
        balance,
        health: None,
        ejection: Ejection {
            enabled: true,
            failures: 1,
            statuses: vec![],
            time: second,
            max_time: second,
            max_percent: 100,
        },
        slow_start: None,
        retries: Retries {
            attempts: 1,
            budget_percent: 20,
            statuses: vec![],
        },
        resolve_interval: second,
    };
    Upstream::new("up", &config, None, &Names::default(), 1, Arc::new([]))
}

const ALL: [Balance; 4] = [
    Balance::RoundRobin,
    Balance::LeastRequests,
    Balance::Random,
    Balance::ConsistentHash(HashBy::ClientAddress),
];

/// How often each endpoint was chosen for keys from 0 on.
fn chosen(upstream: &Upstream, count: u64) -> HashMap<usize, u64> {
    let local = Local::new(upstream);
    let mut chosen = HashMap::new();
    for key in 0..count {
        let index = upstream
            .choose(&local, mix(key), &Tried::new(), Instant::now())
            .unwrap();
        *chosen.entry(index).or_default() += 1;
    }
    chosen
}

#[test]
fn every_way_spreads_requests_over_all() {
    for balance in ALL {
        let chosen = chosen(&upstream(4, balance.clone()), 4000);
        for index in 0..4 {
            let count = chosen[&index];
            assert!((600..1600).contains(&count), "{balance:?}: {chosen:?}");
        }
    }
}

#[test]
fn in_turn_is_exactly_in_turn() {
    let chosen = chosen(&upstream(3, Balance::RoundRobin), 300);
    assert_eq!(chosen, HashMap::from([(0, 100), (1, 100), (2, 100)]));
}

#[test]
fn in_turn_each_has_exactly_its_weight_whatever_the_worker_begins_with() {
    for _ in 0..50 {
        let upstream = weighted(&[5, 1, 0, 2], Balance::RoundRobin);
        let chosen = chosen(&upstream, 8 * 25);
        assert_eq!(chosen, HashMap::from([(0, 125), (1, 25), (3, 50)]));
    }
}

#[test]
fn in_turn_light_endpoints_keep_their_turns_beside_a_heavy_one() {
    // The light ones are owed nearly twice the sum before they have their turns.
    let upstream = weighted(&[193, 3, 10, 1, 1], Balance::RoundRobin);
    let chosen = chosen(&upstream, 208 * 5);
    let expected = [(0, 965), (1, 15), (2, 50), (3, 5), (4, 5)];
    assert_eq!(chosen, HashMap::from(expected));
}

#[test]
fn in_turn_what_a_heavy_endpoint_leaves_behind_is_soon_made_up_for() {
    // However far the turns had come.
    for begun in 0..103 {
        let upstream = weighted(&[100, 2, 1], Balance::RoundRobin);
        let local = Local::new(&upstream);
        let now = Instant::now();
        let choose = |_| upstream.choose(&local, 0, &Tried::new(), now);
        for turn in 0..begun {
            choose(turn);
        }
        upstream.endpoints[0].state.set_healthy(false, now);
        let turns: Vec<_> = (0..303).map(choose).collect();
        let count = |index| turns.iter().filter(|turn| **turn == Some(index)).count();
        assert_eq!(count(0), 0);
        assert!(count(2).abs_diff(101) <= 2, "{} {}", count(1), count(2));
        // With it again each has its weight at once.
        upstream.endpoints[0].state.set_healthy(true, now);
        let light = (0..103).map(choose).filter(|turn| *turn != Some(0));
        assert!(light.count().abs_diff(3) <= 1);
    }
}

#[test]
fn turns_of_a_heavy_endpoint_are_spread() {
    let upstream = weighted(&[3, 1, 2], Balance::RoundRobin);
    let local = Local::new(&upstream);
    let now = Instant::now();
    let turns: Vec<_> = (0..60)
        .map(|_| upstream.choose(&local, 0, &Tried::new(), now))
        .collect();
    // Of any six in a row, and never more than two of the same.
    for six in turns.windows(6) {
        for (index, count) in [(0, 3), (1, 1), (2, 2)] {
            let turns = six.iter().filter(|turn| **turn == Some(index));
            assert_eq!(turns.count(), count);
        }
    }
    for three in turns.windows(3) {
        assert!(three.iter().any(|turn| *turn != three[0]), "{turns:?}");
    }
}

#[test]
fn chance_and_keys_go_by_weight() {
    fastrand::seed(7);
    for balance in ALL {
        let chosen = chosen(&weighted(&[6, 3, 0, 1], balance.clone()), 20_000);
        assert_eq!(chosen.get(&2), None, "{balance:?}");
        // Within five standard deviations.
        for (index, share, most) in [(0, 12_000_u64, 350), (1, 6000, 330), (3, 2000, 220)] {
            let off = chosen[&index].abs_diff(share);
            assert!(off < most, "{balance:?}: {chosen:?}");
        }
    }
}

#[test]
fn weights_share_the_part_of_what_is_left_out() {
    fastrand::seed(7);
    for balance in ALL {
        let upstream = weighted(&[4, 2, 1, 0], balance.clone());
        upstream.learn(0, None, Instant::now());
        let chosen = chosen(&upstream, 3000);
        assert_eq!((chosen.get(&0), chosen.get(&3)), (None, None));
        let off = chosen[&1].abs_diff(2000);
        let most = match balance {
            Balance::RoundRobin => 5,
            _ => 130,
        };
        assert!(off < most, "{balance:?}: {chosen:?}");
    }
}

#[test]
fn a_weight_of_none_gets_nothing_where_all_are_left_out_either() {
    for balance in ALL {
        let upstream = weighted(&[2, 0, 1], balance.clone());
        for index in [0, 2] {
            let state = &upstream.endpoints[index].state;
            state.set_healthy(false, Instant::now());
        }
        let chosen = chosen(&upstream, 1000);
        assert_eq!(chosen.len(), 2, "{balance:?}: {chosen:?}");
        assert_eq!(chosen.get(&1), None, "{balance:?}");
    }
}

#[test]
fn the_less_busy_is_so_for_its_weight() {
    let upstream = weighted(&[3, 1], Balance::LeastRequests);
    let local = Rc::new(Local::new(&upstream));
    let mut busy = Vec::new();
    for _ in 0..400 {
        let index = upstream.choose(&local, 0, &Tried::new(), Instant::now());
        busy.push(Busy::new(&local, index.unwrap()));
        let [heavy, light] = [0, 1].map(|index| local.active[index].get());
        assert!(heavy.abs_diff(3 * light) <= 3, "{heavy} {light}");
    }
}

#[test]
fn another_weight_moves_only_keys_to_or_from_its_endpoint() {
    let by = || Balance::ConsistentHash(HashBy::ClientAddress);
    let now = Instant::now();
    let of = |upstream: &Upstream| -> Vec<usize> {
        let local = Local::new(upstream);
        (0..2000)
            .map(|key| upstream.choose(&local, mix(key), &Tried::new(), now))
            .map(Option::unwrap)
            .collect()
    };
    let before = of(&weighted(&[1, 1, 1], by()));
    let after = of(&weighted(&[1, 4, 1], by()));
    let moved = before
        .iter()
        .zip(&after)
        .filter(|(one, other)| one != other);
    let moved: Vec<_> = moved.collect();
    assert!(moved.len() > 500);
    assert!(moved.iter().all(|(_, after)| **after == 1));
}

#[test]
fn a_weight_grows_with_a_slow_start() {
    let mut upstream = weighted(&[4, 1], Balance::RoundRobin);
    upstream.config.slow_start = Some(Duration::from_secs(100));
    let start = Instant::now();
    upstream.endpoints[0].state.set_healthy(false, start);
    upstream.endpoints[0].state.set_healthy(true, start);
    let local = Local::new(&upstream);
    for (seconds, heavy) in [(25, 500), (50, 667), (100, 800)] {
        let now = start + Duration::from_secs(seconds);
        let chosen = (0..1000)
            .filter(|_| upstream.choose(&local, 0, &Tried::new(), now) == Some(0))
            .count();
        assert!(chosen.abs_diff(heavy) <= 4, "{seconds}: {chosen}");
    }
}

#[test]
fn a_priority_is_used_once_nothing_of_those_before_can_be() {
    for balance in ALL {
        let mut upstream = upstream(4, balance.clone());
        upstream.priorities = vec![2, 1, 2, 1];
        let all = |upstream: &Upstream| {
            let mut all: Vec<_> = chosen(upstream, 500).into_keys().collect();
            all.sort_unstable();
            all
        };
        let now = Instant::now();
        assert_eq!(all(&upstream), [1, 3], "{balance:?}");
        upstream.endpoints[1].state.set_healthy(false, now);
        assert_eq!(all(&upstream), [3]);
        upstream.endpoints[3].state.set_healthy(false, now);
        assert_eq!(all(&upstream), [0, 2]);
        // Where all are left out, as if none were.
        upstream.endpoints[0].state.set_healthy(false, now);
        upstream.endpoints[2].state.set_healthy(false, now);
        assert_eq!(all(&upstream), [1, 3]);
        upstream.endpoints[1].state.set_healthy(true, now);
        assert_eq!(all(&upstream), [1]);
        // A further try goes on with the next.
        upstream.endpoints[0].state.set_healthy(true, now);
        let local = Local::new(&upstream);
        let tried = Tried::from_slice(&[1]);
        assert_eq!(upstream.choose(&local, 0, &tried, now), Some(0));
    }
}

#[test]
fn what_is_left_out_is_passed_over_and_the_rest_shares_its_part() {
    for balance in ALL {
        let upstream = upstream(3, balance.clone());
        upstream.learn(1, None, Instant::now());
        let chosen = chosen(&upstream, 3000);
        assert_eq!(chosen.get(&1), None, "{balance:?}");
        for index in [0, 2] {
            let count = chosen[&index];
            assert!((1200..1800).contains(&count), "{balance:?}: {chosen:?}");
        }
    }
}

#[test]
fn where_all_are_left_out_all_are_taken() {
    for balance in ALL {
        let upstream = upstream(3, balance.clone());
        for endpoint in &upstream.endpoints {
            endpoint.state.set_healthy(false, Instant::now());
        }
        assert_eq!(chosen(&upstream, 1000).len(), 3, "{balance:?}");
    }
}

#[test]
fn another_try_goes_to_another_endpoint_that_is_well_or_is_not_made() {
    for balance in ALL {
        let upstream = upstream(3, balance);
        let local = Local::new(&upstream);
        let now = Instant::now();
        for key in 0..100 {
            let tried = Tried::from_slice(&[0]);
            assert_ne!(upstream.choose(&local, key, &tried, now), Some(0));
            let tried = Tried::from_slice(&[0, 2]);
            assert_eq!(upstream.choose(&local, key, &tried, now), Some(1));
            let tried = Tried::from_slice(&[0, 1, 2]);
            assert_eq!(upstream.choose(&local, key, &tried, now), None);
        }
        upstream.endpoints[1].state.set_healthy(false, now);
        let tried = Tried::from_slice(&[0, 2]);
        assert_eq!(upstream.choose(&local, 0, &tried, now), None);
    }
}

#[test]
fn a_further_try_takes_nobodys_turn() {
    let upstream = upstream(2, Balance::RoundRobin);
    let local = Local::new(&upstream);
    let now = Instant::now();
    let mut first = [0; 2];
    for _ in 0..100 {
        let index = upstream.choose(&local, 0, &Tried::new(), now).unwrap();
        first[index] += 1;
        // Whatever is first fails, and the other is tried.
        let tried = Tried::from_slice(&[index]);
        assert_eq!(upstream.choose(&local, 0, &tried, now), Some(1 - index));
    }
    assert_eq!(first, [50, 50]);
}

#[test]
fn one_alone_is_always_taken_and_never_twice() {
    for balance in ALL {
        let upstream = upstream(1, balance);
        let local = Local::new(&upstream);
        let now = Instant::now();
        for _ in 0..10 {
            upstream.learn(0, None, now);
            assert_eq!(upstream.choose(&local, 7, &Tried::new(), now), Some(0));
            let tried = Tried::from_slice(&[0]);
            assert_eq!(upstream.choose(&local, 7, &tried, now), None);
        }
    }
}

#[test]
fn the_less_busy_of_two_is_taken() {
    let upstream = upstream(2, Balance::LeastRequests);
    let local = Rc::new(Local::new(&upstream));
    let _busy = Busy::new(&local, 0);
    for _ in 0..100 {
        let index = upstream.choose(&local, 0, &Tried::new(), Instant::now());
        assert_eq!(index, Some(1));
    }
}

#[test]
fn what_is_under_way_is_counted_until_it_ends() {
    let upstream = upstream(2, Balance::LeastRequests);
    let local = Rc::new(Local::new(&upstream));
    let busy = [Busy::new(&local, 1), Busy::new(&local, 1)];
    assert_eq!(local.active[1].get(), 2);
    drop(busy);
    assert_eq!(local.active[1].get(), 0);
}

#[test]
fn a_key_keeps_its_endpoint_when_another_goes() {
    let upstream = upstream(5, Balance::ConsistentHash(HashBy::ClientAddress));
    let local = Local::new(&upstream);
    let now = Instant::now();
    let of = |key| upstream.choose(&local, mix(key), &Tried::new(), now);
    let before: Vec<_> = (0..1000).map(of).collect();
    upstream.endpoints[3].state.set_healthy(false, now);
    for (key, before) in (0..1000).zip(before) {
        if before != Some(3) {
            assert_eq!(of(key), before);
        }
    }
}

#[test]
fn the_key_is_a_field_a_cookie_or_the_clients_address() {
    let client = Some("10.0.0.1:1".parse().unwrap());
    let mut headers = HeaderMap::new();
    let address = hash(&[10, 0, 0, 1]);
    let by = |by| upstream(2, Balance::ConsistentHash(by));
    let header = by(HashBy::Header(http::HeaderName::from_static("x-user")));
    let cookie = by(HashBy::Cookie("id".to_owned()));
    for upstream in [&by(HashBy::ClientAddress), &header, &cookie] {
        assert_eq!(upstream.key(&headers, client), address);
    }
    headers.insert("x-user", "ann".parse().unwrap());
    headers.insert(COOKIE, "valid=1; id=7; idx=8".parse().unwrap());
    assert_eq!(header.key(&headers, client), hash(b"ann"));
    assert_eq!(cookie.key(&headers, client), hash(b"7"));
}

#[test]
fn an_endpoint_that_is_used_again_gets_a_growing_share() {
    let mut upstream = upstream(2, Balance::RoundRobin);
    upstream.config.slow_start = Some(Duration::from_secs(100));
    let start = Instant::now();
    upstream.endpoints[0].state.set_healthy(false, start);
    upstream.endpoints[0].state.set_healthy(true, start);
    let local = Local::new(&upstream);
    let share = |seconds| {
        let now = start + Duration::from_secs(seconds);
        let choose = |_| upstream.choose(&local, 0, &Tried::new(), now);
        (0..2000)
            .map(choose)
            .filter(|index| *index == Some(0))
            .count()
    };
    let (early, late, whole) = (share(1), share(70), share(100));
    assert!(early < late && late < whole, "{early} {late} {whole}");
    assert_eq!(whole, 1000);
}
