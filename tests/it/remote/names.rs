//! Addresses: what they stand for, and what is said of those that stand for nothing.

use std::path::PathBuf;

use maskstream::index::Indexer;
use maskstream::source::Remote;

use super::{Store, epoch, options, shards};
use crate::fixture::within;

fn resolve(store: &Store, pattern: &str) -> Result<Vec<String>, String> {
    let found = Indexer::new().remote(store.remote()).resolve_patterns(&[pattern]);
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    found.map(|paths| paths.iter().map(text).collect()).map_err(|error| error.to_string())
}

#[test]
fn patterns_of_addresses_are_those_of_files() {
    within(|| {
        let store = Store::new();
        let server = &store.server;
        for path in [
            "b/d/._sa_0.tar",
            "b/d/notes.txt",
            "b/e/f/sa_9.tar",
            "b/e/sa_8.tar",
            "b/d/",
            "b/odd{1,2}.tar",
            "b/d2/x.tar",
        ] {
            server.put(path, b"x".to_vec());
        }
        server.page_size(2);
        let all = ["s3://b/d/sa_0.tar", "s3://b/d/sa_1.tar", "s3://b/d/sa_2.tar"];
        let cases: [(&str, &[&str]); 11] = [
            ("s3://b/d/", &all),
            ("s3://b/d", &all),
            ("s3://b/d/*.tar", &all),
            ("s3://b/[d]/sa_?.tar", &all),
            ("s3://b/d/sa_{0..2}.tar", &all),
            ("s3://b/d/sa_{2,0}.tar", &["s3://b/d/sa_2.tar", "s3://b/d/sa_0.tar"]),
            ("s3://b/d/sa_1.tar", &all[1..2]),
            ("s3://b/**/sa_[89].tar", &["s3://b/e/f/sa_9.tar", "s3://b/e/sa_8.tar"]),
            ("s3://b/*/*/*.tar", &["s3://b/e/f/sa_9.tar"]),
            ("s3://b/odd{1,2}.tar", &["s3://b/odd{1,2}.tar"]),
            ("s3://b", &["s3://b/odd{1,2}.tar"]),
        ];
        for (pattern, expected) in cases {
            assert_eq!(resolve(&store, pattern).unwrap(), expected, "{pattern}");
        }
    });
}

#[test]
fn what_an_address_does_not_stand_for_is_said() {
    within(|| {
        let store = Store::new();
        store.server.put("b/e/f/sa_9.tar", b"x".to_vec());
        store.server.put("b/g/a.txt", b"x".to_vec());
        for (pattern, expected) in [
            ("s3://b/d/sa_7.tar", "no shard matches s3://b/d/sa_7.tar: there is no such object"),
            ("s3://b/d/sa_{2..4}.tar", "no shard matches s3://b/d/sa_3.tar and 1 more: there is no such object"),
            ("s3://b/no", "no shard matches s3://b/no: there is no such object, and nothing below it"),
            (
                "s3://b/e",
                "there are no shards (*.tar) directly below s3://b/e/, but there are prefixes, such as s3://b/e/f",
            ),
            ("s3://b/g/", "there are 1 objects below s3://b/g/, but no shards (*.tar)"),
            ("s3://b/d/x*.tar", "no shard matches s3://b/d/x*.tar: no object has such a name"),
            ("s3:///d", "s3:///d: an address is s3://BUCKET/KEY, and this one has no bucket"),
            ("s3://b/a//b.tar", "it has no valid key"),
            ("s3://b?x/a.tar", "b?x is no name of a bucket"),
            ("http://name:secret@host/a.tar", "http://...@host/a.tar: a name and a password in an address are not"),
            ("s3://b/d/sa_0*.msidx", "no object has such a name"),
            ("http://127.0.0.1:1/d/", "a web server has no list of its files for prefixes and wildcards"),
        ] {
            let error = resolve(&store, pattern).unwrap_err();
            assert!(error.contains(expected), "{pattern}: {error}");
        }
    });
}

#[test]
fn a_setting_that_is_no_address_is_an_error_with_its_name() {
    for endpoint in ["127.0.0.1:9000", "http://", "http://bad host", "s3://x"] {
        let remote = Remote::builder().option("aws_endpoint_url", endpoint).build().unwrap();
        let error = Indexer::new().remote(remote).resolve_patterns(&["s3://b/d/"]).unwrap_err().to_string();
        assert!(error.contains("AWS_ENDPOINT_URL is") && error.contains("which is no address"), "{endpoint}: {error}");
    }
}

#[test]
fn the_endpoint_of_s3_alone_is_taken_as_well_and_a_setting_of_another_cloud_does_not_matter() {
    within(|| {
        let store = Store::new();
        let remote = Remote::builder()
            .option("aws_endpoint_url_s3", store.server.url())
            .option("aws_access_key_id", "key")
            .option("aws_secret_access_key", "secret")
            .option("azure_use_fabric_endpoint", "true")
            .build()
            .unwrap();
        assert_eq!(Indexer::new().remote(remote).resolve_patterns(&["s3://b/d/"]).unwrap().len(), 3);
    });
}

#[test]
fn index_files_are_no_shards_and_an_address_is_no_place_to_write_to() {
    within(|| {
        let store = Store::indexed();
        assert_eq!(resolve(&store, "s3://b/d/sa_*").unwrap().len(), 3);
        let indexer = Indexer::new().remote(store.remote());
        let existing = maskstream::index::IfExists::Keep;
        let error = indexer.repack("s3://b/d/sa_0.tar", "s3://b/e", existing).unwrap_err().to_string();
        assert!(error.contains("it is an address, and files are written to disks only"), "{error}");
        assert!(!std::path::Path::new("s3:").exists());
        let indexes = maskstream::index::Sidecar::Dir("https://host/indexes?sig=secret".into());
        let error = indexer.sidecar(indexes).index("s3://b/d/sa_0.tar").unwrap_err().to_string();
        assert!(error.contains("https://host/indexes has a query") && !error.contains("secret"), "{error}");
    });
}

#[test]
fn keys_with_any_characters_are_read_as_they_are() {
    within(|| {
        let store = Store::new();
        let bytes = store.server.get("b/d/sa_0.tar").unwrap();
        for key in ["é ~#%20+ [1].tar", "a=b&c;d@e.tar", "what?.tar", "日本/x.tar"] {
            store.server.put(&format!("b/odd/{key}"), bytes.clone());
            let address = format!("s3://b/odd/{key}");
            assert_eq!(resolve(&store, &address).unwrap(), std::slice::from_ref(&address));
            let set = shards().remote(store.remote()).open(&[&address]).unwrap();
            assert_eq!(set.len(), 20, "{key}");
            assert!(store.server.get(&format!("b/odd/{key}.msidx")).is_some(), "{key}");
        }
    });
}

#[test]
fn shards_behind_http_are_read_and_a_signature_is_in_no_name() {
    within(|| {
        let store = Store::new();
        store.server.script(|request| {
            let is_signed = request.query.contains("sig=secret");
            (!is_signed).then(|| crate::server::Fault::status(403))
        });
        let url = store.server.url();
        let addresses: Vec<_> = store.names.iter().map(|name| format!("{url}/b/d/{name}?sig=secret")).collect();
        let remote = Remote::builder().build().unwrap();
        let open = || shards().remote(remote.clone()).open(&addresses).unwrap();
        let set = open();
        for report in set.reports() {
            assert!(!format!("{report:?}").contains("secret"), "{report:?}");
        }
        assert_eq!(epoch(options(), set), store.expected(options()));
        assert!(open().reports().all(|report| report.status == maskstream::index::IndexStatus::Loaded));
        let heads = store.server.requests().iter().filter(|request| request.method == "HEAD").count();
        assert_eq!(heads, 0, "a signature is for GET alone");
    });
}
