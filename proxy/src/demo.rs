//! What `weir demo` needs beside the proxy: a broker inside the process, and a consumer.

pub mod broker;
pub mod consumer;
