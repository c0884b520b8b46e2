//! What no guest can bring about by itself: a fault of the host's.

use serde_json::json;

use super::*;
use crate::cli::plugin::calls::Canned;
use crate::cli::plugin::test::configured;
use crate::config::Module;
use crate::testing::with_a_log_that_breaks;

#[test]
fn a_panic_in_a_host_call_fails_its_hook_and_no_other() {
    let guest = Path::new(env!("WEIR_GUESTS")).join("hostile.wasm");
    let config = json!({ "mode": "log-flood", "header": "x-harm" });
    let plugin = configured(&Module::File(guest), &config, Vec::new());
    let trial = Trial::keeping(None).unwrap();
    let plugin = trial.load(&[("hostile".to_owned(), plugin)]).remove(0);
    let way = Alone(Chain::new(vec![plugin.unwrap()]));
    // The guest logs where the request has this header.
    let run = |header: &str| {
        let request = Request::get("http://test/").header(header, "yes");
        let request = request.body(Vec::new()).unwrap();
        trial.run(
            &way,
            &request,
            &Response::new(b"hello".to_vec()),
            &Canned::new(None),
        )
    };

    let (broken, panics) = with_a_log_that_breaks(&["weir::plugin::host"], || run("x-harm"));
    assert_eq!(panics, 1, "the hook goes on behind the panic");
    assert_eq!(broken.outcome, Outcome::Failed);
    assert_eq!(broken.response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let (_, hook, span) = hooks(&broken.trace).next().expect("the hook's span");
    assert_eq!(hook, "prehook");
    assert_eq!(span["Status"], "error");
    assert_eq!(span["StatusMsg"], "panicked in a host call");
    assert_eq!(span["Attributes"]["error.type"], "host");
    assert_eq!(span["Attributes"]["weir.hook.decision"], "error");

    // The instance that it was in is gone, and nothing else is.
    let well = run("x-other");
    assert_eq!(well.outcome, Outcome::Proceed);
    assert_eq!(well.response.body(), "hello");
}
