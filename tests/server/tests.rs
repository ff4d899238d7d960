//! The server does what the tests that use it rely on. The client is as raw as it can be.
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;

use super::{Fault, Server, Speed};

const GET: &str = "GET /b/o HTTP/1.1\r\n\r\n";
const PART: &str = "GET /b/o HTTP/1.1\r\nRange: bytes=100-199\r\n\r\n";

struct Client {
    reader: BufReader<TcpStream>,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// How the body ended, if before its length.
    error: Option<io::ErrorKind>,
}

impl Client {
    fn new(server: &Server) -> Self {
        Self::connect(server).unwrap()
    }

    fn connect(server: &Server) -> io::Result<Self> {
        let stream = TcpStream::connect(server.url().strip_prefix("http://").unwrap())?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    fn ask(&mut self, request: impl AsRef<[u8]>) -> Reply {
        self.try_ask(request).unwrap()
    }

    fn try_ask(&mut self, request: impl AsRef<[u8]>) -> io::Result<Reply> {
        let request = request.as_ref();
        self.reader.get_mut().write_all(request)?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.reader.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = head[9..12].parse().unwrap();
        let mut reply = Reply { status, head, body: Vec::new(), error: None };
        let has_body = status != 100 && !request.starts_with(b"HEAD");
        let length = reply.header("Content-Length").filter(|_| has_body).map_or(0, |length| length.parse().unwrap());
        let read = (&mut self.reader).take(length).read_to_end(&mut reply.body);
        reply.error = match read {
            Err(error) => Some(error.kind()),
            Ok(_) if (reply.body.len() as u64) < length => Some(io::ErrorKind::UnexpectedEof),
            Ok(_) => None,
        };
        Ok(reply)
    }
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// 1000 bytes, each of which tells its place.
fn bytes() -> Vec<u8> {
    (0..1000_u32).map(|at| (at % 251) as u8).collect()
}

fn server() -> Server {
    let server = Server::start();
    server.put("b/o", bytes());
    server
}

/// The reply to one request that fails so.
fn failing(fault: Fault, request: &str) -> io::Result<Reply> {
    let server = server();
    server.script(move |_| Some(fault.clone()));
    Client::new(&server).try_ask(request)
}

fn soon(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(5), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_object_is_read_whole_and_in_ranges_on_one_connection() {
    let (server, bytes) = (server(), bytes());
    let mut client = Client::new(&server);
    let whole = client.ask(GET);
    assert_eq!((whole.status, &whole.body), (200, &bytes));
    assert_eq!(whole.header("ETag"), Some(server.etag("b/o").as_str()));
    assert_eq!(whole.header("Accept-Ranges"), Some("bytes"));
    for (asked, range) in
        [("0-0", 0..1), ("100-199", 100..200), ("900-", 900..1000), ("-5", 995..1000), ("990-2000", 990..1000)]
    {
        let reply = client.ask(format!("GET /b/o HTTP/1.1\r\nRange: bytes={asked}\r\n\r\n"));
        assert_eq!((reply.status, &reply.body[..]), (206, &bytes[range.clone()]), "{asked}");
        let said = format!("bytes {}-{}/1000", range.start, range.end - 1);
        assert_eq!(reply.header("Content-Range"), Some(said.as_str()));
    }
    let past = client.ask("GET /b/o HTTP/1.1\r\nRange: bytes=1000-\r\n\r\n");
    assert_eq!((past.status, past.header("Content-Range")), (416, Some("bytes */1000")));
    let head = client.ask("HEAD /b/o HTTP/1.1\r\n\r\n");
    assert_eq!((head.status, head.header("Content-Length"), head.body.len()), (200, Some("1000"), 0));
    let none = client.ask("GET /b/none HTTP/1.1\r\n\r\n");
    assert!(none.status == 404 && none.text().contains("<Code>NoSuchKey</Code>"), "{none:?}");
    assert_eq!(server.max_connections(), 1);
}

#[test]
fn an_etag_changes_with_any_byte_and_pins_an_object() {
    let server = server();
    let pinned = format!("GET /b/o HTTP/1.1\r\nIf-Match: {}\r\n\r\n", server.etag("b/o"));
    let mut client = Client::new(&server);
    assert_eq!(client.ask(&pinned).status, 200);
    let etag = server.etag("b/o");
    for at in [0, 500, 999] {
        let mut other = bytes();
        other[at] ^= 128;
        server.put("b/o", other);
        assert_ne!(server.etag("b/o"), etag);
        assert_eq!(client.ask(&pinned).status, 412);
    }
    server.put("b/o", bytes());
    assert_eq!(server.etag("b/o"), etag);
    server.set_etag("b/o", Some("W/\"1\"".into()));
    assert_eq!(client.ask("GET /b/o HTTP/1.1\r\nIf-Match: W/\"1\"\r\n\r\n").status, 412);
    server.set_etag("b/o", None);
    assert_eq!(client.ask(GET).header("ETag"), None);
}

#[test]
fn keys_may_have_any_characters() {
    let (server, key) = (Server::start(), "b/ä #1%+&<\"x\">.tar");
    server.put(key, "x");
    let mut client = Client::new(&server);
    assert_eq!(client.ask(format!("GET /{} HTTP/1.1\r\n\r\n", super::text::encode(key))).text(), "x");
    assert_eq!(server.requests()[0].path, key);
    let list = client.ask("GET /b?list-type=2&prefix=%C3%A4+ HTTP/1.1\r\n\r\n");
    assert!(list.text().contains("<Key>ä #1%+&amp;&lt;&quot;x&quot;&gt;.tar</Key>"), "{}", list.text());
}

#[test]
fn pages_of_a_listing_join_to_the_whole() {
    let server = Server::start();
    let keys = ["a/1", "a/2", "b", "c/1", "c/d/2", "e", "f"];
    keys.iter().for_each(|key| server.put(&format!("b/{key}"), *key));
    server.put("ba/other", "");
    let mut client = Client::new(&server);
    for page in 1..=8 {
        server.page_size(page);
        for (query, expected) in [
            ("", &keys[..]),
            ("&delimiter=/", &["a/", "b", "c/", "e", "f"]),
            ("&prefix=c/&delimiter=/", &["c/1", "c/d/"]),
            ("&start-after=c/1", &keys[4..]),
            ("&prefix=z", &[]),
        ] {
            let mut found = Vec::new();
            let mut next = String::new();
            loop {
                let reply = client.ask(format!("GET /b?list-type=2{query}{next} HTTP/1.1\r\n\r\n"));
                let xml = reply.text();
                let of = |name| super::text::elements(xml, name).into_iter().map(str::to_owned);
                let prefixes: Vec<_> = of("CommonPrefixes").map(|x| x.replace("<Prefix>", "")).collect();
                let mut names: Vec<_> = of("Key").chain(prefixes.iter().map(|x| x.replace("</Prefix>", ""))).collect();
                assert!(names.len() <= page);
                names.sort();
                found.append(&mut names);
                match of("NextContinuationToken").next() {
                    Some(token) => next = format!("&continuation-token={}", token.replace('%', "%25")),
                    None => break,
                }
            }
            assert_eq!(found, expected, "{query} in pages of {page}");
        }
    }
    let none = client.ask("GET /none?list-type=2 HTTP/1.1\r\n\r\n");
    assert!(none.status == 404 && none.text().contains("NoSuchBucket"));
}

#[test]
fn uploads_arrive_in_each_form_of_body() {
    let server = Server::start();
    server.create_bucket("b");
    let mut client = Client::new(&server);
    let mut put = |key: &str, headers: &str, body: &str| {
        client.ask(format!("PUT /b/{key} HTTP/1.1\r\n{headers}\r\n\r\n{body}")).status
    };
    assert_eq!(put("length", "Content-Length: 5", "hello"), 200);
    assert_eq!(put("chunks", "Transfer-Encoding: chunked", "2\r\nhe\r\n3\r\nllo\r\n0\r\nx: y\r\n\r\n"), 200);
    let signed = "3;chunk-signature=ab\r\nhel\r\n2;chunk-signature=cd\r\nlo\r\n0;chunk-signature=ef\r\n\r\n";
    let headers = "x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\r\nx-amz-decoded-content-length: 5";
    assert_eq!(put("aws", &format!("{headers}\r\nContent-Length: {}", signed.len()), signed), 200);
    let trailed = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
    let headers = "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nContent-Encoding: aws-chunked";
    assert_eq!(put("trailed", &format!("{headers}\r\nContent-Length: {}", trailed.len()), trailed), 200);
    for key in ["length", "chunks", "aws", "trailed"] {
        assert_eq!(server.get(&format!("b/{key}")).unwrap(), "hello", "{key}");
    }
    assert_eq!(put("length", "If-None-Match: *\r\nContent-Length: 1", "x"), 412);

    let awaits = client.ask("PUT /b/expect HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(awaits.status, 100);
    assert_eq!(client.ask("hi").status, 200);
    assert_eq!(server.get("b/expect").unwrap(), "hi");
    let elsewhere = client.ask("PUT /none/x HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    assert!(elsewhere.status == 404 && elsewhere.text().contains("NoSuchBucket"));
}

#[test]
fn an_upload_in_parts_is_there_when_it_is_complete_and_gone_when_it_is_aborted() {
    let server = Server::start();
    server.create_bucket("b");
    let mut client = Client::new(&server);
    let begin = |client: &mut Client| {
        let begun = client.ask("POST /b/o?uploads HTTP/1.1\r\n\r\n");
        super::text::elements(begun.text(), "UploadId")[0].to_owned()
    };
    let id = begin(&mut client);
    let mut parts = String::new();
    for (number, text) in [(1, "one"), (2, "two")] {
        let put = format!("PUT /b/o?partNumber={number}&uploadId={id} HTTP/1.1\r\nContent-Length: 3\r\n\r\n{text}");
        let etag = client.ask(put).header("ETag").unwrap().to_owned();
        parts += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    assert_eq!(server.get("b/o"), None);
    let mut complete = |parts: &str| {
        let length = parts.len();
        client.ask(format!("POST /b/o?uploadId={id} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{parts}"))
    };
    let wrong = complete("<Part><PartNumber>1</PartNumber><ETag>\"x\"</ETag></Part>");
    assert!(wrong.status == 400 && wrong.text().contains("InvalidPart"), "{wrong:?}");
    assert_eq!(complete(&parts).status, 200);
    assert_eq!(server.get("b/o").unwrap(), "onetwo");

    let id = begin(&mut client);
    assert_eq!(server.open_uploads(), 1);
    assert_eq!(client.ask(format!("DELETE /b/o?uploadId={id} HTTP/1.1\r\n\r\n")).status, 204);
    assert_eq!(server.open_uploads(), 0);
    assert_eq!(client.ask("DELETE /b/o HTTP/1.1\r\n\r\n").status, 204);
    assert_eq!(server.get("b/o"), None);
}

#[test]
fn a_status_comes_with_its_body_and_its_delay() {
    let slow = failing(Fault::status(503), GET).unwrap();
    assert!(slow.status == 503 && slow.text().contains("<Code>SlowDown</Code>"));
    let fault = Fault::Status { code: 429, body: "no".into(), retry_after: Some(7) };
    let many = failing(fault, GET).unwrap();
    assert_eq!((many.status, many.text(), many.header("Retry-After")), (429, "no", Some("7")));
}

#[test]
fn connections_are_reset_or_end_where_the_script_says() {
    let error = failing(Fault::CloseBeforeHeaders, GET).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    for at in [0, 300] {
        let reset = failing(Fault::ResetAfter(at), GET).unwrap();
        assert_eq!((reset.body.len() as u64, reset.error), (at, Some(io::ErrorKind::ConnectionReset)));
        let fin = failing(Fault::FinAfter(at), GET).unwrap();
        assert_eq!((fin.body.len() as u64, fin.error), (at, Some(io::ErrorKind::UnexpectedEof)));
        assert_eq!(fin.header("Content-Length"), Some("1000"));
    }
}

#[test]
fn bodies_are_wrong_as_the_script_says() {
    let bytes = bytes();
    let part = |fault| failing(fault, PART).unwrap();
    let said = Some("bytes 100-199/1000");

    let short = part(Fault::ShortBody(60));
    assert_eq!((&short.body[..], short.header("Content-Range"), short.error), (&bytes[100..160], said, None));
    let long = part(Fault::TooLong(3));
    assert_eq!((&long.body[..100], &long.body[100..]), (&bytes[100..200], &[0; 3][..]));
    assert_eq!(long.header("Content-Range"), said);
    let shifted = part(Fault::ShiftedBody);
    assert_eq!((&shifted.body[..], shifted.header("Content-Range")), (&bytes[101..201], said));
    let at_end = failing(Fault::ShiftedBody, GET).unwrap();
    assert_eq!(at_end.body, [&bytes[1..], &[0]].concat());
    let mut flipped = bytes[100..200].to_vec();
    flipped[42] ^= 1;
    assert_eq!(part(Fault::FlipBit { at: 42 }).body, flipped);
    let head = failing(Fault::ShortBody(60), "HEAD /b/o HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(head.header("Content-Length"), Some("1000"));
    let whole = part(Fault::NotPartial);
    assert_eq!((whole.status, whole.body), (200, bytes.clone()));
    let wrong = part(Fault::WrongContentRange);
    assert_eq!((&wrong.body[..], wrong.header("Content-Range")), (&bytes[100..200], Some("bytes 101-200/1000")));
}

#[test]
fn etags_are_wrong_as_the_script_says() {
    let pinned = "GET /b/o HTTP/1.1\r\nIf-Match: \"other\"\r\n\r\n";
    assert_eq!(failing(Fault::NoETag, pinned).unwrap().status, 412);
    assert_eq!(failing(Fault::IgnoreIfMatch, pinned).unwrap().body, bytes());
    let other = failing(Fault::ETag("\"x\"".into()), GET).unwrap();
    assert_eq!((other.header("ETag"), &other.body), (Some("\"x\""), &bytes()));
    assert_eq!(failing(Fault::NoETag, GET).unwrap().header("ETag"), None);
    let replaced = failing(Fault::Replaced(Bytes::from_static(b"new")), pinned).unwrap();
    assert_eq!((replaced.status, replaced.text()), (200, "new"));
    assert!(replaced.header("ETag").is_some_and(|etag| etag != server().etag("b/o")));
}

#[test]
fn answers_are_late_stall_and_drip_and_then_are_right() {
    let (pause, bytes) = (Duration::from_millis(30), bytes());
    let stall = Fault::Stall { after_bytes: 500, pause };
    let drip = Fault::Drip { bytes: 400, every: pause / 2 };
    for (fault, least) in [(Fault::LateFirstByte(pause), pause), (stall.clone(), pause), (drip.clone(), pause)] {
        let began = Instant::now();
        assert_eq!(failing(fault, GET).unwrap().body, bytes);
        assert!(began.elapsed() >= least.mul_f64(0.9), "{:?}", began.elapsed());
    }
    // Several at once.
    let server = server();
    server.script(move |_| vec![stall.clone(), drip.clone(), Fault::FlipBit { at: 0 }]);
    let began = Instant::now();
    assert_eq!(Client::new(&server).ask(GET).body, [&[1], &bytes[1..]].concat());
    assert!(began.elapsed() >= (pause * 2).mul_f64(0.9));
}

#[test]
fn the_log_has_each_request_as_soon_as_its_answer_is_read() {
    let server = server();
    let mut client = Client::new(&server);
    client.ask("GET /b/o?x=1+%2B HTTP/1.1\r\nRange: bytes=100-199\r\nIf-Match: *\r\nX-A: b\r\n\r\n");
    let log = server.requests();
    let request = &log[0];
    assert_eq!((request.number, request.method.as_str(), request.path.as_str()), (0, "GET", "b/o"));
    assert_eq!((request.range.clone(), request.if_match.as_deref()), (Some(100..200), Some("*")));
    assert_eq!((request.query.as_str(), request.parameter("x").as_deref()), ("x=1+%2B", Some("1 +")));
    assert_eq!((request.status, request.bytes_sent, request.done), (206, 100, true));
    assert_eq!(request.header("x-a"), Some("b"));
    assert_eq!((server.in_flight(), server.max_in_flight(), server.bytes_sent()), (0, 1, 100));
    assert_eq!((server.open_connections(), server.max_connections()), (1, 1));

    server.clear_log();
    assert_eq!((server.requests().len(), server.max_in_flight(), server.bytes_sent()), (0, 0, 0));
    server.script(|request| (request.number == 0).then_some(Fault::FinAfter(10)));
    client.ask(GET);
    let cut = &server.requests()[0];
    assert_eq!((cut.number, cut.status, cut.bytes_sent, cut.done), (0, 200, 10, false));
    soon("the connection ends", || server.open_connections() == 0);
    server.unscript();
    assert_eq!(Client::new(&server).ask("HEAD /b/o HTTP/1.1\r\n\r\n").status, 200);
    let head = &server.requests()[1];
    assert_eq!((head.number, head.bytes_sent, head.done), (1, 0, true));
}

#[test]
fn a_client_that_leaves_is_noticed_in_a_stall() {
    let server = server();
    server.script(|_| Some(Fault::Stall { after_bytes: 0, pause: Duration::from_secs(60) }));
    let mut client = Client::new(&server);
    client.reader.get_mut().write_all(GET.as_bytes()).unwrap();
    soon("the request is in flight", || server.in_flight() == 1);
    drop(client);
    soon("the request ends", || server.in_flight() == 0 && server.open_connections() == 0);
    assert!(!server.requests()[0].done);
}

#[test]
fn a_server_that_is_down_refuses_and_resets_and_comes_back_on_its_port() {
    let server = server();
    let mut client = Client::new(&server);
    for _ in 0..3 {
        assert_eq!(client.ask(GET).status, 200);
        server.refuse_connections(true);
        let error = Client::connect(&server).err().map(|error| error.kind());
        assert_eq!(error, Some(io::ErrorKind::ConnectionRefused));
        // It may be that the reset has not arrived when the request is written.
        let error = client.try_ask(GET).unwrap_err().kind();
        assert!(matches!(error, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{error}");
        soon("all connections are reset", || server.open_connections() == 0);
        server.refuse_connections(false);
        client = Client::new(&server);
    }
}

#[test]
fn credentials_expire_after_some_requests_until_they_are_renewed() {
    let server = server();
    let mut client = Client::new(&server);
    server.expire_after(2);
    let statuses: Vec<_> = (0..4).map(|_| client.ask(GET).status).collect();
    assert_eq!(statuses, [200, 200, 403, 403]);
    assert!(client.ask(GET).text().contains("<Code>ExpiredToken</Code>"));
    server.renew();
    assert_eq!(client.ask(GET).status, 200);
}

#[test]
fn idle_connections_are_closed() {
    let server = server();
    server.idle_timeout(Duration::from_millis(20));
    let mut client = Client::new(&server);
    assert_eq!(client.ask(GET).status, 200);
    assert_eq!(client.reader.read(&mut [0]).unwrap(), 0);
    soon("the connection ends", || server.open_connections() == 0);
}

#[test]
fn dropping_the_server_ends_everything_that_waits() {
    let server = server();
    let big = vec![0; 64 << 20];
    server.put("b/big", big);
    server.put("b/slow", vec![0; 1 << 20]);
    server.script(|request| {
        let stall = Fault::Stall { after_bytes: 1, pause: Duration::from_secs(60) };
        (request.path == "b/o").then_some(stall)
    });
    let mut clients: Vec<_> = (0..5).map(|_| Client::new(&server)).collect();
    // One that waits for the client to read, a stall, one that has half of its request, and an idle one.
    let requests =
        ["GET /b/big HTTP/1.1\r\n\r\n", GET, "GET /b/o HT", "PUT /b/x HTTP/1.1\r\nContent-Length: 9\r\n\r\n1", ""];
    for (client, request) in clients.iter_mut().zip(requests) {
        client.reader.get_mut().write_all(request.as_bytes()).unwrap();
    }
    soon("two requests are in flight", || server.in_flight() == 2);
    let state = Arc::downgrade(&server.state);
    let began = Instant::now();
    drop(server);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(state.upgrade().is_none(), "a thread is left");
}

#[test]
fn speed_is_kept_by_each_connection_and_by_all_together() {
    let server = server();
    server.put("b/o", vec![0; 200_000]);
    let together = |speed: Speed| {
        server.speed(speed);
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(Client::new(&server).ask(GET).body.len(), 200_000));
            }
        });
        began.elapsed().as_secs_f64()
    };
    // Each takes 0.1 s less a block of 10 ms; then all 0.1 s after 50 ms.
    let took = together(Speed { per_connection: 2_000_000, ..Speed::default() });
    assert!((0.08..0.3).contains(&took), "{took}");
    let took = together(Speed { first_byte: Duration::from_millis(50), total: 8_000_000, ..Speed::default() });
    assert!((0.13..0.35).contains(&took), "{took}");
    assert_eq!((server.max_in_flight(), server.in_flight()), (4, 0));
}

#[test]
fn dates_are_right_on_leap_days_and_at_ends_of_years() {
    // From GNU date.
    for (seconds, http, iso) in [
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37.000Z"),
        (951_827_696, "Tue, 29 Feb 2000 12:34:56 GMT", "2000-02-29T12:34:56.000Z"),
        (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT", "2026-12-31T23:59:59.000Z"),
        (1_798_761_600, "Fri, 01 Jan 2027 00:00:00 GMT", "2027-01-01T00:00:00.000Z"),
    ] {
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!((super::text::http_date(time).as_str(), super::text::iso_date(time).as_str()), (http, iso));
    }
}
