//! What the head of a request may take while its body is waited for.
//!
//! Over HTTP/1 a connection has one head at a time. Over HTTP/2 it has one for each stream, whose sizes hyper bounds one by one
//! and without a word to the client, and HPACK lets a client repeat a header by a byte. So what hyper bounds for HTTP/1 is bounded
//! here for both, and what is long in a head counts as what is long in a body does.

use std::collections::HashSet;

use axum::extract::Request;

use crate::arriving::{Arriving, Room};
use crate::fault::{Code, Fault};
use crate::service::HeadBounds;

/// Bytes of a head that take no room: more than heads have that bear no large cookie. It is also as much as HPACK's table
/// holds, so that what takes room was sent for this head, and nobody takes much of it by repeating what was sent for others.
const SHORT: usize = 4 << 10;

/// The room that a head takes, to be held until the request is answered; a short one takes none.
///
/// # Errors
/// `HEAD_TOO_LARGE` for too many headers, or too long ones; `OVERLOADED` where there is no room.
pub(super) fn room(request: &Request, bounds: &HeadBounds, arriving: &Arriving) -> Result<Room, Fault> {
    let headers = request.headers().len();
    if headers > bounds.headers {
        let max = bounds.headers;
        let detail = format!("The request has {headers} headers; this service reads up to {max}. Send fewer.");
        return Err(Fault::new(Code::HeadTooLarge, detail).with("max_headers", max));
    }
    let all = bytes(request);
    if all > bounds.bytes {
        let max = bounds.bytes;
        let detail = format!("The request line and the headers have {all} bytes; this service reads up to {max}.");
        return Err(Fault::new(Code::HeadTooLarge, detail).with("max_bytes", max));
    }
    let mut room = arriving.begin();
    if all > SHORT {
        room.take(distinct_bytes(request).saturating_sub(SHORT))?;
    }
    Ok(room)
}

fn parts(request: &Request) -> impl Iterator<Item = &[u8]> {
    request.headers().iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()])
}

fn line(request: &Request) -> usize {
    let uri = request.uri();
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    request.method().as_str().len() + authority + uri.path_and_query().map_or(0, |target| target.as_str().len())
}

/// The bytes of a head.
fn bytes(request: &Request) -> usize {
    line(request) + parts(request).map(<[u8]>::len).sum::<usize>()
}

/// The bytes of a head; those that several of its headers share, once.
fn distinct_bytes(request: &Request) -> usize {
    let mut seen = HashSet::new();
    let distinct = parts(request).filter(|part| !part.is_empty() && seen.insert(part.as_ptr()));
    line(request) + distinct.map(<[u8]>::len).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use axum::http::HeaderValue;

    use super::*;

    const BOUNDS: HeadBounds = HeadBounds { bytes: 1 << 20, headers: 100 };

    fn request(values: impl Iterator<Item = HeaderValue>) -> Request {
        let mut request = Request::new(Body::empty());
        values.for_each(|value| _ = request.headers_mut().append("a", value));
        request
    }

    #[test]
    fn a_long_head_takes_room_for_what_it_has_beyond_a_short_one() {
        let arriving = Arriving::new(5000, Duration::ZERO);
        let value = |byte: u8| HeaderValue::from_bytes(&[byte; 1000]).expect("visible");
        let short = room(&request((b'a'..b'e').map(value)), &BOUNDS, &arriving).expect("it takes none");
        assert_eq!(arriving.bytes().0, 0);
        // Nine thousand bytes, `GET`, `/` and a name.
        let long = room(&request((b'a'..b'j').map(value)), &BOUNDS, &arriving).expect("there is room");
        assert_eq!(arriving.bytes().0, 9005 - SHORT as u64);
        let fault = room(&request((b'a'..b'j').map(value)), &BOUNDS, &arriving).expect_err("there is none for another");
        assert_eq!(fault.code(), Code::Overloaded);
        drop((short, long));
        assert_eq!(arriving.bytes().0, 0);
    }

    #[test]
    fn a_value_that_is_repeated_from_the_table_takes_its_room_once() {
        let arriving = Arriving::new(5000, Duration::ZERO);
        let value = HeaderValue::from_bytes(&[b'a'; 4000]).expect("visible");
        let _room = room(&request(std::iter::repeat_n(value, 8)), &BOUNDS, &arriving).expect("there is room");
        assert_eq!(arriving.bytes().0, 0);
    }
}
