//! `weir plugin new`: a project that builds, is tested and runs as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::project::{self, Language};
use super::{Error, print, scaffold};

/// Longest name of a plugin.
const LONGEST: usize = 64;

/// Make a new plugin in a folder of its name: a small hook that works, its configuration, its cases,
/// and a configuration to run it with. The SDK, which is not published, goes into it too.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  weir plugin new hello
  weir plugin new plugins/hello --language python")]
pub struct NewArgs {
    /// The plugin's name, or the folder that is made for it
    #[arg(value_name = "NAME")]
    pub folder: PathBuf,
    /// What it is written in
    #[arg(short, long, value_enum, default_value_t = Language::Rust)]
    pub language: Language,
}

pub(super) fn run(args: &NewArgs) -> Result<ExitCode, Error> {
    let folder = &args.folder;
    let name = name(folder)?;
    let files = scaffold::files(args.language, &name);
    let cannot = |path: &Path, error: &std::io::Error| {
        Error::new(format!("cannot write {}: {error}", path.display()))
    };
    if let Some(above) = folder.parent() {
        fs::create_dir_all(above).map_err(|error| cannot(above, &error))?;
    }
    fs::create_dir(folder).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::new(format!("{} is already there", folder.display()))
                .help("take another name: nothing that is there is overwritten")
        }
        _ => cannot(folder, &error),
    })?;
    for (path, text) in &files {
        let path = folder.join(path);
        let above = path.parent().unwrap_or(folder);
        fs::create_dir_all(above)
            .and_then(|()| fs::write(&path, text))
            .map_err(|error| cannot(&path, &error))?;
    }
    let shown = folder.canonicalize();
    let shown = project::shown(shown.as_deref().unwrap_or(folder));
    print(&format!(
        "made {shown}: {} plugin `{name}`\n\n\
         next:\n  cd {shown}\n  weir plugin test     # builds it; runs its cases natively and in Weir\n  \
         weir plugin inspect dist/{name}.wasm\n",
        args.language.name(),
    ));
    Ok(ExitCode::SUCCESS)
}

/// The folder's name, which is to be that of a package in any language.
fn name(folder: &Path) -> Result<String, Error> {
    let name = folder.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or_default();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.len() <= LONGEST
        && name.chars().all(plain);
    if !fits {
        return Err(
            Error::new(format!("`{}` is no name for a plugin", folder.display())).help(
                "a name has lower-case letters, digits and hyphens, begins with a letter, and does not end \
                 in a hyphen",
            ),
        );
    }
    // Cargo has crates of these names.
    if [
        "weir-sdk",
        "core",
        "std",
        "alloc",
        "test",
        "proc-macro",
        "weir",
    ]
    .contains(&name)
    {
        return Err(
            Error::new(format!("`{name}` is the name of another package"))
                .help("take another name"),
        );
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_the_folder() {
        assert_eq!(
            name(Path::new("a/b/my-plugin2")).expect("fits"),
            "my-plugin2"
        );
        for bad in ["", "..", "A", "2x", "a_b", "a.b", "-a", "a-", "std", "é"] {
            let error = name(Path::new(bad)).expect_err(bad);
            assert!(error.help.is_some(), "{error}");
        }
    }
}
