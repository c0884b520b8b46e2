//! Responses that wait for the disk.

use std::pin::pin;
use std::task::{Context, Waker};

use super::*;
use crate::export::spool::keeper;
use crate::export::testing::eventually;

/// Appends a record whose response waits, if there is something to wait for.
fn append_held(writer: &mut Writer, number: usize) -> Option<Hold> {
    let hold = writer.append(|out| {
        out.extend_from_slice(text(number).as_bytes());
        true
    });
    hold.unwrap()
}

#[test]
fn who_waits_for_the_disk_is_held_until_the_sync() {
    for (fsync, waits) in [
        (Fsync::Always, true),
        (Fsync::Interval(Duration::ZERO), false),
        (Fsync::Never, false),
    ] {
        let options = config::Spool { fsync, ..options() };
        let store = open_with(&Faulty::default(), options).unwrap();
        let mut writer = Writer::new(store.clone());
        let hold = append_held(&mut writer, 0);
        assert_eq!(hold.is_some(), waits, "{fsync:?}");
        if let Some(hold) = hold {
            let mut wait = pin!(hold.wait());
            let mut nobody = Context::from_waker(Waker::noop());
            assert!(wait.as_mut().poll(&mut nobody).is_pending());
            keeper::sync(&store);
            assert!(wait.as_mut().poll(&mut nobody).is_ready());
        }
    }
}

#[test]
fn all_who_came_during_a_sync_are_released_by_the_one_after_it() {
    let files = Faulty::default();
    let gate = files.gate();
    let options = config::Spool {
        max_bytes: 4 << 20,
        segment_bytes: 1 << 20,
        fsync: Fsync::Always,
    };
    let folder = Path::new("/data");
    let opened = Store::open(Arc::new(files.clone()), folder, options, Claim::Alone);
    let (store, nudged) = opened.unwrap();
    let keeper = Keeper::start(store.clone(), nudged).unwrap();
    let mut writer = Writer::new(store);
    let first = append_held(&mut writer, 0).expect("`always` waits");
    gate.has_come();

    let holds = (1..=100).map(|number| append_held(&mut writer, number));
    let mut waits: Vec<_> = holds
        .map(|hold| Box::pin(hold.expect("`always` waits").wait()))
        .collect();
    let mut waiting = || {
        let mut nobody = Context::from_waker(Waker::noop());
        waits.retain_mut(|wait| wait.as_mut().poll(&mut nobody).is_pending());
        waits.len()
    };
    assert_eq!(waiting(), 100);
    gate.let_through();
    gate.has_come();
    assert_eq!(waiting(), 100, "what is on the disk is older");
    gate.let_through();
    eventually("all are released", || (waiting() == 0).then_some(()));
    assert!(
        pin!(first.wait())
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    );

    drop(gate);
    keeper.end();
    let segment = files.files(".seg").remove(0);
    assert_eq!(files.syncs(), [segment.clone(), segment]);
}
