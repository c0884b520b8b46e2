//! Programs that `services/install.sh` installs.

use std::io::{BufRead as _, BufReader, Lines};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use crate::wait::eventually;

/// The path of a program, such as `go/bin/pebble`, or of the folder of some.
///
/// # Panics
///
/// When it is not installed.
pub fn service(name: &str) -> PathBuf {
    let target = std::env::var("CARGO_TARGET_DIR")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../target").to_owned());
    let path = PathBuf::from(target).join("services").join(name);
    assert!(
        path.exists(),
        "{} is missing: run tests/services/install.sh tests",
        path.display()
    );
    path
}

/// A port for a program that takes none of 0: below those that the system gives to whoever asks for any, so
/// that no other test has it before the program does.
///
/// # Panics
///
/// When there is none.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Each test program begins elsewhere.
    let first = std::process::id().wrapping_mul(101);
    let mut ports = (0..10_000).map(|_| {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed).into());
        u16::try_from(20_000 + number % 10_000).expect("below 30000")
    });
    ports
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a port")
}

/// An address at which nobody listens.
pub fn nobody() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// OpenTelemetry's collector with this configuration, once it listens at these addresses.
///
/// # Panics
///
/// When it does not.
pub fn collector(config: &Value, addresses: &[SocketAddr]) -> Running {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("collector.yaml");
    std::fs::write(&path, config.to_string()).expect("a file");
    let mut command = Command::new(service("collector/otelcol"));
    let mut collector = Running::start(command.arg("--config").arg(&path), folder);
    for address in addresses {
        eventually(&format!("the collector listens at {address}"), || {
            assert!(!collector.has_ended(), "{}", collector.log());
            TcpStream::connect(address).is_ok().then_some(())
        });
    }
    collector
}

/// A program that is killed when dropped; what it writes to standard error is kept.
#[derive(Debug)]
pub struct Running {
    child: Child,
    folder: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// With the folder of its log, and of whatever else it needs.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start(command: &mut Command, folder: TempDir) -> Self {
        Self::spawn(command.stdout(Stdio::null()), folder)
    }

    /// The same, with the lines of its standard output. It goes on to write there: keep them.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn speaking(
        command: &mut Command,
        folder: TempDir,
    ) -> (Self, Lines<BufReader<ChildStdout>>) {
        let mut running = Self::spawn(command.stdout(Stdio::piped()), folder);
        let stdout = running.child.stdout.take().expect("piped");
        (running, BufReader::new(stdout).lines())
    }

    fn spawn(command: &mut Command, folder: TempDir) -> Self {
        let child = command
            .stderr(std::fs::File::create(folder.path().join("log")).expect("a file"))
            .spawn()
            .expect("it starts: see services/install.sh");
        Self { child, folder }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it runs no more.
    ///
    /// # Panics
    ///
    /// When that cannot be known.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}
