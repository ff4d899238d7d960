//! Braces in names of shards, expanded as bash and WebDataset do: `sa_{000000..000010}.tar`, `{train,val}/*.tar`.

use std::ops::Range;

/// Largest number of names that a pattern may expand to.
pub(super) const MAX_NAMES: usize = 100_000;
/// Deepest nesting of braces.
const MAX_DEPTH: usize = 16;

/// The names that a pattern stands for, in order; `None` if they are more than `MAX_NAMES`. Braces that hold neither a
/// list nor a range stay as they are.
pub fn expand(pattern: &str) -> Option<Vec<String>> {
    expand_nested(pattern, MAX_DEPTH)
}

fn expand_nested(text: &str, depth: usize) -> Option<Vec<String>> {
    let Some((braces, alternatives)) = first_braces(text)? else { return Some(vec![text.to_owned()]) };
    let depth = depth.checked_sub(1)?;
    let mut middles = Vec::new();
    for alternative in alternatives {
        middles.extend(expand_nested(&alternative, depth)?);
        if middles.len() > MAX_NAMES {
            return None;
        }
    }
    let (head, tails) = (&text[..braces.start], expand_nested(&text[braces.end..], depth)?);
    if middles.len().checked_mul(tails.len())? > MAX_NAMES {
        return None;
    }
    Some(middles.iter().flat_map(|middle| tails.iter().map(move |tail| format!("{head}{middle}{tail}"))).collect())
}

/// The first braces that hold a list or a range: their place, and what they stand for.
fn first_braces(text: &str) -> Option<Option<(Range<usize>, Vec<String>)>> {
    for (open, _) in text.match_indices('{') {
        let Some((close, commas)) = closing(&text[open..]) else { continue };
        let inside = &text[open + 1..open + close];
        let alternatives = if commas.is_empty() {
            match range(inside) {
                Some(names) => names?,
                None => continue,
            }
        } else {
            let ends = commas.iter().copied().chain([close]);
            let starts = [0].into_iter().chain(commas.iter().copied());
            starts.zip(ends).map(|(start, end)| text[open + start + 1..open + end].to_owned()).collect()
        };
        return Some(Some((open..open + close + 1, alternatives)));
    }
    Some(None)
}

/// The place of the brace that closes the first one, and those of the commas between them, outside of inner braces.
fn closing(text: &str) -> Option<(usize, Vec<usize>)> {
    let (mut depth, mut commas) = (0_usize, Vec::new());
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b',' if depth == 1 => commas.push(at),
            b'}' if depth == 1 => return Some((at, commas)),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// `None` if it is no range; `Some(None)` if it has too many numbers.
fn range(text: &str) -> Option<Option<Vec<String>>> {
    let mut parts = text.split("..");
    let (first, last, step) = (parts.next()?, parts.next()?, parts.next());
    if parts.next().is_some() {
        return None;
    }
    let step = step.map_or(Some(1), |step| step.parse::<i64>().ok())?.unsigned_abs().max(1);
    if let (Ok(from), Ok(to)) = (first.parse::<i64>(), last.parse::<i64>()) {
        // A leading zero on either side asks for equal widths.
        let digits = |text: &str| text.trim_start_matches(['-', '+']).to_owned();
        let is_padded = [first, last].map(digits).iter().any(|text| text.len() > 1 && text.starts_with('0'));
        let width = if is_padded { first.len().max(last.len()) } else { 0 };
        return Some(steps(from, to, step).map(|all| all.into_iter().map(|n| format!("{n:0width$}")).collect()));
    }
    let letter = |text: &str| match text.as_bytes() {
        [byte] if byte.is_ascii_alphabetic() => Some(i64::from(*byte)),
        _ => None,
    };
    let all = steps(letter(first)?, letter(last)?, step)?;
    Some(Some(all.into_iter().map(|byte| char::from(byte as u8).to_string()).collect()))
}

/// The numbers from `from` to `to`, up or down; `None` if there are too many.
fn steps(from: i64, to: i64, step: u64) -> Option<Vec<i64>> {
    let count = usize::try_from(from.abs_diff(to) / step).ok().filter(|&count| count < MAX_NAMES)? as i64 + 1;
    // Between `from` and `to`, so nothing overflows.
    let step = if from <= to { step as i64 } else { (step as i64).wrapping_neg() };
    Some((0..count).map(|n| from.wrapping_add(n.wrapping_mul(step))).collect())
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn braces_expand_as_in_bash() {
        // `echo PATTERN` in bash 5.
        let cases = [
            ("sa_{000008..000011}.tar", "sa_000008.tar sa_000009.tar sa_000010.tar sa_000011.tar"),
            ("{8..11}", "8 9 10 11"),
            ("{08..11}", "08 09 10 11"),
            ("{3..1}", "3 2 1"),
            ("{0..10..4}", "0 4 8"),
            ("{10..0..-5}", "10 5 0"),
            ("{-01..1}", "-01 000 001"),
            ("{c..a}", "c b a"),
            ("{a,b}/{1..2}.tar", "a/1.tar a/2.tar b/1.tar b/2.tar"),
            ("{a,b{1,2},}x", "ax b1x b2x x"),
            ("{a{1,2}}", "{a1} {a2}"),
            ("{{a,b}", "{a {b"),
            ("plain{}x{a}{1..}{1..2..3..4}", "plain{}x{a}{1..}{1..2..3..4}"),
            ("{a,b", "{a,b"),
            ("}{a,b}{", "}a{ }b{"),
            ("{1..a}", "{1..a}"),
        ];
        for (pattern, expected) in cases {
            assert_eq!(expand(pattern).map(|names| names.join(" ")).as_deref(), Some(expected), "{pattern}");
        }
    }

    #[test]
    fn no_braces_expand_without_bound() {
        let long = "{0,1}".repeat(40);
        let deep = format!("{}a,b{}", "{".repeat(1000), ",c}".repeat(1000));
        for pattern in
            ["{0..999999999}", "{0..400}{0..400}", "{-9223372036854775808..9223372036854775807}", &long, &deep]
        {
            assert_eq!(expand(pattern), None, "{}", &pattern[..20.min(pattern.len())]);
        }
        let count = |pattern| expand(pattern).map(|names| names.len());
        assert_eq!(count("{0..99999}"), Some(100_000));
        assert_eq!(count("{9223372036854775806..9223372036854775807}"), Some(2));
    }
}
