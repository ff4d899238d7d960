//! No line is longer than 120 columns.

use std::fs;
use std::path::Path;

use super::modules::files;

const COLUMNS: usize = 120;

/// Numbers of the lines that are too long, counted from 1. Markdown cannot wrap a link or a table row, so a line that
/// is only a link and a table row that contains a link may have any length.
fn too_long(text: &str, markdown: bool) -> Vec<usize> {
    let whole = |line: &str| {
        let line = line.trim();
        let address = line.starts_with("http") && !line.contains(char::is_whitespace);
        let definition = line.starts_with('[') && line.contains("]: http");
        let link = (line.starts_with('[') || line.starts_with("![")) && line.ends_with(')');
        let only_link = link && line.matches("](").count() == 1 && line.find(')') == Some(line.len() - 1);
        let row = line.starts_with('|') && line.contains("](");
        address || definition || only_link || row
    };
    let long = |line: &str| line.chars().count() > COLUMNS && !(markdown && whole(line));
    text.lines().enumerate().filter(|(_, line)| long(line)).map(|(i, _)| i + 1).collect()
}

#[test]
fn long_lines_are_seen() {
    let long = "x".repeat(121);
    let umlauts = "ä".repeat(120);
    assert_eq!(too_long(&format!("a\n{long}\n{umlauts}\n// {umlauts}\n"), false), [2, 4]);
    let link = format!("[text](https://example.org/{long})");
    for line in [format!("https://{long}"), link.clone(), format!("!{link}"), format!("| a | {link} |")] {
        assert_eq!(too_long(&line, true), [0; 0], "{line}");
        assert_eq!(too_long(&line, false), [1], "{line}");
    }
    for line in [format!("see {link}"), format!("| {long} |"), format!("{link} and {link}"), format!("a {long}")] {
        assert_eq!(too_long(&line, true), [1], "{line}");
    }
}

#[test]
fn lines_have_at_most_120_columns() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut read = 0;
    for path in files(root, &["rs", "md"]) {
        let text = fs::read_to_string(&path).unwrap();
        let markdown = path.extension().is_some_and(|extension| extension == "md");
        let name = path.strip_prefix(root).unwrap().display();
        found.extend(too_long(&text, markdown).into_iter().map(|line| format!("{name}:{line}")));
        read += 1;
    }
    assert!(read > 100, "only {read} files were read");
    assert!(found.is_empty(), "{} lines have more than {COLUMNS} columns:\n{}", found.len(), found.join("\n"));
}
