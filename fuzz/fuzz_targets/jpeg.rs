//! JPEGs: no panic, and no memory beyond the size that was announced.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maskstream::image::{Decoder, JpegCodec};

fuzz_target!(|input: (&[u8], u8, u8)| {
    let size = (u32::from(input.1) + 1, u32::from(input.2) + 1);
    let mut decoder = Decoder::new(JpegCodec::Zune, 1 << 16);
    if decoder.decode(input.0, size, size).is_ok() {
        let pixels = decoder.resize((16, 16)).unwrap();
        assert_eq!(pixels.len(), 16 * 16 * 3);
    }
});
