//! The way from a file to a checked configuration:
//! text, tree, overrides, schema, raw types, what values mean together.
//!
//! Each step takes what it finds wrong out of the tree and goes on with the rest, so that one run
//! shows every fault, and each fault once.

use std::collections::HashSet;
use std::path::Path as FilePath;

use super::environment::Environment;
use super::fault::{Code, Fault, Faults, Place, Severity};
use super::path::Path;
use super::resolve::{Names, Resolver};
use super::tree::{Node, Value};
use super::{Config, overrides, raw, schema};

/// A configuration that can be served.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// What an operator should know, though nothing is wrong.
    pub warnings: Faults,
}

/// Reads `file`, puts `WEIR__` variables and then `set` (each `a.b.c=value`) onto it, and checks
/// all of it. Relative paths in the configuration are meant from the file's folder.
pub fn load(file: &FilePath, set: &[String], environment: &Environment) -> Result<Loaded, Faults> {
    parse(&read(file)?, file, set, environment)
}

/// The text of a configuration.
pub(super) fn read(file: &FilePath) -> Result<String, Faults> {
    let fail = |fault| Faults::new(file.to_owned(), vec![fault]);
    let text = std::fs::read(file).map_err(|error| fail(unreadable(error.to_string())))?;
    String::from_utf8(text).map_err(|_| fail(unreadable("it is not UTF-8".into())))
}

/// As [`load`], of a text that was read already; `file` is what it is called.
pub fn parse(
    text: &str,
    file: &FilePath,
    set: &[String],
    environment: &Environment,
) -> Result<Loaded, Faults> {
    let folder = file.parent().unwrap_or(FilePath::new(""));
    let (config, faults) = check(text, folder, set, environment);
    let faults = Faults::new(file.to_owned(), faults);
    match config {
        Some(config) if faults.count(Severity::Error) == 0 => Ok(Loaded {
            config,
            warnings: faults,
        }),
        _ => Err(faults),
    }
}

fn unreadable(cause: String) -> Fault {
    let message = format!("cannot read the configuration: {cause}");
    Fault::new(Code::Unreadable, &Path::root(), Place::start(), message)
}

/// What is written, in the text and in the overrides, and what is wrong with how it is.
pub(super) fn read_tree(
    text: &str,
    set: &[String],
    environment: &Environment,
) -> Result<(Node, Vec<Fault>), Fault> {
    let mut tree = Node::parse(text).map_err(|error| {
        let message = format!("not valid YAML: {}", error.message);
        Fault::new(Code::Syntax, &Path::root(), error.place, message)
    })?;
    if matches!(tree.value, Value::Null) {
        tree = Node::empty_map(Place::start());
    }
    let mut faults = Vec::new();
    for (path, place) in tree.take_duplicates() {
        let message = "is written twice";
        let first = tree.place_of_key(&path).line;
        let fault = Fault::new(Code::DuplicateKey, &path, place, message);
        faults.push(fault.with_hint(format!("it is first written on line {first}")));
    }
    faults.extend(overrides::apply(&mut tree, set, environment));
    Ok((tree, faults))
}

/// What is wrong with a configuration, and shows only to who puts it to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub code: Code,
    pub path: Path,
    pub message: String,
    /// The way out, where there is one to tell.
    pub hint: Option<String>,
}

/// Adds what was found, each at its place in the file, to the faults found before.
pub fn with_findings(
    file: &FilePath,
    set: &[String],
    environment: &Environment,
    faults: Faults,
    findings: Vec<Finding>,
) -> Faults {
    let tree = read(file).ok();
    let tree = tree.and_then(|text| read_tree(&text, set, environment).ok());
    let placed = findings.into_iter().map(|found| {
        let place = |(tree, _): &(Node, _)| match found.code {
            Code::UnknownKey => tree.place_of_key(&found.path),
            _ => tree.place(&found.path),
        };
        let place = tree.as_ref().map_or_else(Place::start, place);
        Fault {
            hint: found.hint,
            ..Fault::new(found.code, &found.path, place, found.message)
        }
    });
    let mut list = faults.list;
    for fault in placed {
        // Chains that share a key of the plugin's own share what is wrong with it.
        if !list.contains(&fault) {
            list.push(fault);
        }
    }
    Faults::new(faults.file, list)
}

/// The configuration as far as it can be made, and all that is wrong with it.
fn check(
    text: &str,
    folder: &FilePath,
    set: &[String],
    environment: &Environment,
) -> (Option<Config>, Vec<Fault>) {
    let (mut tree, mut faults) = match read_tree(text, set, environment) {
        Ok(read) => read,
        Err(fault) => return (None, vec![fault]),
    };
    let is_empty = matches!(&tree.value, Value::Map(entries) if entries.is_empty());
    let mut judged = HashSet::new();
    let names = Names::of(&tree);
    for (path, fault) in schema::take_faults(&mut tree) {
        judged.insert(path);
        faults.push(fault);
    }
    let Ok(raw) = serde_json::from_value::<raw::Config>(tree.to_json()) else {
        let message = "what the schema accepts could not be read: this is a bug in Weir";
        faults.push(Fault::new(
            Code::InvalidValue,
            &Path::root(),
            Place::start(),
            message,
        ));
        return (None, faults);
    };
    let mut resolver = Resolver::new(&tree, folder, environment, names, judged);
    let config = resolver.config(raw);
    faults.extend(resolver.into_faults());
    if let Some(last) = faults
        .iter_mut()
        .find(|one| is_empty && one.path == "routes")
    {
        last.hint = Some("`weir config example` prints one to start from".to_owned());
    }
    (config, faults)
}
