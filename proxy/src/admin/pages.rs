//! The console's pages: files that are embedded in the binary, made from `proxy/console`.
//!
//! They ask for everything by relative paths, and load nothing from elsewhere. Every page is the
//! same file, told by its `<base>` how deep it is, so that a proxy may put the console below any
//! path.

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;

use super::body::Body;
use super::problem;

/// What `vite build` made, or the page that says how to: names and bytes (see `build.rs`).
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// Nothing but what is served here, and no style or script in the pages themselves.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'self'; frame-ancestors 'none'";

/// First segments of the pages' paths; the console finds its way itself from there.
const PAGES: [&str; 9] = [
    "otlp",
    "traces",
    "routes",
    "upstreams",
    "plugins",
    "exporters",
    "observability",
    "configuration",
    "assets",
];

/// Whether a browser asks for a page or a part of one.
pub(super) fn is_page<B>(request: &Request<B>) -> bool {
    let path = request.uri().path();
    let first = path[1.min(path.len())..]
        .split('/')
        .next()
        .unwrap_or_default();
    match first {
        "" => path == "/" && wants_html(request),
        "favicon.svg" => true,
        first => PAGES.contains(&first),
    }
}

fn wants_html<B>(request: &Request<B>) -> bool {
    let accept = request.headers().get_all(ACCEPT).iter();
    let mut accept = accept.filter_map(|value| value.to_str().ok());
    request.method() == Method::POST || accept.any(|value| value.contains("text/html"))
}

pub(super) fn answer<B>(request: &Request<B>) -> Response<Body> {
    let path = request.uri().path().trim_start_matches('/');
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return super::not_allowed("GET, HEAD").map(Body::from);
    }
    let is_file = path.starts_with("assets/") || path == "favicon.svg";
    let (name, lasting) = if is_file {
        (path, true)
    } else {
        ("index.html", false)
    };
    let Some((_, file)) = FILES.iter().find(|(known, _)| *known == name) else {
        return problem(StatusCode::NOT_FOUND, "the console has no such file").map(Body::from);
    };
    let content = if is_file {
        Bytes::from_static(file)
    } else {
        let up = "../".repeat(path.matches('/').count());
        let base = format!("<base href=\"./{up}\">");
        let text = String::from_utf8_lossy(file);
        Bytes::from(text.replacen("<base href=\"./\">", &base, 1))
    };
    let mut response = Response::new(Full::new(content).into());
    let headers = response.headers_mut();
    let caching = if lasting {
        "private, max-age=31536000, immutable"
    } else {
        "no-store"
    };
    for (name, value) in [
        (CONTENT_TYPE, media_type(name)),
        (CACHE_CONTROL, caching),
        (CONTENT_SECURITY_POLICY, POLICY),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
        (HeaderName::from_static("referrer-policy"), "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}
