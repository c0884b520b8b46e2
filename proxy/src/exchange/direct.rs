//! Answers that the configuration gives instead of an upstream: redirects and fixed responses.
//!
//! Pure.

use std::fmt::Write;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::state::{Answer, RequestHead};
use crate::app::generation::Generation;
use crate::config::{Redirect, Respond};

/// What a directory of ACME asks for just now, before any plugin or route.
pub(super) fn acme(generation: &Generation, request: &RequestHead) -> Option<Answer> {
    let answers = generation.acme.as_ref()?;
    let reads = request.method == Method::GET || request.method == Method::HEAD;
    let answer = answers.get(request.uri.path())?;
    if !reads || request.upgrade.is_some() {
        return None;
    }
    let kind = HeaderValue::from_static("application/octet-stream");
    Some(Answer {
        status: StatusCode::OK,
        headers: HeaderMap::from_iter([(CONTENT_TYPE, kind)]),
        body: answer.into(),
    })
}

/// A fixed response.
pub(super) fn respond(respond: &Respond) -> Answer {
    Answer {
        status: respond.status,
        headers: respond.headers.clone(),
        body: respond.body.clone(),
    }
}

/// A redirect of this request, which came by `scheme`.
pub(super) fn redirect(redirect: &Redirect, request: &RequestHead, scheme: &str) -> Answer {
    let mut headers = HeaderMap::with_capacity(1);
    // A path, a query and an authority that were read before hold nothing that may not stand here.
    if let Ok(location) = HeaderValue::from_str(&location(redirect, request, scheme)) {
        headers.insert(LOCATION, location);
    }
    Answer {
        status: redirect.status,
        headers,
        body: Bytes::new(),
    }
}

/// An absolute URL; a path alone where the request named no host and the redirect names none.
fn location(redirect: &Redirect, request: &RequestHead, asked: &str) -> String {
    let mut out = String::new();
    let (asked_host, asked_port) = split_authority(&request.authority);
    let host = redirect.host.as_deref().unwrap_or(asked_host);
    if !host.is_empty() {
        let scheme = redirect.scheme.unwrap_or(asked);
        out.push_str(scheme);
        out.push_str("://");
        out.push_str(host);
        let elsewhere = redirect.scheme.is_some() || redirect.host.is_some();
        let asked_port = asked_port.filter(|_| !elsewhere);
        let usual = if scheme == "https" { 443 } else { 80 };
        // Writing to a string does not fail.
        let _ = match (redirect.port, asked_port) {
            (Some(port), _) if port != usual => write!(out, ":{port}"),
            (None, Some(port)) => write!(out, ":{port}"),
            _ => Ok(()),
        };
    }
    let path = request.uri.path();
    match redirect
        .path
        .as_ref()
        .and_then(|path_of| path_of.expand(path))
    {
        Some(path) => out.push_str(&path),
        None if host.is_empty() => {
            out.push('/');
            out.push_str(path.trim_start_matches('/'));
        }
        None => out.push_str(path),
    }
    if let Some(query) = request.uri.query()
        && redirect.keep_query
    {
        out.push('?');
        out.push_str(query);
    }
    out
}

fn split_authority(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::router::template::Template;

    fn to() -> Redirect {
        Redirect {
            status: StatusCode::PERMANENT_REDIRECT,
            scheme: None,
            host: None,
            port: None,
            path: None,
            keep_query: true,
        }
    }

    fn from(authority: &str, target: &str) -> RequestHead {
        RequestHead {
            authority: authority.to_owned(),
            uri: target.parse().unwrap(),
            ..RequestHead::default()
        }
    }

    #[test]
    fn what_is_not_given_is_as_it_was_asked_for() {
        let https = Redirect {
            scheme: Some("https"),
            ..to()
        };
        let other = Redirect {
            host: Some("b.test".to_owned()),
            ..to()
        };
        let port = Redirect {
            scheme: Some("https"),
            port: Some(8443),
            keep_query: false,
            ..to()
        };
        let usual = Redirect {
            scheme: Some("https"),
            port: Some(443),
            ..to()
        };
        let path = Redirect {
            path: Some(Template::new("/old/*", "/new/*").unwrap()),
            ..to()
        };
        for (redirect, authority, target, expected) in [
            (&https, "a.test", "/x?q=1", "https://a.test/x?q=1"),
            (&https, "a.test:8080", "/", "https://a.test/"),
            (&other, "a.test:8080", "/x", "http://b.test/x"),
            (&port, "a.test", "/x?q=1", "https://a.test:8443/x"),
            (&usual, "a.test", "/", "https://a.test/"),
            (&path, "a.test:8080", "/old/x", "http://a.test:8080/new/x"),
            (&path, "[::1]:80", "/old/x?y", "http://[::1]:80/new/x?y"),
            (&path, "[::1]", "/old/x", "http://[::1]/new/x"),
        ] {
            let answer = super::redirect(redirect, &from(authority, target), "http");
            assert_eq!(answer.headers[LOCATION], expected);
            assert_eq!(answer.status, 308);
        }
    }

    #[test]
    fn a_request_that_came_encrypted_stays_so() {
        let answer = redirect(&to(), &from("a.test", "/x"), "https");
        assert_eq!(answer.headers[LOCATION], "https://a.test/x");
    }

    #[test]
    fn without_any_host_it_stays_where_it_was_asked() {
        let answer = redirect(&to(), &from("", "/x?y"), "http");
        assert_eq!(answer.headers[LOCATION], "/x?y");
        // Two slashes would begin an authority.
        let mut request = from("", "/x");
        request.uri = http::Uri::builder()
            .path_and_query("//evil.test/x")
            .build()
            .unwrap();
        assert_eq!(
            redirect(&to(), &request, "http").headers[LOCATION],
            "/evil.test/x"
        );
    }
}
