//! Splits Rust source text into tokens and items: only as much of a parser as the rules of this folder need.
//!
//! It reads text, not the language: macros are not expanded, and features are ignored, so that every rule holds for
//! all feature sets at once.

use std::ops::Range;

/// The tokens of a source text without its comments. `::` is one token, a string is `""`, a character `''`; lifetimes
/// are left out, so that a quotation mark always means a character.
pub(super) fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let c = chars[i];
        if c.is_whitespace() {
            i += 1;
        } else if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            while i < chars.len() {
                match (at(i), at(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
                if depth == 0 {
                    break;
                }
            }
        } else if c == '"' {
            i = end_of_string(&chars, i);
            found.push("\"\"".to_owned());
        } else if c == '\'' {
            if at(i + 1) == '\\' || at(i + 2) == '\'' {
                i += if at(i + 1) == '\\' { 3 } else { 2 };
                while at(i) != '\'' && i < chars.len() {
                    i += 1;
                }
                i += 1;
                found.push("''".to_owned());
            } else {
                i += 1;
                while is_word(at(i)) {
                    i += 1;
                }
            }
        } else if is_word(c) {
            let start = i;
            while is_word(at(i)) {
                i += 1;
            }
            let word: String = chars[start..i].iter().collect();
            let raw = ["r", "br", "cr"].contains(&word.as_str());
            if raw && at(i) == '#' && is_word(at(i + 1)) {
                i += 1;
            } else if raw && matches!(at(i), '"' | '#') {
                let hashes = chars[i..].iter().take_while(|&&c| c == '#').count();
                i += hashes + 1;
                while i < chars.len() && !(at(i) == '"' && (1..=hashes).all(|h| at(i + h) == '#')) {
                    i += 1;
                }
                i += hashes + 1;
                found.push("\"\"".to_owned());
            } else if !["b", "c"].contains(&word.as_str()) || !matches!(at(i), '"' | '\'') {
                found.push(word);
            }
        } else if c == ':' && at(i + 1) == ':' {
            i += 2;
            found.push("::".to_owned());
        } else {
            i += 1;
            found.push(c.to_string());
        }
    }
    found
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut i = start + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

pub(super) fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The index after the bracket that closes the one at `open`.
pub(super) fn closed(tokens: &[String], open: usize) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    tokens.len()
}

/// The index after the `>` that closes the `<` at `open`; the `>` of an arrow closes nothing.
fn closed_angle(tokens: &[String], open: usize) -> usize {
    let mut depth = 0;
    for i in open..tokens.len() {
        match tokens[i].as_str() {
            "<" => depth += 1,
            ">" if tokens[i - 1] != "-" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    tokens.len()
}

/// One item: a function, type, module, import, `impl` block and so on.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// `fn`, `struct`, `use`, `impl`, `macro` (an invocation) and so on.
    pub kind: String,
    /// Empty for `use` and `impl`.
    pub name: String,
    pub public: bool,
    /// `pub(crate)` and the like.
    pub restricted: bool,
    /// Compiled for tests only.
    pub test: bool,
    /// `#[doc(hidden)]`.
    pub hidden: bool,
    /// From the keyword to the end.
    pub tokens: Vec<String>,
    /// The content of its braces (of a tuple struct: its parentheses), as a range of `tokens`.
    body: Range<usize>,
}

impl Item {
    pub(super) fn body(&self) -> &[String] {
        &self.tokens[self.body.clone()]
    }

    /// The path of the type of an inherent `impl` block; `None` for the `impl` of a trait.
    pub(super) fn inherent_type(&self) -> Option<Vec<String>> {
        let mut i = 1;
        if self.tokens.get(1)? == "<" {
            i = closed_angle(&self.tokens, 1);
        }
        let start = i;
        while i < self.body.start {
            match self.tokens[i].as_str() {
                "<" => i = closed_angle(&self.tokens, i),
                "for" if self.tokens[i + 1] != "<" => return None,
                "where" => break,
                _ => i += 1,
            }
        }
        let path = self.tokens[start..].iter().take_while(|token| is_word(token) || *token == "::");
        Some(path.filter(|token| *token != "::").cloned().collect())
    }

    /// Public fields of a struct, variants of an enum.
    pub(super) fn members(&self) -> Vec<String> {
        let body = self.body();
        let mut found = Vec::new();
        let (mut i, mut number) = (0, 0);
        while i < body.len() {
            let mut hidden = false;
            while body[i] == "#" {
                let end = closed(body, i + 1);
                hidden |= body[i..end].iter().any(|token| token == "hidden");
                i = end;
            }
            let public = body[i] == "pub" && body.get(i + 1).is_none_or(|token| token != "(");
            if body[i] == "pub" {
                i += 1;
                if body[i] == "(" {
                    i = closed(body, i);
                }
            }
            if !hidden && (self.kind == "enum" || public) {
                let tuple = self.kind == "struct" && body.get(i + 1).is_none_or(|token| token != ":");
                found.push(if tuple { number.to_string() } else { body[i].clone() });
            }
            while i < body.len() && body[i] != "," {
                i = match body[i].as_str() {
                    "(" | "[" | "{" => closed(body, i),
                    "<" => closed_angle(body, i),
                    _ => i + 1,
                };
            }
            (i, number) = (i + 1, number + 1);
        }
        found
    }
}

const KINDS: [&str; 13] = [
    "fn",
    "struct",
    "enum",
    "union",
    "trait",
    "type",
    "const",
    "static",
    "mod",
    "use",
    "impl",
    "macro_rules",
    "extern",
];

/// The items of a file, a module's body, an `impl` block or a trait.
pub(super) fn items(tokens: &[String]) -> Vec<Item> {
    let mut found = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let (mut test, mut hidden) = (false, false);
        while i < tokens.len() && tokens[i] == "#" {
            let open = if tokens[i + 1] == "!" { i + 2 } else { i + 1 };
            let end = closed(tokens, open);
            let words: Vec<&str> = tokens[open + 1..end].iter().map(String::as_str).collect();
            test |= words.starts_with(&["cfg", "(", "test"])
                || (words.starts_with(&["cfg", "(", "all"]) && words.contains(&"test") && !words.contains(&"not"))
                || words.starts_with(&["test"]);
            hidden |= words.starts_with(&["doc", "(", "hidden"]);
            i = end;
        }
        if i >= tokens.len() {
            break;
        }
        let (mut public, mut restricted) = (false, false);
        if tokens[i] == "pub" {
            restricted = tokens[i + 1] == "(";
            public = !restricted;
            i = if restricted { closed(tokens, i + 1) } else { i + 1 };
        }
        let start = i;
        // Qualifiers: `const fn`, `unsafe impl`, `pub(crate) async fn`, `extern "C" fn`.
        let mut kind_at = start;
        while ["const", "async", "unsafe", "extern", "default", "\"\""].contains(&tokens[kind_at].as_str())
            && tokens.get(kind_at + 1).is_some_and(|next| {
                ["fn", "impl", "trait", "extern", "unsafe", "async", "\"\""].contains(&next.as_str())
            })
        {
            kind_at += 1;
        }
        let known = KINDS.contains(&tokens[kind_at].as_str());
        let kind = if known { tokens[kind_at].clone() } else { "macro".to_owned() };
        let name_at = if kind == "macro_rules" { kind_at + 2 } else { kind_at + 1 };
        let name = match kind.as_str() {
            "use" | "impl" | "macro" | "extern" => String::new(),
            _ => tokens.get(name_at).cloned().unwrap_or_default(),
        };
        // Values may hold braces before the semicolon that ends them.
        let ends_in_semicolon = ["use", "const", "static", "type"].contains(&kind.as_str());
        let mut body = 0..0;
        while i < tokens.len() {
            match tokens[i].as_str() {
                ";" => {
                    i += 1;
                    break;
                }
                open @ ("(" | "[" | "{") => {
                    let end = closed(tokens, i);
                    if open == "{" || (open == "(" && kind == "struct") {
                        body = i + 1 - start..(end - 1 - start).max(i + 1 - start);
                    }
                    i = end;
                    if open == "{" && !ends_in_semicolon {
                        break;
                    }
                }
                _ => i += 1,
            }
        }
        found.push(Item { kind, name, public, restricted, test, hidden, tokens: tokens[start..i].to_vec(), body });
    }
    found
}

/// A path in a text, with the name that an import gives it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NamedPath {
    pub segments: Vec<String>,
    /// For imports only; `*` for all names.
    pub alias: Option<String>,
}

/// The paths that a `use` item imports.
pub(super) fn imports(item: &Item) -> Vec<NamedPath> {
    let mut found = Vec::new();
    tree(&item.tokens, 1, &[], true, &mut found);
    found
}

/// All paths of two or more segments in a piece of code.
pub(super) fn paths(code: &[String]) -> Vec<NamedPath> {
    let mut found = Vec::new();
    for i in 0..code.len().saturating_sub(1) {
        let begins = i == 0 || (code[i - 1] != "::" && code[i - 1] != ".");
        // `pub(in crate::loader)` names no module that is used.
        let begins = begins && !(i >= 3 && code[i - 1] == "in" && code[i - 3] == "pub");
        if begins && is_word(&code[i]) && code[i + 1] == "::" {
            tree(code, i, &[], false, &mut found);
        }
    }
    found
}

/// Reads one path, or a tree of paths in an import, and returns the index after it.
fn tree(code: &[String], mut i: usize, prefix: &[String], import: bool, found: &mut Vec<NamedPath>) -> usize {
    let mut segments = prefix.to_vec();
    if code.get(i).is_some_and(|token| token == "::") {
        i += 1;
    }
    loop {
        match code.get(i).map(String::as_str) {
            Some("{") if import => {
                i += 1;
                while code.get(i).is_some_and(|token| token != "}") {
                    i = tree(code, i, &segments, import, found);
                    if code.get(i).is_some_and(|token| token == ",") {
                        i += 1;
                    }
                }
                return i + 1;
            }
            Some("*") if import => {
                found.push(NamedPath { segments, alias: Some("*".to_owned()) });
                return i + 1;
            }
            Some(word) if is_word(word) => {
                if word != "self" || segments.is_empty() {
                    segments.push(word.to_owned());
                }
                i += 1;
            }
            _ => break,
        }
        if code.get(i).is_some_and(|token| token == "::") {
            i += 1;
        } else {
            break;
        }
    }
    let mut alias = import.then(|| segments.last().cloned().unwrap_or_default());
    if import && code.get(i).is_some_and(|token| token == "as") {
        alias = code.get(i + 1).cloned();
        i += 2;
    }
    found.push(NamedPath { segments, alias });
    // Always advance, even over tokens that no import may contain.
    i.max(1)
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn comments_and_strings_are_no_code() {
    let text = r###"
        // unsafe
        /* unsafe /* unsafe */ unsafe */
        let a = "unsafe \" unsafe"; let b = r#"unsafe " unsafe"#; let c = '"'; let d = b'\'';
        let e = br"\"; let r#f = 1;
        fn g<'unsafe_>(x: &'static str) {}
    "###;
    let words: Vec<String> = tokens(text).into_iter().filter(|token| is_word(token)).collect();
    assert_eq!(words.join(" "), "let a let b let c let d let e let f fn g x str");
}

#[test]
fn imports_are_read_in_all_forms() {
    let text = "pub use crate::{Error, mask::{self, Rle, Grid as Cells}, batch::*};";
    let found = imports(&items(&tokens(text))[0]);
    let read: Vec<(String, &str)> =
        found.iter().map(|path| (path.segments.join("::"), path.alias.as_deref().unwrap())).collect();
    let expected = [
        ("crate::Error", "Error"),
        ("crate::mask", "mask"),
        ("crate::mask::Rle", "Rle"),
        ("crate::mask::Grid", "Cells"),
        ("crate::batch", "*"),
    ];
    assert_eq!(read, expected.map(|(path, alias)| (path.to_owned(), alias)));
    let code = tokens(
        "let x: super::Grid = std::thread::spawn::<A>(|| a.b::<crate::c::D>())?; Self::f(crate::e); pub(in crate::g) h",
    );
    let found: Vec<String> = paths(&code).iter().map(|path| path.segments.join("::")).collect();
    assert_eq!(found, ["super::Grid", "std::thread::spawn", "crate::c::D", "Self::f", "crate::e"]);
}

#[test]
fn items_are_told_apart() {
    let text = r#"#![allow(x)] #[cfg(test)] use a::{b};
        pub const fn c() -> [u8; 2] { { } }
        pub(crate) const D: E = E { f: 1 };
        #[cfg(all(test, feature = "x"))] mod tests { fn t() {} }
        #[doc(hidden)] pub struct G<T: Fn() -> u8>(pub T, u8);
        #[cfg(not(test))] pub enum H { #[doc = ""] I(u8), J { k: u8 }, L = 3 }
        impl<T: Fn() -> u8> G<T> where T: Copy { }
        pub struct M { pub a: Vec<(u8, u8)>, b: Map<u8, u8>, pub(crate) c: u8, pub d: u8 }
        unsafe impl Send for H {}
        elements! { u8 }
        macro_rules! n { () => {} }
        mod o;"#;
    let found = items(&tokens(text));
    let seen: Vec<(&str, &str, bool, bool, bool)> =
        found.iter().map(|i| (&*i.kind, &*i.name, i.public, i.test, i.hidden)).collect();
    let expected = [
        ("use", "", false, true, false),
        ("fn", "c", true, false, false),
        ("const", "D", false, false, false),
        ("mod", "tests", false, true, false),
        ("struct", "G", true, false, true),
        ("enum", "H", true, false, false),
        ("impl", "", false, false, false),
        ("struct", "M", true, false, false),
        ("impl", "", false, false, false),
        ("macro", "", false, false, false),
        ("macro_rules", "n", false, false, false),
        ("mod", "o", false, false, false),
    ];
    assert_eq!(seen, expected);
    assert!(found[2].restricted);
    assert_eq!(found[4].members(), ["0"]);
    assert_eq!(found[5].members(), ["I", "J", "L"]);
    assert_eq!(found[6].inherent_type(), Some(strings(&["G"])));
    assert_eq!(found[7].members(), ["a", "d"]);
    assert_eq!(found[8].inherent_type(), None);
}
