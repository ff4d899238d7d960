//! Which rooms a room may import.

use super::modules::{Tree, room};
use super::{ROOMS, check};

/// The roots of the library and of the command: they only combine rooms.
const ROOTS: [&str; 2] = ["lib", "main"];
const SYNTH_IMPORTS: [&str; 5] = ["error", "splitmix", "atomic", "container", "mask"];

/// Rooms that a room imports, each with the file and an imported name. Names at the root of the crate count as names of
/// the room that defines them.
fn imports(tree: &Tree) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for ((file, other), names) in tree.uses() {
        let (from, to) = (room(&file), room(&other));
        if from != to && !ROOTS.contains(&from) {
            let name = names.first().cloned().unwrap_or_default();
            found.push((file.clone(), to.to_owned(), format!("{file}: takes {name} from {other}")));
        }
    }
    found
}

fn place(room: &str) -> Option<usize> {
    ROOMS.iter().position(|&other| other == room)
}

fn upwards(tree: &Tree) -> Vec<String> {
    let mut broken = Vec::new();
    for (_, module) in tree.product() {
        let room = room(&module.file);
        if place(room).is_none() && !ROOTS.contains(&room) {
            broken.push(format!("{}: the room {room} has no place in the order of rooms", module.file));
        }
    }
    for (file, to, what) in imports(tree) {
        if place(&to) > place(room(&file)) || ROOTS.contains(&to.as_str()) {
            broken.push(format!("{what}, which is not above it"));
        }
    }
    broken
}

#[test]
fn rooms_import_only_rooms_above_them() {
    check(
        upwards,
        &[
            ("order.rs", "use crate::shard::Entry;"),
            ("order/plan.rs", "fn f() { crate::shard::open(); }"),
            ("order/plan.rs", "use super::super::{error::Error, shard};\nfn f() { shard::open() }"),
            ("atomic.rs", "use crate::something_of_the_root;"),
            ("cellar/shelf.rs", ""),
        ],
        &[
            ("shard/set.rs", "use crate::order::Plan; use crate::{error, mask::Rle}; use super::Entry;"),
            ("order.rs", "#[cfg(test)] mod tests { use crate::shard::Entry; } // crate::shard::Entry"),
        ],
    );
    let hidden = Tree::made_up(&[
        ("lib.rs", "pub use shard::Entry;"),
        ("shard.rs", "pub struct Entry;"),
        ("order.rs", "use crate::Entry;"),
    ]);
    assert_eq!(upwards(&hidden).len(), 1, "a name at the root belongs to its room");
    let seen = imports(&Tree::real()).len();
    assert!(seen > 30, "only {seen} imports were seen");
}

#[test]
fn masks_import_nothing_of_the_crate() {
    let rule = |tree: &Tree| {
        let mut broken = Vec::new();
        // This includes tests, which would move along with the room.
        for module in tree.modules.iter().filter(|module| room(&module.file) == "mask") {
            let other = |path: &String| path.starts_with("crate::") && !path.starts_with("crate::mask::");
            broken.extend(module.named().into_iter().filter(other).map(|path| format!("{}: {path}", module.file)));
        }
        broken.extend(imports(tree).into_iter().filter(|(file, ..)| room(file) == "mask").map(|(.., what)| what));
        broken
    };
    check(
        rule,
        &[
            ("mask/rle.rs", "use crate::Error;"),
            ("mask/rle.rs", "fn f() -> crate::Result<()> { Ok(()) }"),
            ("mask/mod.rs", "use super::Error;"),
            ("mask/counts/mod.rs", "use super::super::{super::error, Rle};"),
        ],
        &[("mask/rle.rs", "use crate::mask::Grid; use super::Axis; use serde::Serialize;")],
    );
}

#[test]
fn synth_imports_masks_and_the_foundation_only() {
    let rule = |tree: &Tree| {
        let others = imports(tree).into_iter();
        let others = others.filter(|(file, to, _)| room(file) == "synth" && !SYNTH_IMPORTS.contains(&to.as_str()));
        others.map(|(.., what)| what).collect()
    };
    check(
        rule,
        &[("synth/write.rs", "use crate::shard::ShardSet;")],
        &[("synth/write.rs", "use crate::mask::Rle; use super::options::Preset;")],
    );
}

#[test]
fn adapters_synth_and_the_command_can_be_deleted() {
    let rule = |tree: &Tree| {
        let needed = |(file, to, _): &(String, String, String)| {
            ["adapter", "synth", "cli"].contains(&to.as_str()) && room(file) != *to
        };
        imports(tree).into_iter().filter(needed).map(|(.., what)| what).collect()
    };
    check(
        rule,
        &[
            ("loader/epoch.rs", "use crate::adapter::candle::Tensor;"),
            ("adapter/burn.rs", "fn f() { crate::synth::write(); }"),
            ("synth/write.rs", "use crate::cli::{progress, args::Args};"),
        ],
        &[
            (
                "adapter/burn.rs",
                "use crate::loader::Epoch; #[cfg(all(test, feature = \"synth\"))] mod tests { use crate::synth::S; }",
            ),
            ("lib.rs", "pub use adapter::CandleBatch;"),
        ],
    );
}
