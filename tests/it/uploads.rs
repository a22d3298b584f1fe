//! Requests byte by byte, as real clients write them onto the wire.

use std::io::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::photos::{CHELSEA, assert_found, photo};
use crate::support::service::{Spotter, problem, problem_and_headers};

/// A form in bytes: each part's head, as the client writes it, and its content.
fn form(boundary: &str, parts: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (head, content) in parts {
        body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        body.extend_from_slice(head);
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body
}

/// The start of a request with these headers.
fn head(path: &str, headers: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n").into_bytes()
}

/// Status and body of what comes back for these bytes.
async fn send(spotter: &Spotter, request: &[u8]) -> (u16, Value) {
    let mut socket = TcpStream::connect(spotter.address()).await.unwrap();
    socket.write_all(request).await.unwrap();
    receive(socket).await
}

async fn receive(mut socket: TcpStream) -> (u16, Value) {
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
}

/// Sends a form with a length and this Content-Type.
async fn send_form(spotter: &Spotter, content_type: &str, body: &[u8]) -> (u16, Value) {
    let headers = format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
    send(spotter, &[&head("/v1/detect", &headers), body].concat()).await
}

#[tokio::test]
async fn a_photo_part_is_taken_however_its_head_is_written() {
    let spotter = Spotter::start(&[]).await;
    let chelsea = photo("chelsea.png");
    let heads: [(&str, &[u8]); 12] = [
        ("no type, no file name", b"Content-Disposition: form-data; name=\"image\""),
        ("a name without quotes", b"Content-Disposition: form-data; name=image; filename=cat.png"),
        ("an empty file name", b"Content-Disposition: form-data; name=\"image\"; filename=\"\""),
        ("Japanese in UTF-8, as browsers send it", "Content-Disposition: form-data; name=\"image\"; filename=\"猫の写真.png\"\r\nContent-Type: image/png".as_bytes()),
        ("Japanese in Shift_JIS, as old clients send it", b"Content-Disposition: form-data; name=\"image\"; filename=\"\x94\x4c.png\""),
        ("RFC 5987, as Python requests sends it", b"Content-Disposition: form-data; name=\"image\"; filename*=UTF-8''%E7%8C%AB.png"),
        ("RFC 5987 beside a plain name", b"Content-Disposition: form-data; name=\"image\"; filename=\"cat.png\"; filename*=UTF-8''%E7%8C%AB.png"),
        ("RFC 2047, as mail libraries send it", b"Content-Disposition: form-data; name=\"image\"; filename=\"=?utf-8?B?54yrLnBuZw==?=\""),
        ("quotes inside, escaped", b"Content-Disposition: form-data; name=\"image\"; filename=\"a \\\"cat\\\".png\""),
        ("quotes inside, in percents as browsers send them", b"Content-Disposition: form-data; name=\"image\"; filename=\"a %22cat%22; name=x.png\""),
        ("the name last and other cases", b"CONTENT-TYPE: application/x-unknown\r\ncontent-disposition: Form-Data; filename=\"C:\\\\photos\\\\cat.png\"; name=\"image\""),
        ("headers that nobody needs", b"Content-Transfer-Encoding: binary\r\nContent-Length: 240512\r\nX-Other: 1\r\nContent-Disposition: form-data; name=\"image\"; filename=\"cat.png\""),
    ];
    for (client, head) in heads {
        let (status, body) =
            send_form(&spotter, "multipart/form-data; boundary=b", &form("b", &[(head, &chelsea)])).await;
        assert_eq!(status, 200, "{client}: {body}");
        assert_found(&body, CHELSEA);
    }
}

#[tokio::test]
async fn options_are_read_before_and_after_the_photo_and_one_given_twice_is_named() {
    let spotter = Spotter::start(&[]).await;
    let chelsea = photo("chelsea.png");
    let image: (&[u8], &[u8]) = (b"Content-Disposition: form-data; name=\"image\"; filename=\"a\"", &chelsea);
    let classes: (&[u8], &[u8]) = (b"Content-Disposition: form-data; name=\"classes\"", b"cat");
    let typed: (&[u8], &[u8]) =
        (b"Content-Disposition: form-data; name=\"classes\"\r\nContent-Type: text/plain; charset=utf-8", b"dog");
    let as_file: (&[u8], &[u8]) = (
        b"Content-Disposition: form-data; name=\"normalized\"; filename=\"blob\"\r\nContent-Type: text/plain",
        b"true",
    );
    let score: (&[u8], &[u8]) = (b"Content-Disposition: form-data; name=\"min_score\"", b"0.3");
    let blank: (&[u8], &[u8]) = (b"Content-Disposition: form-data; name=\"min_score\"", b"");

    for parts in [
        [classes, typed, as_file, score, image],
        [image, score, classes, as_file, typed],
        [classes, image, typed, score, as_file],
    ] {
        let (status, body) = send_form(&spotter, "multipart/form-data; boundary=b", &form("b", &parts)).await;
        assert_eq!(status, 200, "{body}");
        assert_found(&body, CHELSEA);
        assert!(body["detections"][0]["box_normalized"].is_object(), "{body}");
    }
    let (status, body) =
        send_form(&spotter, "multipart/form-data; boundary=b", &form("b", &[score, image, blank])).await;
    assert_eq!(status, 200, "a field left blank is none: {body}");
    let (status, body) =
        send_form(&spotter, "multipart/form-data; boundary=b", &form("b", &[score, image, score])).await;
    assert_eq!((status, &body["errors"][0]["detail"]), (422, &"min_score is given more than once.".into()), "{body}");
}

#[tokio::test]
async fn how_many_parts_and_levels_a_body_has_is_bounded_by_settings() {
    let chelsea = photo("chelsea.png");
    let image = (&b"Content-Disposition: form-data; name=\"image\""[..], &chelsea[..]);
    let score = (&b"Content-Disposition: form-data; name=\"min_score\""[..], &b""[..]);
    let json = |levels: usize| {
        let image = BASE64_STANDARD.encode(&chelsea);
        format!("{{\"image\": \"{image}\", \"classes\": {}\"cat\"{}}}", "[".repeat(levels), "]".repeat(levels))
    };
    // No option has lists in lists: what is within the bound is refused for that.
    for (flags, parts, levels) in [(&[][..], 64, 15), (&["--max-form-parts", "3", "--max-json-depth", "4"], 3, 3)] {
        let spotter = Spotter::start(flags).await;
        for (more, status) in [(parts, 200), (parts + 1, 400)] {
            let body = form("b", &[vec![image], vec![score; more]].concat());
            let (found, body) = send_form(&spotter, "multipart/form-data; boundary=b", &body).await;
            assert_eq!(found, status, "{body}");
            assert!(status == 200 || (body["code"] == "INVALID_MULTIPART" && body["max_parts"] == parts), "{body}");
        }
        for (levels, status, code) in [(levels, 422, "INVALID_OPTION"), (levels + 1, 400, "INVALID_JSON")] {
            let ask = spotter.post("/v1/detect").header(CONTENT_TYPE, "application/json").body(json(levels));
            let body = problem(ask, status, code).await;
            assert!(status == 422 || body["max_depth"] == levels, "{body}");
        }
    }
}

#[tokio::test]
async fn boundaries_as_libraries_write_them() {
    let spotter = Spotter::start(&[]).await;
    let chelsea = photo("chelsea.png");
    let long = "x".repeat(70);
    for (boundary, content_type) in [
        ("----WebKitFormBoundaryABC", "multipart/form-data; boundary=----WebKitFormBoundaryABC".to_owned()),
        ("a b:c", "multipart/form-data; boundary=\"a b:c\"".to_owned()),
        ("=_Part_1(2)/3?", "Multipart/Form-Data; charset=utf-8; Boundary=\"=_Part_1(2)/3?\"".to_owned()),
        ("=_Part_1(2)/3?", "multipart/form-data;boundary==_Part_1(2)/3?".to_owned()),
        (&long, format!("multipart/form-data; boundary={long}; charset=UTF-8")),
        ("b", "multipart/form-data; charset=\"utf-8\" ; boundary=b ".to_owned()),
    ] {
        let head: &[u8] = b"Content-Disposition: form-data; name=\"image\"; filename=\"cat.png\"";
        let (status, body) = send_form(&spotter, &content_type, &form(boundary, &[(head, &chelsea)])).await;
        assert_eq!(status, 200, "{content_type}: {body}");
        assert_found(&body, CHELSEA);
    }
    // Text before the first boundary and after the last belongs to nobody.
    let head: &[u8] = b"Content-Disposition: form-data; name=\"image\"";
    let around = [b"This is a form.\r\n", &form("b", &[(head, &chelsea)])[..], b"The end.\r\n"].concat();
    let (status, body) = send_form(&spotter, "multipart/form-data; boundary=b", &around).await;
    assert_eq!(status, 200, "{body}");
}

/// A body in chunks of this size, with an extension and a trailer as the grammar allows them.
fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut chunks = Vec::new();
    for chunk in body.chunks(size) {
        chunks.extend_from_slice(format!("{:X};name=value\r\n", chunk.len()).as_bytes());
        chunks.extend_from_slice(chunk);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\nX-Checksum: none\r\n\r\n");
    chunks
}

#[tokio::test]
async fn chunked_bodies_are_read_in_every_form() {
    let spotter = Spotter::start(&[]).await;
    let chelsea = photo("chelsea.png");
    let part: &[u8] = b"Content-Disposition: form-data; name=\"image\"; filename=\"cat.png\"";
    let json = json!({"image": BASE64_STANDARD.encode(&chelsea)}).to_string();
    for (content_type, body) in [
        ("image/png", chelsea.to_vec()),
        ("multipart/form-data; boundary=b", form("b", &[(part, &chelsea)])),
        ("application/json; charset=utf-8", json.into_bytes()),
    ] {
        // Of one byte only for a while: a hundred thousand chunks are another test's business.
        for (small, size) in [(0, 7001), (300, 65_536)] {
            let headers = format!("Content-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n");
            let single: Vec<u8> =
                body[..small].iter().flat_map(|byte| [b"1\r\n", &[*byte][..], b"\r\n"].concat()).collect();
            let request = [head("/v1/detect", &headers), single, chunked(&body[small..], size)].concat();
            let (status, answer) = send(&spotter, &request).await;
            assert_eq!(status, 200, "{content_type}: {answer}");
            assert_found(&answer, CHELSEA);
        }
    }
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_is_told_to_go_on() {
    let spotter = Spotter::start(&[]).await;
    let chelsea = photo("chelsea.png");
    let headers = format!("Content-Type: image/png\r\nContent-Length: {}\r\nExpect: 100-continue\r\n", chelsea.len());
    let mut socket = BufReader::new(TcpStream::connect(spotter.address()).await.unwrap());
    socket.write_all(&head("/v1/detect", &headers)).await.unwrap();
    // Nothing of the photo is sent before this line has come.
    let mut line = String::new();
    socket.read_line(&mut line).await.unwrap();
    assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
    socket.read_line(&mut line).await.unwrap();
    socket.write_all(&chelsea).await.unwrap();
    let (status, body) = receive(socket.into_inner()).await;
    assert_eq!(status, 200, "{body}");
    assert_found(&body, CHELSEA);
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_too_much_is_spared_the_sending() {
    let spotter = Spotter::start(&["--max-image-bytes", "1000"]).await;
    let headers = "Content-Type: image/png\r\nContent-Length: 50000000\r\nExpect: 100-continue\r\n";
    let (status, body) = send(&spotter, &head("/v1/detect", headers)).await;
    assert_eq!((status, &body["code"]), (413, &"PAYLOAD_TOO_LARGE".into()), "{body}");
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn compressed_bodies_are_read_in_every_form() {
    let spotter = Spotter::start(&[]).await;
    let chelsea = photo("chelsea.png");
    let part: &[u8] = b"Content-Disposition: form-data; name=\"image\"; filename=\"cat.png\"";
    let json = json!({"image": BASE64_STANDARD.encode(&chelsea)}).to_string().into_bytes();
    let multipart = form("b", &[(part, &chelsea)]);
    for (content_type, coding, body) in [
        ("application/json", "gzip", gzip(&json)),
        ("application/json", "deflate", zlib(&json)),
        ("application/json", "identity", json),
        ("multipart/form-data; boundary=b", "gzip", gzip(&multipart)),
        ("image/png", "x-gzip", gzip(&chelsea)),
    ] {
        let request = spotter.post("/v1/detect").header(CONTENT_TYPE, content_type).header(CONTENT_ENCODING, coding);
        let response = request.body(body).send().await.unwrap();
        assert_eq!(response.status(), 200, "{content_type} {coding}");
        assert_found(&response.json().await.unwrap(), CHELSEA);
    }
}

#[tokio::test]
async fn a_compressed_body_that_cannot_be_read_is_told_why() {
    let spotter = Spotter::start(&["--max-image-bytes", "3000000"]).await;
    let post = |coding: &'static str, body: Vec<u8>| {
        let request =
            spotter.post("/v1/detect").header(CONTENT_TYPE, "application/json").header(CONTENT_ENCODING, coding);
        request.body(body)
    };
    let (headers, body) = problem_and_headers(post("br", b"x".to_vec()), 415, "UNSUPPORTED_ENCODING").await;
    assert_eq!(headers[ACCEPT_ENCODING], "gzip, deflate");
    assert!(body["detail"].as_str().unwrap().contains("Content-Encoding br"), "{body}");
    problem(post("gzip, gzip", gzip(b"{}")), 415, "UNSUPPORTED_ENCODING").await;
    problem(post("gzip", b"{}".to_vec()), 400, "INVALID_REQUEST").await;
    let whole = gzip(b"{\"image\": \"AQID\"}");
    problem(post("gzip", whole[..whole.len() - 4].to_vec()), 400, "INVALID_REQUEST").await;
    problem(post("gzip", whole), 415, "UNSUPPORTED_IMAGE_FORMAT").await;

    // Sixty-four megabytes of blanks in a few hundred kilobytes: no more than the limit of it is ever in memory.
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 400_000);
    let body = problem(post("gzip", bomb), 413, "PAYLOAD_TOO_LARGE").await;
    assert_eq!(body["max_bytes"], 3_000_000);
}
