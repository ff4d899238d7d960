//! json members: no panic, whatever the bytes; masks of what is accepted are read too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maskstream::index::AnnotationFile;
use maskstream::internals::MaskMismatch;
use maskstream::mask::Rle;
use maskstream::{MaskFilter, TopKBy};

fuzz_target!(|json: &[u8]| {
    let Ok(file) = AnnotationFile::parse(json) else { return };
    let mut rle = Rle::default();
    for index in (TopKBy::AreaStratified { seed: 1 }).top_k(&file, &MaskFilter::all(), 4, 2) {
        let mismatch = MaskMismatch::of(&file.annotations[index], file.image.height, file.image.width, &mut rle);
        let _ = mismatch.map(|mismatch| mismatch.map(|mismatch| mismatch.to_string()));
    }
});
