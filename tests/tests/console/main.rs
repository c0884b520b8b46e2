//! The console: its API, and its pages in a real browser, over a real Weir with real traffic.

mod access;
mod api;
mod asked;
mod browser;
mod failing;
mod metrics;
mod openapi;
mod push;
mod saving;
mod scrape;
