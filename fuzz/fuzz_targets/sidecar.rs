//! Index files: no panic, no hang; whatever is loaded points inside its shard, and what can be read has its checksum.
#![no_main]

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use maskstream::index::{IndexStatus, Indexer, Sidecar};
use maskstream::source::{MemorySource, Source};

/// A gzip shard of two samples with its index, in a directory of this process.
struct Place {
    shard: PathBuf,
    index: PathBuf,
    bytes: Vec<u8>,
    valid: Vec<u8>,
}

fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let base = if cfg!(target_os = "linux") { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let dir = base.join(format!("maskstream-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let shard = dir.join("s.tar");
        let json = |id: i64| {
            format!(
                r#"{{"image": {{"image_id": {id}, "width": 6, "height": 4, "file_name": "sa_{id}.jpg"}},
                "annotations": [{{"id": {id}, "bbox": [2, 1, 1, 1], "area": 4, "predicted_iou": 0.95,
                "stability_score": 0.97, "point_coords": [[2.5, 1.5]], "crop_box": [0, 0, 6, 4],
                "segmentation": {{"size": [4, 6], "counts": "92207"}}}}]}}"#
            )
        };
        let mut tar = tar_of(&[("sa_1.jpg", b"no image"), ("sa_1.json", json(1).as_bytes())]);
        tar.truncate(tar.len() - 1024);
        tar.extend(tar_of(&[("sa_2.json", json(2).as_bytes()), ("sa_2.jpg", &[7; 3000])]));
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, &tar).unwrap();
        let bytes = encoder.finish().unwrap();
        std::fs::write(&shard, &bytes).unwrap();
        let index = Sidecar::Beside.path(&shard).unwrap();
        Indexer::new().index(&shard).unwrap();
        let valid = std::fs::read(&index).unwrap();
        Place { shard, index, bytes, valid }
    })
}

/// A tar of these members.
fn tar_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, content) in members {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[148..156].fill(b' ');
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        tar.extend(header);
        tar.extend(*content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.extend([0; 1024]);
    tar
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

const HEADER: usize = 56;

/// Makes the checksums of payload and header match, so that the fuzzer reaches what is behind them.
fn sign(file: &mut [u8]) {
    let payload = file.get(16..24).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes);
    let end = (HEADER as u64).saturating_add(payload).min(file.len() as u64) as usize;
    if file.len() >= HEADER {
        let payload = crc32c(&file[HEADER..end.max(HEADER)]).to_le_bytes();
        file[12..16].copy_from_slice(&payload);
        let header = crc32c(&file[..HEADER - 4]).to_le_bytes();
        file[HEADER - 4..HEADER].copy_from_slice(&header);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let place = place();
    // Either a file of its own, or changes to a valid one: triples of position and value.
    let mut file = match bytes.split_first() {
        Some((0, file)) => file.to_vec(),
        Some((_, changes)) => {
            let mut file = place.valid.clone();
            for change in changes.chunks_exact(3) {
                let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % file.len();
                file[at] = change[2];
            }
            file
        }
        None => return,
    };
    sign(&mut file);
    std::fs::write(&place.index, &file).unwrap();
    let source: Arc<dyn Source> = Arc::new(MemorySource::new(place.bytes.clone()));
    let opened = Arc::clone(&source);
    let shard = Indexer::new().opener(move |_| Ok(Arc::clone(&opened))).index(&place.shard).unwrap();
    if shard.status != IndexStatus::Loaded {
        return;
    }
    let Ok(source) = shard.source(source) else { return };
    for entry in shard.index.entries() {
        for extent in [entry.image, entry.annotations] {
            assert!(extent.range().end <= source.len());
            // Wrong bytes are possible; the checksum of the member finds them.
            let _ = source.read(extent.range());
        }
    }
});
