//! JPEGs: no panic, and no memory beyond the size that was announced.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maskstream::JpegCodec;
use maskstream::internals::Decoder;

// Two bytes of size, then the JPEG, so that small real images serve as a corpus.
fuzz_target!(|input: &[u8]| {
    let [width, height, jpeg @ ..] = input else { return };
    let size = (u32::from(*width) + 1, u32::from(*height) + 1);
    let mut decoder = Decoder::new(JpegCodec::Zune, 1 << 16);
    if let Ok(mut decoded) = decoder.decode(jpeg, size, size) {
        let pixels = decoded.resize((16, 16)).unwrap();
        assert_eq!(pixels.len(), 16 * 16 * 3);
    }
});
