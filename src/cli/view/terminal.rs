//! Shows a picture in the terminal: in full where it speaks kitty's, iTerm's or sixel's protocol, else as half blocks.

use std::env;
use std::io::IsTerminal;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::ValueEnum;
use icy_sixel::SixelImage;
use image::imageops::FilterType;
use image::{DynamicImage, RgbImage};

use super::picture::Picture;
use crate::cli::output::{COLUMNS, Outcome};

/// How a terminal shows pictures.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Protocol {
    /// kitty's or iTerm's if the environment tells of such a terminal, else blocks
    Auto,
    /// Two pixels in each character
    Blocks,
    /// kitty, Ghostty, WezTerm, Konsole
    Kitty,
    /// iTerm2, mintty
    Iterm,
    /// foot, xterm, mlterm, Windows Terminal
    Sixel,
}

/// Whether standard output is a terminal.
pub(super) fn is_there() -> bool {
    std::io::stdout().is_terminal()
}

/// Prints the picture, as large as fits the terminal. Nothing is asked of the terminal, because one that does not know
/// the question never answers.
pub(super) fn show(picture: &Picture, protocol: Protocol) -> Outcome {
    let Some(protocol) = chosen(protocol) else { return Ok(()) };
    let mut png = Vec::new();
    let room = Room::of_stdout();
    let escapes = match protocol {
        Protocol::Kitty => {
            picture.write_png(&mut png)?;
            kitty(&png, room.columns_for(picture.width))
        }
        Protocol::Iterm => {
            picture.write_png(&mut png)?;
            iterm(&png, room.columns_for(picture.width))
        }
        Protocol::Sixel => sixel(picture, room.pixels())?,
        Protocol::Auto | Protocol::Blocks => {
            let config = viuer::Config {
                absolute_offset: false,
                use_kitty: false,
                use_iterm: false,
                ..viuer::Config::default()
            };
            viuer::print(&image_of(picture)?, &config)?;
            return Ok(());
        }
    };
    say!("{escapes}");
    Ok(())
}

/// The protocol that was named, or else what the environment tells. `None`, with a remark, if it asks for no pictures.
fn chosen(protocol: Protocol) -> Option<Protocol> {
    if protocol != Protocol::Auto {
        return Some(protocol);
    }
    let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    if no_color || is_dumb {
        let why = if no_color { "NO_COLOR is set" } else { "TERM is dumb" };
        tell!("maskstream: no picture, because {why}; -o FILE.png writes one, --terminal blocks shows one");
        return None;
    }
    Some(match () {
        () if is_kitty() => Protocol::Kitty,
        () if is_iterm() => Protocol::Iterm,
        () => Protocol::Blocks,
    })
}

/// The size of the terminal.
struct Room {
    columns: usize,
    /// Width of a character in pixels.
    character: usize,
}

impl Room {
    fn of_stdout() -> Self {
        let size = rustix::termios::tcgetwinsize(std::io::stdout());
        let (columns, pixels) = size.map_or((0, 0), |size| (usize::from(size.ws_col), usize::from(size.ws_xpixel)));
        let columns = if columns == 0 { COLUMNS } else { columns };
        // Many terminals do not tell.
        Self { columns, character: if pixels == 0 { 8 } else { (pixels / columns).max(1) } }
    }

    fn columns_for(&self, pixels: usize) -> usize {
        pixels.div_ceil(self.character).clamp(1, self.columns)
    }

    fn pixels(&self) -> usize {
        self.columns * self.character
    }
}

/// <https://sw.kovidgoyal.net/kitty/graphics-protocol/>: a PNG (f=100) that is shown at once (a=T), in chunks of 4096
/// characters of base64, of which all but the last one say that more come (m=1). No answers, please (q=2).
fn kitty(png: &[u8], columns: usize) -> String {
    let data = BASE64_STANDARD.encode(png);
    let mut chunks = data.as_bytes().chunks(4096).map(String::from_utf8_lossy).peekable();
    let (mut escapes, mut keys) = (String::new(), format!("a=T,f=100,q=2,c={columns},"));
    while let Some(chunk) = chunks.next() {
        let more = u8::from(chunks.peek().is_some());
        escapes += &format!("\x1b_G{keys}m={more};{chunk}\x1b\\");
        keys.clear();
    }
    escapes
}

/// <https://iterm2.com/documentation-images.html>
fn iterm(png: &[u8], columns: usize) -> String {
    let data = BASE64_STANDARD.encode(png);
    format!("\x1b]1337;File=inline=1;size={};width={columns};preserveAspectRatio=1:{data}\x07", png.len())
}

/// The picture at most `most` pixels wide.
fn sixel(picture: &Picture, most: usize) -> Result<String, Box<dyn std::error::Error>> {
    let image = image_of(picture)?;
    let image = match most {
        _ if picture.width <= most => image,
        // The height is bounded by the width alone.
        _ => image.resize(most as u32, u32::MAX, FilterType::Triangle),
    };
    let (width, height) = (image.width() as usize, image.height() as usize);
    Ok(SixelImage::try_from_rgba(image.into_rgba8().into_raw(), width, height)?.encode()?)
}

fn image_of(picture: &Picture) -> Result<DynamicImage, Box<dyn std::error::Error>> {
    let image = RgbImage::from_raw(picture.width as u32, picture.height as u32, picture.bytes().to_vec());
    Ok(DynamicImage::ImageRgb8(image.ok_or("the picture has another size than its pixels")?))
}

/// Whether the environment is that of a terminal with kitty's protocol. A multiplexer between does not pass it on.
fn is_kitty() -> bool {
    let is = |name: &str, values: &[&str]| env::var(name).is_ok_and(|value| values.iter().any(|v| value.contains(v)));
    let is_multiplexed = env::var_os("TMUX").is_some() || is("TERM", &["screen", "tmux"]);
    !is_multiplexed && (is("TERM", &["kitty", "ghostty"]) || is("TERM_PROGRAM", &["ghostty", "WezTerm"]))
}

/// Whether the environment is that of a terminal with iTerm's protocol.
fn is_iterm() -> bool {
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found.contains(value));
    env::var_os("TMUX").is_none()
        && (is("TERM_PROGRAM", "iTerm") || is("LC_TERMINAL", "iTerm") || is("TERM_PROGRAM", "mintty"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{BASE64_STANDARD, Engine, Picture, SixelImage, iterm, kitty, sixel};

    /// What stands in `text` between each `start` and the `end` behind it.
    fn between<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
        text.split(start).skip(1).map(|part| part.split(end).next().unwrap()).collect()
    }

    #[test]
    fn kitty_gets_the_png_in_chunks_of_which_the_last_one_ends_it() {
        let png: Vec<u8> = (0..10_000_u32).map(|at| (at * 7) as u8).collect();
        let text = kitty(&png, 33);
        let chunks: Vec<(&str, &str)> =
            between(&text, "\x1b_G", "\x1b\\").into_iter().map(|chunk| chunk.split_once(';').unwrap()).collect();
        assert!(chunks.iter().all(|(_, data)| data.len() <= 4096));
        assert_eq!(chunks[0].0, "a=T,f=100,q=2,c=33,m=1");
        assert!(chunks[1..chunks.len() - 1].iter().all(|(keys, _)| *keys == "m=1"));
        assert_eq!(chunks.last().unwrap().0, "m=0");
        let data: String = chunks.iter().map(|(_, data)| *data).collect();
        assert_eq!(BASE64_STANDARD.decode(data).unwrap(), png);
    }

    #[test]
    fn iterm_gets_the_png_with_its_size() {
        let text = iterm(b"picture", 20);
        assert!(text.starts_with("\x1b]1337;File=inline=1;size=7;width=20;"), "{text:?}");
        assert_eq!(BASE64_STANDARD.decode(between(&text, ":", "\x07")[0]).unwrap(), b"picture");
    }

    #[test]
    fn sixels_are_the_picture_no_wider_than_the_terminal() {
        // Heights are multiples of the six rows of a sixel.
        for (most, size) in [(100, (60, 30)), (20, (20, 12))] {
            let text = sixel(&Picture::new(60, 30, [200, 40, 10]), most).unwrap();
            let shown = SixelImage::decode(text.as_bytes()).unwrap();
            assert_eq!(shown.dimensions(), size);
            let pixel: Vec<i32> = shown.pixels[..3].iter().map(|&value| value.into()).collect();
            assert!(pixel.iter().zip([200, 40, 10]).all(|(found, wanted)| (found - wanted).abs() <= 3), "{pixel:?}");
        }
    }
}
