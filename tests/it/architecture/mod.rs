//! Rules about the structure of the crate, as stated in ARCHITECTURE.md: which rooms a room may import, and what must
//! be absent from it. Each rule is also checked against made-up texts that break it.
//!
//! The rules read the text of src/, so they hold for all features at once. `text` splits it into tokens and items,
//! `modules` finds the file that defines a name; the other files hold the rules.

mod absences;
mod circles;
mod columns;
mod modules;
mod public_names;
mod rooms;
mod tables;
mod text;

use modules::Tree;

/// The rooms, from the foundation up: files and folders under src/.
const ROOMS: [&str; 19] = [
    "mask",
    "error",
    "dtype",
    "field",
    "splitmix",
    "augment",
    "atomic",
    "container",
    "annotation",
    "source",
    "order",
    "image",
    "shard",
    "sample",
    "batch",
    "loader",
    "adapter",
    "synth",
    "cli",
];

/// Checks that the rule finds nothing in this crate and nothing in the files of `fine`, but something in each file of
/// `bad`.
fn check(rule: impl Fn(&Tree) -> Vec<String>, bad: &[(&str, &str)], fine: &[(&str, &str)]) {
    for &(file, text) in bad {
        assert!(!rule(&Tree::made_up(&[(file, text)])).is_empty(), "the rule does not see {text:?} in {file}");
    }
    for &(file, text) in fine {
        assert_eq!(rule(&Tree::made_up(&[(file, text)])), [""; 0], "the rule objects to {text:?} in {file}");
    }
    let broken = rule(&Tree::real());
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_file_opens_with_what_it_is() {
    for (name, text) in modules::sources() {
        assert!(text.starts_with("//! "), "{name} does not start with //!");
    }
}
