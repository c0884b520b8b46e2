//! A real directory of ACME, pebble, and the DNS server that it asks: every name is 127.0.0.1.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::service::{free_port, service};
use crate::tls::Authority;
use crate::wait::eventually;

/// A directory whose place is known before it is there.
pub struct Directory {
    folder: TempDir,
    port: u16,
    management: u16,
    /// Of its own certificate.
    authority: Authority,
    running: Option<(Program, Program)>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            folder: TempDir::new().expect("a folder"),
            port: free_port(),
            management: free_port(),
            authority: Authority::default(),
            running: None,
        }
    }
}

impl Directory {
    /// As `tls.acme` has it, for these names.
    pub fn acme(&self, challenge: &str, domains: &[&str]) -> Value {
        json!({
            "directory": format!("https://127.0.0.1:{}/dir", self.port),
            "domains": domains,
            "terms_of_service_agreed": true,
            "contact": ["ops@weir.example"],
            "challenge": challenge,
            "ca": self.authority.pem(),
        })
    }

    /// Starts it, with no memory of an earlier run. It looks for HTTP-01 and TLS-ALPN-01 at these
    /// addresses.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start(&mut self, http: SocketAddr, tls: SocketAddr, more: Value) {
        self.stop();
        let identity = self.authority.issue(&["127.0.0.1"]);
        let (certificate, key) = identity.write(self.folder.path(), "directory");
        let mut pebble = json!({
            "listenAddress": format!("127.0.0.1:{}", self.port),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": certificate,
            "privateKey": key,
            "httpPort": http.port(),
            "tlsPort": tls.port(),
            "keyAlgorithm": "ecdsa",
            "retryAfter": { "authz": 1, "order": 1 },
        });
        if let (Some(pebble), Value::Object(mut more)) = (pebble.as_object_mut(), more) {
            pebble.append(&mut more);
        }
        let file = self.folder.path().join("pebble.json");
        let config = json!({ "pebble": pebble }).to_string();
        std::fs::write(&file, config).expect("write");
        let dns = format!("127.0.0.1:{}", free_port());
        let names = Program::start(
            &service("go/bin/pebble-challtestsrv"),
            &[
                "-dnsserver",
                &dns,
                "-defaultIPv6",
                "",
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
                "-doh",
                "",
                "-management",
                &format!("127.0.0.1:{}", free_port()),
            ],
        );
        let file = file.to_str().expect("a path");
        let pebble = Program::start(
            &service("go/bin/pebble"),
            &["-config", file, "-dnsserver", &dns],
        );
        self.running = Some((names, pebble));
        for port in [self.port, self.management] {
            eventually("the directory listens", || {
                TcpStream::connect(("127.0.0.1", port)).ok()
            });
        }
    }

    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Who signs what it issues; another after each start.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn root(&self) -> Authority {
        let url = format!("https://127.0.0.1:{}/roots/0", self.management);
        let output = Command::new("curl")
            .args(["--silent", "--fail", "--insecure", &url])
            .output()
            .expect("curl");
        assert!(output.status.success(), "no root");
        Authority::known(String::from_utf8(output.stdout).expect("PEM"))
    }
}

/// A program that ends with the test, however that ends: a shell beside it waits for its standard
/// input to close.
struct Program(Child);

impl Program {
    fn start(program: &Path, arguments: &[&str]) -> Self {
        let child = Command::new("sh")
            .args(["-c", "\"$@\" & cat >/dev/null; kill $!; wait $!", "sh"])
            .arg(program)
            .args(arguments)
            .env("PEBBLE_VA_NOSLEEP", "1")
            // Each order is a challenge.
            .env("PEBBLE_AUTHZREUSE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("sh"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
