//! A running `weir plugin dev`.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::client::{self, Response};
use crate::wait::eventually;
use crate::weir::binary;

/// See the module's documentation; killed when dropped, unless it has ended.
pub struct Dev {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Dev {
    /// Starts it in a project's folder, with the example's upstream, and waits until it serves. The
    /// project's `weir.yaml` is one with a first listener.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn start(folder: &Path, environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(binary())
            .args(["plugin", "dev", "--example-upstream"])
            .args(["--set", "listeners.0.address=127.0.0.1:0"])
            .current_dir(folder)
            .envs(environment.iter().copied())
            .env_remove("RUSTFLAGS")
            .env_remove("RUST_LOG")
            .env_remove("WEIR_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("weir runs");
        let said: Arc<Mutex<String>> = Arc::default();
        keep(child.stdout.take().expect("piped"), &said);
        keep(child.stderr.take().expect("piped"), &said);
        let mut dev = Self { child, said };
        eventually("dev serves", || {
            if let Some(status) = dev.child.try_wait().expect("wait") {
                panic!("dev ended with {status}: {}", dev.said());
            }
            dev.said().contains("serving: ").then_some(())
        });
        dev
    }

    /// What it has said so far, on both ways, in lines.
    ///
    /// # Panics
    ///
    /// When reading it panicked.
    pub fn said(&self) -> String {
        self.said.lock().expect("lock").clone()
    }

    /// Waits until it has said something so often.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn says(&self, text: &str, times: usize) {
        eventually(&format!("dev says `{text}` {times} times"), || {
            (self.said().matches(text).count() >= times).then_some(())
        });
    }

    /// A field of the answer to a tenant, of what the scaffolds make.
    ///
    /// # Panics
    ///
    /// When nothing listens.
    pub fn answered(&self, field: &str) -> Option<String> {
        let response = self.get("/orders", &["x-tenant: Acme"]);
        response.header(field).map(str::to_owned)
    }

    /// `GET` through what it serves.
    ///
    /// # Panics
    ///
    /// When nothing listens.
    pub fn get(&self, target: &str, headers: &[&str]) -> Response {
        let address = eventually("it listens", || {
            let said = self.said();
            let (_, address) = said.split_once("listening address=")?;
            address
                .split_whitespace()
                .next()?
                .parse::<SocketAddr>()
                .ok()
        });
        client::get(address, target, headers)
    }

    /// Ends it as Ctrl-C does.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub fn end(mut self) -> ExitStatus {
        let process = self.child.id().to_string();
        let told = Command::new("kill").args(["-s", "INT", &process]).status();
        assert!(told.expect("kill").success());
        let child = &mut self.child;
        eventually("dev ends", || child.try_wait().expect("wait"))
    }
}

/// Adds each line as it comes.
fn keep(from: impl Read + Send + 'static, said: &Arc<Mutex<String>>) {
    let said = Arc::clone(said);
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut said = said.lock().expect("lock");
            said.push_str(&line);
            said.push('\n');
        }
    });
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
