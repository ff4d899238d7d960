//! json members: no panic, whatever the bytes; masks of what is accepted are read too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maskstream::index::AnnotationFile;
use maskstream::mask::Rle;
use maskstream::{MaskFilter, TopKBy};

fuzz_target!(|json: &[u8]| {
    let Ok(file) = AnnotationFile::parse(json) else { return };
    let mut rle = Rle::default();
    for index in TopKBy::default().top_k(&file, &MaskFilter::all(), 4) {
        let _ = file.annotations[index].read_mask(file.image.height, file.image.width, &mut rle);
    }
});
