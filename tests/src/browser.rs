//! A real browser, driven by the scenarios of `tests/browser`: one for all tests of a test program, in
//! which each is a visitor of its own. It ends with the test program, however that ends: its standard
//! input closes.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::weir::Weir;

/// Where pictures of the pages are left.
fn shots() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into());
    target.join("console-shots")
}

/// Who drives the browser.
struct Driver(Mutex<Asked>);

struct Asked {
    stdin: ChildStdin,
    /// How many scenarios were asked for.
    count: u64,
    answers: Answers,
}

/// Who waits for which scenario; `None` once no answer will come.
type Answers = Arc<Mutex<Option<HashMap<u64, Sender<Value>>>>>;

impl Driver {
    fn start() -> Self {
        let mut child = Command::new("node")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/browser/drive.mjs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node runs: `make services` installs it");
        let stdin = child.stdin.take().expect("piped");
        let stdout = child.stdout.take().expect("piped");
        let answers: Answers = Arc::new(Mutex::new(Some(HashMap::new())));
        let waiting = Arc::clone(&answers);
        thread::spawn(move || {
            listen(stdout, &waiting);
            child.wait().expect("it has ended");
        });
        Self(Mutex::new(Asked {
            stdin,
            count: 0,
            answers,
        }))
    }

    /// Runs a scenario, and gives what came of it.
    fn run(&self, scenario: &str, given: &Value) -> Value {
        let (sender, answer) = mpsc::channel();
        {
            let asked = &mut *self.0.lock().expect("lock");
            asked.count += 1;
            let number = asked.count;
            if let Some(waiting) = &mut *asked.answers.lock().expect("lock") {
                waiting.insert(number, sender);
            } else {
                drop(sender);
            }
            let line = json!({ "number": number, "scenario": scenario, "given": given });
            // One that has ended gives no answer.
            let _ = writeln!(asked.stdin, "{line}");
        }
        answer
            .recv()
            .expect("the browser's driver answers: standard error says why it ended")
    }
}

/// Passes answers on until the driver ends.
fn listen(stdout: ChildStdout, answers: &Answers) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let Ok(answer) = serde_json::from_str::<Value>(&line) else {
            // No answer, and no reason to leave those who wait for one.
            println!("{line}");
            continue;
        };
        // They begin at 1.
        let number = answer["number"].as_u64().unwrap_or_default();
        let mut answers = answers.lock().expect("lock");
        if let Some(sender) = answers.as_mut().and_then(|of| of.remove(&number)) {
            // A test that waits stays until then.
            let _ = sender.send(answer);
        }
    }
    *answers.lock().expect("lock") = None;
}

/// Runs a scenario against a Weir; `given` are further members of what it is told.
///
/// # Panics
///
/// When something is not as the scenario wants it.
pub fn drive(scenario: &str, weir: &Weir, given: &Value) {
    static DRIVER: LazyLock<Driver> = LazyLock::new(Driver::start);
    let mut told = json!({
        "admin": format!("http://{}", weir.admin()),
        "proxy": format!("http://{}", weir.proxy()),
        "shots": shots(),
    });
    if let (Some(told), Some(given)) = (told.as_object_mut(), given.as_object()) {
        told.extend(given.clone());
    }
    let answer = DRIVER.run(scenario, &told);
    for line in answer["said"].as_array().into_iter().flatten() {
        println!("{scenario}: {}", line.as_str().unwrap_or_default());
    }
    if let Some(failure) = answer["failure"].as_str() {
        panic!("{scenario}: {failure}\n{:#?}", weir.log());
    }
}
