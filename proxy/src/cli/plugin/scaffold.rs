//! The files of a new project, by language; the SDK's among them, for it is not published.

use super::project::Language;

/// The SDK in Rust, as a package of its own: (path, text).
const SDK: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// What stands for the plugin's name in a template, as it is and as an identifier.
const NAME: &str = "{{name}}";

/// A template's path in the project, and its text.
type Template = (&'static str, &'static str);

macro_rules! template {
    ($path:literal, $file:literal) => {
        ($path, include_str!(concat!("scaffold/", $file)))
    };
}

const COMMON: [Template; 2] = [
    template!("cases.yaml", "cases.yaml"),
    template!("weir.yaml", "weir.yaml"),
];

const RUST: [Template; 4] = [
    template!("Cargo.toml", "rust/Cargo.toml.txt"),
    template!("src/lib.rs", "rust/lib.rs.txt"),
    template!("README.md", "rust/README.md"),
    template!(".gitignore", "rust/gitignore.txt"),
];

const JAVASCRIPT: [Template; 6] = [
    template!("package.json", "javascript/package.json.txt"),
    template!("jsconfig.json", "javascript/jsconfig.json.txt"),
    template!("src/plugin.js", "javascript/plugin.js.txt"),
    template!("test/plugin.test.js", "javascript/plugin.test.js.txt"),
    template!("README.md", "javascript/README.md"),
    template!(".gitignore", "javascript/gitignore.txt"),
];

const PYTHON: [Template; 5] = [
    template!("pyproject.toml", "python/pyproject.toml.txt"),
    template!("src/plugin.py", "python/plugin.py.txt"),
    template!("tests/test_plugin.py", "python/test_plugin.py.txt"),
    template!("README.md", "python/README.md"),
    template!(".gitignore", "python/gitignore.txt"),
];

/// The SDKs in the other languages, as they are in the repository.
macro_rules! sdk {
    ($folder:literal: $($path:literal),*) => {
        [$(($path, include_str!(concat!("../../../../sdk/", $folder, "/", $path)))),*]
    };
}

const JAVASCRIPT_SDK: &[Template] = &sdk!("javascript": "weir.js", "weir.d.ts", "bind.js", "globals.js", "entry.js", "testing.js", "testing.d.ts");
const PYTHON_SDK: &[Template] = &sdk!("python": "app.py", "standard.py", "weir/__init__.py", "weir/bound.py", "weir/testing.py");

/// All files of a new project: path in its folder, and text.
pub(super) fn files(language: Language, name: &str) -> Vec<(String, String)> {
    // The contract goes into each of them.
    let wit = SDK.iter().filter(|(path, _)| path.starts_with("wit/"));
    let (templates, sdk): (&[Template], Vec<&Template>) = match language {
        Language::Rust => (&RUST, SDK.iter().collect()),
        Language::Javascript => (&JAVASCRIPT, JAVASCRIPT_SDK.iter().chain(wit).collect()),
        Language::Python => (&PYTHON, PYTHON_SDK.iter().chain(wit).collect()),
    };
    let own = templates.iter().chain(&COMMON);
    let own = own.map(|(path, text)| ((*path).to_owned(), text.replace(NAME, name)));
    let sdk = sdk.into_iter();
    let sdk = sdk.map(|(path, text)| (format!("sdk/{path}"), (*text).to_owned()));
    own.chain(sdk).collect()
}

#[cfg(test)]
mod tests {
    use super::super::componentize;
    use super::*;

    #[test]
    fn the_sdks_manifest_stands_by_itself() {
        let (_, manifest) = SDK[0];
        assert!(manifest.starts_with("[package]\nname = \"weir-sdk\"\n"));
        assert!(!manifest.contains("workspace"), "{manifest}");
        assert!(
            manifest.contains(
                r#"wit-bindgen = { version = "0.61", default-features = false, features = ["macros", "realloc", "bitflags"] }"#
            ),
            "{manifest}"
        );
        assert!(manifest.contains("\nthiserror = \"2\"\n"), "{manifest}");
        assert!(
            manifest.contains(", optional = true, features ="),
            "{manifest}"
        );
    }

    #[test]
    fn no_placeholder_is_left() {
        for language in Language::ALL {
            for (path, text) in files(language, "hello") {
                assert!(path.starts_with("sdk/") || !text.contains(NAME), "{path}");
            }
        }
    }

    #[test]
    fn the_manifests_name_the_tools_that_are_tested() {
        let (_, package) = JAVASCRIPT[0];
        let pinned = format!("componentize-js\": \"{}\"", componentize::JAVASCRIPT);
        assert!(package.contains(&pinned), "{package}");
        let (_, project) = PYTHON[0];
        let pinned = format!("componentize-py=={}", componentize::PYTHON);
        assert!(project.contains(&pinned), "{project}");
    }
}
