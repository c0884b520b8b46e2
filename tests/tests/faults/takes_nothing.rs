//! A topic that takes less than before; and answers that nobody can read.

use std::time::Duration;

use weir_tests::wait::eventually;

use crate::{Faulty, linked};

#[test]
fn a_limit_that_shrinks_and_grows_keeps_the_order_of_one_key() {
    let (link, _folder, kafka, topic) = linked();
    // So that several batches are under way when one of them is refused.
    link.delay_answers(Duration::from_millis(20));
    let mut faulty = Faulty::start(&link.address().to_string(), &topic, |_| {});
    for limit in ["20000", "3000", "1000000"] {
        faulty.ask(150);
        kafka.configure_topic(&topic, &[("max.message.bytes", limit)]);
        faulty.ask(150);
    }
    faulty.recover(kafka.address(), &topic);
}

#[test]
fn an_answer_that_cannot_be_read_loses_nothing() {
    let (link, _folder, kafka, topic) = linked();
    let mut faulty = Faulty::start(&link.address().to_string(), &topic, |_| {});
    for round in 1..=3 {
        faulty.ask(20);
        link.garble_after_produce();
        faulty.ask(20);
        eventually("an answer is garbled", || {
            (link.garbled() == round).then_some(())
        });
    }
    faulty.recover(kafka.address(), &topic);
}
