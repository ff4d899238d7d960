//! Encodes coefficients as JPEGs, in any sampling, with tables of any form.

use std::collections::HashMap;

use crate::fixture::Dice;

/// Coefficients of a block, by rows: vertical frequency times eight, plus horizontal.
pub(super) type Block = [i32; 64];

/// A JPEG's contents.
#[derive(Clone)]
pub(super) struct Coded {
    pub(super) size: (usize, usize),
    /// Of each component, horizontal and vertical.
    pub(super) sampling: Vec<(usize, usize)>,
    /// Quantization steps of each component, by rows.
    pub(super) steps: Vec<[u16; 64]>,
    /// The blocks of each component, by rows; as many as whole units have.
    pub(super) blocks: Vec<Vec<Block>>,
    /// Units between restart markers; 0: none.
    pub(super) restart: u16,
    pub(super) form: Form,
    /// Whether each component has Huffman tables of its own.
    pub(super) has_own_tables: bool,
    pub(super) layout: Layout,
}

/// Lengths of the codes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// All alike.
    Even,
    /// 1 to 7 bits for seven symbols, 16 for all others.
    Skewed,
    /// 16 bits for all.
    Long,
    /// 5, 10, 11 and 12 bits.
    Middle,
}

/// How definitions of tables are arranged.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layout {
    /// Each in a segment of its own.
    Apart,
    /// All of a kind in one segment.
    Together,
    /// In the reverse order, behind others of the same numbers.
    Replaced,
}

pub(super) const FORMS: [Form; 4] = [Form::Even, Form::Skewed, Form::Long, Form::Middle];
pub(super) const LAYOUTS: [Layout; 3] = [Layout::Apart, Layout::Together, Layout::Replaced];

/// The order of coefficients in a JPEG (Figure A.6 of the standard), as places in a block.
#[rustfmt::skip]
const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

impl Coded {
    /// An image without any coefficients: all grey.
    pub(super) fn grey(size: (usize, usize), sampling: &[(usize, usize)]) -> Self {
        let mut coded = Self {
            size,
            sampling: sampling.to_vec(),
            steps: vec![[1; 64]; sampling.len()],
            blocks: Vec::new(),
            restart: 0,
            form: Form::Even,
            has_own_tables: false,
            layout: Layout::Apart,
        };
        let (across, down) = coded.units();
        coded.blocks = coded.sampling.iter().map(|(h, v)| vec![[0; 64]; across * h * down * v]).collect();
        coded
    }

    /// An image of random coefficients, most of them small and of low frequencies; `contrast` is 1 or more.
    pub(super) fn random(dice: &mut Dice, size: (usize, usize), sampling: &[(usize, usize)], contrast: i32) -> Self {
        let mut coded = Self::grey(size, sampling);
        let mut number = |n: i32| dice.below(2 * n as u64 + 1) as i32 - n;
        for (steps, blocks) in coded.steps.iter_mut().zip(&mut coded.blocks) {
            steps.iter_mut().for_each(|step| *step = 1 + number(7).unsigned_abs() as u16);
            for block in blocks {
                block[0] = number(300 * contrast / 2) / i32::from(steps[0]);
                for _ in 0..number(12).abs() {
                    let (u, v) = (number(7).abs() * number(7).abs() / 7, number(7).abs() * number(7).abs() / 7);
                    let place = (8 * v + u) as usize;
                    if place > 0 {
                        block[place] = number(60 * contrast) / i32::from(steps[place]) / (1 + u + v);
                    }
                }
            }
        }
        coded
    }

    /// Largest sampling factors.
    pub(super) fn largest(&self) -> (usize, usize) {
        let largest = |of: fn(&(usize, usize)) -> usize| self.sampling.iter().map(of).max().unwrap();
        (largest(|s| s.0), largest(|s| s.1))
    }

    /// Columns and rows of units.
    pub(super) fn units(&self) -> (usize, usize) {
        let (h, v) = self.largest();
        (self.size.0.div_ceil(8 * h), self.size.1.div_ceil(8 * v))
    }

    pub(super) fn jpeg(&self) -> Vec<u8> {
        let mut out = vec![0xff, 0xd8];
        let numbers: Vec<u8> = (0..self.sampling.len() as u8).collect();
        let wide = self.steps.iter().flatten().any(|&step| step > 255);
        let quantization = |component: u8, steps: &[u16; 64]| {
            let values = ZIGZAG.iter().flat_map(|&place| match wide {
                true => steps[place].to_be_bytes().to_vec(),
                false => vec![steps[place] as u8],
            });
            [vec![u8::from(wide) << 4 | component], values.collect()].concat()
        };
        let bodies = numbers.iter().map(|&component| quantization(component, &self.steps[usize::from(component)]));
        let other = numbers.iter().map(|&component| quantization(component, &[99; 64]));
        self.segments(0xdb, bodies.collect(), other.collect(), &mut out);

        let (width, height) = (self.size.0 as u16, self.size.1 as u16);
        let mut frame = [&[8][..], &height.to_be_bytes(), &width.to_be_bytes(), &[self.sampling.len() as u8]].concat();
        for (component, (h, v)) in self.sampling.iter().enumerate() {
            frame.extend([component as u8 + 1, (h << 4 | v) as u8, component as u8]);
        }
        // More than two tables of a class are not baseline.
        segment(if self.has_own_tables || wide { 0xc1 } else { 0xc0 }, &frame, &mut out);

        let dc: Vec<Code> = numbers.iter().map(|&n| self.code(n, (0..=11).collect())).collect();
        let symbols = || (0..16).flat_map(|run| (1..=10).map(move |size| run << 4 | size)).chain([0, 0xf0]).collect();
        let ac: Vec<Code> = numbers.iter().map(|&n| self.code(n + 8, symbols())).collect();
        let mut bodies = Vec::new();
        let mut other = Vec::new();
        for component in 0..self.tables() {
            let (number, plain) = (self.table(component), Code::new(Form::Even, vec![3, 1, 0, 2]));
            bodies.push([vec![number], dc[component].definition()].concat());
            bodies.push([vec![0x10 | number], ac[component].definition()].concat());
            other.extend([number, 0x10 | number].map(|head| [vec![head], plain.definition()].concat()));
        }
        self.segments(0xc4, bodies, other, &mut out);
        if self.restart > 0 {
            segment(0xdd, &self.restart.to_be_bytes(), &mut out);
        }
        let members = numbers.iter().flat_map(|&n| [n + 1, 17 * self.table(usize::from(n))]);
        segment(0xda, &[vec![numbers.len() as u8], members.collect(), vec![0, 63, 0]].concat(), &mut out);
        self.data(&dc, &ac, &mut out);
        out.extend([0xff, 0xd9]);
        out
    }

    /// Different tables of each class.
    fn tables(&self) -> usize {
        if self.has_own_tables { self.sampling.len() } else { 1 }
    }

    /// The number of a component's tables.
    fn table(&self, component: usize) -> u8 {
        if self.has_own_tables { 3 - component as u8 } else { 0 }
    }

    fn code(&self, seed: u8, mut symbols: Vec<u8>) -> Code {
        let mut dice = Dice(if self.has_own_tables { seed.into() } else { u64::from(seed) / 8 + 50 });
        for i in (1..symbols.len()).rev() {
            symbols.swap(i, dice.below(i as u64 + 1) as usize);
        }
        Code::new(self.form, symbols)
    }

    fn segments(&self, marker: u8, mut bodies: Vec<Vec<u8>>, other: Vec<Vec<u8>>, out: &mut Vec<u8>) {
        match self.layout {
            Layout::Apart => bodies.iter().for_each(|body| segment(marker, body, out)),
            Layout::Together => segment(marker, &bodies.concat(), out),
            Layout::Replaced => {
                bodies.reverse();
                segment(marker, &other.concat(), out);
                bodies.iter().for_each(|body| segment(marker, body, out));
            }
        }
    }

    fn data(&self, dc: &[Code], ac: &[Code], out: &mut Vec<u8>) {
        let (across, down) = self.units();
        let (mut bits, mut before) = (Vec::new(), vec![0; self.sampling.len()]);
        for unit in 0..across * down {
            if self.restart > 0 && unit > 0 && unit % usize::from(self.restart) == 0 {
                flush(&mut bits, out);
                out.extend([0xff, 0xd0 + ((unit / usize::from(self.restart) - 1) % 8) as u8]);
                before.fill(0);
            }
            // A component that is alone has one block in each unit, whatever its sampling.
            for (component, &(h, v)) in self.sampling.iter().enumerate() {
                for place in 0..h * v {
                    let (column, row) = (unit % across * h + place % h, unit / across * v + place / h);
                    let block = &self.blocks[component][row * across * h + column];
                    let difference = block[0] - std::mem::replace(&mut before[component], block[0]);
                    dc[component].put(0, difference, &mut bits);
                    let mut run = 0;
                    for &place in &ZIGZAG[1..] {
                        if block[place] == 0 {
                            run += 1;
                            continue;
                        }
                        (0..run / 16).for_each(|_| ac[component].put(15, 0, &mut bits));
                        ac[component].put(run % 16, block[place], &mut bits);
                        run = 0;
                    }
                    if run > 0 {
                        ac[component].put(0, 0, &mut bits);
                    }
                }
            }
        }
        flush(&mut bits, out);
    }
}

fn segment(marker: u8, body: &[u8], out: &mut Vec<u8>) {
    out.extend([0xff, marker]);
    out.extend((body.len() as u16 + 2).to_be_bytes());
    out.extend(body);
}

/// Bytes, padded with ones, with a zero behind each 0xff.
fn flush(bits: &mut Vec<bool>, out: &mut Vec<u8>) {
    bits.resize(bits.len().next_multiple_of(8), true);
    for byte in bits.chunks(8) {
        let byte = byte.iter().fold(0, |byte, &bit| byte << 1 | u8::from(bit));
        out.push(byte);
        out.extend((byte == 0xff).then_some(0));
    }
    bits.clear();
}

/// A Huffman code.
struct Code {
    lengths: Vec<u32>,
    symbols: Vec<u8>,
    codes: HashMap<u8, (u32, u32)>,
}

impl Code {
    /// Gives codes to the symbols, the shortest first.
    fn new(form: Form, symbols: Vec<u8>) -> Self {
        let bits = usize::BITS - symbols.len().leading_zeros();
        let length = |place: usize| match form {
            Form::Even => bits,
            Form::Skewed => {
                if place < 7 {
                    place as u32 + 1
                } else {
                    16
                }
            }
            Form::Long => 16,
            Form::Middle => [5, 10, 11, 12][(place / 6).min(3)],
        };
        let lengths: Vec<u32> = (0..symbols.len()).map(length).collect();
        let (mut code, mut before, mut codes) = (0, 0, HashMap::new());
        for (&symbol, &length) in symbols.iter().zip(&lengths) {
            code <<= length - before;
            codes.insert(symbol, (code, length));
            (code, before) = (code + 1, length);
            assert!(code < 1 << length, "the code of ones alone is no code");
        }
        Self { lengths, symbols, codes }
    }

    fn definition(&self) -> Vec<u8> {
        let count = |length| self.lengths.iter().filter(|&&found| found == length).count() as u8;
        (1..=16).map(count).chain(self.symbols.iter().copied()).collect()
    }

    fn put(&self, run: u8, value: i32, bits: &mut Vec<bool>) {
        let size = 32 - value.unsigned_abs().leading_zeros();
        let (code, length) = self.codes[&(run << 4 | size as u8)];
        let value = if value < 0 { value - 1 } else { value };
        let mut push = |value: u32, count: u32| bits.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
        push(code, length);
        push(value as u32, size);
    }
}
