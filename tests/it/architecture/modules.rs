//! The crate as a tree of modules, and the names that each file imports from each other file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::ROOMS;
use super::tables::{expanded, tables};
use super::text::{Item, NamedPath, imports, items, paths, tokens};

/// The library's and the command's modules.
pub(super) struct Tree {
    pub modules: Vec<Module>,
}

pub(super) struct Module {
    /// Its file under src/.
    pub file: String,
    /// Without the name of the crate: empty for lib.rs and main.rs.
    pub path: Vec<String>,
    pub parent: Option<usize>,
    pub children: BTreeMap<String, usize>,
    /// Whether it and everything below it is compiled for tests only.
    pub test: bool,
    pub items: Vec<Item>,
    /// Imported names and their paths, without globs.
    imports: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
}

/// Files, each with the files that it takes names from and the names.
pub(super) type Uses = BTreeMap<(String, String), BTreeSet<String>>;

/// Every file with the extension in a folder, outside of build outputs and hidden folders.
pub(super) fn files(root: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap_or_default());
            if entry.file_type().unwrap().is_dir() {
                // Output of cargo and cargo-fuzz, and data that the README's commands write.
                if !name.starts_with('.') && !["target", "data", "corpus", "artifacts", "coverage"].contains(&&*name) {
                    folders.push(path);
                }
            } else if path.extension().and_then(|e| e.to_str()).is_some_and(|e| extensions.contains(&e)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Every file of src/: its path there, with slashes, and its text.
pub(super) fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
    files(&root, &["rs"]).iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The room that a file is in: its folder under src/, or its own name.
pub(super) fn room(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

impl Tree {
    /// This crate.
    pub(super) fn real() -> Self {
        Self::of(sources())
    }

    /// A made-up crate of these files and their texts. It has all rooms; those without a text are empty.
    pub(super) fn made_up(texts: &[(&str, &str)]) -> Self {
        let mut files: Vec<(String, String)> =
            texts.iter().map(|&(file, text)| (file.to_owned(), text.to_owned())).collect();
        for room in ROOMS {
            if !files.iter().any(|(file, _)| module_path(file) == [room]) {
                files.push((format!("{room}.rs"), String::new()));
            }
        }
        Self::of(files)
    }

    fn of(mut files: Vec<(String, String)>) -> Self {
        if !files.iter().any(|(file, _)| file == "lib.rs") {
            files.push(("lib.rs".to_owned(), String::new()));
        }
        // Parents before children.
        files.sort_by_key(|(file, _)| (module_path(file).len(), file.clone()));
        let files: Vec<(String, Vec<String>)> = files.into_iter().map(|(file, text)| (file, tokens(&text))).collect();
        let tables: Vec<_> = files.iter().flat_map(|(_, tokens)| tables(tokens)).collect();
        let mut tree = Self { modules: Vec::new() };
        for (file, mut tokens) in files {
            tokens.extend(expanded(&tokens, &tables));
            let path = module_path(&file);
            let root = if room(&file) == "cli" && tree.root_of("main.rs").is_some() { "main.rs" } else { "lib.rs" };
            let parent = (!path.is_empty()).then(|| tree.parent(root, &path[..path.len() - 1]));
            tree.add(file, path, parent, items(&tokens));
        }
        tree
    }

    fn root_of(&self, file: &str) -> Option<usize> {
        self.modules.iter().position(|module| module.file == file && module.path.is_empty())
    }

    fn parent(&mut self, root: &str, path: &[String]) -> usize {
        let mut at = self.root_of(root).unwrap();
        for (i, name) in path.iter().enumerate() {
            at = match self.modules[at].children.get(name) {
                Some(&child) => child,
                None => {
                    let path = path[..=i].to_vec();
                    self.add(format!("{}/mod.rs", path.join("/")), path, Some(at), Vec::new())
                }
            };
        }
        at
    }

    fn add(&mut self, file: String, path: Vec<String>, parent: Option<usize>, mut items: Vec<Item>) -> usize {
        let number = self.modules.len();
        let mut test = false;
        if let Some(parent) = parent {
            let name = path.last().unwrap().clone();
            let declared = self.modules[parent].items.iter().find(|item| item.kind == "mod" && item.name == name);
            test = self.modules[parent].test || declared.is_some_and(|item| item.test);
            self.modules[parent].children.insert(name, number);
        }
        let (mut names, mut globs) = (BTreeMap::new(), Vec::new());
        for import in items.iter().filter(|item| item.kind == "use" && !item.test).flat_map(imports) {
            match import.alias.as_deref() {
                Some("*") => globs.push(import.segments),
                Some(alias) => drop(names.insert(alias.to_owned(), import.segments)),
                None => {}
            }
        }
        // Modules with a body become modules of their own.
        let inline: Vec<(String, Vec<Item>)> = items
            .iter()
            .filter(|item| item.kind == "mod" && !item.body().is_empty())
            .map(|item| (item.name.clone(), super::text::items(item.body())))
            .collect();
        for item in items.iter_mut().filter(|item| item.kind == "mod") {
            item.tokens.truncate(2);
        }
        let module = Module {
            file: file.clone(),
            path: path.clone(),
            parent,
            children: BTreeMap::new(),
            test,
            items,
            imports: names,
            globs,
        };
        self.modules.push(module);
        for (name, items) in inline {
            let path = path.iter().cloned().chain([name]).collect();
            self.add(file.clone(), path, Some(number), items);
        }
        number
    }

    /// The modules of the product, without those of tests.
    pub(super) fn product(&self) -> impl Iterator<Item = (usize, &Module)> {
        self.modules.iter().enumerate().filter(|(_, module)| !module.test)
    }

    /// Resolves a path in a module: the module that defines it, and its name there unless it is that module itself.
    /// `None` if another crate defines it.
    pub(super) fn resolve(&self, module: usize, path: &[String]) -> Option<(usize, Option<String>)> {
        self.resolve_within(module, path, 16)
    }

    fn resolve_within(&self, module: usize, path: &[String], budget: usize) -> Option<(usize, Option<String>)> {
        let budget = budget.checked_sub(1)?;
        let (first, mut rest) = path.split_first()?;
        let mut at = module;
        match first.as_str() {
            "crate" => {
                while let Some(parent) = self.modules[at].parent {
                    at = parent;
                }
            }
            "self" => {}
            "super" => {
                at = self.modules[at].parent?;
                while let Some(("super", others)) = rest.split_first().map(|(first, others)| (first.as_str(), others)) {
                    (at, rest) = (self.modules[at].parent?, others);
                }
            }
            _ => {
                let (target, name) = self.name_in(module, first, rest.is_empty(), budget)?;
                if name.is_some() {
                    return Some((target, name));
                }
                at = target;
            }
        }
        for (i, name) in rest.iter().enumerate() {
            match self.name_in(at, name, i + 1 == rest.len(), budget) {
                Some((target, None)) => at = target,
                Some(item) => return Some(item),
                // A macro in this file probably generates it.
                None => return Some((at, Some(name.clone()))),
            }
        }
        Some((at, None))
    }

    /// Resolves a name in a module. In the middle of a path, a module takes precedence over an item of the same name.
    fn name_in(&self, at: usize, name: &str, last: bool, budget: usize) -> Option<(usize, Option<String>)> {
        let module = &self.modules[at];
        let child = module.children.get(name).map(|&child| (child, None));
        if child.is_some() && !last {
            return child;
        }
        if module.items.iter().any(|item| item.name == name && item.kind != "mod" && !item.test) {
            return Some((at, Some(name.to_owned())));
        }
        let imported = module.imports.get(name).and_then(|path| self.resolve_within(at, path, budget));
        imported.or(child).or_else(|| {
            module.globs.iter().find_map(|path| {
                let (target, None) = self.resolve_within(at, path, budget)? else { return None };
                self.name_in(target, name, last, budget.checked_sub(1)?)
            })
        })
    }

    /// Which file takes which names from which other file. A re-export takes a name only if its own file uses it, too.
    pub(super) fn uses(&self) -> Uses {
        let mut found = Uses::new();
        for (number, module) in self.product() {
            let code = module.code();
            let mut take = |path: &NamedPath, import: bool| {
                let Some((target, name)) = self.resolve(number, &path.segments) else { return };
                let other = &self.modules[target];
                // An imported module is used by the paths that begin with it.
                if other.file != module.file && !(import && name.is_none()) {
                    let name = name.unwrap_or_else(|| path.segments.last().cloned().unwrap_or_default());
                    found.entry((module.file.clone(), other.file.clone())).or_default().insert(name);
                }
            };
            for item in module.items.iter().filter(|item| item.kind == "use" && !item.test) {
                for import in imports(item) {
                    let private = !item.public && !item.restricted;
                    if private || import.alias.as_ref().is_some_and(|alias| code.contains(alias)) {
                        take(&import, true);
                    }
                }
            }
            paths(&code).iter().for_each(|path| take(path, false));
        }
        found
    }
}

impl Module {
    /// The code of its items, without imports, tests and nested modules.
    pub(super) fn code(&self) -> Vec<String> {
        let items = self.items.iter().filter(|item| !item.test && !["use", "mod"].contains(&&*item.kind));
        items.flat_map(|item| item.tokens.iter().cloned()).collect()
    }

    /// All paths in the module's imports and code, as they are written.
    pub(super) fn named(&self) -> Vec<String> {
        let imported = self.items.iter().filter(|item| item.kind == "use" && !item.test).flat_map(imports);
        imported.chain(paths(&self.code())).map(|path| path.segments.join("::")).collect()
    }
}

fn module_path(file: &str) -> Vec<String> {
    let mut path: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if ["mod", "lib", "main"].contains(&path.last().unwrap().as_str()) {
        path.pop();
    }
    path
}

#[test]
fn names_are_followed_to_the_file_that_defines_them() {
    let tree = Tree::made_up(&[
        ("lib.rs", "mod a; pub mod b; pub use b::Deep; mod sealed { use super::b::deep::Deep; }"),
        (
            "a.rs",
            "use crate::{Deep, b}; fn f() { b::g(); b::deep::h(); std::fs::read(); } #[cfg(test)] use crate::b::Not;",
        ),
        (
            "b/mod.rs",
            "mod deep; pub use deep::Deep; pub(crate) use deep::Used as Other; pub fn g(_: Other) {} struct Not;",
        ),
        ("b/deep.rs", "use super::g; pub struct Deep; pub struct Used; pub fn h() {}"),
    ]);
    let found: Vec<(String, String, String)> = tree
        .uses()
        .into_iter()
        .map(|((file, other), names)| (file, other, names.into_iter().collect::<Vec<_>>().join(" ")))
        .collect();
    let expected = [
        ("a.rs", "b/deep.rs", "Deep h"),
        ("a.rs", "b/mod.rs", "g"),
        ("b/deep.rs", "b/mod.rs", "g"),
        ("b/mod.rs", "b/deep.rs", "Used"),
        ("lib.rs", "b/deep.rs", "Deep"),
    ];
    assert_eq!(found, expected.map(|(file, other, names)| (file.into(), other.into(), names.into())));
}
