//! Reads the image data of every scan, without making pixels, and refuses data that is not whole.
//!
//! Each scan, and each interval between restart markers, must contain exactly the blocks that it has to, in valid
//! codes, and not a byte more. That is what libjpeg warns of: "premature end of data segment", "extraneous bytes before
//! marker", "bad Huffman code", "inconsistent progression sequence".

use super::bits::{Bits, Damage, Table};
use super::picture::{Huffman, Picture, Scan};
use crate::{Error, Result};

/// Gets the blocks of sequential scans, as they are read.
pub(super) trait Sink {
    /// A block of `component` begins, at that column and row of blocks. `dc` is its first coefficient.
    fn block(&mut self, component: usize, column: u32, row: u32, dc: i16);
    /// The next bits of the block's other coefficients, codes included.
    fn bits(&mut self, bits: u16, count: u32);
}

/// Gets blocks and ignores them.
struct Nowhere;

impl Sink for Nowhere {
    fn block(&mut self, _component: usize, _column: u32, _row: u32, _dc: i16) {}
    fn bits(&mut self, _bits: u16, _count: u32) {}
}

/// Refuses a sequential or progressive picture whose image data is not whole. Whole scans may be missing at the end of
/// a progressive picture: it is then coarser than it was, which no decoder warns of.
///
/// # Errors
/// If the data of a scan ends early or late, has an invalid code, or does not follow from the scans before it.
pub(crate) fn check(picture: &Picture<'_>) -> Result<()> {
    if picture.is_progressive() { progressive(picture) } else { sequential(picture, &mut Nowhere) }
}

/// Reads all scans of a sequential picture.
pub(super) fn sequential(picture: &Picture<'_>, sink: &mut impl Sink) -> Result<()> {
    let mut seen = [false; 4];
    for (number, scan) in picture.scans.iter().enumerate() {
        if scan.members.iter().any(|member| std::mem::replace(&mut seen[member.component], true)) {
            return Err(of_scan(picture, number, 0, "an earlier scan has the same component"));
        }
        let mut bits = Bits::new(scan.data);
        sequential_scan(picture, scan, &mut bits, sink).map_err(|what| of_scan(picture, number, bits.at(), what))?;
    }
    Ok(())
}

fn progressive(picture: &Picture<'_>) -> Result<()> {
    let mut known: Vec<Coefficients> = (0..picture.components.len())
        .map(|component| {
            let (across, down) = picture.blocks(component);
            Coefficients { lowest: [None; 64], nonzero: vec![0; across as usize * down as usize] }
        })
        .collect();
    for (number, scan) in picture.scans.iter().enumerate() {
        let mut bits = Bits::new(scan.data);
        let read = follows(scan, &mut known).and_then(|()| match scan.band {
            (0, _) => dc_scan(picture, scan, &mut bits),
            _ => ac_scan(picture, scan, &mut bits, &mut known[scan.members[0].component].nonzero),
        });
        read.map_err(|what| of_scan(picture, number, bits.at(), what))?;
    }
    Ok(())
}

fn of_scan(picture: &Picture<'_>, number: usize, at: usize, what: Damage) -> Error {
    let (scan, scans) = (number + 1, picture.scans.len());
    let at = picture.scans[number].data_at + at;
    Error::corrupt(format!("jpeg: damaged: the image data of scan {scan} of {scans}: {what} (at byte {at})"))
}

/// What is known of a component's coefficients.
struct Coefficients {
    /// The lowest bit that scans have told of each coefficient, if any did.
    lowest: [Option<u8>; 64],
    /// For each block, one bit for each coefficient: whether it is known not to be 0.
    nonzero: Vec<u64>,
}

/// Whether a scan goes on where those before it ended.
fn follows(scan: &Scan<'_>, known: &mut [Coefficients]) -> Result<(), Damage> {
    const INVALID: Damage = "its header is invalid";
    const ORDER: Damage = "it does not follow from the scans before it";
    let ((first, last), (before, after)) = (scan.band, scan.precision);
    let is_dc = first == 0 && last == 0;
    let is_ac = first > 0 && first <= last && last < 64 && scan.members.len() == 1;
    if !(is_dc || is_ac) || after > 13 || (before > 0 && before != after + 1) {
        return Err(INVALID);
    }
    for member in &scan.members {
        let lowest = &mut known[member.component].lowest;
        if is_ac && lowest[0].is_none() {
            return Err(ORDER);
        }
        for lowest in &mut lowest[usize::from(first)..=usize::from(last)] {
            if lowest.unwrap_or(0) != before {
                return Err(ORDER);
            }
            *lowest = Some(after);
        }
    }
    Ok(())
}

fn table(huffman: Huffman<'_>) -> Result<Table, Damage> {
    Table::new(huffman.definition.ok_or("it lacks a Huffman table")?)
}

/// Calls `block` for each block of a scan in order, with its component, its number among the components of the scan,
/// its column and its row. Calls `restart` behind each restart marker.
fn each_block<'a, S>(
    picture: &Picture<'_>,
    scan: &Scan<'_>,
    bits: &mut Bits<'a>,
    state: &mut S,
    restart: impl Fn(&mut S),
    mut block: impl FnMut(&mut Bits<'a>, &mut S, usize, u32, u32) -> Result<(), Damage>,
) -> Result<(), Damage> {
    let (mut left, mut marker) = (scan.restart, 0);
    let mut unit_begins = |bits: &mut Bits<'a>, state: &mut S| -> Result<(), Damage> {
        if scan.restart > 0 {
            if left == 0 {
                bits.restart(marker)?;
                restart(state);
                (left, marker) = (scan.restart, (marker + 1) % 8);
            }
            left -= 1;
        }
        Ok(())
    };
    if let [only] = &scan.members[..] {
        let (across, down) = picture.blocks(only.component);
        for row in 0..down {
            for column in 0..across {
                unit_begins(bits, state)?;
                block(bits, state, 0, column, row)?;
            }
        }
        return bits.end();
    }
    let (across, down) = picture.units();
    for unit_row in 0..down {
        for unit_column in 0..across {
            unit_begins(bits, state)?;
            for (number, member) in scan.members.iter().enumerate() {
                let component = &picture.components[member.component];
                for row in 0..component.vertical {
                    for column in 0..component.horizontal {
                        let column = unit_column * component.horizontal + column;
                        block(bits, state, number, column, unit_row * component.vertical + row)?;
                    }
                }
            }
        }
    }
    bits.end()
}

/// A DC coefficient's difference from the one before it.
fn difference(bits: &mut Bits<'_>, table: &Table) -> Result<i16, Damage> {
    let size = u32::from(bits.symbol(table)?);
    if size > 15 {
        return Err("it has a code that no Huffman table may contain");
    }
    let value = i32::from(bits.take(size)?);
    let negative = size > 0 && value < 1 << (size - 1);
    Ok((if negative { value - (1 << size) + 1 } else { value }) as i16)
}

fn sequential_scan(
    picture: &Picture<'_>,
    scan: &Scan<'_>,
    bits: &mut Bits<'_>,
    sink: &mut impl Sink,
) -> Result<(), Damage> {
    let mut tables = Vec::new();
    for member in &scan.members {
        tables.push((table(member.dc)?, table(member.ac)?));
    }
    let mut before = [0_i16; 4];
    each_block(
        picture,
        scan,
        bits,
        &mut before,
        |before| *before = [0; 4],
        |bits, before, number, column, row| {
            let (dc, ac) = &tables[number];
            before[number] = before[number].wrapping_add(difference(bits, dc)?);
            sink.block(scan.members[number].component, column, row, before[number]);
            let mut next = 1;
            while next < 64 {
                let (symbol, code, length) = bits.code(ac)?;
                sink.bits(code, length);
                let (run, size) = (symbol >> 4, symbol & 15);
                if size == 0 {
                    if run != 15 {
                        break;
                    }
                    next += 16;
                } else {
                    sink.bits(bits.take(size.into())?, size.into());
                    next += run + 1;
                }
                if next > 64 {
                    return Err("a block of it has more than 64 coefficients");
                }
            }
            Ok(())
        },
    )
}

fn dc_scan(picture: &Picture<'_>, scan: &Scan<'_>, bits: &mut Bits<'_>) -> Result<(), Damage> {
    if scan.precision.0 > 0 {
        return each_block(picture, scan, bits, &mut (), |()| (), |bits, (), _, _, _| bits.skip(1));
    }
    let mut tables = Vec::new();
    for member in &scan.members {
        tables.push(table(member.dc)?);
    }
    each_block(
        picture,
        scan,
        bits,
        &mut (),
        |()| (),
        |bits, (), number, _, _| difference(bits, &tables[number]).map(drop),
    )
}

fn ac_scan(picture: &Picture<'_>, scan: &Scan<'_>, bits: &mut Bits<'_>, nonzero: &mut [u64]) -> Result<(), Damage> {
    let member = &scan.members[0];
    let (across, _) = picture.blocks(member.component);
    let table = table(member.ac)?;
    let (first, last) = (u32::from(scan.band.0), u32::from(scan.band.1));
    let read = if scan.precision.0 == 0 { first_block } else { refined_block };
    // Blocks that are still to end at once.
    let mut ended = 0_u32;
    each_block(
        picture,
        scan,
        bits,
        &mut ended,
        |ended| *ended = 0,
        |bits, ended, _, column, row| {
            let nonzero = &mut nonzero[(row * across + column) as usize];
            read(bits, &table, (first, last), ended, nonzero)
        },
    )
}

/// How many blocks end here and at once behind, of an "end of band" code.
fn ended_blocks(bits: &mut Bits<'_>, run: u8) -> Result<u32, Damage> {
    Ok((1 << run) + u32::from(bits.take(run.into())?))
}

/// The first scan of a band.
fn first_block(
    bits: &mut Bits<'_>,
    table: &Table,
    (first, last): (u32, u32),
    ended: &mut u32,
    nonzero: &mut u64,
) -> Result<(), Damage> {
    if *ended > 0 {
        *ended -= 1;
        return Ok(());
    }
    let mut next = first;
    while next <= last {
        let symbol = bits.symbol(table)?;
        let (run, size) = (symbol >> 4, symbol & 15);
        if size > 0 {
            next += u32::from(run);
            bits.skip(size.into())?;
            // A run that passes the end of the band is an error of no decoder; the last coefficient gets the value.
            *nonzero |= 1 << next.min(63);
            next += 1;
        } else if run == 15 {
            next += 16;
        } else {
            *ended = ended_blocks(bits, run)? - 1;
            break;
        }
    }
    Ok(())
}

/// A later scan of a band: one more bit for each coefficient that is known not to be 0, and new ones among the others.
fn refined_block(
    bits: &mut Bits<'_>,
    table: &Table,
    (first, last): (u32, u32),
    ended: &mut u32,
    nonzero: &mut u64,
) -> Result<(), Damage> {
    let mut next = first;
    while *ended == 0 && next <= last {
        let symbol = bits.symbol(table)?;
        let (mut run, size) = (symbol >> 4, symbol & 15);
        match size {
            0 if run < 15 => {
                *ended = ended_blocks(bits, run)?;
                break;
            }
            0 => {}
            1 => bits.skip(1)?,
            _ => return Err("it has a code that no scan of this kind may contain"),
        }
        while next <= last {
            if *nonzero >> next & 1 == 1 {
                bits.skip(1)?;
            } else if run == 0 {
                break;
            } else {
                run -= 1;
            }
            next += 1;
        }
        if size > 0 {
            *nonzero |= 1 << next.min(63);
        }
        next += 1;
    }
    if *ended > 0 {
        *ended -= 1;
        let rest = if next <= last { *nonzero >> next << next & (u64::MAX >> (63 - last)) } else { 0 };
        bits.skip(rest.count_ones())?;
    }
    Ok(())
}
