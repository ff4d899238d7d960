//! Shows a picture in the terminal: in full where it speaks kitty's, iTerm's or sixel's protocol, else as half blocks.

use std::env;
use std::io::IsTerminal;

use clap::ValueEnum;
use image::{DynamicImage, RgbImage};

use super::picture::Picture;
use crate::cli::output::Outcome;

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

/// Prints the picture, as large as fits the terminal. If `NO_COLOR` is set, nothing is shown.
pub(super) fn show(picture: &Picture, protocol: Protocol) -> Outcome {
    if env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        tell!("maskstream: no picture, because NO_COLOR is set; -o FILE.png writes one");
        return Ok(());
    }
    let image = RgbImage::from_raw(picture.width as u32, picture.height as u32, picture.bytes().to_vec());
    let image = image.ok_or("the picture has another size than its pixels")?;
    let is_auto = protocol == Protocol::Auto;
    let config = viuer::Config {
        absolute_offset: false,
        // A terminal that does not know the question would never answer, so only those are asked that will.
        use_kitty: protocol == Protocol::Kitty || is_auto && is_kitty(),
        use_iterm: protocol == Protocol::Iterm || is_auto,
        use_sixel: protocol == Protocol::Sixel,
        ..viuer::Config::default()
    };
    viuer::print(&DynamicImage::ImageRgb8(image), &config)?;
    Ok(())
}

/// Whether the environment is that of a terminal with kitty's protocol. A multiplexer between does not pass it on.
fn is_kitty() -> bool {
    let is = |name: &str, values: &[&str]| env::var(name).is_ok_and(|value| values.iter().any(|v| value.contains(v)));
    let is_multiplexed = env::var_os("TMUX").is_some() || is("TERM", &["screen", "tmux"]);
    !is_multiplexed && (is("TERM", &["kitty", "ghostty"]) || is("TERM_PROGRAM", &["ghostty", "WezTerm"]))
}
