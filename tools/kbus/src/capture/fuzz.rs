// SPDX-License-Identifier: GPL-2.0
//! Both readers, given files that are whole, cut off, and damaged in many ways.

use super::pcapng;
use super::record;
use super::Kind;
use super::Packet;
use super::ReadError;
use super::Reader;
use super::Sender;

/// How many damaged files each reader is given.
const FILES: u64 = 20_000;

/// Numbers that look random and are the same each time (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn packets() -> Vec<Packet> {
    let names = [
        "$.A",
        "$.Sensors.Kitchen",
        "$.KBUS.Lost",
        &format!("$.{}", "x".repeat(998)),
    ];
    let all = Kind::ALL.iter().cycle().zip(0..12);
    all.map(|(kind, number)| Packet {
        time: 1_700_000_000_123_456_789 + number * 1_000_003,
        kind: *kind,
        flags: 0xabc0_0003,
        id: u64::MAX - number,
        in_reply_to: number,
        peer: 0x1f + number,
        to: 7 * number,
        lost: number as u32 % 3,
        error: -(number as i32),
        sender: (number % 2 == 0).then_some(Sender {
            pid: 41 + number as u32,
            uid: 1000,
            gid: 100,
        }),
        name: names[number as usize % 4].parse().unwrap(),
        payload: (0..number as usize * 37).map(|byte| byte as u8).collect(),
    })
    .collect()
}

fn record_file(packets: &[Packet]) -> Vec<u8> {
    let mut writer = record::Writer::new(Vec::new(), "@kbus-0").unwrap();
    for packet in packets {
        writer.packet(packet).unwrap();
    }
    writer.finish().unwrap()
}

fn pcapng_file(packets: &[Packet]) -> Vec<u8> {
    let mut writer = pcapng::Writer::new(Vec::new(), "@kbus-0").unwrap();
    for packet in packets {
        writer.packet(packet).unwrap();
    }
    writer.finish().unwrap()
}

/// Reads a file to its end.
fn read(file: &[u8]) -> (Vec<Packet>, Result<(), ReadError>) {
    let mut packets = Vec::new();
    let mut reader = match Reader::new(file) {
        Ok(reader) => reader,
        Err(error) => return (packets, Err(error)),
    };
    loop {
        match reader.next_packet() {
            Ok(Some(packet)) => packets.push(packet),
            Ok(None) => return (packets, Ok(())),
            Err(error) => return (packets, Err(error)),
        }
    }
}

/// An error says where it is, inside the file, in one line.
fn check(error: &ReadError, file: &[u8]) {
    let ReadError::Bad { offset, what } = error else {
        panic!("{error} of bytes in memory");
    };
    assert!(
        *offset <= file.len() as u64,
        "{error} of {} bytes",
        file.len()
    );
    assert!(!what.is_empty() && !what.contains('\n'), "{what:?}");
}

/// What was written is read, in both formats.
#[test]
fn packets_come_back() {
    let packets = packets();
    for file in [record_file(&packets), pcapng_file(&packets)] {
        let (read, result) = read(&file);
        assert_eq!(read, packets);
        result.unwrap();
        let mut reader = Reader::new(&file[..]).unwrap();
        reader.next_packet().unwrap();
        assert_eq!(reader.bus(), Some("@kbus-0"));
    }
}

/// A record file that was cut off anywhere says so, and what is before that is read.
#[test]
fn a_cut_record_file_is_noticed() {
    let packets = packets();
    let file = record_file(&packets);
    for len in 0..file.len() {
        let (read, result) = read(&file[..len]);
        assert_eq!(read, packets[..read.len()]);
        check(&result.expect_err("it is cut off"), &file[..len]);
    }
}

/// A record file in which any one bit has changed says so, and gives no wrong packet.
#[test]
fn a_changed_bit_in_a_record_file_is_noticed() {
    let packets = packets();
    let file = record_file(&packets);
    for at in 0..file.len() {
        let mut file = file.clone();
        file[at] ^= 1 << (at % 8);
        let (read, result) = read(&file);
        assert_eq!(read, packets[..read.len()], "byte {at}");
        check(&result.expect_err("it is damaged"), &file);
    }
}

/// A pcapng file that was cut off inside a block says so.
#[test]
fn a_cut_pcapng_file_is_noticed() {
    let packets = packets();
    let file = pcapng_file(&packets);
    let mut whole = 0;
    for len in 0..file.len() {
        let (read, result) = read(&file[..len]);
        assert_eq!(read, packets[..read.len()]);
        match result {
            Ok(()) => whole += 1,
            Err(error) => check(&error, &file[..len]),
        }
    }
    // After the section, after the interface, and after each packet.
    assert_eq!(whole, 2 + packets.len());
}

/// Changes a file in a few places: bytes, lengths, pieces that go or come twice.
fn damage(file: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(file.len());
        match random.below(6) {
            0 => file.truncate(at),
            1 => {
                let end = (at + random.below(40)).min(file.len());
                file.drain(at..end);
            }
            2 => {
                let end = (at + random.below(40)).min(file.len());
                let piece = file[at..end].to_vec();
                let to = random.below(file.len());
                file.splice(to..to, piece);
            }
            3 => {
                let word = [
                    0,
                    1,
                    3,
                    4,
                    12,
                    0x7fff_ffff,
                    0x8000_0000,
                    u32::MAX,
                    0x100_0000,
                ];
                let word: u32 = word[random.below(word.len())];
                let bytes = [word.to_le_bytes(), word.to_be_bytes()][random.below(2)];
                let at = at / 4 * 4;
                for (to, from) in file.iter_mut().skip(at).zip(bytes) {
                    *to = from;
                }
            }
            _ => {
                if let Some(byte) = file.get_mut(at) {
                    *byte = random.next() as u8;
                }
            }
        }
    }
}

/// Whatever is in a file, the readers end, and say where it is damaged. (They take no memory for
/// lengths that are not there: 20,000 files that claim gigabytes are read in seconds.)
#[test]
fn damaged_files_give_one_sentence() {
    let packets = packets();
    let mut random = Random(1);
    for whole in [record_file(&packets), pcapng_file(&packets)] {
        let mut errors = 0;
        for _ in 0..FILES {
            let mut file = whole.clone();
            damage(&mut file, &mut random);
            if let (_, Err(error)) = read(&file) {
                check(&error, &file);
                errors += 1;
            }
        }
        assert!(errors > FILES / 2, "only {errors} of {FILES} were noticed");
    }
}

/// So it is with bytes that never were such a file, behind a beginning that looks like one.
#[test]
fn rubbish_gives_one_sentence() {
    let mut random = Random(2);
    for number in 0..FILES {
        let mut file: Vec<u8> = match number % 3 {
            0 => Vec::new(),
            1 => record::MAGIC.to_vec(),
            _ => pcapng_file(&[])[..(28 + 16)].to_vec(),
        };
        for _ in 0..random.below(200) {
            // Small numbers are lengths that fit more often.
            file.push(random.next() as u8 & [0xff, 0x0f, 0][random.below(3)]);
        }
        if let (_, Err(error)) = read(&file) {
            check(&error, &file);
        }
    }
}

/// The same packets in a file of the other byte order, with another clock, unknown blocks, and an
/// interface of something else, as other programs write it.
#[test]
fn pcapng_of_other_programs_is_read() {
    let mut file = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        file.extend(kind.to_be_bytes());
        file.extend((body.len() as u32 + 12).to_be_bytes());
        file.extend(body);
        file.extend((body.len() as u32 + 12).to_be_bytes());
    };
    let section = [
        &0x1a2b_3c4d_u32.to_be_bytes()[..],
        &[0, 1, 0, 0],
        &[0xff; 8],
    ]
    .concat();
    let packet = &packets()[0];
    let bytes = packet.encode();
    let enhanced = |interface: u32, bytes: &[u8]| {
        let len = (bytes.len() as u32).to_be_bytes();
        // 2^32 + 5 microseconds.
        let head = [
            interface.to_be_bytes(),
            [0, 0, 0, 1],
            [0, 0, 0, 5],
            len,
            len,
        ];
        let mut body = [&head.concat(), bytes].concat();
        body.resize(body.len().next_multiple_of(4), 0);
        body
    };
    block(0x0a0d_0d0a, &section);
    block(1, &[0, 1, 0, 0, 0, 0, 0, 0]); // Ethernet
    block(1, &[0, 147, 0, 0, 0, 0, 0, 0]);
    block(0xbad, b"unknown!");
    block(6, &enhanced(0, b"no kbus packet"));
    block(6, &enhanced(1, &bytes));
    let (read, result) = read(&file);
    result.unwrap();
    let time = ((1 << 32) + 5) * 1000;
    assert_eq!(
        read,
        [Packet {
            time,
            ..packet.clone()
        }]
    );
}
