// SPDX-License-Identifier: GPL-2.0
//! The bytes of addresses and names that programs speak of.

use kbus_selftests::sys::uapi;

/// Where buses at paths are.
pub const FOLDER: &str = "/tmp/kbus-fuzz";

/// An address that cannot be read.
pub const FAULT: &[u8] = b"fault";

/// The bytes of a name.
pub fn name(word: &str) -> Vec<u8> {
    let long = |len: usize| format!("$.{}", "x".repeat(len - 2)).into_bytes();
    match word {
        "long73" => long(73),
        "long74" => long(74),
        "long1000" => long(1000),
        "long1001" => long(1001),
        "deep" => format!("${}", ".d".repeat(499)).into_bytes(),
        "int0" => 0_u32.to_ne_bytes().to_vec(),
        "int1" => 1_u32.to_ne_bytes().to_vec(),
        "int2" => 2_u32.to_ne_bytes().to_vec(),
        "empty" => Vec::new(),
        "byte255" => b"$.\xff".to_vec(),
        text => text.as_bytes().to_vec(),
    }
}

/// An address of this family and these bytes.
fn address(family: u16, path: &[u8]) -> Vec<u8> {
    let mut bytes = family.to_ne_bytes().to_vec();
    bytes.extend_from_slice(path);
    bytes
}

/// The path of a bus, if it is at one.
pub fn path(bus: &str) -> Option<String> {
    let name = match bus {
        name @ ("p0" | "p1" | "link" | "dangling" | "folder" | "file" | "loop") => name,
        "missing" => "none/p",
        "closed" => "closed/p",
        _ => return None,
    };
    Some(format!("{FOLDER}/{name}"))
}

/// The address of a bus.
pub fn bus(word: &str, family: u16) -> Vec<u8> {
    if let Some(path) = path(word) {
        return address(family, path.as_bytes());
    }
    match word {
        "empty" => address(family, b""),
        "nul" => address(family, b"\0"),
        "long" => address(family, &[[0].as_slice(), &[b'l'; 107]].concat()),
        "longer" => address(family, &[[0].as_slice(), &[b'l'; 109]].concat()),
        "family" => address(libc::AF_INET as u16, b"\0fuzz-a0"),
        "short" => vec![1],
        "fault" => FAULT.to_vec(),
        name => address(family, format!("\0fuzz-{name}").as_bytes()),
    }
}

/// What an address of a message may speak of.
#[derive(Debug)]
pub struct Context {
    /// Of the socket that sends.
    pub family: u16,
    /// Of the socket that is named.
    pub peer: u64,
    /// Addresses of a request that this socket owes, that another one owes, that it has answered.
    pub owed: [Option<Vec<u8>>; 3],
}

/// The address of a message; `None` is no address at all.
pub fn dest(to: &str, name_word: &str, about: &Context) -> Option<Vec<u8>> {
    let Context { family, peer, owed } = about;
    let text = String::from_utf8_lossy(&name(name_word)).into_owned();
    let full = |text: String| Some(address(*family, format!("{text}\0").as_bytes()));
    // `name@peer#request` of a request, without its name.
    let tail = |request: &Option<Vec<u8>>| {
        let bytes = request.as_deref().unwrap_or(b"..$.A@1#1\0");
        let text = String::from_utf8_lossy(&bytes[2..]).into_owned();
        let at = text.find('@').unwrap_or(0);
        text[at..].trim_end_matches('\0').to_string()
    };
    let whole = |request: &Option<Vec<u8>>| {
        let fallback = || address(*family, b"$.A@1#1");
        Some(request.clone().unwrap_or_else(fallback))
    };
    match to {
        "name" => full(text),
        "reply" => whole(&owed[0]),
        "others-reply" => whole(&owed[1]),
        "old-reply" => whole(&owed[2]),
        "peer" => full(format!("{text}@{peer:x}")),
        "bare-reply" => full(format!("$.{}", tail(&owed[0]))),
        "bare-peer" => full(format!("$.@{peer:x}")),
        "misnamed-reply" => full(format!("{text}{}", tail(&owed[0]))),
        "peer0" => full(format!("{text}@0")),
        "bad-peer" => full(format!("{text}@g")),
        "bad-request" => full(format!("{text}@{peer:x}#")),
        "upper" => full(format!("{text}@ABCDEF")),
        "zeroes" => full(format!("{text}@0{peer:x}")),
        "unspec" => Some(vec![0; 16]),
        "family" => Some(address(libc::AF_INET as u16, text.as_bytes())),
        "short" => Some(vec![1]),
        "longer" => Some(address(*family, &[b'l'; 120])),
        "no-nul" => Some(address(*family, text.as_bytes())),
        "fault" => Some(FAULT.to_vec()),
        _ => None,
    }
}

/// The id of a request that has to be answered, from the address that it came from.
pub fn request_id(from: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(from.get(2..)?).ok()?;
    let (_, id) = text.trim_end_matches('\0').rsplit_once('#')?;
    u64::from_str_radix(id, 16).ok()
}

/// The family of a form of `socket()`.
pub fn family(literal: bool) -> u16 {
    if literal {
        libc::AF_UNIX as u16
    } else {
        uapi::AF_KBUS as u16
    }
}
