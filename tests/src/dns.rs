//! A DNS server: dnsmasq.

use std::net::{SocketAddr, TcpStream, UdpSocket};
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

/// Hosts below it have no addresses: the server that knows them does not answer.
pub const DEAD: &str = "dead";

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Dns {
    _running: Running,
    /// Who would know the hosts below [`DEAD`].
    _silent: UdpSocket,
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
    /// the address 127.0.0.1, but for those below [`DEAD`].
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn serve(self, records: &[(&str, u16, u16, u16)]) -> Dns {
        let folder = TempDir::new().expect("a folder");
        let silent = UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
        let port = silent.local_addr().expect("an address").port();
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
            .arg(format!("--local=/{ZONE}/"))
            .arg(format!("--server=/{DEAD}.{ZONE}/127.0.0.1#{port}"));
        for (host, port, priority, weight) in records {
            let is_dead = host.ends_with(DEAD);
            let host = format!("{host}.{ZONE}");
            command.arg(format!(
                "--srv-host={NAME},{host},{port},{priority},{weight}"
            ));
            if !is_dead {
                command.arg(format!("--host-record={host},127.0.0.1"));
            }
        }
        let running = Running::start(&mut command, folder);
        eventually("dnsmasq listens", || {
            TcpStream::connect(("127.0.0.1", self.0)).ok()
        });
        Dns {
            _running: running,
            _silent: silent,
        }
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
