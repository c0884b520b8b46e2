//! Write plugins for Weir, the edge proxy whose every plugin hook is sandboxed, traced and
//! delivered.
//!
//! A plugin is a crate of type `cdylib` that implements [`Plugin`] and exports it:
//!
//! ```
//! use schemars::JsonSchema;
//! use serde::Deserialize;
//! use weir_sdk::{Action, Error, Interests, Plugin, Request, Response, http, span};
//!
//! /// Lets a path be used by one method only.
//! struct OneMethod {
//!     path: String,
//!     method: http::Method,
//! }
//!
//! /// What an operator writes under `config`.
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     /// The path that is guarded.
//!     path: String,
//!     /// The method that is let through.
//!     method: String,
//! }
//!
//! impl Plugin for OneMethod {
//!     type Config = Config;
//!
//!     fn new(config: Config) -> Result<Self, Error> {
//!         Ok(Self { path: config.path, method: config.method.parse()? })
//!     }
//!
//!     fn interests(&self) -> Interests {
//!         Interests::none().on_request().on_response()
//!     }
//!
//!     fn on_request(&self, request: &mut Request) -> Action {
//!         if request.path() != self.path || request.method() == self.method {
//!             return Action::Continue;
//!         }
//!         span::set_attribute("one_method.refused", true);
//!         let mut answer = http::Response::new(Vec::new());
//!         *answer.status_mut() = http::StatusCode::METHOD_NOT_ALLOWED;
//!         Action::Respond(answer)
//!     }
//!
//!     fn on_response(&self, response: &mut Response) -> Action {
//!         if response.request_path() == self.path {
//!             if let Err(error) = response.set_header("allow", &self.method) {
//!                 weir_sdk::warn!("no `allow` on the response: {error}");
//!             }
//!         }
//!         Action::Continue
//!     }
//! }
//!
//! weir_sdk::export!(OneMethod);
//!
//! // Tests need no Weir and no WebAssembly.
//! use serde_json::json;
//! use weir_sdk::testing::Host;
//!
//! let host = Host::<OneMethod>::new(json!({"path": "/search", "method": "QUERY"})).unwrap();
//! let mut exchange = host.request(http::Request::get("http://example.com/search").body(()).unwrap());
//! assert_eq!(exchange.answer().unwrap().status(), 405);
//! let response = exchange.response(http::Response::new("never asked for"));
//! assert_eq!(response.headers()["allow"], "QUERY");
//! ```
//!
//! `cargo build --release --target wasm32-unknown-unknown` makes the module that Weir loads.
//!
//! # What a plugin has
//!
//! - the heads of [`Request`] and [`Response`], which are read lazily: each call crosses to the host
//!   and copies what it asks for, so a plugin pays for what it uses;
//! - their bodies, whole or [piece by piece](Chunk), where [`Interests`] ask for them;
//! - [`span`]: attributes, events and error of its hook's span, and of the call to the upstream;
//! - [`log`], [`clock`], [`random`];
//! - [`kv`]: values that all its instances share, with a time to live;
//! - [`http_client`]: calls of its own, to upstreams that the operator lets it call;
//! - [`metrics`]: counters, gauges and histograms on Weir's `/metrics`;
//! - [`crypto`]: hashes, message authentication codes and signatures, by the host;
//! - [`exchange`]: the request's id, and values that one hook leaves for a later one.
//!
//! It has no files, no sockets, no environment, no threads, and no clock or random numbers but these.
//! Memory and time are limited by the operator; a hook that exceeds them, or panics, fails alone.
#![deny(missing_docs)]
#![allow(
    clippy::missing_panics_doc,
    reason = "documented where an author can bring it about"
)]

mod certificate;
mod chunk;
pub mod clock;
pub mod crypto;
mod error;
pub mod exchange;
mod export;
mod head;
pub mod http_client;
pub mod kv;
pub mod log;
pub mod metrics;
mod plugin;
pub mod random;
mod request;
mod response;
pub mod span;

#[doc(hidden)]
#[cfg(target_arch = "wasm32")]
pub mod guest;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

#[cfg(target_arch = "wasm32")]
use guest as backend;
#[cfg(not(target_arch = "wasm32"))]
use testing::backend;

pub use certificate::{AlternativeNames, Certificate};
pub use chunk::Chunk;
pub use error::{BodyError, HeaderError, RerouteError, RespondError};
#[doc(hidden)]
#[cfg(not(target_arch = "wasm32"))]
pub use export::assert_plugin;
pub use head::{header_name, header_value};
pub use http;
pub use plugin::{Action, Error, Flow, Hook, Interests, Plugin};
pub use request::{Request, Route};
pub use response::Response;
