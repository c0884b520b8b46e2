//! A host for native tests: runs a plugin without WebAssembly and without Weir, by the rules of
//! the contract (`sdk/wit/weir.wit`).
//!
//! A [`Host`] configures the plugin, [`Host::request`] begins an [`Exchange`] and runs the request
//! hooks, and [`Exchange::response`] runs the response hook. Only hooks that the plugin's
//! `interests` name are called, as in Weir, and the one for the pieces of an answer that it began
//! ([`Exchange::stream_answer`]).
//!
//! ```
//! use serde_json::json;
//! use weir_sdk::testing::Host;
//! use weir_sdk::{Action, Error, Hook, Interests, Plugin, Request, http, span};
//!
//! struct Greet(String);
//!
//! impl Plugin for Greet {
//!     type Config = String;
//!
//!     fn new(name: String) -> Result<Self, Error> {
//!         if name.is_empty() { Err("nobody to greet".into()) } else { Ok(Self(name)) }
//!     }
//!
//!     fn interests(&self) -> Interests {
//!         Interests::none().on_request()
//!     }
//!
//!     fn on_request(&self, request: &mut Request) -> Action {
//!         span::set_attribute("greeted", &self.0);
//!         request.set_header("x-hello", &self.0).expect("a header of the plugin's own");
//!         Action::Continue
//!     }
//! }
//!
//! assert_eq!(Host::<Greet>::new(json!("")).err().as_deref(), Some("nobody to greet"));
//!
//! let host = Host::<Greet>::new(json!("Ada")).unwrap();
//! let exchange = host.request(http::Request::get("http://example.com/").body(()).unwrap());
//! assert_eq!(exchange.request_headers()["x-hello"], "Ada");
//! assert_eq!(exchange.span(Hook::Request).attribute("greeted"), Some(&"Ada".into()));
//! ```
//!
//! What the fake host does not have: limits of memory and time, bounds
//! of spans and logs, other plugins, codings (a plugin that asks for
//! [decoded](crate::Interests::decoded) bodies gets them as the test gives them), and routes (a
//! [`reroute`](crate::Request::reroute) to any upstream is accepted). Its random numbers are the
//! same in every run, and its clock stands still but for [`Host::advance`].

pub(crate) mod backend;
pub(crate) mod calls;
pub mod cases;
mod context;
mod head;
mod host;
mod stream;

pub use calls::{Called, Upstreams};
pub use cases::run_cases;
pub use context::{Event, Log, Span};
pub use host::{Body, Exchange, Host};
pub use stream::{InPieces, Stream};

#[cfg(test)]
mod tests;
