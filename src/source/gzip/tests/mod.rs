//! Tests of the gzip reader, against zlib-rs or against known bytes.
#![allow(clippy::unwrap_used, clippy::panic)]

mod encoder;
mod inflate;
mod restart;
