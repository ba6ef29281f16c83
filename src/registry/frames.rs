//! Messages of gRPC in the body of a request or an answer: a byte that says whether it is compressed, four of its length, the message.
//! How a call ended is said in trailers, or in the headers of an answer without a body (`PROTOCOL-HTTP2.md` of gRPC).

use std::pin::Pin;

use http_body::Body as _;
use prost::Message;
use prost::bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Body, Response};

use super::error::{Cause, plain};

/// What stands before a message, in bytes.
const HEAD: usize = 5;

/// The status of HTTP for `ALREADY_EXISTS`.
const WAS_THERE: u16 = 409;

/// Names of the statuses by their numbers.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Puts a message into its frame.
pub(super) fn framed(message: &impl Message) -> Vec<u8> {
    let length = message.encoded_len();
    let mut frame = Vec::with_capacity(HEAD + length);
    frame.put_u8(0);
    // No message is made that is as long as this cannot say.
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode_raw(&mut frame);
    frame
}

/// Reads a message.
pub(super) fn decoded<T: Message + Default>(bytes: Bytes) -> Result<T, Cause> {
    T::decode(bytes).map_err(|error| malformed(error.to_string()))
}

/// The messages of an answer.
pub(super) struct Frames {
    body: Body,
    buffer: BytesMut,
    /// The longest message that is read, in bytes.
    limit: usize,
    has_ended: bool,
    had_token: bool,
}

impl Frames {
    /// Looks at the head of an answer; a refusal is an error.
    pub(super) async fn of(answer: Response, limit: usize, had_token: bool) -> Result<Self, Cause> {
        if !answer.status().is_success() {
            return Err(Cause::of_answer(answer, had_token).await);
        }
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("application/grpc") {
            return Err(malformed("it is not one of gRPC".to_owned()));
        }
        let has_ended = answer.headers().contains_key("grpc-status");
        if has_ended {
            ended(answer.headers(), had_token)?;
        }
        Ok(Self { body: answer.into(), buffer: BytesMut::new(), limit, has_ended, had_token })
    }

    /// Returns the next message; none after the last, if the call ended well.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Cause> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            if self.has_ended {
                return Ok(None);
            }
            match std::future::poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await {
                Some(frame) => match frame.map_err(Cause::http)?.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => self.end(frame.trailers_ref())?,
                },
                None => self.end(None)?,
            }
        }
    }

    /// The only message.
    pub(super) async fn only<T: Message + Default>(mut self) -> Result<T, Cause> {
        let message = self.next().await?.ok_or_else(|| malformed("it is empty".to_owned()))?;
        match self.next().await? {
            None => decoded(message),
            Some(_) => Err(malformed("it has more than one message".to_owned())),
        }
    }

    /// Takes a message out of what came, if all of it did.
    fn take(&mut self) -> Result<Option<Bytes>, Cause> {
        let Some((&[is_compressed, ref length @ ..], _)) = self.buffer.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if is_compressed != 0 {
            return Err(malformed("it is compressed, which nobody asked for".to_owned()));
        }
        if length > self.limit {
            return Err(Cause::TooLarge { what: "a message", limit: self.limit as u64 });
        }
        if self.buffer.len() < HEAD + length {
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Cause> {
        self.has_ended = true;
        let broken = |message: &str| Cause::Server { message: message.to_owned(), retry_after: None };
        ended(trailers.ok_or_else(|| broken("the answer ended without a status"))?, self.had_token)?;
        if self.buffer.is_empty() { Ok(()) } else { Err(broken("the answer ended in the middle of a message")) }
    }
}

/// Whether a call ended well.
fn ended(headers: &HeaderMap, had_token: bool) -> Result<(), Cause> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text("grpc-status").parse() {
        Ok(0) => Ok(()),
        Ok(code) => Err(Cause::of_call(code, &unescaped(text("grpc-message")), had_token)),
        Err(_) => Err(malformed("it has no status".to_owned())),
    }
}

impl Cause {
    /// What a status of gRPC other than OK means.
    pub fn of_call(code: usize, said: &str, had_credentials: bool) -> Self {
        let name = NAMES.get(code).map_or_else(|| format!("status {code}"), |name| (*name).to_owned());
        let said = plain(said);
        let message = if said.is_empty() { name.clone() } else { format!("{name}: {said}") };
        match name.as_str() {
            "NOT_FOUND" => Self::NotFound { message },
            "UNAUTHENTICATED" | "PERMISSION_DENIED" => Self::Unauthorized { message, had_credentials },
            "RESOURCE_EXHAUSTED" => Self::RateLimited { message, retry_after: None },
            "ALREADY_EXISTS" => Self::Refused { status: WAS_THERE, message },
            "INVALID_ARGUMENT" | "OUT_OF_RANGE" | "UNIMPLEMENTED" => Self::Refused { status: 400, message },
            // Among them that a blob went while its record was written.
            _ => Self::Server { message, retry_after: None },
        }
    }

    /// Whether something was not written because it is there.
    pub fn is_of_what_was_there(&self) -> bool {
        matches!(self, Self::Refused { status: WAS_THERE, .. })
    }
}

fn malformed(detail: String) -> Cause {
    Cause::Malformed { what: "answer", detail }
}

/// `%0A` and the like as the bytes that they stand for.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = after.get(..2).filter(|_| *first == b'%').and_then(|two| std::str::from_utf8(two).ok());
        let (byte, after) = match escaped.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => (byte, &after[2..]),
            None => (*first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(bytes: &[u8]) -> Frames {
        Frames { body: Body::from(""), buffer: bytes.into(), limit: 4, has_ended: false, had_token: false }
    }

    #[test]
    fn messages_are_taken_when_they_are_whole_and_no_longer_than_they_may_be() {
        let mut two = frames(b"\0\0\0\0\x02ab\0\0\0\0\0\0\0");
        assert_eq!(two.take().unwrap().unwrap(), &b"ab"[..]);
        assert_eq!(two.take().unwrap().unwrap(), &b""[..]);
        assert!(two.take().unwrap().is_none());
        assert!(frames(b"\0\0\0\0\x02a").take().unwrap().is_none());
        assert!(matches!(frames(b"\0\xff\xff\xff\xff").take(), Err(Cause::TooLarge { limit: 4, .. })));
        assert!(matches!(frames(b"\x01\0\0\0\0").take(), Err(Cause::Malformed { .. })));
        assert_eq!(framed(&"ab".to_owned()), b"\0\0\0\0\x04\x0a\x02ab");
    }

    #[test]
    fn statuses_say_what_the_server_said() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            ended(&headers, false)
        };
        of(&[("grpc-status", "0")]).unwrap();
        let Err(Cause::NotFound { message }) = of(&[("grpc-status", "5"), ("grpc-message", "no%1b[2J%zz %e2%82%ac")])
        else {
            panic!("no such thing")
        };
        assert_eq!(message, "NOT_FOUND: no [2J%zz \u{20ac}");
        assert!(of(&[("grpc-status", "14")]).unwrap_err().is_temporary());
        assert!(!of(&[("grpc-status", "12")]).unwrap_err().is_temporary());
        assert!(of(&[("grpc-status", "99")]).unwrap_err().to_string().contains("status 99"));
        assert!(matches!(of(&[]), Err(Cause::Malformed { .. })));
    }
}
