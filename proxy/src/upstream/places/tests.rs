//! Several workers' places at one endpoint, on one thread.

use super::*;

fn limits(connections: u64, pending: u64) -> Limits {
    Limits {
        connections: Some(connections),
        pending,
    }
}

/// The same endpoint's, of so many workers.
fn workers(count: usize) -> Vec<Rc<Places>> {
    let (endpoint, bell) = (Endpoint::for_test(1), Arc::default());
    let places = || Rc::new(Places::new(&endpoint, &bell));
    std::iter::repeat_with(places).take(count).collect()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn the_limit_holds_over_all_workers() {
    let workers = workers(3);
    let limits = limits(2, 1);
    let mut taken: Vec<_> = (workers.iter())
        .filter_map(|worker| worker.take_unless_awaited(&limits))
        .collect();
    assert_eq!(taken.len(), 2);
    // What can be used no more has its place until its socket is closed.
    let (place, usable) = taken.remove(0);
    drop(usable);
    assert!(workers[2].take(&limits).is_none());
    drop(place);
    assert!(workers[2].take(&limits).is_some());
}

#[test]
fn a_request_gets_the_place_that_another_worker_frees() {
    let workers = workers(2);
    let limits = limits(1, 1);
    let held = workers[0].take(&limits);
    run(async {
        let waiting = workers[1].wait(&limits, || workers[1].take(&limits));
        let freeing = async {
            tokio::task::yield_now().await;
            assert!(workers[0].is_owed_to_others());
            // Who comes later does not overtake.
            drop(held);
            assert!(workers[0].take_unless_awaited(&limits).is_none());
        };
        let (got, ()) = tokio::join!(waiting, freeing);
        assert!(got.is_ok());
    });
    assert_eq!(workers[0].wanted_by_others(), 0);
}

#[test]
fn as_many_wait_as_may_over_all_workers_whichever_they_come_to() {
    for second in [0, 1] {
        let workers = workers(2);
        let limits = limits(1, 2);
        let held = workers[0].take(&limits);
        let wait = |worker: usize| {
            let worker = &workers[worker];
            worker.wait(&limits, move || worker.take(&limits))
        };
        run(async {
            let refused = async {
                tokio::task::yield_now().await;
                assert!(matches!(wait(1).await, Err(Error::Overload)));
                assert!(matches!(wait(0).await, Err(Error::Overload)));
                drop(held);
            };
            let one = async { assert!(wait(0).await.is_ok()) };
            let other = async { assert!(wait(second).await.is_ok()) };
            tokio::join!(one, other, refused);
        });
    }
}

#[test]
fn no_more_wait_than_may() {
    let worker = workers(1).remove(0);
    let limits = limits(1, 0);
    let _held = worker.take(&limits);
    let waited = run(worker.wait(&limits, || worker.take(&limits)));
    assert!(matches!(waited, Err(Error::Overload)));
}

#[test]
fn what_a_worker_has_beyond_its_part_is_owed_to_one_that_waits() {
    let workers = workers(3);
    let limits = limits(4, 9);
    let mut held: Vec<_> = (0..4).filter_map(|_| workers[0].take(&limits)).collect();
    let _own = Waiting::new(&workers[0], &limits);
    // Nobody else wants any.
    assert!(!workers[0].is_owed_to_others());
    let _other = Waiting::new(&workers[1], &limits);
    for _ in 0..2 {
        assert!(workers[0].is_owed_to_others());
        held.pop();
        held.extend(workers[1].take(&limits));
        held.rotate_right(1);
    }
    // Two each: both use what they have, though both wait for more.
    assert!(!workers[0].is_owed_to_others());
    assert!(!workers[1].is_owed_to_others());
    // A third wants its part as well.
    let _third = Waiting::new(&workers[2], &limits);
    assert!(workers[0].is_owed_to_others());
    assert!(workers[1].is_owed_to_others());
}

#[test]
fn what_nobody_of_a_worker_waits_for_is_owed_whatever_its_part() {
    let workers = workers(2);
    let limits = limits(3, 9);
    let _one = workers[0].take(&limits);
    let _others: Vec<_> = (0..2).map(|_| workers[1].take(&limits)).collect();
    let _waiting = Waiting::new(&workers[1], &limits);
    assert!(!workers[0].is_owed_in_use());
    assert!(workers[0].is_owed_to_others());
}

#[test]
fn a_worker_without_connections_or_waiting_requests_has_no_part() {
    let workers = workers(2);
    let limits = limits(2, 9);
    let (place, usable) = workers[0].take(&limits).unwrap();
    let _own = workers[1].take(&limits);
    let _waiting = Waiting::new(&workers[1], &limits);
    assert_eq!(workers[0].total.users.load(SeqCst), 2);
    drop((place, usable));
    assert_eq!(workers[0].total.users.load(SeqCst), 1);
    assert_eq!(workers[0].total.usable.load(SeqCst), 1);
}
