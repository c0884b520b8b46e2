//! Write plugins for Weir, the edge proxy whose every plugin hook is sandboxed, traced and
//! delivered.
#![deny(missing_docs)]

pub mod clock;
mod error;
pub mod exchange;
mod export;
mod head;
pub mod log;
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

#[doc(hidden)]
#[cfg(not(target_arch = "wasm32"))]
pub use export::assert_plugin;

pub use error::{HeaderError, RerouteError, RespondError};
pub use head::{header_name, header_value};
pub use http;
pub use plugin::{Action, Error, Hook, Interests, Plugin};
pub use request::{Request, Route};
pub use response::Response;
