//! Faults as text for people, and in the forms that editors, CI and code scanners read.

use std::fmt;

use serde_json::{Value as Json, json};

use super::fault::{Code, Fault, Faults, Severity, Source};

/// How `weir check` writes what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people, one block for each fault
    Text,
    /// One JSON object
    Json,
    /// Workflow commands that annotate a pull request on GitHub
    Github,
    /// SARIF 2.1.0, for code scanners and editors
    Sarif,
}

impl Faults {
    /// The whole report. Each line of it ends with a line feed.
    pub fn report(&self, format: Format) -> String {
        match format {
            Format::Text => self.to_string(),
            Format::Json => pretty(&self.to_json()),
            Format::Github => self
                .list
                .iter()
                .map(|fault| self.to_github(fault))
                .collect(),
            Format::Sarif => pretty(&self.to_sarif()),
        }
    }

    /// Where a fault is: a line of the file, or what was put over it.
    pub fn place(&self, fault: &Fault) -> String {
        let place = &fault.place;
        match &place.source {
            Source::File => format!("{}:{}:{}", self.file.display(), place.line, place.column),
            source => source.to_string(),
        }
    }

    fn to_json(&self) -> Json {
        let faults = self.list.iter().map(|fault| {
            let place = &fault.place;
            let in_file = place.source == Source::File;
            json!({
                "severity": fault.severity(),
                "code": fault.code,
                "path": fault.path,
                "message": fault.message,
                "hint": fault.hint,
                "source": if in_file { json!("file") } else { json!(place.source.to_string()) },
                "line": in_file.then_some(place.line),
                "column": in_file.then_some(place.column),
            })
        });
        json!({
            "file": self.file,
            "valid": self.count(Severity::Error) == 0,
            "faults": faults.collect::<Vec<_>>(),
        })
    }

    /// <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>
    fn to_github(&self, fault: &Fault) -> String {
        let severity = fault.severity();
        let code = fault.code;
        let file = property(&self.file.display().to_string());
        let message = data(&fault.sentence());
        let at = match &fault.place.source {
            Source::File => format!(",line={},col={}", fault.place.line, fault.place.column),
            Source::Environment(_) | Source::Set(_) => String::new(),
        };
        format!("::{severity} file={file}{at},title={code}::{message}\n")
    }

    fn to_sarif(&self) -> Json {
        let rules = Code::ALL
            .iter()
            .map(|code| json!({"id": code, "shortDescription": {"text": code.title()}}));
        let results = self.list.iter().map(|fault| {
            let mut location = json!({"artifactLocation": {"uri": self.file}});
            if fault.place.source == Source::File {
                let (line, column) = (fault.place.line, fault.place.column);
                location["region"] = json!({"startLine": line, "startColumn": column});
            }
            json!({
                "ruleId": fault.code,
                "level": fault.severity(),
                "message": {"text": fault.sentence()},
                "locations": [{"physicalLocation": location}],
            })
        });
        json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": {"driver": {
                    "name": "weir",
                    "version": env!("CARGO_PKG_VERSION"),
                    "rules": rules.collect::<Vec<_>>(),
                }},
                "columnKind": "unicodeCodePoints",
                "results": results.collect::<Vec<_>>(),
            }],
        })
    }
}

impl Fault {
    /// All of it in one line, for forms that have one field for text.
    fn sentence(&self) -> String {
        let mut text = String::new();
        if self.place.source != Source::File {
            text += &format!("{}: ", self.place.source);
        }
        if !self.path.is_empty() {
            text += &format!("{}: ", self.path);
        }
        text += &self.message;
        if let Some(hint) = &self.hint {
            text += &format!(" ({hint})");
        }
        text
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.list {
            write!(f, "{}[{}]: ", fault.severity(), fault.code)?;
            if !fault.path.is_empty() {
                write!(f, "{}: ", fault.path)?;
            }
            writeln!(f, "{}", fault.message)?;
            writeln!(f, "  --> {}", self.place(fault))?;
            if let Some(hint) = &fault.hint {
                writeln!(f, "  = help: {hint}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("file"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Set(keys) => write!(f, "--set {keys}"),
        }
    }
}

fn pretty(json: &Json) -> String {
    format!("{json:#}\n")
}

fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
