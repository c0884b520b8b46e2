//! The real binary, started with a configuration of the test's.

mod ways;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::client::{self, Response};
use crate::wait::eventually;

/// The binary under test: that beside the tests, or `WEIR_BINARY`.
///
/// # Panics
///
/// When it was not built: `cargo build --workspace` does.
pub fn binary() -> PathBuf {
    if let Some(given) = std::env::var_os("WEIR_BINARY") {
        return given.into();
    }
    let test = std::env::current_exe().expect("the test's own path");
    // Tests are in a folder below that of the binaries.
    let mut folders = test.ancestors().skip(1).take(2);
    folders
        .find_map(|folder| Some(folder.join("weir")).filter(|binary| binary.is_file()))
        .expect("weir is not built: run `cargo build --workspace`")
}

/// A guest that `make guests` built, by name.
///
/// # Panics
///
/// When it was not built.
pub fn guest(name: &str) -> PathBuf {
    let guests = std::env::var("WEIR_GUESTS")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../target/guests").to_owned());
    let path = Path::new(&guests).join(name).with_extension("wasm");
    assert!(
        path.is_file(),
        "{} is not built: run `make guests`",
        path.display()
    );
    path
}

/// A running Weir; killed when dropped, unless it has ended.
pub struct Weir {
    child: Child,
    /// Another than the child where that has handed over.
    process: u32,
    folder: TempDir,
    log: Arc<Mutex<Vec<Value>>>,
    proxies: Vec<SocketAddr>,
    admin: SocketAddr,
}

impl Weir {
    /// Starts with a configuration whose addresses end in port 0, and waits until it listens.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    /// As [`Weir::start`], with environment variables.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start_with(config: &str, environment: &[(&str, &str)]) -> Self {
        Self::launch(config, environment, &["--no-watch"])
    }

    /// As [`Weir::start`], with a value set over the file: `key.path=value`.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start_set(config: &str, value: &str) -> Self {
        Self::launch(config, &[], &["--no-watch", "--set", value])
    }

    /// As [`Weir::start`], of one that reloads by itself when its file changes.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn watching(config: &str) -> Self {
        Self::launch(config, &[], &[])
    }

    fn launch(config: &str, environment: &[(&str, &str)], flags: &[&str]) -> Self {
        Self::launch_by(|_| binary(), config, environment, flags)
    }

    fn launch_by(
        program: impl Fn(&Path) -> PathBuf,
        config: &str,
        environment: &[(&str, &str)],
        flags: &[&str],
    ) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("weir.yaml");
        std::fs::write(&file, config).expect("write the configuration");
        let mut child = Command::new(program(folder.path()))
            .args(["run", "--config"])
            .arg(&file)
            .args(flags)
            .env("WEIR_LOG", "json")
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start weir");
        let stderr = child.stderr.take().expect("piped");
        let log: Arc<Mutex<Vec<Value>>> = Arc::default();
        let lines = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                lines.lock().expect("lock").push(value);
            }
        });
        let unset = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut weir = Self {
            process: child.id(),
            child,
            folder,
            log,
            proxies: Vec::new(),
            admin: unset,
        };
        weir.admin = eventually("weir listens", || {
            if let Some(status) = weir.child.try_wait().expect("wait") {
                panic!("weir ended with {status}: {:#?}", weir.log());
            }
            weir.addresses("admin listening").first().copied()
        });
        weir.proxies = weir.addresses("listening");
        weir
    }

    /// Starts with a configuration that is not to start, and gives what standard error says.
    ///
    /// # Panics
    ///
    /// When it starts.
    pub fn refusal(config: &str) -> String {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("weir.yaml");
        std::fs::write(&file, config).expect("write the configuration");
        let mut command = Command::new(binary());
        command
            .args(["run", "--config"])
            .arg(&file)
            .env("NO_COLOR", "1");
        let output = command.output().expect("start weir");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Where the first listener listens.
    pub fn proxy(&self) -> SocketAddr {
        self.proxies[0]
    }

    /// Where all listeners listen, in the configuration's order.
    pub fn proxies(&self) -> &[SocketAddr] {
        &self.proxies
    }

    /// All addresses that a listener was opened on so far, those of later reloads at the end.
    pub fn listened(&self) -> Vec<SocketAddr> {
        self.addresses("listening")
    }

    /// Where it receives OTLP: `grpc` or `http`.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn otlp(&self, protocol: &str) -> SocketAddr {
        let log = self.log();
        let mut lines = log
            .iter()
            .filter(|line| line["message"] == "receiving OTLP" && line["protocol"] == protocol);
        let address = lines.next().and_then(|line| line["address"].as_str());
        address
            .and_then(|address| address.parse().ok())
            .expect("it receives OTLP")
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.process
    }

    /// Physical memory that the process uses now (`VmRSS`), in bytes.
    ///
    /// # Panics
    ///
    /// When the process has ended.
    pub fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most physical memory that the process ever used (`VmHWM`), in bytes.
    ///
    /// # Panics
    ///
    /// When the process has ended.
    pub fn peak_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.process);
        let status = std::fs::read_to_string(path).expect("weir runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.expect("a resident size") * 1024
    }

    /// The log's lines so far.
    ///
    /// # Panics
    ///
    /// When reading them panicked.
    pub fn log(&self) -> Vec<Value> {
        self.log.lock().expect("lock").clone()
    }

    /// Whether any line of the log so far contains a text; [`Weir::says`] waits for it.
    pub fn logged(&self, text: &str) -> bool {
        self.log()
            .iter()
            .any(|line| line.to_string().contains(text))
    }

    /// Waits until the log says something: its lines are written by a thread of their own, and may
    /// come after what they tell of can be seen.
    ///
    /// # Panics
    ///
    /// When it does not within two minutes.
    pub fn says(&self, text: &str) {
        eventually(&format!("the log says `{text}`"), || {
            self.logged(text).then_some(())
        });
    }

    /// `GET` through the proxy.
    pub fn get(&self, target: &str, headers: &[&str]) -> Response {
        client::get(self.proxy(), target, headers)
    }

    /// The text of `/metrics`.
    pub fn metrics(&self) -> String {
        client::get(self.admin, "/metrics", &[]).text()
    }

    /// One value of `/metrics`, by its name with labels as printed; 0 where it is not there.
    pub fn metric(&self, name: &str) -> f64 {
        self.value(name)
    }

    /// As [`Weir::metric`], of what is counted.
    pub fn count(&self, name: &str) -> u64 {
        self.value(name)
    }

    fn value<T: FromStr + Default>(&self, name: &str) -> T {
        let metrics = self.metrics();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        // Of plugins, what is counted is printed as a float.
        let whole = |value: &str| value.strip_suffix(".0").unwrap_or(value).parse().ok();
        line.and_then(|value| whole(value.trim()))
            .unwrap_or_default()
    }

    /// The body of `/readyz`.
    pub fn ready(&self) -> Value {
        client::get(self.admin, "/readyz", &[]).json()
    }

    /// Writes another configuration and asks for a reload.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    pub fn reload(&self, config: &str) -> Response {
        self.write(config);
        let request =
            "POST /reload HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        client::send(self.admin, request)
    }

    /// What the API answers to a GET.
    pub fn api(&self, target: &str) -> Response {
        let host = self.admin;
        let head = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        client::send(self.admin, head)
    }

    /// Writes another configuration, for a reload by SIGHUP.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    pub fn write(&self, config: &str) {
        std::fs::write(self.folder.path().join("weir.yaml"), config)
            .expect("write the configuration");
    }

    /// Sends a signal, such as `"TERM"`.
    ///
    /// # Panics
    ///
    /// When there is no `kill`.
    pub fn signal(&self, signal: &str) {
        let pid = self.process.to_string();
        let status = Command::new("kill")
            .args(["-s", signal, &pid])
            .status()
            .expect("kill");
        assert!(status.success());
    }

    /// Has a new process take over, and waits until the one before has ended.
    ///
    /// # Panics
    ///
    /// When that does not happen, or the one before did not end well.
    pub fn hand_over(&mut self) {
        let before = self.process;
        self.signal("USR2");
        self.follow("handed over");
        if before == self.child.id() {
            assert!(self.wait().success());
        }
        eventually("the process before ends", || {
            has_ended(before).then_some(())
        });
    }

    /// From now on it is another process: the one that the log names with this message.
    ///
    /// # Panics
    ///
    /// When it does not within two minutes.
    pub fn follow(&mut self, message: &str) {
        let before = self.process;
        self.process = eventually("there is another process", || {
            let log = self.log();
            let named = log.iter().rev().find(|line| line["message"] == message);
            let process = named?["process"].as_u64()?;
            u32::try_from(process).ok().filter(|one| *one != before)
        });
    }

    /// Waits for the end of the process that was started first.
    ///
    /// # Panics
    ///
    /// When it does not come.
    pub fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("weir ends", || child.try_wait().expect("wait"))
    }

    fn addresses(&self, message: &str) -> Vec<SocketAddr> {
        let log = self.log();
        let lines = log.iter().filter(|line| line["message"] == message);
        lines
            .filter_map(|line| line["address"].as_str()?.parse().ok())
            .collect()
    }
}

/// Whether a process is gone, or waits for its parent to look.
fn has_ended(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
    stat.map_or(true, |stat| stat.contains(") Z "))
}

impl Drop for Weir {
    fn drop(&mut self) {
        if self.process != self.child.id() {
            let process = self.process.to_string();
            let _ = Command::new("kill").args(["-s", "KILL", &process]).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
