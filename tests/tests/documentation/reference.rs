//! `docs/plugin-reference.md`, made of the contract's own comments.

use std::fmt::Write as _;
use std::fs;

use weir_tests::abi::world;
use wit_parser::{
    Docs, Function, FunctionKind, Handle, Interface, Resolve, Type, TypeDef, TypeDefKind, TypeId,
    TypeOwner, World, WorldId, WorldItem,
};

use crate::{anchor, read, root};

const PAGE: &str = "docs/plugin-reference.md";

const TOP: &str = "\
All that a plugin exports and may call, for authors in any language. This page is made of the comments in
[`sdk/wit/weir.wit`](../sdk/wit/weir.wit), which is the contract: change it there, then write the page anew by
`BLESS=1 cargo test --workspace --test documentation reference`.

To begin with, read [your first plugin](writing-a-plugin.md). In Rust the functions are those of the crate `weir-sdk`
(`cargo doc --open -p weir-sdk`, with examples), in [JavaScript](plugins-in-javascript.md) of `sdk/weir.js`, in
[Python](plugins-in-python.md) of `sdk/weir`. What the bundled plugins do with them is in the [cookbook](cookbook.md); what
a message means that a plugin failed with, in [troubleshooting](troubleshooting.md#on-a-hooks-span).

Names and shapes are those of WIT: `option<t>` may be none, `result<t, e>` is `t` or the error `e`, `list<u8>` are bytes,
`borrow<t>` is lent for the call. A function *traps* where it says so: the hook has failed then, and the operator's `on_error`
decides what becomes of the request. Bounds that are not said here are those of [limits](running-plugins.md#limits).
";

/// The page, as it is written.
struct Page<'r> {
    resolve: &'r Resolve,
    text: String,
    /// What has no comment.
    undocumented: Vec<String>,
}

/// The page for a world, and what in it has no comment.
fn render(resolve: &Resolve, world: WorldId) -> (String, Vec<String>) {
    let world = &resolve.worlds[world];
    let mut page = Page {
        resolve,
        text: format!("# Plugin reference\n\n{TOP}"),
        undocumented: Vec::new(),
    };
    page.package(world);
    page.hooks(world);
    let own = world.imports.values().filter_map(|item| match item {
        WorldItem::Type { id, .. } => Some(*id),
        _ => None,
    });
    page.types("plugin", own, &[]);
    for interface in interfaces(resolve, world) {
        page.interface(interface);
    }
    (page.text.trim_end().to_owned() + "\n", page.undocumented)
}

fn interfaces<'r>(resolve: &'r Resolve, world: &'r World) -> impl Iterator<Item = &'r Interface> {
    world.imports.values().filter_map(|item| match item {
        WorldItem::Interface { id, .. } => Some(&resolve.interfaces[*id]),
        _ => None,
    })
}

impl Page<'_> {
    fn package(&mut self, world: &World) {
        let package = world.package.expect("a world is in a package");
        let package = &self.resolve.packages[package];
        let docs = self.docs("the package", &package.docs);
        let _ = writeln!(self.text, "\n`{}`: {docs}\n", package.name);
        self.text += "- [Hooks](#hooks), and their types\n";
        for interface in interfaces(self.resolve, world) {
            let name = interface.name.as_deref().expect("a name");
            let docs = self.docs(name, &interface.docs);
            let first = docs.split(". ").next().unwrap_or_default();
            let first = first.split_whitespace().collect::<Vec<_>>().join(" ");
            let first = first.trim_end_matches('.');
            let _ = writeln!(self.text, "- [`{name}`](#{}): {first}", anchor(name));
        }
    }

    fn hooks(&mut self, world: &World) {
        let docs = self.docs("the world", &world.docs);
        let _ = write!(self.text, "\n## Hooks\n\n{docs} It exports:\n");
        let functions: Vec<&Function> = world
            .exports
            .values()
            .filter_map(|item| match item {
                WorldItem::Function(function) => Some(function),
                _ => None,
            })
            .collect();
        self.functions("hook", "plugin", &functions);
    }

    fn interface(&mut self, interface: &Interface) {
        let name = interface.name.as_deref().expect("a name");
        let docs = self.docs(name, &interface.docs);
        let _ = writeln!(self.text, "\n## `{name}`\n\n{docs}");
        let functions: Vec<&Function> = interface.functions.values().collect();
        let free: Vec<&Function> = functions
            .iter()
            .copied()
            .filter(|function| function.kind == FunctionKind::Freestanding)
            .collect();
        self.functions("function", name, &free);
        self.types(name, interface.types.values().copied(), &functions);
    }

    /// A table of functions.
    fn functions(&mut self, what: &str, place: &str, functions: &[&Function]) {
        if functions.is_empty() {
            return;
        }
        let _ = write!(self.text, "\n| {what} | |\n|---|---|\n");
        for function in functions {
            let name = function.item_name();
            let docs = self.cell(&format!("{place}.{name}"), &function.docs);
            let parameters = function.params.iter();
            let own = usize::from(matches!(function.kind, FunctionKind::Method(_)));
            let parameters: Vec<String> = parameters
                .skip(own)
                .map(|one| format!("{}: {}", one.name, self.shape(one.ty)))
                .collect();
            let result = function.result.map(|result| self.shape(result));
            let result = result.map(|result| format!(" -> {result}"));
            let _ = writeln!(
                self.text,
                "| `{name}({}){}` | {docs}{} |",
                parameters.join(", "),
                result.unwrap_or_default(),
                self.fails_with(function)
            );
        }
    }

    /// Where the error of a function is described.
    fn fails_with(&self, function: &Function) -> String {
        let Some(Type::Id(id)) = function.result else {
            return String::new();
        };
        let TypeDefKind::Result(result) = &self.resolve.types[id].kind else {
            return String::new();
        };
        match result.err {
            Some(Type::Id(error)) => {
                let name = self.full_name(error);
                format!(" Error: [`{name}`](#{}).", anchor(&name))
            }
            _ => String::new(),
        }
    }

    /// Types, each with its cases, fields or methods.
    fn types(&mut self, place: &str, types: impl Iterator<Item = TypeId>, functions: &[&Function]) {
        for id in types {
            // One that is taken from another interface is described there.
            if self.origin(id) != id {
                continue;
            }
            let found = &self.resolve.types[id];
            let name = self.full_name(id);
            let docs = self.docs(&name, &found.docs);
            let _ = writeln!(self.text, "\n### `{name}`\n\n{}: {docs}", self.kind(found));
            let parts: Vec<(String, &Docs)> = match &found.kind {
                TypeDefKind::Resource => {
                    let methods: Vec<&Function> = functions
                        .iter()
                        .copied()
                        .filter(|function| function.kind.resource() == Some(id))
                        .collect();
                    self.functions("method", &name, &methods);
                    continue;
                }
                TypeDefKind::Record(record) => record
                    .fields
                    .iter()
                    .map(|field| {
                        let shape = self.shape(field.ty);
                        (format!("{}: {shape}", field.name), &field.docs)
                    })
                    .collect(),
                TypeDefKind::Variant(variant) => variant
                    .cases
                    .iter()
                    .map(|case| {
                        let shape = case.ty.map(|ty| format!("({})", self.shape(ty)));
                        (
                            format!("{}{}", case.name, shape.unwrap_or_default()),
                            &case.docs,
                        )
                    })
                    .collect(),
                TypeDefKind::Enum(cases) => cases
                    .cases
                    .iter()
                    .map(|case| (case.name.clone(), &case.docs))
                    .collect(),
                TypeDefKind::Flags(flags) => flags
                    .flags
                    .iter()
                    .map(|flag| (flag.name.clone(), &flag.docs))
                    .collect(),
                _ => continue,
            };
            let what = match found.kind {
                TypeDefKind::Record(_) => "field",
                TypeDefKind::Flags(_) => "flag",
                _ => "case",
            };
            let _ = write!(self.text, "\n| {what} | |\n|---|---|\n");
            for (part, docs) in parts {
                let docs = self.cell(&format!("{place}: {name}: {part}"), docs);
                let _ = writeln!(self.text, "| `{part}` | {docs} |");
            }
        }
    }

    fn kind(&self, found: &TypeDef) -> String {
        match &found.kind {
            TypeDefKind::Resource => "A resource".to_owned(),
            TypeDefKind::Record(_) => "A record".to_owned(),
            TypeDefKind::Variant(_) | TypeDefKind::Enum(_) => "One of these".to_owned(),
            TypeDefKind::Flags(_) => "Any of these".to_owned(),
            kind => format!("`{}`", self.structure(kind)),
        }
    }

    /// How a type is written.
    fn shape(&self, ty: Type) -> String {
        let Type::Id(id) = ty else {
            return format!("{ty:?}").to_lowercase();
        };
        let found = &self.resolve.types[id];
        match &found.name {
            Some(name) => name.clone(),
            None => self.structure(&found.kind),
        }
    }

    fn structure(&self, kind: &TypeDefKind) -> String {
        match kind {
            TypeDefKind::Handle(Handle::Borrow(id)) => {
                format!("borrow<{}>", self.shape(Type::Id(*id)))
            }
            TypeDefKind::Handle(Handle::Own(id)) => self.shape(Type::Id(*id)),
            TypeDefKind::Type(ty) => self.shape(*ty),
            TypeDefKind::Option(ty) => format!("option<{}>", self.shape(*ty)),
            TypeDefKind::List(ty) => format!("list<{}>", self.shape(*ty)),
            TypeDefKind::Tuple(tuple) => {
                let types = tuple.types.iter().map(|ty| self.shape(*ty));
                format!("tuple<{}>", types.collect::<Vec<_>>().join(", "))
            }
            TypeDefKind::Result(result) => {
                let ok = result.ok.map(|ty| self.shape(ty));
                let error = result.err.map(|ty| format!(", {}", self.shape(ty)));
                let ok = ok.unwrap_or_else(|| "_".to_owned());
                format!("result<{ok}{}>", error.unwrap_or_default())
            }
            kind => panic!("the page cannot show a {}", kind.as_str()),
        }
    }

    /// The type itself, where this is one that was taken from another interface by `use`.
    fn origin(&self, id: TypeId) -> TypeId {
        match &self.resolve.types[id].kind {
            TypeDefKind::Type(Type::Id(other)) => self.origin(*other),
            _ => id,
        }
    }

    /// With its interface, as `kv.error`: there are several of a name.
    fn full_name(&self, id: TypeId) -> String {
        let found = &self.resolve.types[self.origin(id)];
        let name = found.name.as_deref().expect("a name");
        let place = match found.owner {
            TypeOwner::Interface(id) => self.resolve.interfaces[id].name.as_deref(),
            _ => Some("plugin"),
        };
        format!("{}.{name}", place.expect("a name"))
    }

    fn docs(&mut self, what: &str, docs: &Docs) -> String {
        let text = docs.contents.as_deref().unwrap_or_default().trim();
        if text.is_empty() {
            self.undocumented.push(what.to_owned());
        }
        text.to_owned()
    }

    /// As [`Page::docs`], in a cell of a table.
    fn cell(&mut self, what: &str, docs: &Docs) -> String {
        let text = self.docs(what, docs);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn the_reference_of_plugins_is_what_the_contract_says() {
    let (resolve, world) = world();
    let (made, _) = render(&resolve, world);
    if std::env::var_os("BLESS").is_some() {
        fs::write(root().join(PAGE), &made).expect("written");
    }
    assert!(
        read(PAGE) == made,
        "{PAGE} is not of this contract: BLESS=1 writes it anew"
    );
}

#[test]
fn everything_in_the_contract_has_a_comment() {
    let (resolve, world) = world();
    let (_, undocumented) = render(&resolve, world);
    assert!(undocumented.is_empty(), "no comment: {undocumented:#?}");
}
