//! The language a module was made of, by what it says itself, and what it needs.
//!
//! A component in JavaScript or Python brings an interpreter and its heap: an instance of it begins with
//! more memory than one in Rust ever has.

use wasmparser::{KnownCustom, Parser, Payload, ProducersSectionReader};

/// What changes the defaults of a plugin's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    JavaScript,
    Python,
    /// Rust, and whatever else brings no interpreter.
    Other,
}

impl Language {
    /// The language that a module says it was made of. It is no judge of what is no module: that is
    /// found when it is compiled.
    pub(super) fn of(module: &[u8]) -> Self {
        for payload in Parser::new(0).parse_all(module) {
            match payload {
                Ok(Payload::CustomSection(section)) => {
                    if let KnownCustom::Producers(producers) = section.as_known()
                        && let Some(language) = Self::named(producers)
                    {
                        return language;
                    }
                }
                // componentize-py does not say who it is, but links the interpreter.
                Ok(Payload::ExportSection(exports)) => {
                    let mut names = exports.into_iter().flatten().map(|export| export.name);
                    if names.any(|name| name.starts_with("libpython")) {
                        return Self::Python;
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        Self::Other
    }

    fn named(producers: ProducersSectionReader<'_>) -> Option<Self> {
        let fields = producers.into_iter().flatten();
        let mut values = fields.flat_map(|field| field.values.into_iter().flatten());
        values.find_map(|value| match value.name {
            "JavaScript" | "ComponentizeJS" => Some(Self::JavaScript),
            "Python" | "componentize-py" => Some(Self::Python),
            _ => None,
        })
    }

    /// Most bytes of memory of an instance, where the configuration does not say. Measured with the
    /// projects that `weir plugin new` makes; see docs/plugins-in-javascript.md and -python.md.
    pub(super) fn memory(self) -> usize {
        match self {
            Self::JavaScript => 128 << 20,
            Self::Python => 64 << 20,
            Self::Other => 16 << 20,
        }
    }
}
