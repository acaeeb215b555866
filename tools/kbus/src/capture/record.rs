// SPDX-License-Identifier: GPL-2.0
//! Files of `kbus record`.
//!
//! A file begins with the 8 bytes `KBUSREC\n`, a `u16` version, the `u16` length of the bus address
//! and that address, as `@NAME` or a path. The `u32` checksum of all that follows.
//!
//! Then come records: a `u32` length, a `u64` time in nanoseconds since 1970, so many bytes of a
//! packet (see [`super`]), and the `u32` checksum of all these. The last record has the length 0
//! and, in place of the time, the number of records before it: a file without it was cut off.
//!
//! Checksums are the CRC-32 of zip and Ethernet. Numbers are big-endian.

use std::io;
use std::io::Read;
use std::io::Write;

use super::Input;
use super::Packet;
use super::ReadError;
use super::PACKET_MAX;

/// How a file begins.
pub const MAGIC: [u8; 8] = *b"KBUSREC\n";
/// The version of the format.
const VERSION: u16 = 1;

/// The remainders of the 256 bytes, for [`crc32`].
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut rest = at as u32;
        let mut bit = 0;
        while bit < 8 {
            rest = (rest >> 1) ^ (0xedb8_8320 * (rest & 1));
            bit += 1;
        }
        table[at] = rest;
        at += 1;
    }
    table
};

fn crc32<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let bytes = parts.into_iter().flatten();
    !bytes.fold(!0, |sum: u32, byte| {
        (sum >> 8) ^ TABLE[usize::from(sum as u8 ^ byte)]
    })
}

/// Writes such a file.
pub struct Writer<W> {
    to: W,
    count: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a file of that bus.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn new(mut to: W, bus: &str) -> io::Result<Writer<W>> {
        let len = u16::try_from(bus.len()).map_err(io::Error::other)?;
        let mut head = MAGIC.to_vec();
        head.extend(VERSION.to_be_bytes());
        head.extend(len.to_be_bytes());
        head.extend(bus.as_bytes());
        let sum = crc32([&head[..]]);
        to.write_all(&head)?;
        to.write_all(&sum.to_be_bytes())?;
        Ok(Writer { to, count: 0 })
    }

    fn record(&mut self, time: u64, bytes: &[u8]) -> io::Result<()> {
        let mut head = [0; 12];
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        head[..4].copy_from_slice(&len.to_be_bytes());
        head[4..].copy_from_slice(&time.to_be_bytes());
        let sum = crc32([&head[..], bytes]);
        self.to.write_all(&head)?;
        self.to.write_all(bytes)?;
        self.to.write_all(&sum.to_be_bytes())
    }

    /// Adds a packet.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn packet(&mut self, packet: &Packet) -> io::Result<()> {
        self.record(packet.time, &packet.encode())?;
        self.count += 1;
        Ok(())
    }

    /// Hands over what is buffered, so that a file that is cut off now loses none of it.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    /// Ends the file.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.record(self.count, &[])?;
        self.to.flush()?;
        Ok(self.to)
    }
}

/// Reads such a file.
pub struct Reader<R> {
    input: Input<R>,
    bus: String,
    count: u64,
    ended: bool,
}

impl<R: Read> Reader<R> {
    pub(super) fn after_magic(mut input: Input<R>) -> Result<Reader<R>, ReadError> {
        let head: [u8; 4] = input.array("its head")?;
        let [a, b, c, d] = head;
        let (version, len) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        if version != VERSION {
            let what = format!("it is of version {version}, this version of kbus reads {VERSION}");
            return Input::<R>::bad(8, what);
        }
        let bus = input.exactly(len.into(), "its head")?;
        let sum = u32::from_be_bytes(input.array("its head")?);
        if sum != crc32([&MAGIC[..], &head, &bus]) {
            return Input::<R>::bad(0, "its head is damaged");
        }
        Ok(Reader {
            input,
            bus: String::from_utf8_lossy(&bus).into_owned(),
            count: 0,
            ended: false,
        })
    }

    /// The bus that it was made on.
    pub fn bus(&self) -> &str {
        &self.bus
    }

    pub(super) fn next_packet(&mut self) -> Result<Option<Packet>, ReadError> {
        if self.ended {
            return Ok(None);
        }
        let start = self.input.offset;
        let head = self.input.upto(12)?;
        if head.is_empty() {
            let what = "the end of the recording is missing: it was interrupted or cut off here";
            return Input::<R>::bad(start, what);
        }
        let Some(([a, b, c, d], time)) = head.split_first_chunk() else {
            return Input::<R>::bad(self.input.offset, "the file ends inside a record");
        };
        let len = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let Ok(time) = time.try_into().map(u64::from_be_bytes) else {
            return Input::<R>::bad(self.input.offset, "the file ends inside a record");
        };
        if len > PACKET_MAX {
            return Input::<R>::bad(start, format!("no record is as long as {len} bytes"));
        }
        let bytes = self.input.exactly(len, "a record")?;
        let sum = u32::from_be_bytes(self.input.array("a record")?);
        if sum != crc32([&head[..], &bytes]) {
            return Input::<R>::bad(start, "the record there is damaged (its checksum is wrong)");
        }
        if len == 0 {
            if time != self.count {
                let what = format!("there should be {time} records and are {}", self.count);
                return Input::<R>::bad(start, what);
            }
            let end = self.input.offset;
            if !self.input.upto(1)?.is_empty() {
                return Input::<R>::bad(end, "something follows the end of the recording");
            }
            self.ended = true;
            return Ok(None);
        }
        self.count += 1;
        match Packet::decode(time, &bytes) {
            Ok(packet) => Ok(Some(packet)),
            Err(what) => Input::<R>::bad(start, what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksum is the one that other programs call CRC-32.
    #[test]
    fn checksum_is_crc32() {
        assert_eq!(crc32([&b"1234"[..], b"56789"]), 0xcbf4_3926);
    }
}
