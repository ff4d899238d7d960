//! What no file may do, or only the files of one room.

use std::collections::BTreeSet;

use super::check;
use super::modules::{Module, Tree, room};

const UNSAFE_FILES: [&str; 8] = [
    "source/mmap.rs",
    "batch/memory.rs",
    "batch/fill.rs",
    "mask/counts/shuffle.rs",
    "image/simd.rs",
    "image/jpeg/dct/avx2.rs",
    "image/jpeg/lanes.rs",
    "image/resize/avx2.rs",
];

/// Violations: the findings of `find` in the product's modules whose file is not `allowed`.
fn outside(tree: &Tree, allowed: impl Fn(&str) -> bool, find: impl Fn(&Module) -> Vec<String>) -> Vec<String> {
    let mut found = BTreeSet::new();
    for (_, module) in tree.product().filter(|(_, module)| !allowed(&module.file)) {
        found.extend(find(module).into_iter().map(|what| format!("{}: {what}", module.file)));
    }
    found.into_iter().collect()
}

fn in_rooms(rooms: &'static [&str]) -> impl Fn(&str) -> bool {
    move |file| rooms.contains(&room(file))
}

/// The command is a program of its own: it may do what the library must not.
fn in_command(file: &str) -> bool {
    ["main", "cli"].contains(&room(file))
}

/// Object stores alone are asked asynchronously, by threads of their own.
fn of_stores(file: &str) -> bool {
    file.starts_with("source/remote/")
}

/// Paths through one of these: `std::fs::File` goes through `std::fs`, and so does `fs::File` after importing `fs`.
fn through(module: &Module, prefixes: &[&str]) -> Vec<String> {
    let within = |path: &String| {
        prefixes
            .iter()
            .any(|prefix| path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with("::")))
    };
    module.named().into_iter().filter(within).collect()
}

/// The words of a module's code and imports that are among these.
fn words(module: &Module, wanted: &[&str]) -> Vec<String> {
    let named = module.named();
    let all = module.code().into_iter().chain(named.iter().flat_map(|path| path.split("::")).map(str::to_owned));
    all.filter(|word| wanted.contains(&word.as_str())).collect()
}

/// The macros among these that it calls.
fn macros(module: &Module, wanted: &[&str]) -> Vec<String> {
    let code = module.code();
    let called = code.windows(2).filter(|pair| pair[1] == "!" && wanted.contains(&pair[0].as_str()));
    called.map(|pair| format!("{}!", pair[0])).collect()
}

const PRINTING: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];

#[test]
fn only_the_loader_starts_threads() {
    let rule = |tree: &Tree| {
        outside(
            tree,
            // The global pool of rayon is started there so that a failure is an error. Requests have a runtime.
            |file| room(file) == "loader" || in_command(file) || file == "shard/pool.rs" || of_stores(file),
            |module| {
                let mut found = words(module, &["thread", "threadpool", "tokio", "JoinHandle"]);
                let starts = |path: &String| {
                    let rest = path.strip_prefix("rayon::").unwrap_or("");
                    rest.starts_with("spawn") || rest.starts_with("ThreadPool")
                };
                found.extend(module.named().into_iter().filter(starts));
                found
            },
        )
    };
    check(
        rule,
        &[
            ("shard/set.rs", "fn f() { std::thread::spawn(|| {}); }"),
            ("shard/set.rs", "use std::{fs, thread::{self, JoinHandle}};"),
            ("batch/pool.rs", "use std::thread::Builder;"),
            ("image.rs", "fn f() { std::thread::scope(|s| {}) }"),
            ("shard/set.rs", "fn f() { rayon::spawn(|| {}) }"),
            ("synth/write.rs", "use rayon::ThreadPoolBuilder;"),
        ],
        &[
            ("loader/live/passes.rs", "use std::thread; fn f() { thread::Builder::new(); }"),
            ("shard/set.rs", "use rayon::prelude::*; fn f() { rayon::join(a, b); } // std::thread::spawn"),
            ("shard/set.rs", "#[cfg(test)] mod tests { fn t() { std::thread::spawn(f); } }"),
            ("cli/parallel.rs", "fn f() { std::thread::scope(|s| {}) }"),
        ],
    );
}

#[test]
fn only_the_loader_and_the_pool_wait_for_another_thread() {
    let rule = |tree: &Tree| {
        let is_allowed = |file: &str| room(file) == "loader" || file == "batch/pool.rs" || of_stores(file);
        let allowed = |file: &str| is_allowed(file) || in_command(file);
        outside(tree, allowed, |module| words(module, &["Condvar", "Barrier", "mpsc", "crossbeam_channel"]))
    };
    check(
        rule,
        &[
            ("shard/live.rs", "use std::sync::{Arc, Condvar};"),
            ("batch/layout.rs", "struct A { b: std::sync::Condvar }"),
            ("sample/decode.rs", "use crossbeam_channel::bounded;"),
        ],
        &[("batch/pool.rs", "use std::sync::Condvar;"), ("shard/set.rs", "use std::sync::{Arc, Mutex};")],
    );
}

#[test]
fn only_adapters_know_a_framework() {
    let rule = |tree: &Tree| {
        outside(tree, in_rooms(&["adapter"]), |module| {
            let mut found = words(module, &["candle_core", "candle_nn", "burn_core", "burn_flex", "burn_pack"]);
            found.extend(through(module, &["burn", "candle"]));
            found
        })
    };
    check(
        rule,
        &[
            ("batch/finished.rs", "impl Batch { pub fn tensor(&self) -> candle_core::Tensor { } }"),
            ("error.rs", "use candle_core as candle;"),
            ("loader.rs", "use burn_core::data::dataloader::DataLoader;"),
            ("loader.rs", "use burn::prelude::*;"),
        ],
        &[
            ("adapter/candle.rs", "use candle_core::Tensor;"),
            ("lib.rs", "//! use candle_core::Device;\n#[cfg(feature = \"candle\")] pub use adapter::CandleBatch;"),
        ],
    );
}

#[test]
fn masks_orders_and_annotations_do_no_io() {
    let rule = |tree: &Tree| {
        outside(
            tree,
            |file| !in_rooms(&["mask", "order", "annotation"])(file),
            |module| {
                let mut found =
                    through(module, &["std::fs", "std::net", "std::process", "std::os", "memmap2", "rustix"]);
                // Errors and readers do not count as I/O; files and the streams of the process do.
                found.extend(through(module, &["std::io::stdin", "std::io::stdout", "std::io::stderr"]));
                found.extend(macros(module, &PRINTING));
                found
            },
        )
    };
    check(
        rule,
        &[
            ("mask/rle.rs", "use std::fs::File;"),
            ("order/plan.rs", "use std::{fs, io};"),
            ("annotation/mod.rs", "fn f() { std::net::TcpStream::connect(); }"),
            ("order/mod.rs", "fn f() { std::process::exit(1) }"),
            ("mask/grid.rs", "fn f() { println!(\"\"); }"),
            ("annotation/rank.rs", "fn f() { if g { eprintln!(\"\"); } }"),
        ],
        &[
            ("annotation/schema.rs", "fn f() { std::io::Error::other(e) }"),
            ("mask/rle.rs", "/// println!(\"{}\", a);\nfn f() {} #[cfg(test)] mod tests { use std::fs; }"),
            ("shard/set.rs", "use std::fs;"),
        ],
    );
}

#[test]
fn the_library_prints_nothing() {
    let rule = |tree: &Tree| {
        outside(tree, in_command, |module| {
            let mut found = macros(module, &PRINTING);
            found.extend(through(module, &["std::io::stdout", "std::io::stderr"]));
            found
        })
    };
    check(
        rule,
        &[
            ("shard/index.rs", "fn f() { println!(\"\"); }"),
            ("loader/activity.rs", "fn f() { dbg!(1); }"),
            ("synth/write.rs", "use std::io::{self, stdout};"),
        ],
        &[
            ("cli/mod.rs", "fn f() { println!(\"\"); }"),
            ("loader/stream.rs", "/// eprintln!(\"{notice}\");\nfn f() {}"),
        ],
    );
}

#[test]
fn the_command_prints_through_macros_that_do_not_panic() {
    // `println` and `eprintln` panic if their pipe is closed, which would end the command's work.
    let rule = |tree: &Tree| outside(tree, |file| !in_command(file), |module| macros(module, &PRINTING));
    check(
        rule,
        &[
            ("cli/index.rs", "fn f() { eprintln!(\"\"); }"),
            ("main.rs", "fn main() { println!(\"\"); }"),
            ("cli/output.rs", "fn f() { if g { eprint!(\".\") } }"),
        ],
        &[("cli/index.rs", "fn f() { tell!(\"\"); say!(\"\"); } // eprintln!"), ("shard/set.rs", "fn f() {}")],
    );
}

#[test]
fn few_files_read_the_environment() {
    let rule = |tree: &Tree| {
        let mut readers = BTreeSet::new();
        for (_, module) in tree.product().filter(|(_, module)| !in_command(&module.file)) {
            if !through(module, &["std::env", "env"]).is_empty() {
                readers.insert(module.file.clone());
            }
        }
        // The launcher's variables, the home directory of a pattern that begins with `~`, and credentials.
        let known = ["order/distributed.rs", "shard/paths.rs"];
        let of_credentials = ["source/remote/endpoint.rs", "source/remote/profile.rs"];
        let only = |file: &String| known.iter().chain(&of_credentials).any(|known| known == file);
        readers.into_iter().filter(|file| !only(file)).map(|file| format!("{file} reads std::env")).collect()
    };
    check(
        rule,
        &[
            ("loader/options.rs", "fn f() { std::env::var(\"\"); }"),
            ("order/plan.rs", "use std::env::{self, var};"),
            ("error.rs", "use std::{env, fmt};"),
            ("shard/set.rs", "fn f() { std::env::home_dir(); }"),
        ],
        &[
            ("order/distributed.rs", "fn f() { std::env::var(\"\"); }"),
            ("shard/paths.rs", "fn f() { std::env::home_dir(); }"),
            ("cli/args.rs", "use std::env;"),
            ("shard/sidecar.rs", "const A: &str = env!(\"CARGO_PKG_VERSION\");"),
        ],
    );
}

#[test]
fn only_annotations_read_the_json_of_sa1b() {
    let rule = |tree: &Tree| {
        // `synth` writes SA-1B's form; the lists of bad samples are JSON lines in our own format.
        let lists = |file: &str| room(file) == "shard" && file.ends_with("quarantine.rs");
        let allowed = |file: &str| in_rooms(&["annotation", "synth"])(file) || lists(file) || in_command(file);
        outside(tree, allowed, |module| words(module, &["serde_json"]))
    };
    check(
        rule,
        &[
            ("mask/segmentation.rs", "fn f() { serde_json::from_str(text) }"),
            ("shard/index.rs", "use serde_json::{Value, value::RawValue};"),
            ("order/cursor.rs", "use serde_json as json;"),
        ],
        &[
            ("annotation/schema.rs", "use serde_json::Value;"),
            ("mask/segmentation.rs", "use serde::Serialize; #[cfg(test)] mod tests { use serde_json::json; }"),
            ("shard/quarantine.rs", "fn f() { serde_json::to_vec(line) }"),
        ],
    );
}

#[test]
fn unsafe_stays_in_its_files() {
    let rule = |tree: &Tree| outside(tree, |file| UNSAFE_FILES.contains(&file), |module| words(module, &["unsafe"]));
    check(
        rule,
        &[
            ("batch/pool.rs", "unsafe impl Send for A {}"),
            ("image.rs", "fn f() { let a = unsafe { g() }; }"),
            ("mask/rle.rs", "pub(crate) unsafe fn f() {}"),
        ],
        &[("batch/fill.rs", "unsafe impl Send for A {}"), ("error.rs", "// unsafe\n#![deny(unsafe_code)] fn f() {}")],
    );
    let tree = Tree::real();
    for file in UNSAFE_FILES {
        let mut modules = tree.modules.iter().filter(|module| module.file == file);
        assert!(modules.any(|module| !words(module, &["unsafe"]).is_empty()), "{file} has no unsafe code any more");
    }
}

#[test]
fn the_library_has_no_global_state_but_its_list_of_temporary_files() {
    let rule = |tree: &Tree| {
        let allowed = |file: &str| in_command(file) || file == "atomic.rs";
        outside(tree, allowed, |module| {
            let code = module.code();
            let mut found = macros(module, &["thread_local", "lazy_static"]);
            for (i, _) in code.iter().enumerate().filter(|(_, token)| *token == "static") {
                let kind = code[i + 1..].iter().take_while(|token| !["=", ";"].contains(&token.as_str()));
                let changes = |token: &&String| {
                    let cells = ["mut", "Mutex", "RwLock", "Condvar", "Cell", "RefCell", "UnsafeCell"];
                    let once = ["Once", "OnceLock", "OnceCell", "LazyLock", "LazyCell"];
                    cells.contains(&token.as_str()) || once.contains(&token.as_str()) || token.starts_with("Atomic")
                };
                found.extend(kind.clone().find(changes).map(|what| format!("a static with {what}")));
            }
            found
        })
    };
    check(
        rule,
        &[
            ("error.rs", "static mut COUNT: u64 = 0;"),
            ("loader/cache.rs", "static CACHE: std::sync::Mutex<u8> = Mutex::new(0);"),
            ("shard/set.rs", "fn f() { static SEEN: AtomicU64 = AtomicU64::new(0); }"),
            ("image.rs", "pub(crate) static TABLE: LazyLock<[u8; 4]> = LazyLock::new(f);"),
            ("image.rs", "thread_local! { static A: u8 = 0; }"),
        ],
        &[
            ("mask/rows.rs", "static BITS: [[u8; 8]; 256] = { let mut a = 0; a };"),
            ("order.rs", "struct A { name: &'static str, lock: Mutex<u8> }"),
            ("main.rs", "static ALLOCATOR: Cell<u8> = a;"),
        ],
    );
}
