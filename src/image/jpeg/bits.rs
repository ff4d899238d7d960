//! Reads the bits of image data, and Huffman codes from them.

use super::segments::{RST0, RST7};

/// Why image data is not whole.
pub(super) type Damage = &'static str;

const ENDS_EARLY: Damage = "it ends early";
const BAD_CODE: Damage = "it has a code that no Huffman table contains";

/// A Huffman table: for each 16 bits, the length of the code they begin with and its symbol. Length 0 is no code.
pub(super) struct Table(Vec<(u8, u8)>);

impl Table {
    /// A table from its definition in a JPEG: 16 counts, then the symbols in the order of their codes.
    pub(super) fn new(definition: &[u8]) -> Result<Self, Damage> {
        const INVALID: Damage = "one of its Huffman tables is invalid";
        let (counts, symbols) = definition.split_at_checked(16).ok_or(INVALID)?;
        let mut symbols = symbols.iter();
        let mut table = Vec::with_capacity(1 << 16);
        for (length, &count) in (1..=16_u8).zip(counts) {
            for &symbol in symbols.by_ref().take(usize::from(count)) {
                table.resize(table.len() + (1 << (16 - length)), (length, symbol));
                if table.len() > 1 << 16 {
                    return Err(INVALID);
                }
            }
        }
        table.resize(1 << 16, (0, 0));
        Ok(Self(table))
    }
}

/// The bits of the image data of one scan, up to the next marker.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The next bits are the highest ones. Zeros follow the last one.
    buffer: u64,
    held: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, buffer: 0, held: 0 }
    }

    /// How far the data has been read, in bytes.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn fill(&mut self) {
        while self.held <= 56 {
            let Some(&byte) = self.data.get(self.at) else { return };
            if byte == 0xff {
                let fill = self.data[self.at..].iter().take_while(|&&byte| byte == 0xff).count();
                // Only a zero makes it data. Otherwise it is a marker, and stays where it is.
                if self.data.get(self.at + fill) != Some(&0) {
                    return;
                }
                self.at += fill;
            }
            self.at += 1;
            self.buffer |= u64::from(byte) << (56 - self.held);
            self.held += 8;
        }
    }

    fn drop(&mut self, bits: u32) {
        self.buffer <<= bits;
        self.held -= bits;
    }

    /// The next `bits` bits, at most 16.
    #[inline]
    pub(super) fn take(&mut self, bits: u32) -> Result<u16, Damage> {
        if self.held < bits {
            self.fill();
            if self.held < bits {
                return Err(ENDS_EARLY);
            }
        }
        let value = (self.buffer >> 48) as u16;
        self.drop(bits);
        Ok(((u32::from(value) << bits) >> 16) as u16)
    }

    /// The next symbol of `table`, with the bits of its code and their number.
    #[inline]
    pub(super) fn code(&mut self, table: &Table) -> Result<(u8, u16, u32), Damage> {
        if self.held < 16 {
            self.fill();
        }
        let next = (self.buffer >> 48) as u16;
        let (length, symbol) = table.0[usize::from(next)];
        let length = u32::from(length);
        if length > self.held || (length == 0 && self.held < 16) {
            return Err(ENDS_EARLY);
        }
        if length == 0 {
            return Err(BAD_CODE);
        }
        self.drop(length);
        Ok((symbol, next >> (16 - length), length))
    }

    /// The next symbol of `table`.
    #[inline]
    pub(super) fn symbol(&mut self, table: &Table) -> Result<u8, Damage> {
        Ok(self.code(table)?.0)
    }

    /// Passes over `bits` bits, any number.
    pub(super) fn skip(&mut self, mut bits: u32) -> Result<(), Damage> {
        while bits > 0 {
            let step = bits.min(16);
            self.take(step)?;
            bits -= step;
        }
        Ok(())
    }

    /// Ends an interval: all bytes must be used up, but for padding within the last one.
    fn finish(&mut self) -> Result<(), Damage> {
        self.fill();
        let padding = self.held;
        (self.buffer, self.held) = (0, 0);
        if padding < 8 { Ok(()) } else { Err("bytes of it are left over") }
    }

    /// Passes over the restart marker of that number, 0 to 7.
    pub(super) fn restart(&mut self, number: u8) -> Result<(), Damage> {
        self.finish()?;
        match self.marker() {
            Some(marker) if marker == RST0 + number => Ok(()),
            Some(_) => Err("its restart markers are not in order"),
            None => Err(ENDS_EARLY),
        }
    }

    /// Ends the data.
    pub(super) fn end(&mut self) -> Result<(), Damage> {
        self.finish()?;
        // A few encoders put a restart marker behind the last interval too.
        match self.marker() {
            Some(RST0..=RST7) | None if self.at == self.data.len() => Ok(()),
            _ => Err("bytes of it are left over"),
        }
    }

    /// The marker that the data goes on with.
    fn marker(&mut self) -> Option<u8> {
        let fill = self.data[self.at..].iter().take_while(|&&byte| byte == 0xff).count();
        let marker = *self.data.get(self.at + fill).filter(|_| fill > 0)?;
        self.at += fill + 1;
        Some(marker)
    }
}
