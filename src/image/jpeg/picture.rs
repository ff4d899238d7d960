//! What a decoder needs of a JPEG, and a JPEG of only that.

use super::segments::{
    APP0, APP14, DAC, DHT, DQT, DRI, EOI, RST0, SOI, SOS, Segment, TEM, body, next_marker, segments,
};
use super::standard;
use crate::{Error, Result};

/// How the components stand for colours. Which it is, is decided as libjpeg does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Colour {
    /// One component, or three that are YCbCr: what a decoder supposes where nothing else is said.
    Usual,
    Rgb,
    Cmyk,
    Ycck,
}

/// One channel of the image.
pub(super) struct Component<'a> {
    id: u8,
    /// Blocks in each unit of the interleaved image.
    pub(super) horizontal: u32,
    pub(super) vertical: u32,
    quantization: u8,
    /// The table as it was when the component's first scan began: its precision, then its numbers.
    table: Option<(u8, &'a [u8])>,
}

impl Component<'_> {
    /// The quantization table, in the order of a JPEG.
    pub(super) fn quantization_table(&self) -> Option<[u16; 64]> {
        let (precision, table) = self.table?;
        let mut numbers = [0; 64];
        if precision == 0 {
            numbers.iter_mut().zip(table).for_each(|(number, &byte)| *number = byte.into());
        } else {
            let pairs = table.as_chunks::<2>().0;
            numbers.iter_mut().zip(pairs).for_each(|(number, &pair)| *number = u16::from_be_bytes(pair));
        }
        Some(numbers)
    }
}

/// A component's part in a scan, with the definitions of its Huffman tables.
#[derive(Clone)]
pub(super) struct Member<'a> {
    pub(super) component: usize,
    pub(super) dc: Huffman<'a>,
    pub(super) ac: Huffman<'a>,
}

/// A Huffman table's number and its definition: 16 counts, then the symbols.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Huffman<'a> {
    pub(super) number: u8,
    pub(super) definition: Option<&'a [u8]>,
}

/// One pass over the image.
pub(super) struct Scan<'a> {
    pub(super) members: Vec<Member<'a>>,
    /// First and last coefficient.
    pub(super) band: (u8, u8),
    /// Lowest bit of the coefficients before this scan (0 if it is the first one) and after it.
    pub(super) precision: (u8, u8),
    /// Units between restart markers, or 0.
    pub(super) restart: u32,
    pub(super) data: &'a [u8],
    pub(super) data_at: usize,
}

/// What a decoder needs of a JPEG.
pub(crate) struct Picture<'a> {
    /// 0 to 15: how the image data is coded.
    coding: u8,
    width: u16,
    height: u16,
    pub(super) components: Vec<Component<'a>>,
    colour: Colour,
    pub(super) scans: Vec<Scan<'a>>,
    /// Definitions for arithmetic coding, which only libjpeg-turbo reads.
    arithmetic: Vec<&'a [u8]>,
}

/// As many as any encoder makes a few times over, and as zune-jpeg reads.
const MAX_SCANS: usize = 100;

impl<'a> Picture<'a> {
    /// Reads the segments of a JPEG.
    ///
    /// # Errors
    /// If it is not a JPEG, is cut short, or its segments contradict each other.
    pub(crate) fn read(jpeg: &'a [u8]) -> Result<Self> {
        let segments = segments(jpeg)?;
        let mut frames = segments.iter().filter(|segment| coding(segment.marker).is_some());
        let frame = frames.next().ok_or_else(|| damaged("it has no frame header, which tells its size"))?;
        if frames.next().is_some() {
            return Err(damaged("it has two frame headers"));
        }
        let mut picture = Self::of_frame(frame)?;
        picture.colour = colour(&segments, &picture.components)?;
        picture.read_scans(&segments)?;
        Ok(picture)
    }

    fn of_frame(frame: &Segment<'a>) -> Result<Self> {
        let invalid = || damaged("its frame header is invalid");
        let [bits, h1, h0, w1, w0, count, components @ ..] = frame.body else { return Err(invalid()) };
        if *bits != 8 {
            return Err(Error::corrupt(format!("jpeg: it has {bits} bits a sample; convert it to 8 bits")));
        }
        if components.len() != 3 * usize::from(*count) {
            return Err(invalid());
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(Error::corrupt(format!("jpeg: it has {count} components, which are no known colours")));
        }
        let mut found = Vec::new();
        for &[id, sampling, quantization] in components.as_chunks::<3>().0 {
            let (horizontal, vertical) = (u32::from(sampling >> 4), u32::from(sampling & 15));
            if !(1..=4).contains(&horizontal) || !(1..=4).contains(&vertical) {
                return Err(invalid());
            }
            found.push(Component { id, horizontal, vertical, quantization, table: None });
        }
        if let [only] = &mut found[..] {
            // The only component is never interleaved, whatever its sampling.
            (only.horizontal, only.vertical) = (1, 1);
        }
        Ok(Self {
            coding: coding(frame.marker).unwrap_or(0),
            width: u16::from_be_bytes([*w1, *w0]),
            height: u16::from_be_bytes([*h1, *h0]),
            components: found,
            colour: Colour::Usual,
            scans: Vec::new(),
            arithmetic: Vec::new(),
        })
    }

    fn read_scans(&mut self, segments: &[Segment<'a>]) -> Result<()> {
        let mut quantization: [Option<(u8, &[u8])>; 4] = [None; 4];
        let mut huffman: [[Option<&[u8]>; 4]; 2] = [[None; 4]; 2];
        let mut restart = 0;
        let scans = segments.iter().filter(|segment| segment.marker == SOS).count();
        if scans > MAX_SCANS {
            return Err(Error::corrupt(format!("jpeg: it has {scans} scans, more than {MAX_SCANS}")));
        }
        for segment in segments {
            match segment.marker {
                DQT => read_quantization(segment.body, &mut quantization)?,
                DHT => read_huffman(segment.body, &mut huffman)?,
                DAC => self.arithmetic.push(segment.body),
                DRI => {
                    let &[high, low] = segment.body else { return Err(damaged("its restart interval is invalid")) };
                    restart = u32::from(u16::from_be_bytes([high, low]));
                }
                SOS => {
                    let scan = self.read_scan(segment, &huffman, restart)?;
                    for member in &scan.members {
                        let component = &mut self.components[member.component];
                        let table = quantization.get(usize::from(component.quantization)).copied().flatten();
                        component.table = component.table.or(table);
                    }
                    self.scans.push(scan);
                }
                _ => {}
            }
        }
        if let Some(lacks) = self.components.iter().position(|component| component.table.is_none()) {
            let lacks = lacks + 1;
            return Err(Error::corrupt(format!(
                "jpeg: damaged: component {lacks} has no scan, or no quantization table"
            )));
        }
        Ok(())
    }

    fn read_scan(&self, segment: &Segment<'a>, huffman: &[[Option<&'a [u8]>; 4]; 2], restart: u32) -> Result<Scan<'a>> {
        let invalid = || damaged("the header of a scan is invalid");
        let (&count, rest) = segment.body.split_first().ok_or_else(invalid)?;
        let (members, band) = rest.split_at_checked(2 * usize::from(count)).ok_or_else(invalid)?;
        let &[first, last, precision] = band else { return Err(invalid()) };
        let table = |class: usize, number: u8| {
            let standard: [&[u8]; 2] = if class == 0 { standard::DC } else { standard::AC };
            let number_ = usize::from(number);
            let definition = huffman[class].get(number_).copied().flatten();
            let supplied = standard.get(number_).copied().filter(|_| self.is_sequential());
            Huffman { number, definition: definition.or(supplied) }
        };
        let mut found: Vec<Member<'a>> = Vec::new();
        for &[id, tables] in members.as_chunks::<2>().0 {
            let known = self.components.iter().position(|component| component.id == id).ok_or_else(invalid)?;
            if found.iter().any(|member| member.component == known) {
                return Err(invalid());
            }
            found.push(Member { component: known, dc: table(0, tables >> 4), ac: table(1, tables & 15) });
        }
        let (band, precision) = match self.is_sequential() {
            // A few encoders write something else, which every decoder ignores.
            true => ((0, 63), (0, 0)),
            false => ((first, last), (precision >> 4, precision & 15)),
        };
        if found.is_empty() {
            return Err(invalid());
        }
        Ok(Scan { members: found, band, precision, restart, data: segment.data, data_at: segment.data_at })
    }

    /// Width and height, in pixels.
    pub(crate) fn size(&self) -> (u32, u32) {
        (self.width.into(), self.height.into())
    }

    /// Whether it is baseline or extended sequential, in Huffman codes.
    pub(crate) fn is_sequential(&self) -> bool {
        self.coding <= 1
    }

    /// Whether it is progressive, in Huffman codes.
    pub(crate) fn is_progressive(&self) -> bool {
        self.coding == 2
    }

    /// The name of how the image data is coded.
    pub(crate) fn coding(&self) -> &'static str {
        match self.coding {
            0 | 1 => "sequential",
            2 => "progressive",
            3 => "lossless",
            9 => "arithmetic sequential",
            10 => "arithmetic progressive",
            _ => "hierarchical or lossless",
        }
    }

    /// Whether its colours are those of print.
    pub(crate) fn has_four_components(&self) -> bool {
        self.components.len() == 4
    }

    /// Whether all components are in the first scan, and there is no other one.
    pub(crate) fn has_one_scan(&self) -> bool {
        matches!(&self.scans[..], [only] if only.members.len() == self.components.len())
    }

    /// Largest sampling factors, horizontal and vertical.
    pub(super) fn sampling(&self) -> (u32, u32) {
        let largest = |of: fn(&Component<'a>) -> u32| self.components.iter().map(of).max().unwrap_or(1);
        (largest(|component| component.horizontal), largest(|component| component.vertical))
    }

    /// Whether its three components are red, green and blue.
    pub(super) fn is_rgb(&self) -> bool {
        self.colour == Colour::Rgb
    }

    /// Columns and rows of the units that all components together are coded in.
    pub(super) fn units(&self) -> (u32, u32) {
        let (horizontal, vertical) = self.sampling();
        (u32::from(self.width).div_ceil(8 * horizontal), u32::from(self.height).div_ceil(8 * vertical))
    }

    /// Columns and rows of the blocks that a component has where it is alone in a scan.
    pub(super) fn blocks(&self, component: usize) -> (u32, u32) {
        let ((horizontal, vertical), component) = (self.sampling(), &self.components[component]);
        let across = (u32::from(self.width) * component.horizontal).div_ceil(8 * horizontal);
        (across, (u32::from(self.height) * component.vertical).div_ceil(8 * vertical))
    }

    /// Writes it as a JPEG that says no more than it must, to `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.write_header(out);
        let mut defined: [[Option<&[u8]>; 4]; 2] = [[None; 4]; 2];
        let mut restart = 0;
        for scan in &self.scans {
            for (class, table) in scan.members.iter().flat_map(|member| [(0, member.dc), (1, member.ac)]) {
                let (Some(definition), Some(known)) =
                    (table.definition, defined[class].get_mut(usize::from(table.number)))
                else {
                    continue;
                };
                if *known != Some(definition) {
                    *known = Some(definition);
                    segment(DHT, &[&[(class as u8) << 4 | table.number], definition], out);
                }
            }
            if scan.restart != restart {
                restart = scan.restart;
                segment(DRI, &[&(restart as u16).to_be_bytes()], out);
            }
            self.write_scan_header(scan, out);
            out.extend_from_slice(scan.data);
        }
        out.extend_from_slice(&[0xff, EOI]);
    }

    /// Writes all that comes before the Huffman tables of the first scan. Each component gets a table of its own.
    pub(super) fn write_header(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&[0xff, 0xd8]);
        let transform = match self.colour {
            Colour::Usual | Colour::Rgb => None,
            Colour::Cmyk => Some(0),
            Colour::Ycck => Some(2),
        };
        if let Some(transform) = transform {
            segment(APP14, &[b"Adobe\0\x64\0\0\0\0", &[transform]], out);
        }
        for (number, (precision, table)) in (0_u8..).zip(self.components.iter().filter_map(|component| component.table))
        {
            segment(DQT, &[&[precision << 4 | number], table], out);
        }
        for body in &self.arithmetic {
            segment(DAC, &[body], out);
        }
        let mut frame = vec![8];
        frame.extend(self.height.to_be_bytes());
        frame.extend(self.width.to_be_bytes());
        frame.push(self.components.len() as u8);
        for (number, component) in self.components.iter().enumerate() {
            let sampling = component.horizontal << 4 | component.vertical;
            frame.extend([self.id(number), sampling as u8, number as u8]);
        }
        segment(0xc0 | self.coding, &[&frame], out);
    }

    pub(super) fn write_scan_header(&self, scan: &Scan<'_>, out: &mut Vec<u8>) {
        let mut header = vec![scan.members.len() as u8];
        for member in &scan.members {
            header.extend([self.id(member.component), member.dc.number << 4 | member.ac.number]);
        }
        header.extend([scan.band.0, scan.band.1, scan.precision.0 << 4 | scan.precision.1]);
        segment(SOS, &[&header], out);
    }

    /// The id that says what a component is where no other segment does.
    fn id(&self, component: usize) -> u8 {
        match self.colour {
            Colour::Rgb => b"RGB"[component],
            _ => component as u8 + 1,
        }
    }
}

pub(super) fn segment(marker: u8, parts: &[&[u8]], out: &mut Vec<u8>) {
    let length = 2 + parts.iter().map(|part| part.len()).sum::<usize>();
    out.extend([0xff, marker, (length >> 8) as u8, length as u8]);
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

fn damaged(what: &str) -> Error {
    Error::corrupt(format!("jpeg: damaged: {what}"))
}

/// Width and height, from the bytes of a JPEG up to its frame header or more.
pub(crate) fn frame_size(head: &[u8]) -> Option<(u32, u32)> {
    let mut at = head.starts_with(b"\xff\xd8").then_some(2)?;
    loop {
        let next = next_marker(head, at)?;
        match next.marker {
            SOS | EOI => return None,
            // Markers without a body.
            TEM | RST0..=SOI => {
                at = next.ends;
                continue;
            }
            _ => {}
        }
        let body = body(head, next.ends)?;
        if coding(next.marker).is_some() {
            let [_, h1, h0, w1, w0, ..] = body else { return None };
            return Some((u16::from_be_bytes([*w1, *w0]).into(), u16::from_be_bytes([*h1, *h0]).into()));
        }
        at = next.ends + 2 + body.len();
    }
}

/// The number of a start of frame, if `marker` is one.
fn coding(marker: u8) -> Option<u8> {
    (matches!(marker, 0xc0..=0xcf) && !matches!(marker, DHT | 0xc8 | DAC)).then_some(marker & 15)
}

fn colour(segments: &[Segment<'_>], components: &[Component<'_>]) -> Result<Colour> {
    let transform = segments
        .iter()
        .filter(|segment| segment.marker == APP14)
        .find_map(|segment| segment.body.strip_prefix(b"Adobe").and_then(|rest| rest.get(6)));
    let jfif = segments.iter().any(|segment| segment.marker == APP0 && segment.body.starts_with(b"JFIF\0"));
    let ids: Vec<u8> = components.iter().map(|component| component.id).collect();
    Ok(match (ids.len(), transform) {
        (4, None | Some(0)) => Colour::Cmyk,
        (4, Some(2)) => Colour::Ycck,
        (3, Some(0)) if !jfif => Colour::Rgb,
        (3, None) if !jfif && ids == b"RGB" => Colour::Rgb,
        (1, _) | (3, None | Some(0 | 1)) => Colour::Usual,
        (3, Some(_)) if jfif => Colour::Usual,
        (_, transform) => {
            let transform = transform.copied().unwrap_or_default();
            return Err(Error::corrupt(format!(
                "jpeg: its Adobe segment names colours {transform}, which are unknown"
            )));
        }
    })
}

fn read_quantization<'a>(mut body: &'a [u8], tables: &mut [Option<(u8, &'a [u8])>; 4]) -> Result<()> {
    let invalid = || damaged("a quantization table is invalid");
    while let Some((&head, rest)) = body.split_first() {
        let (precision, number) = (head >> 4, usize::from(head & 15));
        let length = if precision == 0 { 64 } else { 128 };
        let (table, rest) = rest.split_at_checked(length).filter(|_| precision <= 1).ok_or_else(invalid)?;
        *tables.get_mut(number).ok_or_else(invalid)? = Some((precision, table));
        body = rest;
    }
    Ok(())
}

fn read_huffman<'a>(mut body: &'a [u8], tables: &mut [[Option<&'a [u8]>; 4]; 2]) -> Result<()> {
    let invalid = || damaged("a Huffman table is invalid");
    while let Some((&head, rest)) = body.split_first() {
        let counts = rest.get(..16).ok_or_else(invalid)?;
        let length = 16 + counts.iter().map(|&count| usize::from(count)).sum::<usize>();
        let (table, rest) = rest.split_at_checked(length).ok_or_else(invalid)?;
        let known = tables.get_mut(usize::from(head >> 4)).and_then(|class| class.get_mut(usize::from(head & 15)));
        *known.ok_or_else(invalid)? = Some(table);
        body = rest;
    }
    Ok(())
}
