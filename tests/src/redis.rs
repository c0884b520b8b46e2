//! A real Redis, and its client to look behind Weir.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::service::{Running, free_port};
use crate::wait::eventually;

/// A running Redis, which keeps nothing over a restart.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    arguments: Vec<String>,
    running: Option<Running>,
}

impl Redis {
    /// # Panics
    ///
    /// When it does not start: a missing service fails a test.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`Redis::start`], with further arguments.
    ///
    /// # Panics
    ///
    /// As [`Redis::start`].
    pub fn start_with(arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        eventually("redis starts", || {
            let mut redis = Self {
                port: free_port(),
                arguments: arguments.clone(),
                running: None,
            };
            redis.run().then_some(redis)
        })
    }

    /// Starts it where it was, after [`Redis::stop`].
    pub fn restart(&mut self) {
        eventually("redis starts again", || self.run().then_some(()));
    }

    /// Ends it at once.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Whether it has come up; where somebody else has taken the port meanwhile, it ends.
    fn run(&mut self) -> bool {
        let folder = TempDir::new().expect("a folder");
        let mut command = Command::new("redis-server");
        command
            .current_dir(folder.path())
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &self.port.to_string()])
            .args(&self.arguments);
        let mut running = Running::start(&mut command, folder);
        let is_up = eventually("redis answers or ends", || {
            if running.has_ended() {
                return Some(false);
            }
            self.answers().then_some(true)
        });
        self.running = is_up.then_some(running);
        is_up
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.address()) else {
            return false;
        };
        let mut answer = [0; 5];
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .is_ok()
            && stream.write_all(b"PING\r\n").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && (answer == *b"+PONG" || answer == *b"-NOAU")
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// What `kv` is to be for Weir.
    pub fn kv(&self) -> Value {
        json!({ "redis": { "url": format!("redis://{}", self.address()) } })
    }

    /// What Redis' own client prints for a command.
    ///
    /// # Panics
    ///
    /// When there is no such client.
    pub fn ask(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(command)
            .output()
            .expect("redis-cli runs: see services/install.sh");
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// How many connections it has, without the client's own.
    pub fn connections(&self) -> usize {
        self.ask(&["CLIENT", "LIST"]).lines().count() - 1
    }
}
