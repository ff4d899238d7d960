//! The public names of the library, compared with a list that is checked in, so that the public API changes only on
//! purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{env, fs};

use super::modules::Tree;
use super::tables::function_named;
use super::text::{Item, imports, items};

/// A definition: its module and its name there.
type Definition = (usize, String);

struct Surface<'a> {
    tree: &'a Tree,
    /// All paths at which each definition can be named.
    paths: BTreeMap<Definition, BTreeSet<String>>,
    names: BTreeSet<String>,
    seen: BTreeSet<(usize, String)>,
}

/// All public names of all features: modules, items, variants of enums, public fields, functions and constants of types
/// and traits. A member is listed once, at the shortest path of its type.
fn public_names(tree: &Tree) -> BTreeSet<String> {
    let mut surface = Surface { tree, paths: BTreeMap::new(), names: BTreeSet::new(), seen: BTreeSet::new() };
    let root = tree.modules.iter().position(|module| module.file == "lib.rs" && module.path.is_empty()).unwrap();
    surface.module(root, "");
    let methods = inherent(tree);
    for (definition, paths) in &surface.paths {
        let path = paths.iter().min_by_key(|path| (path.matches("::").count(), path.as_str())).unwrap();
        let module = &tree.modules[definition.0];
        for item in module.items.iter().filter(|item| item.name == definition.1 && !item.test) {
            match item.kind.as_str() {
                "struct" | "union" => {
                    surface.names.extend(item.members().iter().map(|field| format!("{path}.{field}")));
                }
                "enum" => surface.names.extend(item.members().iter().map(|variant| format!("{path}::{variant}"))),
                "trait" => {
                    let members = items(item.body()).into_iter().filter(|member| !member.hidden && !member.test);
                    surface.names.extend(members.map(|member| format!("{path}::{}", member.name)));
                }
                _ => {}
            }
        }
        let own = methods.get(definition).into_iter().flatten();
        surface.names.extend(own.map(|name| format!("{path}::{name}")));
    }
    surface.names
}

/// Public functions and constants of the types' own `impl` blocks, wherever these are.
fn inherent(tree: &Tree) -> BTreeMap<Definition, BTreeSet<String>> {
    let mut found: BTreeMap<Definition, BTreeSet<String>> = BTreeMap::new();
    for (number, module) in tree.product() {
        for block in module.items.iter().filter(|item| item.kind == "impl" && !item.test && !item.hidden) {
            let Some(path) = block.inherent_type() else { continue };
            let Some((target, Some(name))) = tree.resolve(number, &path) else { continue };
            let own = found.entry((target, name)).or_default();
            for item in items(block.body()).into_iter().filter(|item| !item.test && !item.hidden) {
                if item.public {
                    own.insert(item.name);
                } else if item.kind == "macro" {
                    own.extend(function_named(&item, &module.items));
                }
            }
        }
    }
    found
}

impl Surface<'_> {
    fn module(&mut self, number: usize, prefix: &str) {
        if !self.seen.insert((number, prefix.to_owned())) {
            return;
        }
        let tree = self.tree;
        let module = &tree.modules[number];
        for item in module.items.iter().filter(|item| item.public && !item.test && !item.hidden) {
            match item.kind.as_str() {
                "use" => self.exports(number, item, prefix),
                "mod" => {
                    let path = format!("{prefix}{}", item.name);
                    if let Some(&child) = module.children.get(&item.name) {
                        self.module(child, &format!("{path}::"));
                    }
                    self.names.insert(path);
                }
                _ => self.definition((number, item.name.clone()), format!("{prefix}{}", item.name)),
            }
        }
    }

    fn exports(&mut self, number: usize, item: &Item, prefix: &str) {
        for import in imports(item) {
            let Some(alias) = import.alias else { continue };
            let path = format!("{prefix}{alias}");
            match self.tree.resolve(number, &import.segments) {
                Some((target, None)) if alias == "*" => self.module(target, prefix),
                Some((target, None)) => {
                    self.module(target, &format!("{path}::"));
                    self.names.insert(path);
                }
                Some((target, Some(name))) => self.definition((target, name), path),
                None => drop(self.names.insert(path)),
            }
        }
    }

    fn definition(&mut self, definition: Definition, path: String) {
        self.names.insert(path.clone());
        self.paths.entry(definition).or_default().insert(path);
    }
}

#[test]
fn public_names_are_followed_through_modules() {
    let tree = Tree::made_up(&[
        (
            "lib.rs",
            "mod a; pub mod b; pub use a::{A, f as g}; pub use other::T;
             #[doc(hidden)] pub mod bench { pub use crate::a::A; }
             pub mod shelf { pub use crate::b::*; pub mod deep { pub const C: u8 = 1; } } pub(crate) use a::Inner;",
        ),
        (
            "a.rs",
            "pub struct A { pub x: u8, y: u8 } impl A { pub fn new() -> Self { } fn own() {} pub(crate) fn near() {}
             #[doc(hidden)] pub fn hidden() {} #[cfg(test)] pub fn tested() {} pub const fn size() {} }
             pub fn f() {} pub struct Inner; impl Inner { pub fn not() {} } #[cfg(test)] pub struct Tested;",
        ),
        (
            "b/mod.rs",
            "mod c; pub use super::a::A; pub use c::E; pub trait Tr { type Out; fn m(&self) -> u8 { 1 } }
             impl Clone for A { fn clone(&self) -> Self { } }",
        ),
        (
            "b/c.rs",
            "use crate::A; pub enum E { V, #[doc(hidden)] Hidden, W(u8) }
             impl<T> A<T> where T: X { pub fn far(&self) {} }
             impl super::E { pub fn of() {} }",
        ),
    ]);
    let found: Vec<String> = public_names(&tree).into_iter().collect();
    let expected = "A A.x A::far A::new A::size T b b::A b::E b::E::V b::E::W b::E::of b::Tr b::Tr::Out b::Tr::m g \
                    shelf shelf::A shelf::E shelf::Tr shelf::deep shelf::deep::C";
    assert_eq!(found.join(" "), expected);
}

#[test]
fn public_names_are_those_of_the_list() {
    let names: String = public_names(&Tree::real()).iter().map(|name| format!("{name}\n")).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/public_names.txt");
    if env::var_os("MASKSTREAM_BLESS").is_some() {
        fs::write(&path, &names).unwrap();
    }
    let listed = fs::read_to_string(&path).unwrap_or_default();
    let (listed, found): (BTreeSet<&str>, BTreeSet<&str>) = (listed.lines().collect(), names.lines().collect());
    let gone = listed.difference(&found).map(|name| format!("- {name}\n"));
    let new = found.difference(&listed).map(|name| format!("+ {name}\n"));
    let changes: String = gone.chain(new).collect();
    assert!(
        changes.is_empty(),
        "public names have changed:\n{changes}If that is meant, say so in CHANGELOG.md and update the list:\n\
         MASKSTREAM_BLESS=1 cargo test --test it public_names"
    );
}
