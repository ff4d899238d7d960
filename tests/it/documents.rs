//! Checks that README and `docs/` agree with the crate.

use std::fs;
use std::path::{Path, PathBuf};

use maskstream::Field;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// README.md, the documents and the other pages at the top.
fn pages() -> Vec<PathBuf> {
    let folders = [root().to_owned(), root().join("docs")];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// The first Rust block of a text, as lines.
fn first_block(lines: impl Iterator<Item = String>) -> Vec<String> {
    let after = lines.skip_while(|line| !line.starts_with("```rust") && !line.starts_with("```no_run")).skip(1);
    after.take_while(|line| !line.starts_with("```")).collect()
}

#[test]
fn the_readme_and_the_crate_page_begin_with_the_same_program() {
    let readme = first_block(read("README.md").lines().map(str::to_owned));
    let page = read("src/lib.rs");
    let page = page.lines().filter_map(|line| match line.strip_prefix("//!") {
        Some(text) => Some(text.strip_prefix(' ').unwrap_or(text).to_owned()),
        // The attribute that opens the block.
        None => line.contains("\"```no_run\"").then(|| "```no_run".to_owned()),
    });
    let page = first_block(page);
    assert!(page.iter().any(|line| line.contains("Loader::builder()")), "{page:?}");
    // A binary chooses its allocator; a page about the library need not.
    let start = readme.iter().position(|line| line.contains("global_allocator")).unwrap();
    let mut without_allocator = readme.clone();
    without_allocator.drain(start..start + 3);
    assert_eq!(without_allocator, page);
}

#[test]
fn the_readme_is_short_and_names_every_field() {
    let readme = read("README.md");
    assert!(readme.lines().count() <= 150, "{} lines", readme.lines().count());
    for field in Field::ALL {
        assert!(readme.contains(&format!("`{field}`")), "README.md does not name `{field}`");
    }
}

#[test]
fn links_between_the_pages_lead_somewhere() {
    let mut checked = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap();
            if target.starts_with("http") || target.starts_with('#') {
                continue;
            }
            let path = page.parent().unwrap().join(target.split('#').next().unwrap());
            assert!(path.exists(), "{}: {target} does not exist", page.display());
            checked += 1;
        }
    }
    assert!(checked > 10, "only {checked} links were seen");
}
