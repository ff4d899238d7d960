//! Tests of `maskstream::mask`.
//!
//! | file | what it tests | oracle |
//! |---|---|---|
//! | `codec` | counts strings, runs and bitmaps | the description of the format, byte by byte |
//! | `grid` | drawing by nearest centre and by area | sums over pixels in exact arithmetic |
//! | `ops` | bitmap layouts, set operations, IoU, NMS, transforms | the definition, pixel by pixel |
//! | `regions` | morphology, components, holes, outlines | flood fills and searches of every pixel |
//! | `hostile` | invalid and extreme input | the expected error, or the correct result |
//! | `golden` | everything pycocotools can do | results recorded from pycocotools 2.0.11 |

mod codec;
mod golden;
mod grid;
mod hostile;
mod naive;
mod ops;
mod regions;
