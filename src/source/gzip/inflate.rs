//! Raw deflate (RFC 1951) -> bytes. Comes in: compressed bytes and a buffer whose front holds what came before. Goes
//! out: the bytes after that, up to a limit that is met exactly. Fails on data that is no deflate stream.
//!
//! # Why not a library's
//!
//! To read a member in place, decoding has to begin at a symbol in the middle of a block, and end at another; and the
//! first pass has to say which earlier bytes a stretch refers to. Libraries stop at the ends of blocks at best, and
//! keep the rest to themselves.
//!
//! It is as fast as the best of them nearly: see `symbols`.

use super::huffman::{self, DistanceTable, LITERAL_MASK, LiteralTable, OTHER, PrecodeTable};
pub(crate) use super::symbols::Input;
use super::symbols::{Bits, Lane, LaneEnd, Symbol, TOO_FAR, has_room, next_symbol};

/// How far back a match can refer.
pub(crate) const WINDOW_BYTES: usize = 32 << 10;
/// The order in which the lengths of the precode are written.
const PRECODE_ORDER: [u8; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

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
        let bits = Bits::at(input, self.place.symbol);
        let mut lane = Lane::new(bits, &self.literals, &self.distances, output.at, output.floor);
        let end = loop {
            if let Some(end) = lane.round(&mut output.bytes[..output.limit], note) {
                break end;
            }
        };
        let (at, bit) = lane.stop();
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
            let fast = has_room(&bits, output.limit.saturating_sub(output.at));
            if one || fast {
                return Ok(None);
            }
        }
    }

    fn fault(&self, what: &'static str) -> Fault {
        Fault { bit: self.place.symbol, what }
    }
}
