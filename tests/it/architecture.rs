//! The house: rooms import only rooms above them, every file says what it is, and `unsafe` stays in its three files.

use std::fs;
use std::path::{Path, PathBuf};

/// From the foundation up.
const ROOMS: [&str; 18] = [
    "mask",
    "error",
    "dtype",
    "field",
    "splitmix",
    "atomic",
    "container",
    "annotation",
    "source",
    "order",
    "shard",
    "image",
    "sample",
    "batch",
    "loader",
    "adapter",
    "synth",
    "cli",
];
const UNSAFE_FILES: [&str; 4] = ["source/mmap.rs", "batch/memory.rs", "batch/fill.rs", "mask/counts/shuffle.rs"];

/// Every source file: its path under src/ and its text.
fn sources() -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The text without comments and without the tests at its end, which may use anything; strings do not hold `//` in a way
/// that matters here.
fn code(text: &str) -> String {
    let room = text.split("\nmod tests {").next().unwrap_or(text);
    room.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// The identifiers that follow `crate::`, also those in braces.
fn imported(code: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => found.push(word(rest)),
            Some(list) => {
                let (mut depth, mut start) = (1, true);
                for (i, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 1 => start = true,
                        c if depth == 1 && start && !c.is_whitespace() => {
                            found.push(word(&list[i..]));
                            start = false;
                        }
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
        }
    }
    found
}

#[test]
fn the_reader_of_imports_sees_both_forms() {
    let text = "use crate::{Error, mask::{Rle, Grid}, batch};\nuse crate::shard::Entry;";
    assert_eq!(imported(text), ["Error", "mask", "batch", "shard"]);
}

#[test]
fn rooms_import_only_rooms_above_them() {
    let mut checked = 0;
    for (name, text) in sources() {
        let room = name.split('/').next().unwrap().trim_end_matches(".rs");
        let Some(place) = ROOMS.iter().position(|&other| other == room) else {
            assert!(["lib", "main", "bin"].contains(&room), "{name}: room {room} has no place in the order");
            continue;
        };
        for import in imported(&code(&text)) {
            let Some(other) = ROOMS.iter().position(|&room| room == import) else { continue };
            checked += 1;
            assert!(other <= place, "{name}: {room} imports {import}, which stands below it");
            if room == "synth" {
                assert!(
                    ["mask", "splitmix", "atomic", "container", "error", "synth"].contains(&import.as_str()),
                    "{name}: synth imports {import}"
                );
            }
        }
    }
    assert!(checked > 30, "only {checked} imports were seen");
}

#[test]
fn every_file_opens_with_what_it_is() {
    for (name, text) in sources() {
        assert!(text.starts_with("//! "), "{name} does not start with //!");
    }
}

#[test]
fn unsafe_stays_in_its_files() {
    let has_unsafe =
        |text: &str| code(text).split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == "unsafe");
    let mut found: Vec<String> =
        sources().into_iter().filter(|(_, text)| has_unsafe(text)).map(|(name, _)| name).collect();
    found.sort();
    let mut expected = UNSAFE_FILES.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
}
