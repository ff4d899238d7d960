//! Builds deflate streams from tokens and random choices, with codes of any shape, including streams that no real
//! encoder writes. Returns each stream with the bytes that it encodes.

/// A small deterministic generator: splitmix64.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(super) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// Writes bits, lowest first.
#[derive(Clone, Default)]
pub(super) struct BitWriter {
    pub(super) bytes: Vec<u8>,
    bits: usize,
}

impl BitWriter {
    pub(super) fn put(&mut self, value: usize, count: usize) {
        for bit in 0..count {
            if self.bits.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let last = self.bytes.len() - 1;
            self.bytes[last] |= ((value >> bit & 1) as u8) << (self.bits % 8);
            self.bits += 1;
        }
    }

    /// Writes a code, highest bit first.
    pub(super) fn put_code(&mut self, (code, count): (usize, usize)) {
        (0..count).rev().for_each(|bit| self.put(code >> bit & 1, 1));
    }

    pub(super) fn align(&mut self) {
        self.bits = self.bytes.len() * 8;
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Token {
    Literal(u8),
    Match { distance: usize, length: usize },
}

/// Appends the bytes that tokens encode; matches refer to what `out` already holds.
pub(super) fn expand(tokens: &[Token], out: &mut Vec<u8>) {
    for &token in tokens {
        match token {
            Token::Literal(byte) => out.push(byte),
            Token::Match { distance, length } => {
                for _ in 0..length {
                    out.push(out[out.len() - distance]);
                }
            }
        }
    }
}

/// Symbol, value and number of the extra bits of a length (RFC 1951, 3.2.5, as arithmetic).
pub(super) fn length_symbol(length: usize) -> (usize, usize, usize) {
    match length {
        258 => (285, 0, 0),
        3..11 => (254 + length, 0, 0),
        _ => {
            let l = length - 3;
            let extra = l.ilog2() as usize - 2;
            (257 + 4 * extra + (l >> extra), l & ((1 << extra) - 1), extra)
        }
    }
}

/// Symbol, value and number of the extra bits of a distance.
pub(super) fn distance_symbol(distance: usize) -> (usize, usize, usize) {
    let d = distance - 1;
    if d < 4 {
        return (d, 0, 0);
    }
    let extra = d.ilog2() as usize - 1;
    (2 * extra + (d >> extra), d & ((1 << extra) - 1), extra)
}

/// Lengths of a random complete code for these symbols, of up to `most` bits. The code of a single symbol has one bit.
pub(super) fn code_lengths(symbols: &[usize], count: usize, most: usize, dice: &mut Dice) -> Vec<u8> {
    let mut lengths = vec![0_u8; count];
    let mut leaves = vec![0_usize];
    let deep = dice.below(3) == 0;
    while leaves.len() < symbols.len() {
        let open: Vec<usize> = (0..leaves.len()).filter(|&leaf| leaves[leaf] < most).collect();
        let leaf = if deep && dice.below(8) > 0 {
            open.iter().copied().max_by_key(|&leaf| leaves[leaf]).unwrap()
        } else {
            open[dice.below(open.len())]
        };
        leaves[leaf] += 1;
        leaves.push(leaves[leaf]);
    }
    for &symbol in symbols {
        let leaf = leaves.swap_remove(dice.below(leaves.len()));
        lengths[symbol] = leaf.max(1) as u8;
    }
    lengths
}

/// The canonical code of each symbol (RFC 1951, 3.2.2).
pub(super) fn codes(lengths: &[u8]) -> Vec<(usize, usize)> {
    let mut codes = vec![(0, 0); lengths.len()];
    let mut code = 0;
    for bits in 1..=15 {
        code <<= 1;
        for symbol in (0..lengths.len()).filter(|&symbol| usize::from(lengths[symbol]) == bits) {
            codes[symbol] = (code, bits);
            code += 1;
        }
    }
    codes
}

/// Writes the code lengths of a dynamic block; runs are written in one of the possible ways.
pub(super) fn put_codes(out: &mut BitWriter, literals: &[u8], distances: &[u8], dice: &mut Dice) {
    let all = [literals, distances].concat();
    let mut symbols = Vec::new();
    let mut at = 0;
    while at < all.len() {
        let run = all[at..].iter().take_while(|&&length| length == all[at]).count();
        let after_same = at > 0 && all[at - 1] == all[at];
        let (symbol, extra, bits, taken) = match (all[at], run, dice.below(4)) {
            (0, 11.., 0..3) => (18, run.min(138) - 11, 7, run.min(138)),
            (0, 3..11, 0..3) => (17, run - 3, 3, run),
            (_, 3.., 0..3) if after_same => (16, run.min(6) - 3, 2, run.min(6)),
            (length, ..) => (usize::from(length), 0, 0, 1),
        };
        symbols.push((symbol, extra, bits));
        at += taken;
    }
    let mut used: Vec<usize> = symbols.iter().map(|symbol| symbol.0).collect();
    used.extend((dice.below(4) == 0).then(|| dice.below(19)));
    // A precode of one symbol would be incomplete.
    used.push(if used.iter().all(|&symbol| symbol == 0) { 1 } else { 0 });
    used.sort_unstable();
    used.dedup();
    let precode = code_lengths(&used, 19, 7, dice);
    const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    let last = ORDER.iter().rposition(|&symbol| precode[symbol] != 0).unwrap_or(0);
    let written = (last + 1).max(4);
    out.put(literals.len() - 257, 5);
    out.put(distances.len() - 1, 5);
    out.put(written - 4, 4);
    ORDER[..written].iter().for_each(|&symbol| out.put(usize::from(precode[symbol]), 3));
    let codes = codes(&precode);
    for (symbol, extra, bits) in symbols {
        out.put_code(codes[symbol]);
        out.put(extra, bits);
    }
}

fn put_tokens(out: &mut BitWriter, tokens: &[Token], literals: &[u8], distances: &[u8], dice: &mut Dice) {
    let (literals, distances) = (codes(literals), codes(distances));
    for &token in tokens {
        match token {
            Token::Literal(byte) => out.put_code(literals[usize::from(byte)]),
            Token::Match { distance, length } => {
                let (mut symbol, mut extra, mut bits) = length_symbol(length);
                // There are two ways to write 258.
                if length == 258 && literals[284].1 > 0 && (literals[285].1 == 0 || dice.below(2) == 0) {
                    (symbol, extra, bits) = (284, 31, 5);
                }
                out.put_code(literals[symbol]);
                out.put(extra, bits);
                let (symbol, extra, bits) = distance_symbol(distance);
                out.put_code(distances[symbol]);
                out.put(extra, bits);
            }
        }
    }
    out.put_code(literals[256]);
}

/// Writes a block with codes for these tokens and for some unused symbols.
pub(super) fn put_dynamic(out: &mut BitWriter, tokens: &[Token], is_last: bool, dice: &mut Dice) {
    let (mut literals, mut distances) = (vec![256], Vec::new());
    for &token in tokens {
        match token {
            Token::Literal(byte) => literals.push(usize::from(byte)),
            Token::Match { distance, length } => {
                literals.push(length_symbol(length).0);
                distances.push(distance_symbol(distance).0);
            }
        }
    }
    for _ in 0..dice.below(3) * dice.below(40) {
        literals.push(dice.below(286));
        distances.extend((!distances.is_empty()).then(|| dice.below(30)));
    }
    for list in [&mut literals, &mut distances] {
        list.sort_unstable();
        list.dedup();
    }
    let count = |list: &[usize], least: usize, most: usize, dice: &mut Dice| {
        let needed = list.last().map_or(0, |last| last + 1).max(least);
        needed + dice.below(most - needed + 1) * dice.below(2)
    };
    let literal_count = count(&literals, 257, 286, dice);
    let distance_count = count(&distances, 1, 30, dice);
    let literals = code_lengths(&literals, literal_count, 15, dice);
    let distances = code_lengths(&distances, distance_count, 15, dice);
    out.put(usize::from(is_last), 1);
    out.put(2, 2);
    put_codes(out, &literals, &distances, dice);
    let mut padded = literals;
    padded.resize(286, 0);
    put_tokens(out, tokens, &padded, &distances, dice);
}

/// Writes a block with the fixed codes.
pub(super) fn put_fixed(out: &mut BitWriter, tokens: &[Token], is_last: bool, dice: &mut Dice) {
    let mut literals = [8; 288];
    literals[144..256].fill(9);
    literals[256..280].fill(7);
    out.put(usize::from(is_last), 1);
    out.put(1, 2);
    put_tokens(out, tokens, &literals, &[5; 32], dice);
}

/// Writes a stored block.
pub(super) fn put_stored(out: &mut BitWriter, bytes: &[u8], is_last: bool) {
    out.put(usize::from(is_last), 1);
    out.put(0, 2);
    out.align();
    out.put(bytes.len(), 16);
    out.put(!bytes.len(), 16);
    bytes.iter().for_each(|&byte| out.put(usize::from(byte), 8));
}

/// A stream of this many blocks with tokens of all kinds, and the bytes that it encodes.
pub(super) fn stream(dice: &mut Dice, blocks: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut bytes) = (BitWriter::default(), Vec::new());
    for block in 0..blocks {
        let is_last = block + 1 == blocks;
        let kind = dice.below(8);
        if kind == 0 {
            let count = [0, 1, 7, 300, 65_535][dice.below(5)];
            let raw = dice.bytes(count);
            put_stored(&mut out, &raw, is_last);
            bytes.extend(raw);
            continue;
        }
        let mut tokens = Vec::new();
        let mut len = bytes.len();
        let (alphabet, matches) = ([1, 4, 64, 256][dice.below(4)], [0, 1, 3, 8][dice.below(4)]);
        let near = dice.below(2) == 0;
        for _ in 0..[0, 1, 30, 2000, 20_000][dice.below(5)] {
            if len > 0 && dice.below(8) < matches {
                let farthest = len.min(if near { 40 } else { 32_768 });
                let distance = if dice.below(8) == 0 { farthest } else { 1 + dice.below(farthest) };
                let length = if dice.below(4) == 0 { 258 } else { 3 + dice.below(256) };
                tokens.push(Token::Match { distance, length });
                len += length;
            } else {
                tokens.push(Token::Literal(dice.below(alphabet) as u8 ^ 0x5a));
                len += 1;
            }
        }
        expand(&tokens, &mut bytes);
        if kind == 1 {
            put_fixed(&mut out, &tokens, is_last, dice);
        } else {
            put_dynamic(&mut out, &tokens, is_last, dice);
        }
    }
    (out.bytes, bytes)
}
