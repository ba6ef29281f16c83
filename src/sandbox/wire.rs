//! What executor and sandbox say to each other over the socket.
//!
//! A frame is a length (4 bytes, little-endian) and that many bytes of JSON. The executor sends one [`Start`] and the
//! namespaces to join (of network and emulators) and the cgroups to enter; the sandbox answers with [`Report`]s.
//! [`Report::Started`] carries two descriptors, [`Report::Listening`] and [`Report::Terminal`] one.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::SandboxSpec;
use super::plan::Connection;
use super::target::Stubs;

/// The note of a wish for a sandbox with a network namespace of its own, and nothing in it.
pub(crate) const OWN_NETWORK: u8 = 1;
/// The note of one whose command is given something to read: it comes after the two outputs.
pub(crate) const INPUT: u8 = 2;

/// The note that says that the network is connected.
pub(crate) const CONNECTED: u8 = 4;
/// The note of a wish that is the last one, as far as anybody knows.
pub(crate) const LAST: u8 = 8;

/// No report is near this long; a longer one is a mistake on the way.
const LONGEST_REPORT: usize = 16 << 20;

/// What the supervisor is started with.
#[derive(Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) spec: SandboxSpec,
    pub(crate) connection: Connection,
    pub(crate) emulated: bool,
}

/// What the sandbox tells.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) enum Report {
    /// The orders have arrived; descriptors of the supervisor and of pid 1 come along.
    Started,
    /// A socket is listening, its descriptor comes along; connections are to be carried to `source`.
    Listening { source: PathBuf },
    /// The command has a terminal; a descriptor of its other side comes along.
    Terminal,
    /// Everything is mounted; this was created to mount on.
    Mounted(Stubs),
    /// A step of the plan was refused; nothing was run.
    Failed { step: String, errno: i32, path: Option<PathBuf>, meaning: Option<String> },
    /// The command could not be executed. `head` is what the file begins with that the kernel could make nothing of.
    NotExecutable { errno: i32, head: Vec<u8> },
    /// The most memory that one process of the sandbox had, in bytes; an end follows.
    PeakMemory(u64),
    /// Pid 1 exited with this code.
    Exited(i32),
    /// Pid 1 was killed by this signal.
    Signalled(i32),
}

/// Writes one frame.
pub(crate) fn send<T: Serialize>(socket: &mut UnixStream, message: &T) -> io::Result<()> {
    socket.write_all(&frame(message)?)
}

/// Writes one frame with descriptors.
pub(crate) fn send_with_descriptors<T: Serialize>(socket: &UnixStream, message: &T, all: &[RawFd]) -> io::Result<()> {
    let frame = frame(message)?;
    let control = [ControlMessage::ScmRights(all)];
    let sent = sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&frame)], &control, MsgFlags::MSG_NOSIGNAL, None)?;
    // A short write is possible in theory; the rest needs no descriptor.
    (&*socket).write_all(&frame[sent..])
}

/// Hands over descriptors.
pub(crate) fn send_descriptors(socket: impl AsFd, all: &[RawFd]) -> io::Result<()> {
    send_with_note(socket, 0, all)
}

/// How many descriptors come at once at the most: a cgroup in each hierarchy, of which a machine with version 1 has a dozen.
const MOST_DESCRIPTORS: usize = 64;

/// Takes what was handed over with one [`send_descriptors`]. None at all: the other side has hung up.
pub(crate) fn receive_descriptors(socket: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    Ok(receive_with_note(socket)?.1)
}

/// Hands over descriptors, with one byte to carry them all, which may mean something.
pub(crate) fn send_with_note(socket: impl AsFd, note: u8, all: &[RawFd]) -> io::Result<()> {
    let control = [ControlMessage::ScmRights(all)];
    sendmsg::<()>(socket.as_fd().as_raw_fd(), &[IoSlice::new(&[note])], &control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Takes what was handed over with one [`send_with_note`].
pub(crate) fn receive_with_note(socket: impl AsFd) -> io::Result<(u8, Vec<OwnedFd>)> {
    let mut byte = [0];
    let mut control = nix::cmsg_space!([RawFd; MOST_DESCRIPTORS]);
    let mut slices = [IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut slices, Some(&mut control), flags)?;
    let mut all = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = message {
            all.extend(fds.into_iter().map(super::system::own));
        }
    }
    Ok((byte[0], all))
}

/// Reads one frame; used by the sandbox, which gets no descriptors.
pub(crate) fn receive<T: DeserializeOwned>(socket: &mut UnixStream) -> io::Result<T> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    socket.read_exact(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

fn frame<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = u32::try_from(bytes.len() - 4).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// The executor's reading end: takes what is there without waiting, and gives whole reports.
#[derive(Default)]
pub(crate) struct Reports {
    bytes: Vec<u8>,
    descriptors: std::collections::VecDeque<OwnedFd>,
}

impl Reports {
    /// Reads once. `false` when the other side has hung up.
    pub(crate) fn fill(&mut self, socket: &UnixStream) -> io::Result<bool> {
        let mut chunk = [0u8; 4096];
        let mut control = nix::cmsg_space!([RawFd; 8]);
        let mut slices = [IoSliceMut::new(&mut chunk)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received = match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
            Ok(received) => received,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok(true),
            Err(nix::errno::Errno::ECONNRESET) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        for message in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = message {
                self.descriptors.extend(fds.into_iter().map(super::system::own));
            }
        }
        let length = received.bytes;
        self.bytes.extend_from_slice(&chunk[..length]);
        Ok(length > 0)
    }

    /// Takes the next whole report.
    pub(crate) fn next(&mut self) -> io::Result<Option<Report>> {
        let Some(head) = self.bytes.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*head) as usize;
        if length > LONGEST_REPORT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if self.bytes.len() < 4 + length {
            return Ok(None);
        }
        let report = serde_json::from_slice(&self.bytes[4..4 + length])?;
        self.bytes.drain(..4 + length);
        Ok(Some(report))
    }

    /// Takes the descriptor that came with a report.
    pub(crate) fn next_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }
}
