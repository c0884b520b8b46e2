//! A DNS server: dnsmasq.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::service::{Running, free_port};
use crate::wait::eventually;

/// Below which all its names are.
pub const ZONE: &str = "weir.test";

/// A name with SRV records.
pub const NAME: &str = "_api._tcp.weir.test";

/// A place that a server may be started at, again and again.
#[derive(Clone, Copy, Debug)]
pub struct Place(u16);

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Dns {
    _running: Running,
}

impl Place {
    pub fn free() -> Self {
        Self(free_port())
    }

    /// As an entry of `dns.servers`.
    pub fn address(self) -> String {
        SocketAddr::from(([127, 0, 0, 1], self.0)).to_string()
    }

    /// Starts a server whose records of [`NAME`] are these: host, port, priority, weight. Each host has
    /// the address 127.0.0.1.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn serve(self, records: &[(&str, u16, u16, u16)]) -> Dns {
        let folder = TempDir::new().expect("a folder");
        let mut command = Command::new(program());
        command
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--user=root",
            ])
            .args(["--no-resolv", "--no-hosts", "--pid-file="])
            .args(["--bind-interfaces", "--listen-address=127.0.0.1"])
            .arg(format!("--port={}", self.0))
            .arg(format!("--local=/{ZONE}/"));
        for (host, port, priority, weight) in records {
            let host = format!("{host}.{ZONE}");
            command
                .arg(format!(
                    "--srv-host={NAME},{host},{port},{priority},{weight}"
                ))
                .arg(format!("--host-record={host},127.0.0.1"));
        }
        let running = Running::start(&mut command, folder);
        eventually("dnsmasq listens", || {
            TcpStream::connect(("127.0.0.1", self.0)).ok()
        });
        Dns { _running: running }
    }
}

/// In Debian it is not on everybody's path.
fn program() -> &'static str {
    let debians = "/usr/sbin/dnsmasq";
    if Path::new(debians).is_file() {
        debians
    } else {
        "dnsmasq"
    }
}
