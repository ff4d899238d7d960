//! Draws a row of a batch: the image, and on it masks, boxes, points and clicks, all from the batch's own fields.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{PixelType, Resizer};
use maskstream::Batch;

use super::picture::{Picture, Rgb};
use crate::cli::output::counted;

/// How rows are drawn.
pub(in crate::cli) struct Look {
    /// Longest side in pixels.
    pub(super) side: u32,
    /// Whether nothing is drawn on the images.
    pub(super) is_plain: bool,
    /// Whether the padding of the canvas is cut off.
    pub(super) is_cut: bool,
}

/// Told apart by people who do not see all colours, and in two degrees of lightness: Okabe and Ito's colours, but for
/// black and for blue, which hardly shows on photos ("Color Universal Design", 2008).
const COLORS: [Rgb; 12] = [
    [230, 159, 0],
    [86, 180, 233],
    [0, 158, 115],
    [240, 228, 66],
    [213, 94, 0],
    [204, 121, 167],
    [255, 208, 122],
    [178, 222, 247],
    [102, 222, 180],
    [255, 247, 160],
    [255, 160, 96],
    [242, 190, 217],
];
const WHITE: Rgb = [255; 3];
/// Height of the line above the image.
const TITLE: usize = 15;
/// Share of the colour within a mask.
const TINT: f32 = 0.3;

/// All rows that have a sample.
pub(in crate::cli) fn all(batch: &Batch, look: &Look) -> Vec<Picture> {
    let rows = batch.samples().iter().enumerate().filter(|(_, sample)| sample.is_some());
    rows.map(|(row, _)| Tile::new(batch, row, look).draw(look)).collect()
}

/// One row of a batch on its way to a picture.
struct Tile<'a> {
    batch: &'a Batch,
    row: usize,
    /// Pixels of the picture along a side, and for each pixel of the canvas.
    side: usize,
    scale: f32,
    /// Indices into the fields of masks, the largest mask first.
    masks: Vec<usize>,
}

impl<'a> Tile<'a> {
    fn new(batch: &'a Batch, row: usize, look: &Look) -> Self {
        let (canvas, top_k) = (batch.layout().image_size(), batch.layout().top_k());
        let side = canvas.min(look.side as usize);
        let mut masks: Vec<usize> = (row * top_k..(row + 1) * top_k).filter(|&mask| batch.valid()[mask] == 1).collect();
        masks.sort_by(|&a, &b| batch.area()[b].total_cmp(&batch.area()[a]));
        Self { batch, row, side, scale: side as f32 / canvas as f32, masks }
    }

    fn draw(&self, look: &Look) -> Picture {
        let mut picture = self.image();
        if !look.is_plain {
            self.draw_masks(&mut picture);
            self.draw_boxes(&mut picture);
            self.draw_points(&mut picture);
            self.draw_numbers(&mut picture);
        }
        let (width, height) = if look.is_cut { self.content() } else { (self.side, self.side) };
        let mut tile = Picture::new(width, height + TITLE, [0; 3]);
        tile.paste(&picture.cut(width, height), 0, TITLE);
        tile.label([0.0, 0.0], &self.title(), WHITE);
        tile
    }

    /// Width and height of the image in the picture.
    fn content(&self) -> (usize, usize) {
        let pixels = |length: u32| ((length as f32 * self.scale).round() as usize).clamp(1, self.side);
        let geometry = self.batch.geometry_of(self.row);
        geometry.map_or((self.side, self.side), |g| (pixels(g.content_width()), pixels(g.content_height())))
    }

    fn title(&self) -> String {
        if self.batch.image_valid()[self.row] == 0 {
            return "CANNOT BE DECODED".to_owned();
        }
        format!("{}  {}", self.batch.image_ids()[self.row], counted(self.masks.len(), "mask"))
    }

    /// The image, resized if the canvas is larger than the picture.
    fn image(&self) -> Picture {
        let canvas = self.batch.layout().image_size();
        let planes = self.batch.images().values::<u8>().unwrap_or_default();
        let plane = canvas * canvas;
        let Some(planes) = planes.get(3 * self.row * plane..3 * (self.row + 1) * plane) else {
            return Picture::new(self.side, self.side, [0; 3]);
        };
        let [red, green, blue] = [0, 1, 2].map(|channel| self.resized(&planes[channel * plane..][..plane], canvas));
        let pixels = red.into_iter().zip(green).zip(blue).map(|((red, green), blue)| [red, green, blue]).collect();
        Picture { width: self.side, height: self.side, pixels }
    }

    fn resized(&self, plane: &[u8], canvas: usize) -> Vec<u8> {
        let mut out = Image::new(self.side as u32, self.side as u32, PixelType::U8);
        let source = ImageRef::new(canvas as u32, canvas as u32, plane, PixelType::U8);
        // The sizes are those of the plane and of the picture, so nothing can fail.
        let is_resized = source.is_ok_and(|source| Resizer::new().resize(&source, &mut out, None).is_ok());
        if is_resized { out.into_vec() } else { vec![0; self.side * self.side] }
    }

    fn color(&self, mask: usize) -> Rgb {
        COLORS[self.batch.annotation_ids()[mask].rem_euclid(COLORS.len() as i64) as usize]
    }

    /// Tints first, then the outlines of all, so that no tint hides one.
    fn draw_masks(&self, picture: &mut Picture) {
        let Some([height, width]) = self.batch.layout().mask_size() else { return };
        let cells = self.batch.unpacked_masks().unwrap_or_default();
        let outlined: Vec<Vec<bool>> = self
            .masks
            .iter()
            .map(|&mask| {
                let cells = &cells[mask * height * width..][..height * width];
                let cell = |y: usize, x: usize| cells[y * height / self.side * width + x * width / self.side] != 0;
                (0..self.side * self.side).map(|at| cell(at / self.side, at % self.side)).collect()
            })
            .collect();
        for (inside, &mask) in outlined.iter().zip(&self.masks) {
            let color = self.color(mask);
            for (pixel, _) in picture.pixels.iter_mut().zip(inside).filter(|(_, is_inside)| **is_inside) {
                *pixel = mixed(*pixel, color, TINT);
            }
        }
        for (inside, &mask) in outlined.iter().zip(&self.masks) {
            self.outline(picture, inside, self.color(mask));
        }
    }

    /// Draws the pixels at the edge of a mask, and darkens those beside it.
    fn outline(&self, picture: &mut Picture, inside: &[bool], color: Rgb) {
        let side = self.side;
        let at = |x: Option<usize>, y: Option<usize>| {
            Some(inside[y.filter(|&y| y < side)? * side + x.filter(|&x| x < side)?])
        };
        for (number, pixel) in picture.pixels.iter_mut().enumerate() {
            let (x, y, here) = (number % side, number / side, inside[number]);
            let beside = [
                at(x.checked_sub(1), Some(y)),
                at(Some(x + 1), Some(y)),
                at(Some(x), y.checked_sub(1)),
                at(Some(x), Some(y + 1)),
            ];
            if beside.into_iter().flatten().any(|there| there != here) {
                *pixel = if here { color } else { mixed(*pixel, [0; 3], 0.6) };
            }
        }
    }

    fn draw_boxes(&self, picture: &mut Picture) {
        let corners = |boxes: &[f32], mask: usize| std::array::from_fn(|i| boxes[4 * mask + i] * self.scale);
        for &mask in &self.masks {
            picture.rectangle(corners(self.batch.boxes(), mask), self.color(mask));
            if let Some(boxes) = self.batch.prompt_boxes() {
                picture.rectangle(corners(boxes, mask), WHITE);
            }
        }
    }

    fn draw_points(&self, picture: &mut Picture) {
        let place = |points: &[f32], at: usize| [points[2 * at] * self.scale, points[2 * at + 1] * self.scale];
        for &mask in &self.masks {
            let color = self.color(mask);
            let point = place(self.batch.points(), mask);
            // A file without prompt points has 0, 0.
            if point != [0.0; 2] {
                picture.diamond(point, 4, color);
            }
            let (Some(points), Some(labels)) = (self.batch.prompt_points(), self.batch.prompt_labels()) else {
                continue;
            };
            let clicks = labels.len() / self.batch.valid().len().max(1);
            for (at, label) in labels.iter().enumerate().skip(mask * clicks).take(clicks) {
                match label {
                    1 => picture.disc(place(points, at), 3, color),
                    0 => picture.cross(place(points, at), 4, color),
                    _ => {}
                }
            }
        }
    }

    /// The number of each mask at the upper left corner of its box.
    fn draw_numbers(&self, picture: &mut Picture) {
        let top_k = self.batch.layout().top_k();
        for &mask in &self.masks {
            let corner = [0, 1].map(|axis| self.batch.boxes()[4 * mask + axis] * self.scale);
            picture.label(corner, &(mask % top_k + 1).to_string(), self.color(mask));
        }
    }
}

fn mixed(from: Rgb, to: Rgb, share: f32) -> Rgb {
    std::array::from_fn(|i| (f32::from(from[i]) * (1.0 - share) + f32::from(to[i]) * share).round() as u8)
}
