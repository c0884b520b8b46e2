//! `docs/cookbook.md`, cooked: each configuration is served, each command is run and says what the page
//! says, and the traces are as shown.

use std::process::Command;

use serde_json::Value;
use weir_tests::client;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{files, read, root};

const PAGE: &str = "docs/cookbook.md";

/// What stands under one heading.
struct Recipe {
    heading: String,
    /// Language and text of each fenced block.
    blocks: Vec<(String, String)>,
}

impl Recipe {
    fn all(page: &str) -> Vec<Self> {
        let sections = page.split("\n## ").skip(1);
        let recipe = |section: &str| {
            let heading = section.lines().next().expect("a heading");
            let fenced = section.split("```").skip(1).step_by(2);
            let blocks = fenced.map(|block| {
                let (language, text) = block.split_once('\n').expect("a block has lines");
                (language.to_owned(), text.to_owned())
            });
            Self {
                heading: heading.to_owned(),
                blocks: blocks.collect(),
            }
        };
        sections.map(recipe).collect()
    }

    fn blocks(&self, language: &str) -> impl Iterator<Item = &str> {
        let blocks = self.blocks.iter();
        let found = blocks.filter(move |(other, _)| other == language);
        found.map(|(_, text)| text.as_str())
    }

    /// The one block of this language.
    fn block(&self, language: &str) -> &str {
        let mut blocks = self.blocks(language);
        let block = blocks.next();
        let block = block.unwrap_or_else(|| panic!("{}: no {language}", self.heading));
        assert!(blocks.next().is_none(), "{}: two {language}", self.heading);
        block
    }
}

/// A configuration of the page's, on free ports and before this upstream.
fn serve(config: &str, upstream: Option<&Weir>) -> Weir {
    let first = config.lines().next().expect("a line");
    let variables: Vec<(&str, &str)> = first
        .strip_prefix("# ")
        .map(|names| names.split(' ').filter_map(|word| word.split_once('=')))
        .into_iter()
        .flatten()
        .collect();
    let config = match upstream {
        Some(upstream) => config.replace("127.0.0.1:9000", &upstream.proxy().to_string()),
        None => config.replace("127.0.0.1:9000", "127.0.0.1:0"),
    };
    let mut config = config
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("127.0.0.1:9902", "127.0.0.1:0");
    for (key, line) in [
        ("workers:", "workers: 1\n"),
        ("admin:", "admin: { address: \"127.0.0.1:0\" }\n"),
    ] {
        if !config.lines().any(|other| other.starts_with(key)) {
            config += line;
        }
    }
    Weir::start_with(&config, &variables)
}

/// The page's text with this Weir's addresses.
fn here(text: &str, weir: &Weir) -> String {
    text.replace("127.0.0.1:8080", &weir.proxy().to_string())
        .replace("127.0.0.1:9901", &weir.admin().to_string())
}

/// What a script says.
fn sh(script: &str) -> String {
    let output = Command::new("bash")
        .args(["-c", script])
        .output()
        .expect("bash runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The commands of a block, each with the lines that it is to say.
fn commands(block: &str) -> Vec<(String, Vec<&str>)> {
    let mut commands: Vec<(String, Vec<&str>)> = Vec::new();
    for line in block.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push((command.to_owned(), Vec::new()));
            continue;
        }
        let (command, said) = commands.last_mut().expect("a command stands first");
        if command.ends_with('\\') {
            *command += "\n";
            *command += line;
        } else {
            said.push(line.trim());
        }
    }
    commands
}

/// Runs the commands, and holds what they say against the page.
fn follow(recipe: &Recipe, weir: &Weir) {
    // What was assigned is there for the commands behind it.
    let mut assigned = String::new();
    for (command, expected) in commands(recipe.block("console")) {
        let command = here(&command, weir);
        let name = command.split_once('=').map(|(name, _)| name);
        if name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_uppercase())) {
            assigned += &format!("{command}\n");
            continue;
        }
        assert!(!expected.is_empty(), "{command}: the page says nothing");
        let said = sh(&format!("{assigned}{command}"));
        for line in expected {
            assert!(
                said.lines().any(|other| other.trim() == line),
                "{}: {command}\nsays no `{line}`:\n{said}",
                recipe.heading
            );
        }
    }
}

/// Whether all that the page shows of something is in it; of spans, in this order.
fn has(whole: &Value, shown: &Value) -> bool {
    match shown {
        Value::Object(shown) => shown.iter().all(|(key, shown)| match shown {
            Value::Array(spans) if key == "Spans" => {
                let mut all = whole[key].as_array().into_iter().flatten();
                spans.iter().all(|span| all.any(|other| has(other, span)))
            }
            shown => has(&whole[key], shown),
        }),
        shown => whole == shown,
    }
}

/// All traces that are in the store now.
fn traces(weir: &Weir) -> Vec<Value> {
    let get = |path: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        client::send(weir.admin(), request).json()
    };
    let list = get("/api/traces?limit=100");
    let list = list["traces"].as_array().expect("a list");
    let ids = list
        .iter()
        .map(|trace| trace["trace_id"].as_str().expect("an id"));
    ids.map(|id| get(&format!("/api/traces/{id}"))["trace"].take())
        .collect()
}

#[test]
fn each_recipe_does_what_it_says_and_its_trace_shows_it() {
    let page = read(PAGE);
    let recipes = Recipe::all(&page);
    let (begin, recipes) = recipes.split_first().expect("how to begin");
    assert!(recipes.len() >= 14, "{} recipes", recipes.len());
    let upstream = serve(begin.block("yaml"), None);
    for recipe in recipes {
        let weir = serve(recipe.block("yaml"), Some(&upstream));
        follow(recipe, &weir);
        let mut count = 0;
        for shown in recipe.blocks("json") {
            let shown: Value = serde_json::from_str(shown)
                .unwrap_or_else(|error| panic!("{}: {error}", recipe.heading));
            let what = format!("`{}` has a trace with {shown:#}", recipe.heading);
            eventually(&what, || {
                traces(&weir)
                    .iter()
                    .any(|one| has(one, &shown))
                    .then_some(())
            });
            count += 1;
        }
        assert!(count > 0, "{}: no trace is shown", recipe.heading);
    }
}

#[test]
fn the_latest_trace_is_printed_as_the_page_says() {
    let page = read(PAGE);
    let recipes = Recipe::all(&page);
    let upstream = serve(recipes[0].block("yaml"), None);
    let weir = serve(recipes[1].block("yaml"), Some(&upstream));
    assert_eq!(weir.get("/v1/hello", &[]).status, 401);
    eventually("the trace is kept", || traces(&weir).pop());
    let said = sh(&here(&format!("{}trace", recipes[0].block("sh")), &weir));
    let trace: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(trace["Spans"][0]["Kind"], "http.request");
}

#[test]
fn each_bundled_plugin_has_a_recipe() {
    let page = read(PAGE);
    let plugins = files(&root().join("wasm-plugins"), "toml");
    let mut count = 0;
    for manifest in plugins {
        let folder = manifest.parent().and_then(|folder| folder.file_name());
        let name = folder.expect("a folder").to_string_lossy();
        if weir::plugin::registry::builtin(&name).is_none() {
            continue;
        }
        assert!(page.contains(&format!("builtin:{name}")), "{name}");
        count += 1;
    }
    assert!(count >= 13, "{count} plugins");
}
