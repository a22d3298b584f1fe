//! Bodies that come compressed (`Content-Encoding`), and how far they may grow.

use std::io::Read;

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};

use crate::fault::{Code, Fault};

/// The codings that are read, as Accept-Encoding lists them.
pub(in crate::http) const ACCEPTED: &str = "gzip, deflate";

/// How often its own length a body may be once it is inflated. Photos as base64 shrink by a quarter and no text of people
/// by more than twenty times; deflate itself ends at 1032.
const MAX_RATIO: usize = 100;

/// What any body may grow to, whatever the ratio: a short one that repeats itself is no attack.
const ALWAYS: usize = 1 << 20;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    /// The zlib format, as RFC 9110 (8.4.1.2) has it.
    Deflate,
}

impl Coding {
    /// `None` for a body that is sent as it is.
    ///
    /// # Errors
    /// `UNSUPPORTED_ENCODING` for any other coding, and for several on top of each other.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Fault> {
        let lines =
            headers.get_all(header::CONTENT_ENCODING).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
        let all = lines.collect::<Vec<_>>().join(",");
        let mut codings = all.split(',').map(str::trim).filter(|coding| {
            // Nothing was done to the body.
            !coding.is_empty() && !coding.eq_ignore_ascii_case("identity")
        });
        let coding = match (codings.next(), codings.next()) {
            (None, _) => return Ok(None),
            (Some(one), None) => one.to_ascii_lowercase(),
            (Some(_), Some(_)) => String::new(),
        };
        match coding.as_str() {
            "gzip" | "x-gzip" => Ok(Some(Self::Gzip)),
            "deflate" => Ok(Some(Self::Deflate)),
            _ => {
                let shown: String = all.chars().take(60).collect();
                let detail = format!(
                    "The request has Content-Encoding {shown}; this server reads one of gzip and deflate, or a body as it is."
                );
                Err(Fault::new(Code::UnsupportedEncoding, detail))
            }
        }
    }

    /// The body as it was before it was compressed, at most `limit` bytes. Keeps a processor busy.
    ///
    /// # Errors
    /// `PAYLOAD_TOO_LARGE` for what grows beyond the limit, or beyond a hundred times its length; `INVALID_REQUEST` for
    /// what is no such stream, or ends early.
    pub(super) fn inflate(self, sent: &[u8], limit: usize) -> Result<Bytes, Fault> {
        let by_ratio = sent.len().saturating_mul(MAX_RATIO).max(ALWAYS);
        let bound = limit.min(by_ratio);
        // Room is taken as bytes come out: what a stream says of its length is only a promise.
        let mut body = Vec::new();
        let beyond = bound as u64 + 1;
        let read = match self {
            Self::Gzip => MultiGzDecoder::new(sent).take(beyond).read_to_end(&mut body),
            Self::Deflate => ZlibDecoder::new(sent).take(beyond).read_to_end(&mut body),
        };
        read.map_err(|error| {
            let detail =
                format!("The body is not the {} stream that Content-Encoding declares, or is cut off.", self.name());
            Fault::new(Code::InvalidRequest, detail).caused_by(error)
        })?;
        if body.len() <= bound {
            return Ok(body.into());
        }
        let found = format!("The {} body of {} bytes inflates to more than", self.name(), sent.len());
        let detail = if by_ratio < limit {
            format!("{found} {by_ratio} bytes; this server accepts bodies that grow up to {MAX_RATIO} times.")
        } else {
            format!("{found} {limit} bytes, which is what this server accepts.")
        };
        Err(Fault::new(Code::PayloadTooLarge, detail))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    const LIMIT: usize = 8 << 20;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).expect("into memory");
        encoder.finish().expect("into memory")
    }

    fn coding(value: &str) -> Result<Option<Coding>, Fault> {
        Coding::of(&HeaderMap::from_iter([(header::CONTENT_ENCODING, value.parse().expect("a header"))]))
    }

    #[test]
    fn codings_are_recognised_and_others_refused_by_name() {
        assert_eq!(Coding::of(&HeaderMap::new()).expect("none"), None);
        for (value, expected) in [
            ("gzip", Some(Coding::Gzip)),
            ("X-GZip", Some(Coding::Gzip)),
            ("deflate", Some(Coding::Deflate)),
            ("identity", None),
            ("", None),
        ] {
            assert_eq!(coding(value).expect(value), expected, "{value}");
        }
        for value in ["br", "zstd", "gzip, gzip", "gzip;q=1"] {
            let fault = coding(value).expect_err(value);
            assert_eq!(fault.code(), Code::UnsupportedEncoding);
            assert!(fault.detail().contains(value), "{fault}");
        }
    }

    #[test]
    fn a_body_comes_out_as_it_went_in() {
        let body = b"{\"image\": \"AQID\"}".repeat(1000);
        assert_eq!(Coding::Gzip.inflate(&gzip(&body), LIMIT).expect("fine"), body);
        let members = [gzip(&body[..7]), gzip(&body[7..])].concat();
        assert_eq!(Coding::Gzip.inflate(&members, LIMIT).expect("in two members"), body);
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&body).expect("into memory");
        assert_eq!(Coding::Deflate.inflate(&encoder.finish().expect("into memory"), LIMIT).expect("fine"), body);
    }

    #[test]
    fn a_bomb_stops_at_the_limit_and_at_the_ratio() {
        let bomb = gzip(&vec![b' '; 4 << 20]);
        let by_ratio = Coding::Gzip.inflate(&bomb, LIMIT).expect_err("a thousand times");
        assert_eq!(by_ratio.code(), Code::PayloadTooLarge);
        assert!(by_ratio.detail().contains("up to 100 times"), "{by_ratio}");
        let by_limit = Coding::Gzip.inflate(&bomb, 1 << 19).expect_err("too long");
        assert!(by_limit.detail().contains("more than 524288 bytes"), "{by_limit}");
        assert!(Coding::Gzip.inflate(&gzip(&vec![b' '; ALWAYS]), LIMIT).is_ok(), "short enough, whatever the ratio");
    }

    #[test]
    fn what_is_no_such_stream_is_told_so() {
        let whole = gzip(b"{\"image\": \"AQID\"}");
        let mut wrong_sum = whole.clone();
        let at = wrong_sum.len() - 5;
        wrong_sum[at] ^= 1;
        for body in [&b""[..], b"{}", &whole[..whole.len() - 3], &wrong_sum, &[&whole[..], b"junk"].concat()] {
            let fault = Coding::Gzip.inflate(body, LIMIT).expect_err("refused");
            assert_eq!(fault.code(), Code::InvalidRequest, "{body:?}");
        }
        assert_eq!(
            Coding::Deflate.inflate(&whole, LIMIT).expect_err("gzip is no deflate").code(),
            Code::InvalidRequest
        );
    }
}
