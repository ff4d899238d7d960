//! A decoder of raw deflate streams (RFC 1951).
//!
//! The input is a part of the compressed file, the output a buffer that already holds the bytes that matches may refer
//! to. Decoding stops exactly at an output limit and can continue from any symbol boundary. Invalid data is a
//! [`DataError`].
//!
//! # Why not a library
//!
//! To read a member in place, decoding has to start at a symbol in the middle of a block and stop at another one, and
//! the first pass has to record which earlier bytes a range refers to. Libraries stop at block boundaries at best, and
//! do not report back-references. The speed is close to that of the fastest of them: see `symbols`.

use super::huffman::{self, DistanceTable, EXCEPTIONAL, LITERAL_MASK, LiteralTable, PrecodeTable};
pub(crate) use super::symbols::Input;
use super::symbols::{BitReader, FastLoop, FastLoopExit, Symbol, TOO_FAR, has_room, next_symbol};

/// The largest distance of a match.
pub(crate) const WINDOW_BYTES: usize = 32 << 10;
/// The order in which a block header lists the code lengths of the precode.
const PRECODE_ORDER: [u8; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// The buffer that bytes are decoded into.
pub(crate) struct Output<'a> {
    pub(crate) bytes: &'a mut [u8],
    /// Index of the next byte. Matches refer to the bytes before it.
    pub(crate) at: usize,
    /// Matches must not refer to bytes before this index.
    pub(crate) floor: usize,
    /// No byte is written at this index or after it.
    pub(crate) limit: usize,
}

/// Why decoding paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// The next symbol would write beyond the limit.
    OutputLimit,
    /// The input ends within the next symbol or header.
    NeedInput,
    /// The last block has ended.
    StreamEnd,
}

/// A symbol boundary, in bits from the start of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BitPosition {
    /// Start of the block's header.
    pub(crate) block: u64,
    /// Start of the next symbol, or of the header.
    pub(crate) symbol: u64,
}

/// Invalid data: where, in bits from the start of the file, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DataError {
    pub(crate) bit: u64,
    pub(crate) reason: &'static str,
}

/// A record of which bytes before a boundary are referred to by matches after it.
#[derive(Debug)]
pub(crate) struct BackReferences {
    /// An index in the output.
    pub(crate) boundary: usize,
    /// Ranges before the boundary, as indices in the output. They may overlap.
    pub(crate) ranges: Vec<(usize, usize)>,
}

/// Decodes one deflate stream.
pub(crate) struct DeflateDecoder {
    literals: Box<LiteralTable>,
    distances: Box<DistanceTable>,
    state: State,
    is_last: bool,
    position: BitPosition,
    /// Index in the output at which the current block began, until [`take_block_start`](Self::take_block_start).
    block_start: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    BlockHeader,
    Stored { left: usize },
    Symbols,
    Ended,
}

impl DeflateDecoder {
    /// Starts at a block header, at this bit of the file.
    pub(crate) fn new(bit: u64) -> Self {
        let mut decoder = Self {
            literals: Box::new([0; LITERAL_MASK + 1]),
            distances: Box::new([0; 512]),
            state: State::BlockHeader,
            is_last: false,
            position: BitPosition { block: 0, symbol: 0 },
            block_start: None,
        };
        decoder.restart(bit);
        decoder
    }

    /// Starts again at a block header.
    pub(crate) fn restart(&mut self, bit: u64) {
        (self.state, self.is_last) = (State::BlockHeader, false);
        self.position = BitPosition { block: bit, symbol: bit };
    }

    /// Moves to a symbol boundary: reads the header of its block, which `input` must contain, and skips to the symbol.
    /// That there is a boundary at `position` is up to the caller and not checked.
    pub(crate) fn seek(&mut self, position: BitPosition, input: Input<'_>) -> Result<Pause, DataError> {
        self.restart(position.block);
        if position.symbol == position.block {
            return Ok(Pause::OutputLimit);
        }
        if !self.read_block_header(input)? {
            return Ok(Pause::NeedInput);
        }
        let Some(skipped) = position.symbol.checked_sub(self.position.symbol) else {
            return Err(self.data_error("restart point inside a block header"));
        };
        if let State::Stored { left } = &mut self.state {
            let bytes = usize::try_from(skipped / 8).unwrap_or(usize::MAX);
            let Some(rest) = left.checked_sub(bytes).filter(|_| skipped.is_multiple_of(8)) else {
                return Err(self.data_error("restart point outside its block"));
            };
            *left = rest;
        }
        self.position.symbol = position.symbol;
        Ok(Pause::OutputLimit)
    }

    /// Skips what yields no bytes: block headers and end-of-block symbols. `at` is the current index in the output.
    pub(crate) fn skip_headers(&mut self, input: Input<'_>, at: usize) -> Result<Pause, DataError> {
        loop {
            match self.state {
                State::Ended => return Ok(Pause::StreamEnd),
                State::Stored { left: 0 } => self.next_block(),
                State::BlockHeader if self.is_last => self.state = State::Ended,
                State::BlockHeader => {
                    if !self.read_block_header(input)? {
                        return Ok(Pause::NeedInput);
                    }
                    self.block_start = Some(at);
                }
                State::Stored { .. } => return Ok(Pause::OutputLimit),
                State::Symbols => {
                    let mut bits = BitReader::at(input, self.position.symbol);
                    let ends = matches!(next_symbol(&mut bits, &self.literals, &self.distances), Ok(Symbol::End));
                    if bits.position() > bits.end() {
                        return Ok(Pause::NeedInput);
                    }
                    if !ends {
                        return Ok(Pause::OutputLimit);
                    }
                    self.position.symbol = bits.position();
                    self.next_block();
                }
            }
        }
    }

    /// Index in the output at which the current block began, if it began since the last call.
    pub(crate) fn take_block_start(&mut self) -> Option<usize> {
        self.block_start.take()
    }

    /// Whether the last block has been decoded.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Where decoding continues.
    pub(crate) fn position(&self) -> BitPosition {
        self.position
    }

    /// Decodes until a pause. Records in `references` the matches that copy from before its boundary.
    pub(crate) fn run(
        &mut self,
        input: Input<'_>,
        output: &mut Output<'_>,
        references: Option<&mut BackReferences>,
    ) -> Result<Pause, DataError> {
        match references {
            None => self.decode_blocks(input, output, &mut |_, _| {}, false),
            Some(BackReferences { boundary, ranges }) => {
                let boundary = *boundary;
                let mut on_match = |from: usize, to: usize| {
                    if from < boundary {
                        ranges.push((from, to.min(boundary)));
                    }
                };
                self.decode_blocks(input, output, &mut on_match, false)
            }
        }
    }

    /// Decodes the one symbol that would have crossed the limit of the last run, and the headers before it.
    pub(crate) fn step(
        &mut self,
        input: Input<'_>,
        output: &mut Output<'_>,
        references: Option<&mut BackReferences>,
    ) -> Result<Pause, DataError> {
        let boundary = references.as_ref().map_or(0, |references| references.boundary);
        let mut ranges = None;
        let pause = self.decode_blocks(input, output, &mut |from, to| ranges = Some((from, to)), true);
        if let (Some(references), Some((from, to))) = (references, ranges.filter(|(from, _)| *from < boundary)) {
            references.ranges.push((from, to.min(boundary)));
        }
        pause
    }

    /// `on_match` gets the range that each match copies from; `single` stops after one symbol, which may cross the
    /// limit.
    fn decode_blocks(
        &mut self,
        input: Input<'_>,
        output: &mut Output<'_>,
        on_match: &mut impl FnMut(usize, usize),
        single: bool,
    ) -> Result<Pause, DataError> {
        let start = output.at;
        loop {
            if output.at >= output.limit || (single && output.at > start) {
                return Ok(Pause::OutputLimit);
            }
            match self.state {
                State::Ended => return Ok(Pause::StreamEnd),
                State::BlockHeader if self.is_last => self.state = State::Ended,
                State::BlockHeader => {
                    if !self.read_block_header(input)? {
                        return Ok(Pause::NeedInput);
                    }
                    self.block_start = Some(output.at);
                }
                State::Stored { left: 0 } => self.next_block(),
                State::Stored { left } => {
                    let copied = self.copy_stored(input, output, left);
                    if copied == 0 {
                        return Ok(Pause::NeedInput);
                    }
                }
                State::Symbols => {
                    if !single {
                        self.run_fast_loop(input, output, on_match)?;
                    }
                    if let State::Symbols = self.state
                        && let Some(pause) = self.run_slow_loop(input, output, on_match, single)?
                    {
                        return Ok(pause);
                    }
                }
            }
        }
    }

    fn next_block(&mut self) {
        self.state = State::BlockHeader;
        self.position.block = self.position.symbol;
    }

    /// Copies bytes of a stored block; returns how many.
    fn copy_stored(&mut self, input: Input<'_>, output: &mut Output<'_>, left: usize) -> usize {
        let from = (self.position.symbol / 8).saturating_sub(input.start) as usize;
        let available = input.bytes.get(from..).unwrap_or_default();
        let count = left.min(available.len()).min(output.limit - output.at);
        output.bytes[output.at..output.at + count].copy_from_slice(&available[..count]);
        output.at += count;
        self.position.symbol += 8 * count as u64;
        self.state = State::Stored { left: left - count };
        count
    }

    /// Reads a block header; `false` if the input ends within it.
    fn read_block_header(&mut self, input: Input<'_>) -> Result<bool, DataError> {
        let mut bits = BitReader::at(input, self.position.symbol);
        let parsed = self.parse_block_header(&mut bits);
        // The reader yields zeros past the end of the input, so what was parsed from them does not count.
        if bits.position() > bits.end() {
            return Ok(false);
        }
        match parsed {
            Err(reason) => Err(self.data_error(reason)),
            Ok((is_last, state)) => {
                self.is_last = is_last;
                self.state = state;
                self.position.symbol = bits.position();
                Ok(true)
            }
        }
    }

    fn parse_block_header(&mut self, bits: &mut BitReader<'_>) -> Result<(bool, State), &'static str> {
        bits.refill();
        let is_last = bits.take(1) == 1;
        match bits.take(2) {
            0 => {
                bits.align();
                bits.refill();
                let (length, inverse) = (bits.take(16), bits.take(16));
                if length ^ inverse != 0xffff {
                    return Err("invalid stored block lengths");
                }
                Ok((is_last, State::Stored { left: length as usize }))
            }
            1 => {
                let mut lengths = [8; 288];
                lengths[144..256].fill(9);
                lengths[256..280].fill(7);
                huffman::build_literals(&mut self.literals, &lengths)?;
                // 32 codes of five bits each, two of which are unused.
                huffman::build_distances(&mut self.distances, &[5; 32])?;
                Ok((is_last, State::Symbols))
            }
            2 => self.parse_code_lengths(bits).map(|()| (is_last, State::Symbols)),
            _ => Err("invalid block type"),
        }
    }

    fn parse_code_lengths(&mut self, bits: &mut BitReader<'_>) -> Result<(), &'static str> {
        let literals = 257 + bits.take(5) as usize;
        let distances = 1 + bits.take(5) as usize;
        let precodes = 4 + bits.take(4) as usize;
        if literals > 286 || distances > 30 {
            return Err("too many length or distance symbols");
        }
        let mut lengths = [0_u8; 19];
        for &symbol in &PRECODE_ORDER[..precodes] {
            bits.refill();
            lengths[usize::from(symbol)] = bits.take(3) as u8;
        }
        let mut precode: PrecodeTable = [0; 128];
        huffman::build_precode(&mut precode, &lengths)?;

        let mut lengths = [0_u8; 286 + 30];
        let mut count = 0;
        while count < literals + distances {
            bits.refill();
            let entry = precode[bits.peek(7) as usize & 127];
            if entry & EXCEPTIONAL != 0 {
                return Err("invalid code in the code lengths");
            }
            bits.consume(entry & 0xff);
            let (value, repeat) = match entry >> 16 {
                16 if count == 0 => return Err("repeated code length without a previous one"),
                16 => (lengths[count - 1], 3 + bits.take(2)),
                17 => (0, 3 + bits.take(3)),
                18 => (0, 11 + bits.take(7)),
                length => (length as u8, 1),
            };
            let end = count + repeat as usize;
            if end > literals + distances {
                return Err("too many repeated code lengths");
            }
            lengths[count..end].fill(value);
            count = end;
        }
        huffman::build_literals(&mut self.literals, &lengths[..literals])?;
        huffman::build_distances(&mut self.distances, &lengths[literals..count])
    }

    /// Decodes while input and output have room for a whole round of the fast loop.
    #[inline(always)]
    fn run_fast_loop(
        &mut self,
        input: Input<'_>,
        output: &mut Output<'_>,
        on_match: &mut impl FnMut(usize, usize),
    ) -> Result<(), DataError> {
        let bits = BitReader::at(input, self.position.symbol);
        let mut fast_loop = FastLoop::new(bits, &self.literals, &self.distances, output.at, output.floor);
        let exit = loop {
            if let Some(exit) = fast_loop.round(&mut output.bytes[..output.limit], on_match) {
                break exit;
            }
        };
        let (at, bit) = fast_loop.position();
        output.at = at;
        self.leave_fast_loop(bit, exit)
    }

    /// Continues at `bit`, where the fast loop has stopped.
    fn leave_fast_loop(&mut self, bit: u64, exit: FastLoopExit) -> Result<(), DataError> {
        self.position.symbol = bit;
        match exit {
            FastLoopExit::NoRoom => {}
            FastLoopExit::EndOfBlock => self.next_block(),
            FastLoopExit::Invalid(reason) => return Err(self.data_error(reason)),
        }
        Ok(())
    }

    /// Decodes symbol by symbol, up to the very ends of input and output. Returns `None` at the end of the block, and
    /// when there is room for the fast loop again.
    fn run_slow_loop(
        &mut self,
        input: Input<'_>,
        output: &mut Output<'_>,
        on_match: &mut impl FnMut(usize, usize),
        single: bool,
    ) -> Result<Option<Pause>, DataError> {
        let mut bits = BitReader::at(input, self.position.symbol);
        let room = if single { output.bytes.len() } else { output.limit };
        loop {
            if output.at >= output.limit {
                return Ok(Some(Pause::OutputLimit));
            }
            bits.refill();
            let symbol = next_symbol(&mut bits, &self.literals, &self.distances);
            if bits.position() > bits.end() {
                return Ok(Some(Pause::NeedInput));
            }
            match symbol.map_err(|reason| self.data_error(reason))? {
                Symbol::End => {
                    self.position.symbol = bits.position();
                    self.next_block();
                    return Ok(None);
                }
                Symbol::Literal(byte) => {
                    output.bytes[output.at] = byte;
                    output.at += 1;
                }
                Symbol::Match { distance, length } => {
                    if distance > output.at - output.floor {
                        return Err(self.data_error(TOO_FAR));
                    }
                    if length > room - output.at {
                        return Ok(Some(Pause::OutputLimit));
                    }
                    let from = output.at - distance;
                    on_match(from, from + length);
                    for index in from..from + length {
                        output.bytes[index + distance] = output.bytes[index];
                    }
                    output.at += length;
                }
            }
            self.position.symbol = bits.position();
            if single || has_room(&bits, output.limit.saturating_sub(output.at)) {
                return Ok(None);
            }
        }
    }

    fn data_error(&self, reason: &'static str) -> DataError {
        DataError { bit: self.position.symbol, reason }
    }
}
