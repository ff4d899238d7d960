//! Properties of the gzip room. Each is checked against zlib-rs, or against bytes that were known before.
#![allow(clippy::unwrap_used, clippy::panic)]

mod encoder;
mod inflate;
mod restart;
