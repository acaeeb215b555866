// SPDX-License-Identifier: GPL-2.0
//! What is to be sent.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kbus::Socket;

use crate::failure::Code;
use crate::failure::Failure;

/// The argument DATA of a subcommand.
#[derive(Debug, clap::Args)]
pub struct Data {
    /// The payload: text, - for the standard input, @FILE for a file [default: empty]
    #[arg(value_name = "DATA")]
    pub data: Option<OsString>,
    /// Take DATA as it is, also if it is - or begins with @
    #[arg(long, requires = "data")]
    pub literal: bool,
}

/// Where a payload comes from.
#[derive(Debug)]
pub enum Source {
    /// The command line.
    Text(Vec<u8>),
    /// A file, and what errors call it.
    File(File, String),
}

impl Data {
    /// Opens it.
    pub fn source(&self) -> Result<Source, Failure> {
        let Some(data) = &self.data else {
            return Ok(Source::Text(Vec::new()));
        };
        match data.as_bytes() {
            text if self.literal => Ok(Source::Text(text.to_vec())),
            b"-" => stdin(),
            [b'@', path @ ..] => {
                let path = Path::new(std::ffi::OsStr::from_bytes(path));
                let name = path.display().to_string();
                let file = File::open(path);
                let file = file.map_err(|error| {
                    Failure::io(format_args!("cannot read {name}"), &error)
                        .hint("DATA that begins with @ names a file; --literal sends it as it is")
                })?;
                Ok(Source::File(file, name))
            }
            text => Ok(Source::Text(text.to_vec())),
        }
    }
}

/// The standard input.
pub fn stdin() -> Result<Source, Failure> {
    let fd: io::Result<OwnedFd> = io::stdin().as_fd().try_clone_to_owned();
    let fd = fd.map_err(|error| Failure::io("cannot read the standard input", &error))?;
    Ok(Source::File(
        File::from(fd),
        "the standard input".to_owned(),
    ))
}

impl Source {
    /// All of it, if the bus takes a payload of that length.
    pub fn read(self, socket: &Socket) -> Result<Vec<u8>, Failure> {
        let limit = socket.max_message()?;
        let (payload, whole) = match self {
            Source::Text(text) => (text, true),
            Source::File(mut file, name) => {
                let mut payload = Vec::new();
                let read = Read::by_ref(&mut file).take(u64::from(limit) + 1);
                let result = { read }.read_to_end(&mut payload);
                result.map_err(|error| Failure::io(format_args!("cannot read {name}"), &error))?;
                let size = file.metadata().ok().filter(|file| file.is_file());
                if let Some(size) = size.map(|file| file.len()) {
                    if size > u64::from(limit) && payload.len() as u64 > u64::from(limit) {
                        return Err(too_long(Some(size), limit, socket).after("nothing was sent"));
                    }
                }
                (payload, false)
            }
        };
        if payload.len() > limit as usize {
            let len = whole.then_some(payload.len() as u64);
            return Err(too_long(len, limit, socket).after("nothing was sent"));
        }
        Ok(payload)
    }
}

/// A payload of that length, or longer than the limit, is not sent.
pub fn too_long(len: Option<u64>, limit: u32, socket: &Socket) -> Failure {
    let has = len
        .map(|len| format!("has {len} bytes"))
        .unwrap_or("is too long".to_owned());
    let bus = socket.bus();
    let text = format!("the payload {has}, the bus {bus} allows {limit}");
    Failure::new(Code::TooLong, text)
        .hint("the owner of the bus can raise KBUS_MAX_MSG_SIZE, to 16777216 at most")
}
