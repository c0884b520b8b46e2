use http::{HeaderMap, HeaderValue};
use serde_json::json;

use super::*;
use crate::{Error, Interests, Plugin, span};

fn case(text: &str) -> Case {
    let text = format!("cases:\n  - name: it\n    {}", text.replace('\n', "\n    "));
    parse(&text).expect("it is a case").remove(0)
}

fn fault(text: &str) -> String {
    parse(text).expect_err("it is no file of cases")
}

/// What is expected and was seen, where they differ.
fn differences(case: &Case, observed: &Observed) -> Vec<(String, String, String)> {
    let differences = case.differences(observed).into_iter();
    differences
        .map(|difference| (difference.what, difference.expected, difference.got))
        .collect()
}

fn one(what: &str, expected: &str, got: &str) -> Vec<(String, String, String)> {
    vec![(what.into(), expected.into(), got.into())]
}

fn response(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Observed {
    let mut response = http::Response::new(body.as_bytes().to_vec());
    *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        response.headers_mut().append(*name, value);
    }
    Observed {
        response: Some(response),
        ..Observed::default()
    }
}

#[test]
fn what_is_not_said_has_a_default() {
    let case = case("expect: {}");
    let request = case.request().expect("a request");
    assert_eq!(request.method(), "GET");
    assert_eq!(request.uri(), "http://example.com/");
    assert_eq!(case.response().expect("a response").status(), 200);
    assert_eq!(case.config(), &json!(null));
    assert!(case.native);
    assert_eq!(case.differences(&response(500, &[], "")), []);
}

#[test]
fn the_files_config_is_that_of_cases_that_have_none() {
    let cases = parse("config: {a: 1}\ncases: [{name: x}, {name: y, config: null}]");
    let cases = cases.expect("cases");
    assert_eq!(cases[0].config(), &json!({"a": 1}));
    assert_eq!(cases[1].config(), &json!(null));
}

#[test]
fn headers_are_texts_numbers_or_lists() {
    let case = case("request: {headers: {x-a: 1, x-b: [one, two]}, body: text}");
    let request = case.request().expect("a request");
    assert_eq!(request.headers()["x-a"], "1");
    let values: Vec<_> = request.headers().get_all("x-b").iter().collect();
    assert_eq!(values, ["one", "two"]);
    assert_eq!(request.body(), b"text");
}

#[test]
fn a_certificate_is_shown_by_https_alone() {
    let shown =
        "client_certificate: {subject: CN=alice, alternative_names: {uri: ['spiffe://x/alice']}}";
    let case = case(&format!("request: {{url: 'https://a.example/', {shown}}}"));
    let request = case.request().expect("a request");
    let certificate = request.extensions().get::<Certificate>();
    let certificate = certificate.expect("a certificate");
    assert_eq!(certificate.subject, "CN=alice");
    assert_eq!(certificate.issuer, "");
    assert_eq!(certificate.alternative_names.uri, ["spiffe://x/alice"]);

    for url in ["/", "http://a.example/"] {
        let fault = fault(&format!(
            "cases: [{{name: x, request: {{url: '{url}', {shown}}}}}]"
        ));
        assert!(
            fault.contains("case `x`: request.client_certificate: is shown by https"),
            "{fault}"
        );
    }
    let url = "url: 'https://a.example/'";
    for unknown in ["{sobject: CN=a}", "{alternative_names: {sobject: [a]}}"] {
        let text =
            format!("cases: [{{name: x, request: {{{url}, client_certificate: {unknown}}}}}]");
        assert!(fault(&text).contains("sobject"), "{}", fault(&text));
    }
}

#[test]
fn faults_of_the_file_are_named() {
    assert!(fault("cases: []").contains("nothing to test"));
    assert!(fault("cases: [{nam: x}]").contains("nam"));
    assert!(fault("cases:\n  - name: x\n    expect: {acton: fail}").contains("acton"));
    assert!(fault("cases: [{name: x, expect: {action: maybe}}]").contains("maybe"));
    assert!(fault("cases: [{name: x, request: {url: nowhere}}]").contains("case `x`: request.url"));
    assert!(fault("cases: [{name: x, request: {method: 'A B'}}]").contains("case `x`: request"));
    assert!(fault("cases: [{name: x, response: {status: 99}}]").contains("case `x`: response"));
    assert!(fault("cases: [{name: x, request: {headers: {a: {b: 1}}}}]").contains("headers.a"));
    let typo = "cases: [{name: x, expect: {response: {headers: {a: {contain: b}}}}}]";
    assert!(fault(typo).contains("`a` is to be"), "{}", fault(typo));
}

#[test]
fn a_response_is_compared_by_what_is_said_of_it() {
    let case = case("expect: {response: {status: 200, headers: {x-a: 1, x-b: null}, body: page}}");
    let as_it_says = response(200, &[("x-a", "1"), ("x-c", "2")], "page");
    assert_eq!(case.differences(&as_it_says), []);
    let other = response(404, &[("x-b", "here")], "");
    assert_eq!(
        differences(&case, &other),
        [
            one("response.status", "200", "404"),
            one("response.headers.x-a", "1", "nothing"),
            one("response.headers.x-b", "nothing", "here"),
            one("response.body", "page", "nothing"),
        ]
        .concat()
    );
}

#[test]
fn a_header_that_came_twice_is_a_list_or_one_text() {
    let observed = response(200, &[("vary", "accept"), ("vary", "cookie")], "");
    let fits = |expected: &str| {
        case(&format!(
            "expect: {{response: {{headers: {{vary: {expected}}}}}}}"
        ))
        .differences(&observed)
        .is_empty()
    };
    assert!(fits("[accept, cookie]"));
    assert!(fits("'accept, cookie'"));
    assert!(fits("{contains: cookie}"));
    assert!(!fits("[accept]"));
    assert!(!fits("accept"));
}

#[test]
fn a_request_is_compared_by_path_or_whole() {
    let mut headers = HeaderMap::new();
    headers.insert("x-a", HeaderValue::from_static("b"));
    let observed = Observed {
        request: Some(("http://other:81/p?q=1".into(), headers)),
        ..Observed::default()
    };
    let path = case("expect: {request: {url: /p?q=1, headers: {x-a: b}}}");
    assert_eq!(path.differences(&observed), []);
    let whole = case("expect: {request: {url: 'http://example.com/p?q=1'}}");
    assert_eq!(
        differences(&whole, &observed),
        one(
            "request.url",
            "http://example.com/p?q=1",
            "http://other:81/p?q=1"
        )
    );
}

#[test]
fn a_failure_or_a_refusal_that_was_not_expected_is_a_difference() {
    let failed = Observed {
        failure: Some("guest panicked: at src/lib.rs:3".into()),
        action: Action::Fail,
        ..Observed::default()
    };
    let silent = case("expect: {}");
    assert_eq!(
        differences(&silent, &failed),
        one("failure", "nothing", "guest panicked: at src/lib.rs:3")
    );
    assert_eq!(case("expect: {failure: panicked}").differences(&failed), []);
    assert_eq!(
        differences(&case("expect: {failure: memory}"), &response(200, &[], "")),
        one("failure", "memory", "nothing")
    );
    let refused = Observed {
        refused: Some("name: is empty".into()),
        ..Observed::default()
    };
    assert_eq!(silent.differences(&refused).len(), 1);
    assert_eq!(case("expect: {refused: empty}").differences(&refused), []);
}

#[test]
fn spans_and_logs_are_compared() {
    let attributes = json!({"n": 2, "text": "long text", "error.message": "no"});
    let observed = Observed {
        spans: [(Place::Request, attributes.as_object().expect("one").clone())].into(),
        logs: vec!["a line of the log".into()],
        ..Observed::default()
    };
    let fits = case(
        "expect: {spans: {request: {n: 2.0, text: {contains: long}, x: null}, response: {y: null}}, logs: [line]}",
    );
    assert_eq!(fits.differences(&observed), []);
    let differs = case("expect: {spans: {request: {n: 3}, response: {n: 2}}, logs: [other]}");
    assert_eq!(
        differences(&differs, &observed),
        [
            one("spans.request.n", "3", "2"),
            one("spans.response.n", "2", "the hook was not called"),
            one("logs", "other", "a line of the log"),
        ]
        .concat()
    );
}

struct Picky;

impl Plugin for Picky {
    type Config = bool;

    fn new(config: bool) -> Result<Self, Error> {
        if config {
            Ok(Self)
        } else {
            Err("not like this".into())
        }
    }

    fn interests(&self) -> Interests {
        Interests::none()
            .on_pre_request()
            .on_request()
            .on_response()
    }

    fn on_pre_request(&self, request: &mut crate::Request) -> crate::Action {
        if request.path() == "/beta" {
            let route = crate::Route {
                upstream: Some("beta"),
                ..crate::Route::default()
            };
            request.reroute(route).expect("any upstream is accepted");
        }
        crate::Action::Continue
    }

    fn on_request(&self, request: &mut crate::Request) -> crate::Action {
        span::set_attribute("path", request.path());
        span::upstream::set_attribute("seen", true);
        crate::info!("saw {}", request.path());
        match &*request.path() {
            "/panic" => panic!("cannot go on"),
            "/answer" => crate::Action::Respond(http::Response::new(b"answer".to_vec())),
            _ => crate::Action::Continue,
        }
    }
}

const PICKY: &str = r"
config: true
cases:
  - name: a request goes on
    request: {url: /page}
    response: {body: page}
    expect:
      action: continue
      response: {body: page}
      spans: {request: {path: /page}, upstream: {seen: true}}
      logs: [saw /page]
  - {name: an answer, request: {url: /answer}, expect: {action: respond, response: {body: answer}}}
  - {name: a reroute, request: {url: /beta}, expect: {action: reroute, upstream: beta}}
  - name: a panic
    request: {url: /panic}
    expect: {action: fail, failure: cannot go on, response: {status: 500}}
  - {name: a refusal, config: false, expect: {refused: not like this}}
  - {name: not here, native: false, expect: {failure: cpu_time}}
";

#[test]
fn cases_run_natively() {
    run_cases::<Picky>(PICKY);
}

#[test]
#[should_panic(
    expected = "case `an answer`\n  response.body\n    expected other\n    got      answer"
)]
fn a_case_that_differs_panics_with_the_difference() {
    run_cases::<Picky>(&PICKY.replace("{body: answer}", "{body: other}"));
}

/// Puts a cross for each letter of a word, wherever the body was cut.
struct Crosses(std::cell::RefCell<Vec<u8>>);

impl Plugin for Crosses {
    type Config = ();

    fn new((): ()) -> Result<Self, Error> {
        Ok(Self(std::cell::RefCell::default()))
    }

    fn interests(&self) -> Interests {
        Interests::none()
            .stream_request_body()
            .stream_response_body()
    }

    fn on_request_body(&self, chunk: &mut crate::Chunk) -> crate::Flow {
        self.on_response_body(chunk)
    }

    fn on_response_body(&self, chunk: &mut crate::Chunk) -> crate::Flow {
        let mut held = self.0.borrow_mut();
        held.extend(chunk.data());
        if !chunk.is_last() {
            return crate::Flow::Replace(Vec::new());
        }
        let text = String::from_utf8(std::mem::take(&mut held)).expect("a text");
        crate::Flow::Replace(text.replace("secret", "xxxxxx").into_bytes())
    }
}

#[test]
fn a_body_comes_in_the_pieces_of_its_list() {
    run_cases::<Crosses>(
        "cases:
           - name: what is sought is spread over two
             request: {method: POST, body: [a sec, ret]}
             response: {body: [se, cre, t b]}
             expect: {request: {body: a xxxxxx}, response: {body: xxxxxx b}}
           - name: in one piece
             request: {method: POST, body: a secret}
             expect: {request: {body: {contains: xxx}}, response: {body: ''}}",
    );
    let case = case("request: {body: [one, 2]}\nresponse: {body: whole}");
    let request = case.request().expect("a request");
    assert_eq!(request.body(), b"one2");
    let InPieces(pieces) = request.extensions().get().expect("pieces");
    assert_eq!(pieces, &[b"one".to_vec(), b"2".to_vec()]);
    let response = case.response().expect("a response");
    assert!(response.extensions().get::<InPieces>().is_none());
}

#[test]
fn what_is_no_body_is_a_fault() {
    let fault = fault("cases: [{name: x, response: {body: {a: 1}}}]");
    assert!(fault.contains("a list of texts: its pieces"), "{fault}");
}

#[test]
fn a_body_is_text_however_its_number_was_written() {
    let case = case("expect: {request: {body: 5}, response: {body: 7}}");
    let mut observed = response(200, &[], "7");
    observed.request = Some(("http://example.com/".into(), HeaderMap::new()));
    observed.request_body = b"6".to_vec();
    assert_eq!(differences(&case, &observed), one("request.body", "5", "6"));
}
