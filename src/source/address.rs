//! Addresses: names of shards that are not paths of files. They are kept as paths, because the name of a shard is a
//! path everywhere; the usual operations on paths also work on them.

use std::path::{Path, PathBuf};

/// Schemes of addresses that can be read, with the feature `remote`.
const SCHEMES: [&str; 5] = ["s3", "gs", "az", "https", "http"];

/// The scheme and the rest of a path that is an address: `s3://bucket/key`.
pub(crate) fn scheme(path: &Path) -> Option<(&str, &str)> {
    let (scheme, rest) = path.to_str()?.split_once("://")?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    (!scheme.is_empty() && scheme.bytes().all(is_plain)).then_some((scheme, rest))
}

/// Whether a path is the address of something in an object store or behind HTTP.
pub(crate) fn is_remote(path: &Path) -> bool {
    scheme(path).is_some_and(|(scheme, _)| SCHEMES.contains(&scheme))
}

/// A web address without its query, and the query, which may be a secret: the name of a shard does not have it. A key
/// of a bucket has no query, but may have a question mark.
pub fn split_query(path: &Path) -> (PathBuf, Option<&str>) {
    let is_web = scheme(path).is_some_and(|(scheme, _)| scheme.starts_with("http"));
    match path.to_str().filter(|_| is_web).and_then(|text| text.split_once('?')) {
        Some((address, query)) => (PathBuf::from(address), Some(query)),
        None => (path.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_web_address_has_a_query() {
        let split = |path| split_query(Path::new(path));
        assert_eq!(split("https://h/d/a.tar?sig=x/y?z"), (PathBuf::from("https://h/d/a.tar"), Some("sig=x/y?z")));
        assert_eq!(split("s3://b/what?.tar"), (PathBuf::from("s3://b/what?.tar"), None));
        assert_eq!(split("what?.tar"), (PathBuf::from("what?.tar"), None));
    }

    #[test]
    fn operations_on_paths_keep_an_address_an_address() {
        let address = Path::new("s3://b/d/a.tar");
        assert_eq!(address.file_name(), Some("a.tar".as_ref()));
        assert_eq!(address.with_file_name("b"), Path::new("s3://b/d/b"));
        assert_eq!(address.with_file_name("b").as_os_str(), "s3://b/d/b");
        assert_eq!(Path::new("s3://b/d/").join("c").as_os_str(), "s3://b/d/c");
        assert_eq!(Path::new("s3://b/a.tar.msidx").with_extension("1f.msidx").as_os_str(), "s3://b/a.tar.1f.msidx");
    }

    #[test]
    fn a_path_with_a_colon_is_no_address() {
        for path in ["a.tar", "c:/x", "/x://y", "://x", "ftp://h/a.tar"] {
            assert!(!is_remote(Path::new(path)), "{path}");
        }
        assert_eq!(scheme(Path::new("pipe:curl x://y")), None);
        assert_eq!(scheme(Path::new("hf://x")), Some(("hf", "x")));
    }
}
