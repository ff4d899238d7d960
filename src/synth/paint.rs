//! Paints the label map: a row-major RGB image, slightly blurred as by a lens, with sensor noise.

use super::labels::LabelMap;
use super::rng::Rng;
use super::texture::{NoiseTile, Surface};

/// Rows copied from the label map at a time: their labels fill a cache line of a column.
const BAND_ROWS: usize = 32;

/// Sensor noise.
pub(super) struct Camera {
    /// Maximum deviation of a channel, in levels of 255.
    pub(super) noise: f32,
    pub(super) seed: u64,
}

/// Paints every pixel with the surface of its label, 3 bytes a pixel, and applies the camera's blur and noise.
pub(super) fn paint(map: &LabelMap, surfaces: &[Surface], grain: &NoiseTile, camera: &Camera) -> Vec<u8> {
    let width = map.width as usize;
    let mut sharp = vec![0; 3 * width * map.height as usize];
    let mut labels = vec![0_u16; BAND_ROWS * width];
    for (band, pixels) in sharp.chunks_mut(BAND_ROWS * 3 * width).enumerate() {
        let labels = &mut labels[..pixels.len() / 3];
        map.copy_rows(band * BAND_ROWS, labels);
        for (row, (labels, pixels)) in labels.chunks_exact(width).zip(pixels.chunks_exact_mut(3 * width)).enumerate() {
            let y = band * BAND_ROWS + row;
            let mut x = 0;
            for span in labels.chunk_by(|a, b| a == b) {
                let end = x + span.len();
                surfaces[usize::from(span[0])].paint(grain, x, y, &mut pixels[3 * x..3 * end]);
                x = end;
            }
        }
    }
    apply_camera(&sharp, width, camera)
}

/// Blurs with the kernel [1, 2, 1] / 4 along both axes, and adds noise.
fn apply_camera(sharp: &[u8], width: usize, camera: &Camera) -> Vec<u8> {
    let stride = 3 * width;
    let mut out = vec![0; sharp.len()];
    let rows: Vec<&[u8]> = sharp.chunks_exact(stride).collect();
    // One pixel of margin on either side repeats the border pixel.
    let mut blurred = vec![0_u16; stride + 6];
    // The sum of two bytes has a triangular distribution; `strength` is in 1/256 of a level.
    let strength = (camera.noise * 256.0 / 255.0) as i32;
    for (y, out) in out.chunks_exact_mut(stride).enumerate() {
        let (above, here, below) = (rows[y.saturating_sub(1)], rows[y], rows[(y + 1).min(rows.len() - 1)]);
        for (((sum, &a), &b), &c) in blurred[3..].iter_mut().zip(above).zip(here).zip(below) {
            *sum = u16::from(a) + 2 * u16::from(b) + u16::from(c);
        }
        blurred.copy_within(3..6, 0);
        blurred.copy_within(stride..stride + 3, stride + 3);
        let mut rng = Rng::new(&[camera.seed, y as u64]);
        for (x, pixel) in out.chunks_exact_mut(3).enumerate() {
            let near: &[u16] = &blurred[3 * x..3 * x + 9];
            let bytes = rng.next_u64().to_le_bytes().map(i32::from);
            for channel in 0..3 {
                let sum = near[channel] + 2 * near[channel + 3] + near[channel + 6];
                let noise = bytes[channel] + bytes[channel + 3] - 255;
                let level = (i32::from(sum) * 16 + noise * strength + 128) >> 8;
                pixel[channel] = level.clamp(0, 255) as u8;
            }
        }
    }
    out
}
