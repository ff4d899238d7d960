//! Expands macros that write items for each row of a table, so that the other rules see these items.
//!
//! A table is a macro that passes its rows, `Variant name: ..;`, to another macro:
//! `macro_rules! table { ($callback:ident) => { $callback! { Rows rows: u8; } } }`, and is used as `table!(define);`.

use super::text::{Item, closed, is_word, items};

/// The first two words of each row.
type Rows = Vec<[String; 2]>;

/// A table's name and its rows, for each table in the tokens of a file.
pub(super) fn tables(tokens: &[String]) -> Vec<(String, Rows)> {
    let mut found = Vec::new();
    for item in items(tokens).iter().filter(|item| item.kind == "macro_rules") {
        let body = item.body();
        let hands_on = |at: &usize| body[*at] == "$" && body.get(at + 2).is_some_and(|token| token == "!");
        let Some(at) = (0..body.len()).find(hands_on) else { continue };
        // Only `$callback! { .. }` makes a table.
        if body.get(at + 3).is_none_or(|token| token != "{") || body.first().is_none_or(|token| token != "(") {
            continue;
        }
        let end = closed(body, at + 3);
        let rows = body[at + 4..end - 1].split(|token| token == ";").filter_map(|row| {
            let [first, second, ..] = row else { return None };
            (is_word(first) && is_word(second)).then(|| [first.clone(), second.clone()])
        });
        found.push((item.name.clone(), rows.collect::<Rows>()));
    }
    found.retain(|(_, rows)| !rows.is_empty());
    found
}

/// The expansions of the file's own macros for the tables that are passed to them.
pub(super) fn expanded(tokens: &[String], tables: &[(String, Rows)]) -> Vec<String> {
    let items = items(tokens);
    let mut found = Vec::new();
    for call in items.iter().filter(|item| item.kind == "macro") {
        let [table, bang, open, callback, ..] = &call.tokens[..] else { continue };
        let Some((_, rows)) = tables.iter().find(|(name, _)| name == table) else { continue };
        let defined = items.iter().find(|item| item.kind == "macro_rules" && item.name == *callback);
        if let Some(arm) = defined.filter(|_| bang == "!" && open == "(").and_then(|item| arms(item).into_iter().next())
        {
            found.extend(expand(arm.1, &arm.0, rows));
        }
    }
    found
}

/// The name of the function that a macro call within an `impl` defines: `accessor!(Rows rows u8);`.
pub(super) fn function_named(call: &Item, macros: &[Item]) -> Option<String> {
    let name = call.tokens.first()?;
    let item = macros.iter().find(|item| item.kind == "macro_rules" && item.name == *name)?;
    arms(item).into_iter().find_map(|(captures, body)| {
        let public = |at: &usize| body[*at..].starts_with(&["pub", "fn", "$"].map(str::to_owned));
        let captured = &body[(0..body.len()).find(public)? + 3];
        let place = captures.iter().position(|capture| capture == captured)?;
        call.tokens[2..].iter().filter(|token| is_word(token)).nth(place).cloned()
    })
}

/// Each arm of a macro: its captures, without optional parts before them, and its right side.
fn arms(item: &Item) -> Vec<(Vec<String>, &[String])> {
    let body = item.body();
    let mut found = Vec::new();
    let mut i = 0;
    while i < body.len() && ["(", "[", "{"].contains(&body[i].as_str()) {
        let end = closed(body, i);
        let mut matcher = &body[i + 1..end - 1];
        // Rows are repeated: take the captures of one row.
        if matcher.starts_with(&["$".to_owned(), "(".to_owned()]) && closed(matcher, 1) + 1 >= matcher.len() {
            matcher = &matcher[2..closed(matcher, 1) - 1];
        }
        let mut captures = Vec::new();
        let mut at = 0;
        while at < matcher.len() {
            match matcher[at].as_str() {
                "$" if matcher[at + 1] == "(" => at = closed(matcher, at + 1),
                "$" => {
                    captures.push(matcher[at + 1].clone());
                    at += 2;
                }
                _ => at += 1,
            }
        }
        // After `=>`.
        let open = end + 2;
        if open >= body.len() {
            break;
        }
        let close = closed(body, open);
        found.push((captures, &body[open + 1..close - 1]));
        i = close + usize::from(body.get(close).is_some_and(|token| token == ";"));
    }
    found
}

/// Expands the right side of an arm: parts that repeat over rows once for each row, other repeated parts, which are
/// attributes, never.
fn expand(body: &[String], captures: &[String], rows: &[[String; 2]]) -> Vec<String> {
    let mut found = Vec::new();
    let mut i = 0;
    while i < body.len() {
        if body[i] != "$" || i + 1 == body.len() {
            found.push(body[i].clone());
            i += 1;
            continue;
        }
        if body[i + 1] != "(" {
            let row = rows.first().filter(|_| rows.len() == 1);
            let place = captures.iter().take(2).position(|capture| *capture == body[i + 1]);
            let word = row.zip(place).map_or(&body[i + 1], |(row, place)| &row[place]);
            found.push(word.clone());
            i += 2;
            continue;
        }
        let end = closed(body, i + 1);
        let part = &body[i + 2..end - 1];
        let separated = !["*", "+", "?"].contains(&body[end].as_str());
        let repeats =
            part.windows(2).any(|pair| pair[0] == "$" && captures.iter().take(2).any(|name| *name == pair[1]));
        for row in rows.iter().filter(|_| repeats) {
            found.extend(expand(part, captures, std::slice::from_ref(row)));
            found.extend(separated.then(|| body[end].clone()));
        }
        i = end + 1 + usize::from(separated);
    }
    found
}

#[test]
fn tables_are_expanded() {
    let text = "
        macro_rules! fields { ($callback:ident) => { $callback! { /// Doc.
            Images images: u8 [B 3] always; Masks masks: f32 [B K] optional; } }; }
        macro_rules! define { (
            $($(#[$doc:meta])* $variant:ident $name:ident: $type:ident [$($d:tt)*] $when:ident;)*
        ) => {
            pub enum Field { $($(#[$doc])* $variant,)* }
            impl Field { pub const ALL: &[Self] = &[$(Self::$variant),*]; }
            pub struct Row { $(pub $name: $type,)* }
            impl Batch { $(accessor!($(#[$doc])* $variant $name $type $when);)* }
        }; }
        macro_rules! accessor {
            ($(#[$doc:meta])* $variant:ident $name:ident $type:ident always) => {
                $(#[$doc])* pub fn $name(&self) {}
            };
            ($(#[$doc:meta])* $variant:ident $name:ident $type:ident optional) => { pub fn $name(&self) {} };
        }
        fields!(define);";
    let tokens = super::text::tokens(text);
    let tables = tables(&tokens);
    assert_eq!(tables.len(), 1);
    let all = items(&tokens);
    let made = items(&expanded(&tokens, &tables));
    assert_eq!(made[0].members(), ["Images", "Masks"]);
    assert_eq!(made[2].members(), ["images", "masks"]);
    let calls = items(made[3].body());
    let named: Vec<String> = calls.iter().filter_map(|call| function_named(call, &all)).collect();
    assert_eq!(named, ["images", "masks"]);
}
