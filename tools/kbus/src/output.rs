// SPDX-License-Identifier: GPL-2.0
//! The standard output: lines, JSON, bytes; colours where somebody looks at them.

use std::env;
use std::fmt;
use std::fmt::Display;
use std::io;
use std::io::IsTerminal;
use std::io::StdoutLock;
use std::io::Write;

use serde_json::Value;

use crate::cli::ColorChoice;
use crate::failure::Code;
use crate::failure::Failure;

/// The standard output. That its reader has closed it ends the command quietly, with exit code 0:
/// each function returns a [`Failure`] that does so.
#[derive(Debug)]
pub struct Output {
    out: StdoutLock<'static>,
    colours: bool,
    terminal: bool,
}

/// How a piece of text looks where there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code)]
pub enum Style {
    /// As it is.
    Plain,
    /// What matters most.
    Bold,
    /// What matters least.
    Dim,
    /// An error.
    Red,
    /// A success.
    Green,
    /// A warning.
    Yellow,
    /// A name.
    Blue,
    /// A kind.
    Cyan,
    /// A number.
    Magenta,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Style::Plain => "0",
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Red => "31",
            Style::Green => "32",
            Style::Yellow => "33",
            Style::Blue => "34",
            Style::Cyan => "36",
            Style::Magenta => "35",
        }
    }
}

/// Text in a style, see [`Output::paint`].
#[derive(Debug)]
pub struct Painted<T> {
    text: T,
    style: Option<Style>,
}

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.style {
            None | Some(Style::Plain) => self.text.fmt(f),
            Some(style) => {
                write!(f, "\x1b[{}m", style.code())?;
                self.text.fmt(f)?;
                f.write_str("\x1b[0m")
            }
        }
    }
}

impl Output {
    /// With colours as the user chooses.
    pub fn new(choice: ColorChoice) -> Output {
        let out = io::stdout().lock();
        let terminal = out.is_terminal();
        let wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && env::var_os("TERM").is_none_or(|term| term != "dumb");
        let colours = match choice {
            ColorChoice::Auto => terminal && wanted,
            ColorChoice::Always => true,
            ColorChoice::Never => false,
        };
        Output {
            out,
            colours,
            terminal,
        }
    }

    /// Whether somebody looks at it: progress is for a terminal alone.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// The text in that style, if there are colours.
    pub fn paint<T: Display>(&self, style: Style, text: T) -> Painted<T> {
        let style = self.colours.then_some(style);
        Painted { text, style }
    }

    /// A line, at once.
    pub fn line(&mut self, text: impl Display) -> Result<(), Failure> {
        let result = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
        result.map_err(|error| failure(&error))
    }

    /// An object of JSON in a line of its own, at once.
    pub fn json(&mut self, value: &Value) -> Result<(), Failure> {
        self.line(value)
    }

    /// Bytes as they are, at once.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let result = self.out.write_all(bytes).and_then(|()| self.out.flush());
        result.map_err(|error| failure(&error))
    }
}

/// What it means that the standard output cannot be written to.
fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::silent(Code::Success),
        _ => Failure::io("cannot write to the standard output", error),
    }
}
