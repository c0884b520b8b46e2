//! Programs that `services/install.sh` installs.

use std::net::TcpListener;
use std::path::PathBuf;

/// The path of a program, such as `go/bin/pebble`.
///
/// # Panics
///
/// When it is not installed.
pub fn service(name: &str) -> PathBuf {
    let target = std::env::var("CARGO_TARGET_DIR")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../target").to_owned());
    let path = PathBuf::from(target).join("services").join(name);
    assert!(
        path.is_file(),
        "{} is missing: run tests/services/install.sh tests",
        path.display()
    );
    path
}

/// A port for a program that takes none of 0.
///
/// # Panics
///
/// When there is none.
pub fn free_port() -> u16 {
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    held.local_addr().expect("an address").port()
}
