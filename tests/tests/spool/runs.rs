//! Exporters that come and go, between runs and on a reload; who has the folder.

use serde_json::json;
use weir_tests::config::exporter;
use weir_tests::kafka::shared;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{Arrivals, Spooled, kill};
use weir_tests::load::{Load, ask_all, upstream};

#[test]
fn an_exporter_added_begins_at_the_tail_and_one_removed_holds_nothing_back() {
    let [first, second] = [shared().topic(), shared().topic()];
    let mut spooled = Spooled::new(&upstream());
    spooled.config["exporters"]["first"] = exporter(shared(), &first);
    // It cannot deliver, so that all it needs stays.
    let away = json!(["127.0.0.1:1"]);
    spooled.config["exporters"]["first"]["kafka"]["brokers"] = away.clone();
    let weir = spooled.start();
    let before = ask_all(weir.proxy(), 20, "before");
    kill(weir);

    spooled.config["exporters"]["second"] = exporter(shared(), &second);
    let weir = spooled.start();
    let after = ask_all(weir.proxy(), 20, "after");
    let mut arrivals = Arrivals::of(shared(), &second);
    arrivals.wait_for(&after);
    assert_eq!(arrivals.ids, after);
    kill(weir);

    spooled.config["exporters"]["first"] = exporter(shared(), &first);
    let weir = spooled.start();
    let mut arrivals = Arrivals::of(shared(), &first);
    let all = [before, after].concat();
    arrivals.wait_for(&all);
    assert_eq!(arrivals.ids, all);
    let mut cursors = spooled.files(".cursor");
    cursors.sort();
    assert_eq!(cursors, ["first.cursor", "second.cursor"]);
    spooled.config["exporters"]["first"]["kafka"]["brokers"] = away;
    assert_eq!(weir.reload(&spooled.config.to_string()).status, 200);
    ask_all(weir.proxy(), 20, "never");
    kill(weir);

    spooled.config["exporters"]
        .as_object_mut()
        .expect("exporters")
        .remove("first");
    let _weir = spooled.start();
    eventually("what only the removed one needed is gone", || {
        (spooled.files(".seg").len() <= 2).then_some(())
    });
    assert_eq!(spooled.files(".cursor"), ["second.cursor"]);
}

#[test]
fn reloads_that_change_the_exporter_at_load_lose_nothing() {
    let topic = shared().topic();
    let mut spooled = Spooled::new(&upstream()).to(shared(), &topic);
    let weir = spooled.start();
    let load = Load::start(weir.proxy(), 4, "reload");
    for round in 1..=5 {
        let until = load.ended() + 200;
        eventually("requests are answered", || {
            (load.ended() >= until).then_some(())
        });
        spooled.config["exporters"]["traces"]["kafka"]["batch_size"] = json!(100 + round);
        assert_eq!(weir.reload(&spooled.config.to_string()).status, 200);
    }
    let seen = load.join();
    Arrivals::of(shared(), &topic).wait_for(&seen);
}

#[test]
fn a_second_process_on_the_folder_is_told_who_has_it() {
    let spooled = Spooled::new(&Upstream::hello()).to(shared(), "traces");
    let weir = spooled.start();
    let refusal = Weir::refusal(&spooled.config.to_string());
    let said = format!("is in use by process {}: stop it", weir.id());
    assert!(refusal.contains(&said), "{refusal}");
    kill(weir);
    spooled.start();
}
