//! Weir's JSON beside what protobuf's own printer makes of the same bytes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;
use weir::otlp::json::{Dialect, write};
use weir::otlp::testing::Generator;
use weir::otlp::{Signal, check::check};

use crate::clients::{python, script};

/// Requests of each signal.
const REQUESTS: u64 = 400;

#[test]
fn both_dialects_are_what_protobufs_own_printer_writes() {
    let mut cases = String::new();
    for seed in 0..REQUESTS {
        for signal in Signal::ALL {
            let request = Generator::new(seed).request(signal);
            check(signal.request(), &request).expect("well-formed");
            let text = |dialect| {
                let mut out = Vec::new();
                write(signal.request(), &request, dialect, &mut out);
                String::from_utf8(out).expect("UTF-8")
            };
            let case = json!({
                "signal": signal.as_str(),
                "protobuf": base64(&request),
                "snake": text(Dialect::SnakeCase),
                "otlp": text(Dialect::Otlp),
            });
            writeln!(cases, "{case}").expect("memory");
        }
    }
    let mut child = Command::new(python())
        .arg(script("compare_json.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python runs: see services/install.sh");
    let mut stdin = child.stdin.take().expect("piped");
    let writing = std::thread::spawn(move || stdin.write_all(cases.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    writing.join().expect("no panic").expect("all was read");
    assert_eq!(said.trim(), (3 * REQUESTS).to_string());
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes(word);
        for index in 0..4 {
            if index <= chunk.len() {
                let digit = word >> (18 - 6 * index) & 63;
                out.push(char::from(DIGITS[digit as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}
