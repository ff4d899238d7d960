//! RGB images that are drawn pixel by pixel and written as PNG files.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use crate::result::Result;

/// Colour of an empty image.
const BACKGROUND: [u8; 3] = [24, 24, 27];

/// An RGB image.
pub struct Raster {
    width: usize,
    rgb: Vec<u8>,
}

impl Raster {
    /// An empty image.
    pub fn new(width: usize, height: usize) -> Self {
        Self { width, rgb: BACKGROUND.repeat(width * height) }
    }

    /// Sets a pixel. Does nothing outside of the image.
    pub fn set(&mut self, x: usize, y: usize, color: [u8; 3]) {
        let start = 3 * (y * self.width + x);
        if x < self.width
            && let Some(pixel) = self.rgb.get_mut(start..start + 3)
        {
            pixel.copy_from_slice(&color);
        }
    }

    /// Writes a PNG file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let file = File::create(path).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        let height = self.rgb.len() / (3 * self.width);
        let mut encoder = png::Encoder::new(BufWriter::new(file), self.width as u32, height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header()?.write_image_data(&self.rgb)?;
        Ok(())
    }
}
