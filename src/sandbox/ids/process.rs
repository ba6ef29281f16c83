//! Looking at a process that waits for an answer. All of it may change under the eyes of the looker, but for the arguments of the
//! call itself.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;

use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;
use rustix::fs::{self, CWD, Mode, OFlags};
use rustix::io::{Errno, Result};

/// With the 0 byte (limits.h, `PATH_MAX`).
const LONGEST_PATH: usize = 4096;
/// No smaller page on any machine.
const PAGE: u64 = 4096;

/// A thread, by the number this process knows it by. The current directory is the file system of processes.
#[derive(Clone, Copy)]
pub(super) struct Process(i32);

impl Process {
    pub(super) fn new(tid: i32) -> Self {
        Self(tid)
    }

    pub(super) fn tid(self) -> i32 {
        self.0
    }

    /// Returns the name, in the file system of processes, of what belongs to it.
    pub(super) fn name(self, what: &str) -> String {
        format!("{}/{what}", self.0)
    }

    /// Reads exactly so many bytes.
    pub(super) fn read(self, address: u64, buffer: &mut [u8]) -> Result<()> {
        let wanted = buffer.len();
        let length = self.read_some(address, buffer)?;
        if length == wanted { Ok(()) } else { Err(Errno::FAULT) }
    }

    fn read_some(self, address: u64, buffer: &mut [u8]) -> Result<usize> {
        let base = usize::try_from(address).map_err(|_| Errno::FAULT)?;
        let remote = [RemoteIoVec { base, len: buffer.len() }];
        process_vm_readv(Pid::from_raw(self.0), &mut [IoSliceMut::new(buffer)], &remote).map_err(errno)
    }

    pub(super) fn write(self, address: u64, bytes: &[u8]) -> Result<()> {
        let base = usize::try_from(address).map_err(|_| Errno::FAULT)?;
        let remote = [RemoteIoVec { base, len: bytes.len() }];
        match process_vm_writev(Pid::from_raw(self.0), &[IoSlice::new(bytes)], &remote).map_err(errno)? {
            length if length == bytes.len() => Ok(()),
            _ => Err(Errno::FAULT),
        }
    }

    /// Reads a string up to its 0 byte, at most as long as a path.
    pub(super) fn string(self, mut address: u64) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        // A page at a time: the next may not be there, and need not be.
        while text.len() < LONGEST_PATH {
            let mut page = [0; PAGE as usize];
            let rest = (PAGE - address % PAGE) as usize;
            let length = self.read_some(address, &mut page[..rest])?;
            if let Some(end) = page[..length].iter().position(|byte| *byte == 0) {
                text.extend_from_slice(&page[..end]);
                return Ok(text);
            }
            text.extend_from_slice(&page[..length]);
            address += length as u64;
        }
        Err(Errno::NAMETOOLONG)
    }

    /// Opens what one of its descriptors is open on, or its working directory.
    pub(super) fn descriptor(self, fd: i32) -> Result<OwnedFd> {
        let name = if fd == libc::AT_FDCWD { self.name("cwd") } else { self.name(&format!("fd/{fd}")) };
        fs::openat(CWD, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    }

    /// Reads which permissions it withholds from what it creates.
    pub(super) fn umask(self) -> Result<u32> {
        let status = std::fs::read_to_string(self.name("status")).map_err(|_| Errno::SRCH)?;
        let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).ok_or(Errno::SRCH)
    }
}

fn errno(error: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(error as i32)
}
