//! Who may come in, and who may change something: judged here and nowhere else.
//!
//! Three kinds of strangers are kept out. One who has no token, where there is one. A page of
//! another site that makes a visitor's browser write here, or start reads that it never sees the
//! answers of: its requests name where they come from. And a page whose name was made to point here
//! (DNS rebinding): its requests name a host that is not ours, which matters where no token protects
//! what it would read.

use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN, USER_AGENT};
use http::{HeaderMap, HeaderName, Method, Request};
use sha2::{Digest, Sha256};

use super::{login, pages};
use crate::app::App;
use crate::config::{Admin, Secret};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request goes no further.
#[derive(Debug, PartialEq)]
pub(super) enum Refused {
    /// It shows no token.
    Unknown,
    Forbidden(String),
}

/// Lets a request in, or says why not.
pub(super) fn admit<B>(app: &App, request: &Request<B>) -> Result<(), Refused> {
    let path = request.uri().path();
    if matches!(path, "/healthz" | "/readyz") {
        return Ok(());
    }
    let generation = app.generation();
    let admin = &generation.config.admin;
    // Pages are opened by links from elsewhere, and cost nothing; the API's reads cost something.
    if is_write(request.method()) || path.starts_with("/api/") {
        is_own(request.headers()).map_err(Refused::Forbidden)?;
    }
    match &admin.token {
        Some(token) if !bears(request.headers(), token) => return Err(Refused::Unknown),
        Some(_) => {}
        None => {
            // Machines ask for metrics and for a reload by whatever name they know.
            if path.starts_with("/api/") || pages::is_page(request) || is_browser(request) {
                is_known_host(request.headers(), admin).map_err(Refused::Forbidden)?;
            }
        }
    }
    // A reload too: when the file is done is for its author to say, and each reads all plugins anew.
    if is_write(request.method()) {
        may_act(app).map_err(Refused::Forbidden)?;
    }
    Ok(())
}

/// Why nothing can be changed from here, where nothing can.
pub(super) fn may_act(app: &App) -> Result<(), String> {
    let generation = app.generation();
    let admin = &generation.config.admin;
    if admin.is_open() {
        return Err(format!(
            "read-only: admin.address {} can be reached by other machines, and asks for no token; \
             set `admin.token`, or bind to 127.0.0.1",
            admin.address
        ));
    }
    Ok(())
}

/// Why the configuration cannot be saved from here, where it cannot.
pub(super) fn may_save(app: &App) -> Result<(), String> {
    may_act(app)?;
    match app.document() {
        None => Err("read-only: this configuration does not come from a file".to_owned()),
        Some(document) => document.check_writable(),
    }
}

fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a browser asks: each says so in one of these.
fn is_browser<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let agent = headers.get(USER_AGENT).map(http::HeaderValue::as_bytes);
    headers.contains_key(ORIGIN)
        || headers.contains_key(SEC_FETCH_SITE)
        || agent.is_some_and(|agent| agent.starts_with(b"Mozilla/"))
}

/// Refuses what a page of another site sends. Only browsers name where they come from, and they
/// always do.
fn is_own(headers: &HeaderMap) -> Result<(), String> {
    let refused = || Err("requests of other sites are not answered here".to_owned());
    if let Some(site) = headers.get(SEC_FETCH_SITE)
        && !matches!(site.as_bytes(), b"same-origin" | b"none")
    {
        return refused();
    }
    if let Some(origin) = headers.get(ORIGIN) {
        let origin = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"));
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        if origin.map(|(_, authority)| authority) != host {
            return refused();
        }
    }
    Ok(())
}

/// Refuses names that are not known to be ours: a page could have made its own point here.
fn is_known_host(headers: &HeaderMap, admin: &Admin) -> Result<(), String> {
    let Some(host) = headers.get(HOST) else {
        return Ok(());
    };
    let authority = host.to_str().unwrap_or_default().to_ascii_lowercase();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => &authority,
    };
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    let known = literal.parse::<std::net::IpAddr>().is_ok()
        || host == "localhost"
        || host.ends_with(".localhost")
        || admin.hosts.iter().any(|known| known == host);
    if known {
        return Ok(());
    }
    Err(format!(
        "`{host}` is not known to be a name of this machine: add it to `admin.hosts`, or set `admin.token`"
    ))
}

/// By a header, or by the session of a browser.
fn bears(headers: &HeaderMap, token: &Secret) -> bool {
    let given = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    if given.is_some_and(|given| same(given, token.expose())) {
        return true;
    }
    let session = login::session(token);
    let cookies = headers.get_all(COOKIE).iter();
    let mut cookies = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    cookies.any(|cookie| {
        let (name, value) = cookie.trim().split_once('=').unwrap_or_default();
        name == login::COOKIE_NAME && same(value, &session)
    })
}

/// Compared by digest, so that the time taken says nothing of the token.
pub(super) fn same(given: &str, wanted: &str) -> bool {
    Sha256::digest(given) == Sha256::digest(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let fields = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        fields.collect()
    }

    fn admin(hosts: &[&str]) -> Admin {
        Admin {
            address: ([127, 0, 0, 1], 9901).into(),
            token: None,
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            tls: None,
        }
    }

    #[test]
    fn requests_of_other_sites_pages_are_told_apart() {
        for refused in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("host", "localhost:9901"), ("origin", "http://evil.test")],
            &[("host", "localhost:9901"), ("origin", "null")],
            &[
                ("host", "localhost:9901"),
                ("origin", "http://localhost:8080"),
            ],
        ] {
            assert!(is_own(&headers(refused)).is_err(), "{refused:?}");
        }
        for own in [
            &[][..],
            &[("host", "x")],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
            &[
                ("host", "localhost:9901"),
                ("origin", "http://localhost:9901"),
            ],
        ] {
            assert!(is_own(&headers(own)).is_ok(), "{own:?}");
        }
    }

    #[test]
    fn names_that_could_be_a_strangers_are_refused() {
        let admin = admin(&["weir.internal"]);
        for known in [
            "localhost",
            "localhost:9901",
            "127.0.0.1:9901",
            "[::1]:9901",
            "10.0.0.7",
            "WEIR.internal:1",
        ] {
            assert!(
                is_known_host(&headers(&[("host", known)]), &admin).is_ok(),
                "{known}"
            );
        }
        for stranger in [
            "evil.test",
            "localhost.evil.test:9901",
            "127.0.0.1.evil.test",
            "",
        ] {
            assert!(
                is_known_host(&headers(&[("host", stranger)]), &admin).is_err(),
                "{stranger}"
            );
        }
    }
}
