//! The files of a new project, by language; the SDK's among them, for it is not published.

use super::project::Language;

/// The SDK as a package of its own: (path, text).
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

/// All files of a new project: path in its folder, and text.
pub(super) fn files(language: Language, name: &str) -> Option<Vec<(String, String)>> {
    let (templates, sdk): (&[Template], _) = match language {
        Language::Rust => (&RUST, "sdk/"),
        Language::Javascript | Language::Python => return None,
    };
    let own = templates.iter().chain(&COMMON);
    let own = own.map(|(path, text)| ((*path).to_owned(), text.replace(NAME, name)));
    let sdk = SDK
        .iter()
        .map(|(path, text)| (format!("{sdk}{path}"), (*text).to_owned()));
    Some(own.chain(sdk).collect())
}

#[cfg(test)]
mod tests {
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
        for (path, text) in files(Language::Rust, "hello").expect("there are files") {
            assert!(path.starts_with("sdk/") || !text.contains(NAME), "{path}");
        }
    }
}
