//! How a browser shows the token: once, in a form. It is given a session then, a cookie that no
//! script can read and no other site can send, made from the token and a secret of this process.

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use sha2::{Digest, Sha256};

use super::body::Body;
use super::{PATIENCE, guard, query};
use crate::app::App;
use crate::config::Secret;

pub(super) const COOKIE_NAME: &str = "weir_session";

/// A token is far shorter.
const MOST: usize = 16 * 1024;

/// What a wrong guess costs.
const PAUSE: Duration = Duration::from_millis(500);

const STYLE: &str = include_str!("login.css");

/// The session that goes with a token, while this process lives.
pub(super) fn session(token: &Secret) -> String {
    static SECRET: LazyLock<[u8; 32]> = LazyLock::new(|| {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).expect("the kernel gives random bytes");
        secret
    });
    let mut digest = Sha256::new();
    digest.update(*SECRET);
    digest.update(token.expose());
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest.finalize())
}

/// Asks for the token, or takes it.
pub(super) async fn answer(app: &App, request: &mut Request<Incoming>) -> Response<Body> {
    if request.method() != Method::POST {
        return form("");
    }
    let generation = app.generation();
    let admin = &generation.config.admin;
    let Some(token) = &admin.token else {
        return form("");
    };
    let limited = Limited::new(request.body_mut(), MOST);
    // Who sends none in time has none.
    let given = tokio::time::timeout(PATIENCE, limited.collect()).await;
    let given = given.ok().and_then(Result::ok).unwrap_or_default();
    let given = given.to_bytes();
    let given = query::parse(&String::from_utf8_lossy(&given));
    let given = given.iter().find(|(name, _)| name == "token");
    if !given.is_some_and(|(_, given)| guard::same(given, token.expose())) {
        tokio::time::sleep(PAUSE).await;
        return form("That is not the token.");
    }
    // Back to the page that was asked for, wherever a proxy in front has put us.
    let path = request.uri().path();
    let here = path.rsplit('/').next().unwrap_or_default();
    let to = if here.is_empty() { "./" } else { here };
    let secure = if admin.tls.is_some() { "; Secure" } else { "" };
    let cookie = format!(
        "{COOKIE_NAME}={}; HttpOnly; SameSite=Strict; Path=/{secure}",
        session(token)
    );
    let mut response = Response::new(Full::default().into());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    for (name, value) in [(LOCATION, to.to_owned()), (SET_COOKIE, cookie)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

fn form(complaint: &str) -> Response<Body> {
    let complaint = match complaint {
        "" => String::new(),
        text => format!("<p role=\"alert\">{text}</p>"),
    };
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Sign in · Weir</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style>\
         <main><form method=\"post\"><h1>Weir</h1><label for=\"token\">Admin token</label>\
         <input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"current-password\" required autofocus>\
         {complaint}<button>Sign in</button>\
         <p class=\"hint\">The value of <code>admin.token</code> in Weir’s configuration.</p></form></main></html>"
    );
    let mut response = Response::new(Full::new(Bytes::from(page)).into());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        STANDARD.encode(Sha256::digest(STYLE))
    );
    let headers = response.headers_mut();
    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}
