//! Import cycles between the files of a room: files that import each other cannot be understood one by one.

use std::collections::{BTreeMap, BTreeSet};

use super::modules::{Tree, Uses, room};

/// Groups of files of one room that all reach each other by their imports, each in the order of its names.
fn circles(uses: &Uses) -> Vec<Vec<String>> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (file, other) in uses.keys().filter(|(file, other)| room(file) == room(other)) {
        next.entry(file).or_default().push(other);
    }
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for &file in next.keys() {
        let seen = reached.entry(file).or_default();
        let mut ahead = next[file].clone();
        while let Some(other) = ahead.pop() {
            if seen.insert(other) {
                ahead.extend(next.get(other).into_iter().flatten());
            }
        }
    }
    let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|seen| seen.contains(to));
    let mut found: Vec<Vec<String>> = Vec::new();
    for &file in next.keys().filter(|file| reaches(file, file)) {
        if !found.iter().flatten().any(|known| known == file) {
            let group = next.keys().filter(|other| reaches(file, other) && reaches(other, file));
            found.push(group.map(|other| (*other).to_owned()).collect());
        }
    }
    found
}

/// A cycle with the names that cause it.
fn described(circle: &[String], uses: &Uses) -> String {
    let ties = uses.iter().filter(|((file, other), _)| circle.contains(file) && circle.contains(other));
    let ties = ties.map(|((file, other), names)| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        format!("  {file} takes {} from {other}", names.join(", "))
    });
    format!("{} form a circle:\n{}", circle.join(", "), ties.collect::<Vec<_>>().join("\n"))
}

#[test]
fn circles_are_seen_through_re_exports() {
    let tree = Tree::made_up(&[
        ("shard/mod.rs", "mod set; mod options; mod leaf; mod inner; pub use set::Set; pub use options::Options;"),
        ("shard/set.rs", "use super::{Options, leaf::Leaf}; pub struct Set;"),
        ("shard/options.rs", "use crate::shard::leaf; fn f() -> super::Set { leaf::g() } pub struct Options;"),
        ("shard/leaf.rs", "pub struct Leaf; pub fn g() {} #[cfg(test)] mod tests { use super::super::Set; }"),
        // Another room does not matter here.
        ("order.rs", "use crate::shard::Set; pub struct Order;"),
        ("shard/inner.rs", "use crate::order::Order; use super::Set;"),
    ]);
    let uses = tree.uses();
    let found = circles(&uses);
    assert_eq!(found, [["shard/options.rs", "shard/set.rs"]]);
    let text = described(&found[0], &uses);
    assert!(text.contains("shard/set.rs takes Options from shard/options.rs"), "{text}");
}

#[test]
fn no_files_of_a_room_form_a_circle() {
    let uses = Tree::real().uses();
    let shown: Vec<String> = circles(&uses).iter().map(|circle| described(circle, &uses)).collect();
    assert!(shown.is_empty(), "{}", shown.join("\n"));
}
