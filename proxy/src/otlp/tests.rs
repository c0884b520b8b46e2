//! Round trips of requests with every field there is, made by the tables, beside prost's own
//! reading of them.

use fastrand::Rng;
use proptest::prelude::*;

use super::check::check;
use super::fuzz::{as_json, canonical};
use super::json::Dialect;
use super::split::Tree;
use super::testing::Generator;
use super::wire::{put_bytes, put_nested, put_tag};
use super::{Signal, read};

mod cases;
mod conduktor;
mod messages;

fn any_signal() -> impl Strategy<Value = Signal> {
    prop_oneof![
        Just(Signal::Traces),
        Just(Signal::Metrics),
        Just(Signal::Logs)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn requests_come_back_from_json_as_they_were(signal in any_signal(), seed: u64) {
        let request = Generator::new(seed).request(signal);
        check(signal.request(), &request).expect("well-formed");
        let json = as_json(signal, &request, Dialect::Otlp);
        let again = read::read(signal.request(), &json).expect("reads");
        prop_assert_eq!(canonical(signal, &again), canonical(signal, &request));
        check(signal.request(), &again).expect("well-formed");
    }

    #[test]
    fn names_of_the_proto_files_are_read_too(signal in any_signal(), seed: u64) {
        let mut generator = Generator::new(seed);
        generator.without_ids = true;
        let request = generator.request(signal);
        let json = as_json(signal, &request, Dialect::SnakeCase);
        let again = read::read(signal.request(), &json).expect("reads");
        prop_assert_eq!(canonical(signal, &again), canonical(signal, &request));
    }

    #[test]
    fn what_is_written_of_all_leaves_is_the_request(signal in any_signal(), seed: u64) {
        let mut generator = Generator::new(seed);
        generator.is_odd = false;
        let request = generator.request(signal);
        let tree = Tree::new(signal.request(), &request);
        let mut whole = Vec::new();
        tree.write(&(0..tree.len()).collect::<Vec<_>>(), &mut whole);
        let leaves = |request: &[u8]| -> Vec<Vec<u8>> {
            let tree = Tree::new(signal.request(), request);
            tree.leaves().into_iter().map(<[u8]>::to_vec).collect()
        };
        prop_assert_eq!(leaves(&whole), leaves(&request));
        let counts = |request: &[u8]| check(signal.request(), request).expect("well-formed");
        prop_assert_eq!(counts(&whole), counts(&request));
        if tree.resources().count() > 0 && !tree.is_empty() {
            let mut one = Vec::new();
            tree.write(&[tree.len() - 1], &mut one);
            check(signal.request(), &one).expect("well-formed");
            prop_assert_eq!(leaves(&one), vec![leaves(&request).pop().expect("one")]);
        }
    }

    #[test]
    fn no_bytes_at_all_make_a_reader_panic(bytes: Vec<u8>, signal in any_signal()) {
        let _ = read::read(signal.request(), &bytes);
        if check(signal.request(), &bytes).is_ok() {
            for dialect in [Dialect::Otlp, Dialect::SnakeCase] {
                let json = as_json(signal, &bytes, dialect);
                serde_json::from_slice::<serde_json::Value>(&json).expect("JSON");
            }
        }
    }

    #[test]
    fn what_was_broken_is_refused_or_read_alike(signal in any_signal(), seed: u64) {
        let mut request = Generator::new(seed).request(signal);
        let mut rng = Rng::with_seed(seed);
        for _ in 0..rng.usize(1..4) {
            if let Some(byte) = request.get_mut(rng.usize(..).checked_rem(64).unwrap_or(0)) {
                *byte = rng.u8(..);
            }
        }
        if check(signal.request(), &request).is_ok() {
            let json = as_json(signal, &request, Dialect::Otlp);
            serde_json::from_slice::<serde_json::Value>(&json).expect("JSON");
        }
    }
}
