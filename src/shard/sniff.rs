//! What a file is that is not a tar archive, by its first bytes.

/// Says what a file is that begins with `bytes` and is no tar archive, and what to do about it.
pub(super) fn describe(bytes: &[u8]) -> &'static str {
    if bytes.is_empty() {
        return "the file is empty: download it again";
    }
    let text = bytes.trim_ascii_start().get(..9).unwrap_or(bytes.trim_ascii_start()).to_ascii_lowercase();
    match bytes {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "it is a zstd stream, not a tar: decompress it with `zstd -d`",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "it is an xz stream, not a tar: decompress it with `xz -d`",
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => "it is a bzip2 stream, not a tar: decompress it with `bzip2 -d`",
        [0x04, 0x22, 0x4d, 0x18, ..] => "it is an lz4 stream, not a tar: decompress it with `lz4 -d`",
        [0x1f, 0x8b, ..] => "it is a gzip stream inside of another one: decompress the outer one with `gzip -d`",
        [b'P', b'K', 3 | 5 | 7, ..] => "it is a zip archive, not a tar: extract it and pack the files with `tar cf`",
        [b'7', b'z', 0xbc, 0xaf, ..] => "it is a 7z archive, not a tar: extract it and pack the files with `tar cf`",
        [b'R', b'a', b'r', b'!', ..] => "it is a rar archive, not a tar: extract it and pack the files with `tar cf`",
        [0xff, 0xd8, 0xff, ..] => {
            "it is a JPEG image, not a tar: pack the directory of the images and json files (index::Packer)"
        }
        [0x89, b'P', b'N', b'G', ..] => "it is a PNG image, not a tar",
        [b'P', b'A', b'R', b'1', ..] => "it is a Parquet file, not a tar",
        [0x89, b'H', b'D', b'F', ..] => "it is an HDF5 file, not a tar",
        [b'M', b'S', b'K', b'I', b'N', b'D', b'E', b'X', ..] => "it is an index file of maskstream, not a shard",
        _ if bytes.starts_with(b"version https://git-lfs") => {
            "it is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"
        }
        _ if text.starts_with(b"<!doctype") || text.starts_with(b"<html") || text.starts_with(b"<?xml") => {
            "it is a web page or an XML message, not a tar: the link may have expired, so download it again"
        }
        _ if matches!(text.first(), Some(b'{' | b'[')) => "it begins as JSON does, not as a tar",
        _ if bytes.iter().all(|&byte| byte == 0) => "it begins with zeros: the download may not have been written",
        _ => "it is not a tar: its first 512 bytes are no tar header",
    }
}
