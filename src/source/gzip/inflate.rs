//! Raw deflate (RFC 1951) -> bytes. Comes in: compressed bytes and a buffer whose front holds what came before. Goes
//! out: the bytes after that, up to a limit that is met exactly. Fails on data that is no deflate stream.
//!
//! # Why not a library's
//!
//! To read a member in place, decoding has to begin at a symbol in the middle of a block, and end at another; and the
//! first pass has to say which earlier bytes a stretch refers to. Libraries stop at the ends of blocks at best, and
//! keep the rest to themselves.
//!
//! # How
//!
//! JPEG data is a chain of literals, each of which has to be looked up before the next one can be. The fast loop takes
//! four of them from one refill of a 64-bit buffer, and looks up the fifth before it refills. The last bytes of the
//! input and of the output are decoded symbol by symbol, with every bound checked.

use super::huffman::{
    self, DISTANCE_ROOT, DistanceTable, END, LITERAL, LITERAL_MASK, LITERAL_ROOT, LiteralTable, OTHER, PrecodeTable,
    SECOND,
};

/// How far back a match can refer.
pub(crate) const WINDOW_BYTES: usize = 32 << 10;
/// Longest match.
pub(crate) const MAX_MATCH: usize = 258;
/// What one round of the fast loop may write: three literals, a match, and the rest of a copied word.
const FAST_OUT: usize = 3 + MAX_MATCH + 7;
/// What three refills in one round of it may read.
const FAST_IN: usize = 32;
/// The order in which the lengths of the precode are written.
const PRECODE_ORDER: [u8; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// A stretch of the compressed file.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) bytes: &'a [u8],
    /// Offset of the first of them in the file.
    pub(crate) start: u64,
}

/// Where bytes go.
pub(crate) struct Output<'a> {
    pub(crate) bytes: &'a mut [u8],
    /// Where the next one goes; those before it are what matches refer to.
    pub(crate) at: usize,
    /// Matches must not refer to anything before this.
    pub(crate) floor: usize,
    /// No byte is written from here on.
    pub(crate) limit: usize,
}

/// Why decoding paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// The next symbol would write beyond the limit.
    Limit,
    /// The input ends within the next symbol or header.
    Input,
    /// The last block has ended.
    Ended,
}

/// A place between two symbols, in bits from the start of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The header of the block.
    pub(crate) block: u64,
    /// The next symbol, or the header itself.
    pub(crate) symbol: u64,
}

/// Broken data: where, in bits from the start of the file, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) bit: u64,
    pub(crate) what: &'static str,
}

/// Which bytes before a boundary are referred to.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Index in the output.
    pub(crate) boundary: usize,
    /// Stretches before it, as indices in the output; they may overlap.
    pub(crate) used: Vec<(usize, usize)>,
}

/// A decoder of one deflate stream.
pub(crate) struct Inflater {
    literals: Box<LiteralTable>,
    distances: Box<DistanceTable>,
    state: State,
    is_last: bool,
    place: Place,
    /// Where in the output the last block began that a run has come to, until it is asked for.
    begun: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    Stored { left: usize },
    Symbols,
    Ended,
}

impl Inflater {
    /// Starts at a header of a block, at this bit of the file.
    pub(crate) fn new(bit: u64) -> Self {
        let mut inflater = Self {
            literals: Box::new([0; LITERAL_MASK + 1]),
            distances: Box::new([0; 512]),
            state: State::Header,
            is_last: false,
            place: Place { block: 0, symbol: 0 },
            begun: None,
        };
        inflater.restart(bit);
        inflater
    }

    /// Starts anew at a header of a block.
    pub(crate) fn restart(&mut self, bit: u64) {
        (self.state, self.is_last) = (State::Header, false);
        self.place = Place { block: bit, symbol: bit };
    }

    /// Goes to a place between two symbols: reads the header of its block, which `input` must hold, and skips the rest.
    /// The caller says by giving a place that there is one.
    pub(crate) fn go_to(&mut self, place: Place, input: Input<'_>) -> Result<Pause, Fault> {
        self.restart(place.block);
        if place.symbol == place.block {
            return Ok(Pause::Limit);
        }
        if !self.header(input)? {
            return Ok(Pause::Input);
        }
        let Some(skipped) = place.symbol.checked_sub(self.place.symbol) else {
            return Err(self.fault("a place inside of a header"));
        };
        if let State::Stored { left } = &mut self.state {
            let bytes = usize::try_from(skipped / 8).unwrap_or(usize::MAX);
            let Some(rest) = left.checked_sub(bytes).filter(|_| skipped.is_multiple_of(8)) else {
                return Err(self.fault("a place outside of its block"));
            };
            *left = rest;
        }
        self.place.symbol = place.symbol;
        Ok(Pause::Limit)
    }

    /// Passes what yields no bytes: headers and ends of blocks. The output stands at `at`.
    pub(crate) fn pass_headers(&mut self, input: Input<'_>, at: usize) -> Result<Pause, Fault> {
        loop {
            match self.state {
                State::Ended => return Ok(Pause::Ended),
                State::Stored { left: 0 } => self.next_block(),
                State::Header if self.is_last => self.state = State::Ended,
                State::Header => {
                    if !self.header(input)? {
                        return Ok(Pause::Input);
                    }
                    self.begun = Some(at);
                }
                State::Stored { .. } => return Ok(Pause::Limit),
                State::Symbols => {
                    let mut bits = Bits::at(input, self.place.symbol);
                    let ends = matches!(next_symbol(&mut bits, &self.literals, &self.distances), Ok(Symbol::End));
                    if bits.position() > bits.end() {
                        return Ok(Pause::Input);
                    }
                    if !ends {
                        return Ok(Pause::Limit);
                    }
                    self.place.symbol = bits.position();
                    self.next_block();
                }
            }
        }
    }

    /// Where in the output the current block began, if that was since the last call.
    pub(crate) fn take_begun(&mut self) -> Option<usize> {
        self.begun.take()
    }

    /// Whether the last block has been decoded.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Where decoding goes on.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Decodes until a pause. With a `watch`, notes what refers to bytes before its boundary.
    pub(crate) fn run(
        &mut self,
        input: Input<'_>,
        output: &mut Output<'_>,
        watch: Option<&mut Watch>,
    ) -> Result<Pause, Fault> {
        match watch {
            None => self.blocks(input, output, &mut |_, _| {}, false),
            Some(Watch { boundary, used }) => {
                let boundary = *boundary;
                let mut note = |from: usize, to: usize| {
                    if from < boundary {
                        used.push((from, to.min(boundary)));
                    }
                };
                self.blocks(input, output, &mut note, false)
            }
        }
    }

    /// Decodes the one symbol that would cross the limit of an earlier run, and the headers before it.
    pub(crate) fn step(
        &mut self,
        input: Input<'_>,
        output: &mut Output<'_>,
        watch: Option<&mut Watch>,
    ) -> Result<Pause, Fault> {
        let boundary = watch.as_ref().map_or(0, |watch| watch.boundary);
        let mut used = None;
        let pause = self.blocks(input, output, &mut |from, to| used = Some((from, to)), true);
        if let (Some(watch), Some((from, to))) = (watch, used.filter(|(from, _)| *from < boundary)) {
            watch.used.push((from, to.min(boundary)));
        }
        pause
    }

    fn blocks(
        &mut self,
        input: Input<'_>,
        output: &mut Output<'_>,
        note: &mut impl FnMut(usize, usize),
        one: bool,
    ) -> Result<Pause, Fault> {
        let start = output.at;
        loop {
            if output.at >= output.limit || (one && output.at > start) {
                return Ok(Pause::Limit);
            }
            match self.state {
                State::Ended => return Ok(Pause::Ended),
                State::Header if self.is_last => self.state = State::Ended,
                State::Header => {
                    if !self.header(input)? {
                        return Ok(Pause::Input);
                    }
                    self.begun = Some(output.at);
                }
                State::Stored { left: 0 } => self.next_block(),
                State::Stored { left } => {
                    let copied = self.stored(input, output, left);
                    if copied == 0 {
                        return Ok(Pause::Input);
                    }
                }
                State::Symbols => {
                    if !one {
                        self.fast(input, output, note)?;
                    }
                    if let State::Symbols = self.state
                        && let Some(pause) = self.slow(input, output, note, one)?
                    {
                        return Ok(pause);
                    }
                }
            }
        }
    }

    fn next_block(&mut self) {
        self.state = State::Header;
        self.place.block = self.place.symbol;
    }

    fn stored(&mut self, input: Input<'_>, output: &mut Output<'_>, left: usize) -> usize {
        let from = (self.place.symbol / 8).saturating_sub(input.start) as usize;
        let available = input.bytes.get(from..).unwrap_or_default();
        let count = left.min(available.len()).min(output.limit - output.at);
        output.bytes[output.at..output.at + count].copy_from_slice(&available[..count]);
        output.at += count;
        self.place.symbol += 8 * count as u64;
        self.state = State::Stored { left: left - count };
        count
    }

    /// Reads the header of a block; `false` if the input ends within it.
    fn header(&mut self, input: Input<'_>) -> Result<bool, Fault> {
        let mut bits = Bits::at(input, self.place.symbol);
        let parsed = self.parse_header(&mut bits);
        // Zeros are read beyond the end; whatever they seemed to say does not count.
        if bits.position() > bits.end() {
            return Ok(false);
        }
        match parsed {
            Err(what) => Err(self.fault(what)),
            Ok((is_last, state)) => {
                self.is_last = is_last;
                self.state = state;
                self.place.symbol = bits.position();
                Ok(true)
            }
        }
    }

    fn parse_header(&mut self, bits: &mut Bits<'_>) -> Result<(bool, State), &'static str> {
        bits.refill();
        let is_last = bits.take(1) == 1;
        match bits.take(2) {
            0 => {
                bits.align();
                bits.refill();
                let (length, inverse) = (bits.take(16), bits.take(16));
                if length ^ inverse != 0xffff {
                    return Err("a stored block whose length does not fit its check");
                }
                Ok((is_last, State::Stored { left: length as usize }))
            }
            1 => {
                let mut lengths = [8; 288];
                lengths[144..256].fill(9);
                lengths[256..280].fill(7);
                huffman::literals(&mut self.literals, &lengths)?;
                // Thirty-two codes of five bits; two of them mean nothing.
                huffman::distances(&mut self.distances, &[5; 32])?;
                Ok((is_last, State::Symbols))
            }
            2 => self.parse_codes(bits).map(|()| (is_last, State::Symbols)),
            _ => Err("a block of an unknown type"),
        }
    }

    fn parse_codes(&mut self, bits: &mut Bits<'_>) -> Result<(), &'static str> {
        let literals = 257 + bits.take(5) as usize;
        let distances = 1 + bits.take(5) as usize;
        let precodes = 4 + bits.take(4) as usize;
        if literals > 286 || distances > 30 {
            return Err("a block with more symbols than there are");
        }
        let mut lengths = [0_u8; 19];
        for &symbol in &PRECODE_ORDER[..precodes] {
            bits.refill();
            lengths[usize::from(symbol)] = bits.take(3) as u8;
        }
        let mut precode: PrecodeTable = [0; 128];
        huffman::precode(&mut precode, &lengths)?;

        let mut lengths = [0_u8; 286 + 30];
        let mut count = 0;
        while count < literals + distances {
            bits.refill();
            let entry = precode[bits.peek(7) as usize & 127];
            if entry & OTHER != 0 {
                return Err("a code length that is not in the code");
            }
            bits.skip(entry & 0xff);
            let (value, repeat) = match entry >> 16 {
                16 if count == 0 => return Err("a repeated code length without one before it"),
                16 => (lengths[count - 1], 3 + bits.take(2)),
                17 => (0, 3 + bits.take(3)),
                18 => (0, 11 + bits.take(7)),
                length => (length as u8, 1),
            };
            let end = count + repeat as usize;
            if end > literals + distances {
                return Err("more code lengths than announced");
            }
            lengths[count..end].fill(value);
            count = end;
        }
        huffman::literals(&mut self.literals, &lengths[..literals])?;
        huffman::distances(&mut self.distances, &lengths[literals..count])
    }

    /// The fast loop: runs while input and output have room for a whole round.
    #[inline(always)]
    fn fast(
        &mut self,
        input: Input<'_>,
        output: &mut Output<'_>,
        note: &mut impl FnMut(usize, usize),
    ) -> Result<(), Fault> {
        let mut lane = Lane::new(self, input, output.at, output.floor);
        let end = loop {
            if let Some(end) = lane.round(&mut output.bytes[..output.limit], note) {
                break end;
            }
        };
        let (at, bit) = (lane.at, lane.bits.position());
        output.at = at;
        self.settle(bit, end)
    }

    /// Takes over where a lane has ended.
    fn settle(&mut self, bit: u64, end: LaneEnd) -> Result<(), Fault> {
        self.place.symbol = bit;
        match end {
            LaneEnd::NoRoom => {}
            LaneEnd::Block => self.next_block(),
            LaneEnd::Fault(what) => return Err(self.fault(what)),
        }
        Ok(())
    }

    /// Symbol by symbol, up to the very ends of input and output. Returns without a pause at the end of the block.
    fn slow(
        &mut self,
        input: Input<'_>,
        output: &mut Output<'_>,
        note: &mut impl FnMut(usize, usize),
        one: bool,
    ) -> Result<Option<Pause>, Fault> {
        let mut bits = Bits::at(input, self.place.symbol);
        let room = if one { output.bytes.len() } else { output.limit };
        loop {
            if output.at >= output.limit {
                return Ok(Some(Pause::Limit));
            }
            bits.refill();
            let symbol = next_symbol(&mut bits, &self.literals, &self.distances);
            if bits.position() > bits.end() {
                return Ok(Some(Pause::Input));
            }
            match symbol.map_err(|what| self.fault(what))? {
                Symbol::End => {
                    self.place.symbol = bits.position();
                    self.next_block();
                    return Ok(None);
                }
                Symbol::Literal(byte) => {
                    output.bytes[output.at] = byte;
                    output.at += 1;
                }
                Symbol::Match { distance, length } => {
                    if distance > output.at - output.floor {
                        return Err(self.fault(TOO_FAR));
                    }
                    if length > room - output.at {
                        return Ok(Some(Pause::Limit));
                    }
                    let from = output.at - distance;
                    note(from, from + length);
                    for index in from..from + length {
                        output.bytes[index + distance] = output.bytes[index];
                    }
                    output.at += length;
                }
            }
            self.place.symbol = bits.position();
            // Far from the ends again, the fast loop takes over.
            let fast = bits.next + FAST_IN <= bits.bytes.len() && output.at + FAST_OUT <= output.limit;
            if one || fast {
                return Ok(None);
            }
        }
    }

    fn fault(&self, what: &'static str) -> Fault {
        Fault { bit: self.place.symbol, what }
    }
}

/// One run of the fast loop.
struct Lane<'a> {
    bits: Bits<'a>,
    at: usize,
    floor: usize,
    literals: &'a LiteralTable,
    distances: &'a DistanceTable,
    /// The look-up of what comes next.
    entry: u32,
}

/// Why a lane has ended.
enum LaneEnd {
    /// Input or output are nearly at their end.
    NoRoom,
    Block,
    Fault(&'static str),
}

impl<'a> Lane<'a> {
    fn new(inflater: &'a Inflater, input: Input<'a>, at: usize, floor: usize) -> Self {
        let mut bits = Bits::at(input, inflater.place.symbol);
        bits.refill();
        let (literals, distances) = (&*inflater.literals, &*inflater.distances);
        let mut lane = Self { bits, at, floor, literals, distances, entry: 0 };
        lane.entry = lane.next_entry();
        lane
    }

    /// Decodes four literals, or up to three and what comes after them.
    #[inline(always)]
    fn round(&mut self, out: &mut [u8], note: &mut impl FnMut(usize, usize)) -> Option<LaneEnd> {
        let chunk = out.get_mut(self.at..).and_then(|rest| rest.first_chunk_mut::<FAST_OUT>());
        let has_input = self.bits.next + FAST_IN <= self.bits.bytes.len();
        let (Some(chunk), true) = (chunk, has_input) else { return Some(LaneEnd::NoRoom) };
        // At least 56 bits are there: four codes of the first table, and the index of a fifth.
        let mut entry = self.entry;
        macro_rules! literal {
            ($index:literal) => {
                if entry & LITERAL == 0 {
                    self.at += $index;
                    return self.rare(entry, out, note);
                }
                chunk[$index] = (entry >> 8) as u8;
                self.bits.skip_entry(entry);
                entry = self.next_entry();
            };
        }
        literal!(0);
        literal!(1);
        literal!(2);
        literal!(3);
        self.at += 4;
        self.entry = entry;
        self.bits.refill();
        None
    }

    #[inline(always)]
    fn next_entry(&self) -> u32 {
        self.literals[self.bits.peek(LITERAL_ROOT) as usize & LITERAL_MASK]
    }

    /// What begins with an entry that is no literal.
    #[inline(always)]
    fn rare(&mut self, mut entry: u32, out: &mut [u8], note: &mut impl FnMut(usize, usize)) -> Option<LaneEnd> {
        let Self { bits, at, floor, literals, distances, .. } = self;
        bits.refill();
        if entry & OTHER != 0 {
            if entry & SECOND != 0 {
                entry = second(entry, bits, literals);
            }
            if entry & LITERAL != 0 {
                out[*at] = (entry >> 8) as u8;
                *at += 1;
                bits.skip(entry & 0xff);
                bits.refill();
                self.entry = self.next_entry();
                return None;
            }
            if entry & END != 0 {
                bits.skip(entry & 0xff);
                return Some(LaneEnd::Block);
            }
            if entry & OTHER != 0 {
                return Some(LaneEnd::Fault(NO_CODE));
            }
        }
        let length = value(entry, bits);
        // 56 bits less the longest code and extra bits of a length: 36 are left, a distance takes 28.
        let mut entry = distances[bits.peek(DISTANCE_ROOT) as usize & 511];
        if entry & (OTHER | SECOND) == OTHER | SECOND {
            entry = second(entry, bits, distances);
        }
        if entry & OTHER != 0 {
            return Some(LaneEnd::Fault(NO_DISTANCE));
        }
        let distance = value(entry, bits);
        if distance > *at - *floor {
            return Some(LaneEnd::Fault(TOO_FAR));
        }
        note(*at - distance, *at - distance + length);
        // The next look-up does not wait for the copy.
        bits.refill();
        let to = *at;
        *at += length;
        self.entry = self.next_entry();
        copy_match(out, to, distance, length);
        None
    }
}

const NO_CODE: &str = "a code that stands for nothing";
const NO_DISTANCE: &str = "a distance code that stands for nothing";
const TOO_FAR: &str = "a reference to before the start of the data";

enum Symbol {
    Literal(u8),
    End,
    Match { distance: usize, length: usize },
}

fn next_symbol(
    bits: &mut Bits<'_>,
    literals: &LiteralTable,
    distances: &DistanceTable,
) -> Result<Symbol, &'static str> {
    let mut entry = literals[bits.peek(LITERAL_ROOT) as usize & LITERAL_MASK];
    if entry & (LITERAL | OTHER | SECOND) == OTHER | SECOND {
        entry = second(entry, bits, literals);
    }
    if entry & LITERAL != 0 {
        bits.skip(entry & 0xff);
        return Ok(Symbol::Literal((entry >> 8) as u8));
    }
    if entry & (OTHER | END) == OTHER | END {
        bits.skip(entry & 0xff);
        return Ok(Symbol::End);
    }
    if entry & OTHER != 0 {
        return Err(NO_CODE);
    }
    let length = value(entry, bits);
    let mut entry = distances[bits.peek(DISTANCE_ROOT) as usize & 511];
    if entry & (OTHER | SECOND) == OTHER | SECOND {
        entry = second(entry, bits, distances);
    }
    if entry & OTHER != 0 {
        return Err(NO_DISTANCE);
    }
    Ok(Symbol::Match { distance: value(entry, bits), length })
}

/// Follows an entry to the second table.
#[inline(always)]
fn second<const N: usize>(entry: u32, bits: &mut Bits<'_>, table: &[u32; N]) -> u32 {
    bits.skip(entry & 0xff);
    let start = (entry >> 16 & 0x7fff) as usize;
    table[(start + bits.peek(entry >> 8 & 15) as usize) & (N - 1)]
}

/// The length or distance of an entry: its base and its extra bits, which are taken.
#[inline(always)]
fn value(entry: u32, bits: &mut Bits<'_>) -> usize {
    let all = bits.peek(entry & 0xff);
    bits.skip(entry & 0xff);
    (entry >> 16) as usize + (all >> (entry >> 8 & 31)) as usize
}

/// Copies what `distance` bytes back begins with `length` bytes, which it may overlap. Writes up to 7 bytes more.
#[inline(always)]
fn copy_match(out: &mut [u8], at: usize, distance: usize, length: usize) {
    let Some(out) = out.get_mut(at - distance..at + length + 7) else { return };
    if distance >= 8 {
        let mut index = 0;
        while index < length {
            let word: [u8; 8] = out[index..].first_chunk().copied().unwrap_or_default();
            if let Some(to) = out[index + distance..].first_chunk_mut() {
                *to = word;
            }
            index += 8;
        }
    } else if distance == 1 {
        let byte = out[0];
        out[1..=length].fill(byte);
    } else {
        for index in 0..length {
            out[index + distance] = out[index];
        }
    }
}

/// Bits of the input, lowest first.
struct Bits<'a> {
    bytes: &'a [u8],
    start: u64,
    /// The byte that comes into the buffer next.
    next: usize,
    buffer: u64,
    /// How many bits of the buffer count.
    count: u32,
}

impl<'a> Bits<'a> {
    fn at(input: Input<'a>, bit: u64) -> Self {
        let next = (bit / 8).saturating_sub(input.start) as usize;
        let mut bits = Self { bytes: input.bytes, start: input.start, next, buffer: 0, count: 0 };
        bits.refill();
        bits.skip((bit % 8) as u32);
        bits
    }

    /// Makes at least 56 bits available; beyond the end of the input they are 0.
    #[inline(always)]
    fn refill(&mut self) {
        if let Some(word) = self.bytes.get(self.next..).and_then(|rest| rest.first_chunk()) {
            let count = self.count & 63;
            self.buffer |= u64::from_le_bytes(*word) << count;
            self.next += ((63 - count) >> 3) as usize;
            self.count = count | 56;
        } else {
            self.refill_at_the_end();
        }
    }

    /// Skips the code of an entry of the first table. Leaves nonsense in the upper bits of the count until the next
    /// refill.
    #[inline(always)]
    fn skip_entry(&mut self, entry: u32) {
        self.buffer >>= entry & 63;
        self.count = self.count.wrapping_sub(entry);
    }

    #[cold]
    fn refill_at_the_end(&mut self) {
        self.count &= 63;
        while self.count < 56 {
            let byte = self.bytes.get(self.next).copied().unwrap_or(0);
            self.buffer |= u64::from(byte) << self.count;
            self.next += 1;
            self.count += 8;
        }
    }

    #[inline(always)]
    fn peek(&self, count: u32) -> u32 {
        (self.buffer & ((1 << count) - 1)) as u32
    }

    #[inline(always)]
    fn skip(&mut self, count: u32) {
        self.buffer >>= count & 63;
        self.count -= count;
    }

    fn take(&mut self, count: u32) -> u32 {
        let value = self.peek(count);
        self.skip(count);
        value
    }

    /// Drops the rest of the current byte.
    fn align(&mut self) {
        self.skip(self.count % 8);
    }

    /// The bit of the file that comes next.
    fn position(&self) -> u64 {
        8 * (self.start + self.next as u64) - u64::from(self.count & 63)
    }

    fn end(&self) -> u64 {
        8 * (self.start + self.bytes.len() as u64)
    }
}
