//! Numbers on the command line: counts, and sizes with a unit.

/// A size: `8589934592`, `8G` and `8GB` (8 x 10^9), `8GiB` and `8Gi` (8 x 2^30). Units may be in either case.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || "write a number of bytes, or a size such as 512M, 8G (powers of 1000) or 8GiB (of 1024)".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim_start().to_ascii_lowercase());
    let (letter, base) = match unit.strip_suffix("ib").or(unit.strip_suffix('i')) {
        Some(letter) => (letter, 1024_u64),
        None => (unit.strip_suffix('b').unwrap_or(&unit), 1000),
    };
    let power = match letter {
        "" if base == 1000 => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(wrong()),
    };
    let bytes = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(base.pow(power)),
        Err(_) => {
            let bytes = number.parse::<f64>().map_err(|_| wrong())? * base.pow(power) as f64;
            // Beyond 2^53 a fraction has no meaning.
            (bytes < 9e15).then_some(bytes as u64)
        }
    };
    bytes.ok_or_else(|| "it is larger than any memory or file".to_owned())
}

/// A whole number.
pub(super) fn parse_whole<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "it must be a whole number from 0 on".to_owned())
}

/// A number of things of which there must be one at least.
pub(super) fn parse_positive(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|&count| count > 0).ok_or_else(|| "it must be a number from 1 on".to_owned())
}

/// A count from 1 to `MOST`.
pub(super) fn parse_count<const MOST: usize>(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=MOST).contains(count));
    count.ok_or_else(|| format!("it must be a number from 1 to {MOST}"))
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_have_units_of_1000_and_of_1024() {
        let cases = [
            ("0", 0),
            ("17", 17),
            ("17b", 17),
            ("512M", 512_000_000),
            ("8G", 8_000_000_000),
            ("8gb", 8_000_000_000),
            ("8GiB", 8 << 30),
            ("8 Gi", 8 << 30),
            ("1.5KiB", 1536),
            ("2T", 2_000_000_000_000),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "G", "-1", "8X", "8GG", "1e9", "8ib", "99999999999T", ".", "1.2.3", "20000000000000000000"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
