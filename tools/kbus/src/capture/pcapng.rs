// SPDX-License-Identifier: GPL-2.0
//! pcapng files: one section, one interface, one Enhanced Packet Block for each message.
//!
//! The link type is `LINKTYPE_USER0` (147), which is for everybody's own use; each packet is the
//! bytes of [`super`]. Times are in nanoseconds (`if_tsresol` 9). `if_name` is the bus. At the end
//! an Interface Statistics Block has in `isb_ifdrop` how many messages the monitor missed.
//! `tools/wireshark/kbus.lua` shows such files in Wireshark.
//!
//! The reader takes what other programs write as well: either byte order, any time resolution,
//! several sections and interfaces, blocks that it does not know.

use std::io;
use std::io::Read;
use std::io::Write;

use super::Input;
use super::Kind;
use super::Packet;
use super::ReadError;
use super::PACKET_MAX;

/// The type of the block that a file begins with. It reads the same in both byte orders.
pub const MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// `LINKTYPE_USER0`.
const LINK_TYPE: u16 = 147;
/// The options that are written or read.
const END: u16 = 0;
const USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;
/// The longest block that is read.
const BLOCK_MAX: usize = PACKET_MAX + (1 << 16);

/// Writes such a file.
pub struct Writer<W> {
    to: W,
    received: u64,
    lost: u64,
    last: u64,
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body);
}

/// The two halves of a time, the upper one first.
fn halves(time: u64) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h] = time.to_le_bytes();
    [e, f, g, h, a, b, c, d]
}

impl<W: Write> Writer<W> {
    /// Begins a file of that bus.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn new(to: W, bus: &str) -> io::Result<Writer<W>> {
        let mut writer = Writer {
            to,
            received: 0,
            lost: 0,
            last: 0,
        };
        let mut body = BYTE_ORDER.to_le_bytes().to_vec();
        body.extend([1, 0, 0, 0]);
        body.extend(u64::MAX.to_le_bytes());
        let program = concat!("kbus ", env!("CARGO_PKG_VERSION"));
        option(&mut body, USERAPPL, program.as_bytes());
        option(&mut body, END, &[]);
        writer.block(SECTION, &body)?;
        let mut body = LINK_TYPE.to_le_bytes().to_vec();
        // No limit to the bytes of a packet.
        body.extend([0; 6]);
        option(&mut body, IF_NAME, bus.as_bytes());
        option(&mut body, IF_TSRESOL, &[9]);
        option(&mut body, END, &[]);
        writer.block(INTERFACE, &body)?;
        Ok(writer)
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let len = u32::try_from(body.len() + 12).map_err(io::Error::other)?;
        self.to.write_all(&kind.to_le_bytes())?;
        self.to.write_all(&len.to_le_bytes())?;
        self.to.write_all(body)?;
        self.to.write_all(&len.to_le_bytes())
    }

    /// Adds a packet.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn packet(&mut self, packet: &Packet) -> io::Result<()> {
        let bytes = packet.encode();
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut body = Vec::with_capacity(bytes.len() + 24);
        body.extend([0; 4]);
        body.extend(halves(packet.time));
        body.extend(len.to_le_bytes());
        body.extend(len.to_le_bytes());
        body.extend(bytes);
        pad(&mut body);
        self.block(PACKET, &body)?;
        self.lost += u64::from(packet.lost);
        self.received += u64::from(packet.kind != Kind::Lost);
        self.last = self.last.max(packet.time);
        Ok(())
    }

    /// Hands over what is buffered.
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
        let mut body = vec![0; 4];
        body.extend(halves(self.last));
        option(&mut body, ISB_IFRECV, &self.received.to_le_bytes());
        option(&mut body, ISB_IFDROP, &self.lost.to_le_bytes());
        option(&mut body, END, &[]);
        self.block(STATISTICS, &body)?;
        self.to.flush()?;
        Ok(self.to)
    }
}

/// An interface of a file: where packets come from.
struct Interface {
    link_type: u16,
    /// How many ticks of its clock are a second.
    ticks: u128,
}

/// Reads such a file.
pub struct Reader<R> {
    input: Input<R>,
    big_endian: bool,
    interfaces: Vec<Interface>,
    bus: Option<String>,
}

impl<R: Read> Reader<R> {
    /// `begun` is what has been read already: it begins with the first block's type.
    pub(super) fn after_magic(input: Input<R>, begun: &[u8]) -> Result<Reader<R>, ReadError> {
        let mut reader = Reader {
            input,
            big_endian: false,
            interfaces: Vec::new(),
            bus: None,
        };
        let Some(len) = begun.get(4..8).and_then(|len| len.try_into().ok()) else {
            let end = begun.len() as u64;
            return Input::<R>::bad(end, "the file ends inside its first block");
        };
        reader.section(0, len)?;
        Ok(reader)
    }

    /// The bus that it was made on, if its first interface has a name.
    pub fn bus(&self) -> Option<&str> {
        self.bus.as_deref()
    }

    fn u16(&self, bytes: [u8; 2]) -> u16 {
        match self.big_endian {
            true => u16::from_be_bytes(bytes),
            false => u16::from_le_bytes(bytes),
        }
    }

    fn u32(&self, bytes: [u8; 4]) -> u32 {
        match self.big_endian {
            true => u32::from_be_bytes(bytes),
            false => u32::from_le_bytes(bytes),
        }
    }

    fn u16_at(&self, body: &[u8], at: usize) -> Option<u16> {
        Some(self.u16(*body.get(at..)?.first_chunk()?))
    }

    fn u32_at(&self, body: &[u8], at: usize) -> Option<u32> {
        Some(self.u32(*body.get(at..)?.first_chunk()?))
    }

    /// The rest of a block of that length, after `done` bytes: all but the length at its end.
    fn rest(&mut self, start: u64, len: u32, done: usize) -> Result<Vec<u8>, ReadError> {
        let size = len as usize;
        if size < done + 4 || size % 4 != 0 || size > BLOCK_MAX {
            let what = format!("no block there can be {len} bytes long");
            return Input::<R>::bad(start, what);
        }
        let mut body = self.input.exactly(size - done, "a block")?;
        let end = body.split_off(body.len() - 4);
        if self.u32_at(&end, 0) != Some(len) {
            let what = "the block there does not end with the length that it begins with";
            return Input::<R>::bad(start, what);
        }
        Ok(body)
    }

    /// A section begins: which byte order it has, and no interfaces yet.
    fn section(&mut self, start: u64, len: [u8; 4]) -> Result<(), ReadError> {
        let order: [u8; 4] = self.input.array("a block")?;
        self.big_endian = match order {
            _ if u32::from_le_bytes(order) == BYTE_ORDER => false,
            _ if u32::from_be_bytes(order) == BYTE_ORDER => true,
            _ => return Input::<R>::bad(start, "the section there has no byte order"),
        };
        let len = self.u32(len);
        let body = self.rest(start, len, 12)?;
        match self.u16_at(&body, 0) {
            Some(1) => {}
            Some(major) => {
                let what = format!("version {major} of pcapng is not known");
                return Input::<R>::bad(start, what);
            }
            None => return Input::<R>::bad(start, "the section there is too short"),
        }
        self.interfaces.clear();
        Ok(())
    }

    /// An interface. What cannot be made out of its options is as if it were not there.
    fn interface(&mut self, start: u64, body: &[u8]) -> Result<(), ReadError> {
        let Some(link_type) = self.u16_at(body, 0) else {
            return Input::<R>::bad(start, "the interface there is too short");
        };
        let mut ticks = 1_000_000;
        let mut at = 8;
        while let (Some(code), Some(len)) = (self.u16_at(body, at), self.u16_at(body, at + 2)) {
            let Some(value) = body.get(at + 4..at + 4 + usize::from(len)) else {
                return Input::<R>::bad(start, "the interface there is cut off");
            };
            match (code, value) {
                (END, _) => break,
                (IF_TSRESOL, [exponent]) => {
                    let base = if exponent & 0x80 == 0 { 10 } else { 2 };
                    // A clock that is finer than any there is counts as if it stood still.
                    let ticks_of = |exponent| u128::checked_pow(base, exponent);
                    ticks = ticks_of(u32::from(exponent & 0x7f)).unwrap_or(u128::MAX);
                }
                (IF_NAME, name) if self.bus.is_none() => {
                    self.bus = Some(String::from_utf8_lossy(name).into_owned());
                }
                _ => {}
            }
            at += 4 + usize::from(len).next_multiple_of(4);
        }
        self.interfaces.push(Interface { link_type, ticks });
        Ok(())
    }

    /// A packet, unless it is of an interface that has another kind of traffic.
    fn packet(&self, start: u64, body: &[u8]) -> Result<Option<Packet>, ReadError> {
        let fields = || {
            let at = |at| self.u32_at(body, at);
            Some((at(0)?, at(4)?, at(8)?, at(12)?, at(16)?))
        };
        let Some((number, high, low, captured, len)) = fields() else {
            return Input::<R>::bad(start, "the packet there is too short");
        };
        let Some(interface) = self.interfaces.get(number as usize) else {
            let what = format!("the packet there is of interface {number}, which there is not");
            return Input::<R>::bad(start, what);
        };
        if interface.link_type != LINK_TYPE {
            return Ok(None);
        }
        let Some(bytes) = body
            .get(20..)
            .and_then(|rest| rest.get(..captured as usize))
        else {
            return Input::<R>::bad(start, "the packet there is longer than its block");
        };
        if captured != len {
            let what = "the packet there was captured in part only";
            return Input::<R>::bad(start, what);
        }
        let time = (u128::from(high) << 32) | u128::from(low);
        let time = time.saturating_mul(1_000_000_000) / interface.ticks;
        match Packet::decode(u64::try_from(time).unwrap_or(u64::MAX), bytes) {
            Ok(packet) => Ok(Some(packet)),
            Err(what) => Input::<R>::bad(start, what),
        }
    }

    pub(super) fn next_packet(&mut self) -> Result<Option<Packet>, ReadError> {
        loop {
            let start = self.input.offset;
            let head = self.input.upto(8)?;
            if head.is_empty() {
                return Ok(None);
            }
            let Ok([a, b, c, d, len @ ..]) = <[u8; 8]>::try_from(head) else {
                return Input::<R>::bad(self.input.offset, "the file ends inside a block");
            };
            let kind = self.u32([a, b, c, d]);
            if kind == SECTION {
                self.section(start, len)?;
                continue;
            }
            let len = self.u32(len);
            let body = self.rest(start, len, 8)?;
            match kind {
                INTERFACE => self.interface(start, &body)?,
                PACKET => {
                    if let Some(packet) = self.packet(start, &body)? {
                        return Ok(Some(packet));
                    }
                }
                _ => {}
            }
        }
    }
}
