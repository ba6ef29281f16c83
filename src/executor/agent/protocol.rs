//! The agent protocol (draft-ietf-sshm-ssh-agent), as far as a step may speak it: what it may ask, and where a message ends.
//!
//! A message is its length (4 bytes, big-endian) and that many bytes, of which the first is its type. Each request gets one
//! answer, in order.

use std::io::{self, Read};

/// The longest message OpenSSH's agent takes.
pub(super) const LONGEST: usize = 256 * 1024;

/// `SSH_AGENT_FAILURE`, as a whole message: what an agent answers to what it does not do.
pub(super) const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];

const REQUEST_IDENTITIES: u8 = 11;
const SIGN_REQUEST: u8 = 13;
const EXTENSION: u8 = 27;

/// What an OpenSSH client asks on its way to a signature, and the question which extensions there are. The first ties the
/// connection to a session, and so only takes from what the agent does for it.
const EXTENSIONS: [&[u8]; 2] = [b"session-bind@openssh.com", b"query"];

/// Reads one message, length included. `None` at the end; an error for what is no message.
pub(super) fn read(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut message = Vec::new();
    if from.take(4).read_to_end(&mut message)? == 0 {
        return Ok(None);
    }
    let head = *message.first_chunk::<4>().ok_or(io::ErrorKind::UnexpectedEof)?;
    let length = u32::from_be_bytes(head) as usize;
    if !(1..=LONGEST).contains(&length) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let read = from.take(length as u64).read_to_end(&mut message)?;
    if read < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Some(message)) }
}

/// Whether a step may ask this: which keys there are, and for signatures with them. Not: to add or remove keys or
/// smartcards, to lock or unlock the agent, nor anything that is not known here.
pub(super) fn may_be_asked(request: &[u8]) -> bool {
    match request.get(4..) {
        Some([REQUEST_IDENTITIES]) => true,
        Some([SIGN_REQUEST, ..]) => true,
        Some([EXTENSION, name @ ..]) => EXTENSIONS.contains(&string(name)),
        _ => false,
    }
}

/// The string (length and bytes) that `bytes` begin with, or nothing.
fn string(bytes: &[u8]) -> &[u8] {
    let Some((head, rest)) = bytes.split_first_chunk::<4>() else { return &[] };
    rest.get(..u32::from_be_bytes(*head) as usize).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &[u8]) -> Vec<u8> {
        [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
    }

    fn extension(name: &str) -> Vec<u8> {
        message(&[&[27], &message(name.as_bytes())[..], b"what it is told"].concat())
    }

    #[test]
    fn a_step_may_list_and_sign() {
        assert!(may_be_asked(&message(&[11])));
        assert!(may_be_asked(&message(&[13, 0, 0, 0, 1, b'k', 0, 0, 0, 1, b'd', 0, 0, 0, 0])));
        assert!(may_be_asked(&extension("session-bind@openssh.com")));
        assert!(may_be_asked(&extension("query")));
    }

    #[test]
    fn everything_else_is_refused() {
        // Requests of version 1, add, remove, remove all, smartcards, lock, unlock, constrained add, answers, unknown.
        for kind in (0..=255).filter(|kind| ![11, 13, 27].contains(kind)) {
            assert!(!may_be_asked(&message(&[kind])), "{kind}");
            assert!(!may_be_asked(&message(&[kind, 0, 0, 0, 0])), "{kind}");
        }
        assert!(!may_be_asked(&message(&[11, 0])));
        assert!(!may_be_asked(&message(&[27])));
        assert!(!may_be_asked(&extension("session-bind@openssh.co")));
        assert!(!may_be_asked(&extension("restrict-destination-v00@openssh.com")));
        // A name that is said to be longer than the message.
        assert!(!may_be_asked(&message(&[27, 0xff, 0xff, 0xff, 0xff, b'q', b'u', b'e', b'r', b'y'])));
        assert!(!may_be_asked(&[]));
        assert!(!may_be_asked(&[0, 0, 0, 1]));
    }

    #[test]
    fn messages_are_read_one_by_one() {
        let two = [message(&[11]), message(&[13, 1, 2])].concat();
        let mut from = &two[..];
        assert_eq!(read(&mut from).unwrap(), Some(message(&[11])));
        assert_eq!(read(&mut from).unwrap(), Some(message(&[13, 1, 2])));
        assert_eq!(read(&mut from).unwrap(), None);
    }

    #[test]
    fn what_is_no_message_ends_the_connection() {
        let longest = message(&vec![13; LONGEST]);
        assert_eq!(read(&mut &longest[..]).unwrap(), Some(longest.clone()));
        for (bytes, error) in [
            (&[0, 0, 0, 0, 11][..], io::ErrorKind::InvalidData),
            (&[0, 4, 0, 1, 11], io::ErrorKind::InvalidData),
            (&[0xff, 0xff, 0xff, 0xff, 11], io::ErrorKind::InvalidData),
            (&[0, 0], io::ErrorKind::UnexpectedEof),
            (&[0, 0, 0, 2, 11], io::ErrorKind::UnexpectedEof),
        ] {
            assert_eq!(read(&mut &bytes[..]).unwrap_err().kind(), error, "{bytes:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_and_judged(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            let _ = may_be_asked(&bytes);
            if let Ok(Some(message)) = read(&mut &bytes[..]) {
                proptest::prop_assert!(bytes.starts_with(&message));
            }
        }
    }
}
