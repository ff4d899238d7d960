//! Lists and cursors from outside: no panic, whatever the text; what is accepted answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maskstream::{Cursor, IdList, Quarantine};

fuzz_target!(|text: &str| {
    if let Ok(selection) = text.parse::<IdList>() {
        assert!(selection.image_ids().is_sorted());
        assert_eq!(selection.len(), selection.image_ids().len());
        for &image in selection.image_ids() {
            let _ = selection.contains(image, image);
        }
    }
    if let Ok(quarantine) = text.parse::<Quarantine>() {
        assert!(quarantine.len() <= text.lines().count());
    }
    if let Ok(cursor) = serde_json::from_str::<Cursor>(text) {
        let _ = (cursor.step(), cursor.digest());
        assert_eq!(serde_json::from_str::<Cursor>(&serde_json::to_string(&cursor).unwrap()).unwrap(), cursor);
    }
});
