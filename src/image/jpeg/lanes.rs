//! Decodes the Huffman codes of several images at once, one symbol of each in turn.
//!
//! A symbol cannot be looked up before the one before it has been, so most of a decoder's time is waiting: for the
//! table, and, where the end of a block was guessed wrongly, for the processor to start again. The symbols of other
//! images fill that time. So that nothing has to be guessed, a block's end is no branch: a lane's place among the
//! blocks of a unit is one number, and tables say which number follows when a symbol advances it.
//!
//! # Safety
//!
//! The `unsafe` code is three accesses without a check of their bounds in `Lane::step`, which save a tenth of the time.
//! They are in bounds because of what is private to this file: places, tables and stores come from [`Steps::new`] only,
//! and lanes without room for the units that they have to decode are refused before they run.

use super::frame::{BlockPlan, MOST_BLOCKS};
use super::huffman::{Entry, INDEX_BITS, TABLES, Tables, is_end_of_block};
use super::stream::load;
use super::zigzag::{BLOCK, place};
use crate::image::simd::multiversion;

/// Room for the coefficients of a chunk.
pub(super) const ROOM: usize = 4096;

/// Numbers that a block can have as a lane's place: beyond 64 are those after the end, after too many coefficients and
/// after an invalid code.
const PLACES: usize = 256;

/// What follows when a symbol has advanced a lane's place, by the new place.
pub(super) struct Steps {
    steps: Box<[Step; (MOST_BLOCKS + 1) * PLACES]>,
    first_table: u16,
    /// Coefficients of a unit.
    unit: usize,
    /// The tables of each block, by which steps are told apart.
    tables: Vec<(usize, usize)>,
}

#[derive(Clone, Copy, Default)]
#[repr(C, align(8))]
struct Step {
    /// Where the symbol's value is stored, in the unit.
    store: u16,
    /// The place with which the next symbol begins; 0 where the unit ends.
    next: u16,
    /// The number of table entries before those of the table for the next symbol.
    table: u16,
}

impl Steps {
    /// # Panics
    /// If there are more than `MOST_BLOCKS` blocks, or tables that do not exist: see the contract of this file.
    pub(super) fn new(plans: &[BlockPlan]) -> Self {
        assert!(plans.len() <= MOST_BLOCKS && plans.iter().all(|plan| plan.dc.max(plan.ac) < TABLES));
        let offset = |table: usize| (table << INDEX_BITS) as u16;
        let mut steps = Self {
            steps: Box::new([Step::default(); (MOST_BLOCKS + 1) * PLACES]),
            first_table: plans.first().map_or(0, |plan| offset(plan.dc)),
            unit: plans.len() * BLOCK,
            tables: plans.iter().map(BlockPlan::tables).collect(),
        };
        for (block, plan) in plans.iter().enumerate() {
            let next_block = (block + 1) % plans.len();
            for r in 0..PLACES {
                let at = block * PLACES + r;
                let (next, table) = match r {
                    0..BLOCK => (at, plan.ac),
                    _ if is_end_of_block(r as u32) => (next_block * PLACES, plans[next_block].dc),
                    // Too many coefficients, or an invalid code: the unit ends.
                    _ => (0, plans[0].dc),
                };
                // The end of a block has the value 0, and stores it where the block has none.
                let store = (block * BLOCK + place(r.clamp(1, BLOCK) - 1)) as u16;
                steps.steps[at] = Step { store, next: next as u16, table: offset(table) };
            }
        }
        steps
    }

    /// Whether these are the steps of units with such blocks.
    pub(super) fn are_of(&self, plans: &[BlockPlan]) -> bool {
        plans.iter().map(BlockPlan::tables).eq(self.tables.iter().copied())
    }
}

/// A place in the image data and in the blocks of a chunk.
#[derive(Clone, Copy, Default)]
pub(super) struct Lane {
    /// The next bits are the highest ones. The lowest bit that is set stands below them.
    buffer: u64,
    /// The byte that `buffer` begins with, before any of it was used.
    at: usize,
    place: usize,
    table: usize,
    /// Where the unit's coefficients begin, and the units that are still to be decoded.
    unit: usize,
    left: usize,
}

/// Why lanes stop.
#[derive(Clone, Copy)]
pub(super) struct Stop {
    /// Which lane.
    pub(super) lane: usize,
    /// Whether its codes were valid: then its chunk is complete.
    pub(super) is_valid: bool,
}

impl Lane {
    /// A lane that decodes `units` units, from bit `position` of `data` on.
    pub(super) fn new(steps: &Steps, data: &[u8], position: usize, units: usize) -> Self {
        let at = position / 8;
        let buffer = (load(data, at) | 1) << (position % 8);
        Self { buffer, at, place: 0, table: steps.first_table.into(), unit: 0, left: units }
    }

    /// Whether it has units to decode, and room for them: see the contract of this file.
    fn has_room(&self, steps: &Steps) -> bool {
        self.left > 0 && self.unit + self.left * steps.unit <= ROOM
    }

    /// How many bits of the data are used.
    pub(super) fn position(&self) -> usize {
        8 * self.at + self.buffer.trailing_zeros() as usize
    }

    /// Makes at least 56 bits available. At most 63 may have been used.
    #[inline(always)]
    fn refill(&mut self, data: &[u8]) {
        let used = self.buffer.trailing_zeros();
        self.at += (used >> 3) as usize;
        self.buffer = (load(data, self.at) | 1) << (used & 7);
    }

    /// Decodes a symbol. Returns the place to which it has advanced.
    #[inline(always)]
    #[allow(unsafe_code)]
    fn step(&mut self, data: &[u8], tables: &Tables, steps: &Steps, out: &mut [i16; ROOM]) -> usize {
        let index = self.table + (self.buffer >> (64 - INDEX_BITS)) as usize;
        // SAFETY: `Steps::new` checks that all 2^INDEX_BITS entries behind each `table` are in the array.
        let mut entry = unsafe { *tables.flat().get_unchecked(index) };
        let value;
        if entry.is_slow() {
            (*self, entry, value) = self.slow(data, tables, entry);
        } else {
            value = entry.value(self.buffer);
            self.buffer <<= entry.bits();
        }
        let r = self.place + entry.advance() as usize;
        // SAFETY: a place is below `MOST_BLOCKS * PLACES`, and a symbol advances it by less than `PLACES`.
        let Step { store, next, table } = unsafe { *steps.steps.get_unchecked(r) };
        // SAFETY: `unit` begins one of the units that there is room for, and `store` lies in a unit.
        unsafe { *out.get_unchecked_mut(self.unit + usize::from(store)) = value as i16 };
        (self.place, self.table) = (next.into(), table.into());
        r
    }

    #[cold]
    #[inline(never)]
    fn slow(mut self, data: &[u8], tables: &Tables, entry: Entry) -> (Self, Entry, i32) {
        self.refill(data);
        let entry = tables.slow(self.table >> INDEX_BITS, entry, self.buffer);
        let value = entry.slow_value(self.buffer);
        self.buffer <<= entry.bits();
        self.refill(data);
        (self, entry, value)
    }
}

/// A lane with its data and the room for its coefficients.
pub(super) type Run<'a> = (&'a mut Lane, &'a [u8], &'a mut [i16; ROOM]);

macro_rules! lanes {
    ($name:ident, $body:ident, $count:literal: $($index:literal $lane:ident $data:ident $out:ident),+) => {
        multiversion! {
            /// Decodes until a lane has completed its chunk, or has an invalid code.
            pub(super) fn $name(runs: [Run<'_>; $count], tables: &Tables, steps: &Steps) -> Stop = $body
        }

        #[inline(always)]
        fn $body(runs: [Run<'_>; $count], tables: &Tables, steps: &Steps) -> Stop {
            let [$($lane),+] = runs;
            // Each in a variable of its own, so that they stay in registers.
            $(let (whole, $data, $out) = $lane; let mut $lane = (*whole, whole);)+
            $(assert!($lane.0.has_room(steps));)+
            macro_rules! symbol {
                ($run:lifetime $state:ident $bytes:ident $room:ident $number:literal) => {
                    let r = $state.0.step($bytes, tables, steps, $room);
                    if $state.0.place == 0 {
                        if !is_end_of_block((r % PLACES) as u32) {
                            break $run Stop { lane: $number, is_valid: false };
                        }
                        $state.0.unit += steps.unit;
                        $state.0.left -= 1;
                        if $state.0.left == 0 {
                            break $run Stop { lane: $number, is_valid: true };
                        }
                    }
                };
            }
            let stop = 'run: loop {
                $($lane.0.refill($data);)+
                // Three quick symbols use at most 54 bits.
                $(symbol!('run $lane $data $out $index);)+
                $(symbol!('run $lane $data $out $index);)+
                $(symbol!('run $lane $data $out $index);)+
            };
            $(*$lane.1 = $lane.0;)+
            stop
        }
    };
}

lanes!(one, one_lane, 1: 0 a data_a out_a);
lanes!(two, two_lanes, 2: 0 a data_a out_a, 1 b data_b out_b);
lanes!(three, three_lanes, 3: 0 a data_a out_a, 1 b data_b out_b, 2 c data_c out_c);
