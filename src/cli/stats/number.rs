//! Numbers for people: three significant digits, thousands, shares.

/// Three significant digits, with k, M and G for thousands, millions and billions.
pub(super) fn short(value: f64) -> String {
    let (value, suffix) = match value.abs() {
        1e12.. => return format!("{value:.0e}"),
        1e9.. => (value / 1e9, "G"),
        1e6.. => (value / 1e6, "M"),
        1e4.. => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        0.1.. => 3,
        0.01.. => 4,
        _ => 5,
    };
    trimmed(value, digits) + suffix
}

/// A score, to four decimals.
pub(super) fn score(value: f64) -> String {
    if value.abs() < 100.0 { trimmed(value, 4) } else { short(value) }
}

/// A number of this unit.
pub(super) fn of_unit(value: f64, unit: &str) -> String {
    if unit == "score" { score(value) } else { short(value) }
}

fn trimmed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A count with a comma between groups of three digits.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A share as a percentage with one decimal, which is 100 for the whole alone.
pub(super) fn percent(share: f64) -> String {
    let percent = if share < 1.0 { (100.0 * share).min(99.9) } else { 100.0 };
    format!("{percent:.1} %")
}

/// `part` of `all` as a share.
pub(super) fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

/// A count with its noun, which takes an s unless there is one.
pub(super) fn plural(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.000_65, "0.00065"),
            (0.0123, "0.0123"),
            (1.0, "1"),
            (1.25, "1.25"),
            (999.0, "999"),
            (1250.0, "1250"),
            (12_500.0, "12.5k"),
            (200_000.0, "200k"),
            (3_375_000.0, "3.38M"),
            (-0.5, "-0.5"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
        assert_eq!([0, 12, 1234, 1_234_567].map(grouped), ["0", "12", "1,234", "1,234,567"]);
        assert_eq!([0.0, 0.9999, 1.0].map(percent), ["0.0 %", "99.9 %", "100.0 %"]);
    }
}
