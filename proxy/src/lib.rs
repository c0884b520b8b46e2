//! Weir: an edge proxy whose every plugin hook is sandboxed, traced and delivered.
//!
//! The modules stand in the order in which a request meets them.

pub mod cli;
pub mod config;
pub mod run;
pub mod app;
pub mod worker;
pub mod listener;
pub mod server;
pub mod router;
pub mod exchange;
pub mod plugin;
pub mod upstream;
pub mod trace;
pub mod filter;
pub mod export;
pub mod admin;
pub mod metrics;
