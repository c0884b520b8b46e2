use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn state(status: u16, fields: &[(&'static str, &'static str)]) -> State {
    let mut state = State::default();
    state.response.status = StatusCode::from_u16(status).unwrap();
    for (name, value) in fields {
        for side in [Side::Request, Side::Response] {
            let headers = state.headers(side);
            headers.append(*name, HeaderValue::from_static(value));
        }
    }
    state
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

const ALL: [(&str, &str); 9] = [
    ("content-type", "text/plain"),
    ("content-encoding", "gzip"),
    ("etag", "\"one\""),
    ("content-md5", "x"),
    ("digest", "x"),
    ("content-digest", "x"),
    ("repr-digest", "x"),
    ("accept-ranges", "bytes"),
    ("last-modified", "x"),
];

#[test]
fn what_told_of_the_old_body_goes_or_is_weakened() {
    let mut state = state(200, &ALL);
    changed(&mut state, Side::Response);
    let headers = &state.response.headers;
    assert_eq!(names(headers), ["content-type", "etag", "last-modified"]);
    assert_eq!(headers["etag"], "W/\"one\"");
    changed(&mut state, Side::Response);
    assert_eq!(state.response.headers["etag"], "W/\"one\"");
    assert_eq!(state.request.headers.len(), ALL.len());
    changed(&mut state, Side::Request);
    let left = ["accept-ranges", "content-type", "etag", "last-modified"];
    assert_eq!(names(&state.request.headers), left);
}

#[test]
fn what_the_hook_has_set_stays() {
    let mut state = state(200, &ALL);
    state.changed = ALL
        .iter()
        .map(|(name, _)| HeaderName::from_static(name))
        .collect();
    changed(&mut state, Side::Response);
    assert_eq!(state.response.headers.len(), ALL.len());
    assert_eq!(state.response.headers["etag"], "\"one\"");
}

#[test]
fn a_part_that_is_all_becomes_the_whole() {
    for (range, is_whole) in [
        ("bytes 0-9/10", true),
        ("bytes 0-8/10", false),
        ("bytes 1-9/10", false),
        ("bytes 0-9/*", false),
        ("bytes 0-18446744073709551615/0", false),
        ("lines 0-9/10", false),
    ] {
        let mut state = state(206, &[("content-range", range)]);
        assert_eq!(is_part(&state.response), !is_whole, "{range}");
        changed(&mut state, Side::Response);
        let status = if is_whole { 200 } else { 206 };
        assert_eq!(state.response.status, status, "{range}");
        let has_range = state.response.headers.contains_key(CONTENT_RANGE);
        assert_eq!(has_range, !is_whole, "{range}");
    }
    assert!(is_part(&state(206, &[]).response));
    assert!(!is_part(&state(200, &[]).response));
}

#[test]
fn no_transform_is_found_among_other_directives() {
    for (value, expected) in [
        ("no-transform", true),
        ("no-cache, No-Transform", true),
        ("no-transformation", false),
        ("max-age=1", false),
    ] {
        let state = state(200, &[("cache-control", value)]);
        assert_eq!(forbids_change(&state.request.headers), expected, "{value}");
    }
}

#[test]
fn what_a_view_hides_is_there_again_behind_it() {
    let fields = [
        ("content-encoding", "gzip"),
        ("content-encoding", "deflate"),
        ("content-length", "7"),
        ("x-other", "1"),
    ];
    let mut state = state(200, &fields);
    let before = state.response.headers.clone();
    let view = View::streamed(&mut state, Side::Response).expect("both are known");
    assert_eq!(names(&state.response.headers), ["x-other"]);
    view.restore(&mut state);
    assert_eq!(state.response.headers, before);

    let view = View::streamed(&mut state, Side::Request).expect("both are known");
    drop(view);
    state.response.status = StatusCode::PARTIAL_CONTENT;
    assert!(View::streamed(&mut state, Side::Response).is_none());
    state.response.status = StatusCode::OK;
    let control = HeaderValue::from_static("no-transform");
    state.response.headers.insert(CACHE_CONTROL, control);
    assert!(View::streamed(&mut state, Side::Response).is_none());
}

fn windows() -> Room {
    Room::windows(Side::Response)
}

#[tokio::test]
async fn a_body_is_decoded_within_its_bound() {
    let text = vec![b'x'; 1 << 20];
    let body = Bytes::from(zstd::encode_all(&text[..], 0).unwrap());
    let codings = [Coding::Zstd];
    let decoded = decode(&codings, body.clone(), text.len(), windows(), |_| true).await;
    assert!(decoded.is_ok_and(|decoded| decoded == text));
    let less = decode(&codings, body.clone(), text.len() - 1, windows(), |_| true).await;
    assert!(matches!(less, Err(Undecoded::TooLarge)));
    let broken = decode(&codings, body.slice(1..), text.len(), windows(), |_| true).await;
    assert!(matches!(broken, Err(Undecoded::Malformed(_))));
    let held = decode(&codings, body, text.len(), windows(), |len| len <= 1000).await;
    assert!(matches!(held, Err(Undecoded::Full)));
    // What is so much on its way may become nothing: members of no bytes, one behind the other.
    let empty = GzEncoder::new(Vec::new(), Compression::best());
    let nothing = empty.finish().unwrap().repeat(10_000);
    let twice = Bytes::from(zstd::encode_all(&nothing[..], 0).unwrap());
    let codings = [Coding::Gzip, Coding::Zstd];
    let decoded = decode(&codings, twice.clone(), nothing.len(), windows(), |_| true).await;
    assert!(decoded.is_ok_and(|decoded| decoded.is_empty()));
    let less = decode(&codings, twice, nothing.len() - 1, windows(), |_| true).await;
    assert!(matches!(less, Err(Undecoded::TooLarge)));
}
