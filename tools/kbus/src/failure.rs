// SPDX-License-Identifier: GPL-2.0
//! How a subcommand fails: one sentence, a hint, and an exit code that never changes its meaning.

use std::fmt::Display;
use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::process::ExitCode;

use kbus::ErrorKind;
use kbus::NameError;
use serde_json::json;

/// What a subcommand returns.
pub type Outcome = Result<(), Failure>;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// The exit codes. Scripts depend on them: none changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Code {
            $(#[doc = $text] $name = $number,)*
        }

        impl Code {
            /// Each with what the man page says of it.
            pub const ALL: &[(Code, &str)] = &[$((Code::$name, $text)),*];
        }
    };
}

codes! {
    Success = 0, "All was done. For listen and serve also: Ctrl-C has ended it. For all: whoever reads the \
        standard output has closed it.";
    Error = 1, "Something else went wrong.";
    Usage = 2, "The command line is wrong: an unknown option, a malformed name, a value out of range.";
    Unavailable = 3, "There is no KBUS: the module is not loaded, or a sandbox keeps this program from it.";
    Permission = 4, "This user may not.";
    Timeout = 5, "The time given by --timeout was over.";
    NoReplier = 6, "Nobody is replier for the name.";
    Full = 7, "A queue is full.";
    Limit = 8, "A limit of this user or of the bus is reached.";
    TooLong = 9, "The payload is larger than the bus allows.";
    GoneAway = 10, "call: the replier closed before it read the request.";
    Ignored = 11, "call: the replier read the request and gave no reply.";
    Unbound = 12, "call: the replier gave up the name before it read the request.";
    OtherStatus = 13, "call: there is no reply for a reason that this version does not know.";
    ErrorReply = 14, "call: the reply says that the request failed.";
    OtherReplier = 15, "call --to: somebody else is the replier now.";
    ReplierExists = 16, "serve: somebody is replier for this name already.";
    Interrupted = 130, "Ctrl-C has ended it before all was done.";
}

/// Why it was not done.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    /// One sentence, without a full stop; empty: nothing is to be said.
    text: String,
    /// What to do next, one sentence as well.
    hint: Option<String>,
}

impl Failure {
    /// One sentence that begins in lower case and ends without a full stop.
    pub fn new(code: Code, text: impl Display) -> Failure {
        Failure {
            code,
            text: text.to_string(),
            hint: None,
        }
    }

    /// What was typed is wrong.
    pub fn usage(text: impl Display) -> Failure {
        Failure::new(Code::Usage, text)
    }

    /// An exit code with nothing said.
    pub fn silent(code: Code) -> Failure {
        Failure::new(code, "")
    }

    /// With what to do next.
    pub fn hint(mut self, hint: impl Display) -> Failure {
        self.hint = Some(hint.to_string());
        self
    }

    /// With that before the sentence.
    pub fn before(mut self, text: impl Display) -> Failure {
        self.text = format!("{text}: {}", self.text);
        self
    }

    /// With that after it. What says nothing still says nothing.
    pub fn after(mut self, text: impl Display) -> Failure {
        if !self.text.is_empty() {
            self.text += &format!("; {text}");
        }
        self
    }

    /// Its exit code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The sentence.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// That this file could not be read or written. A closed pipe is no error of this kind: see
    /// [`Output`](crate::output::Output).
    pub fn io(what: impl Display, error: &io::Error) -> Failure {
        let text = error.to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        let code = match error.kind() {
            io::ErrorKind::PermissionDenied => Code::Permission,
            _ => Code::Error,
        };
        Failure::new(code, format_args!("{what}: {text}"))
    }

    /// Says it on the standard error, and returns the exit code. With `json` it is an object.
    pub fn report(&self, json: bool) -> ExitCode {
        if !self.text.is_empty() {
            let mut err = io::stderr().lock();
            // If nobody reads it there is nobody to tell.
            let _ = if json {
                let value = json!({"error": self.text, "hint": self.hint, "code": self.code as u8});
                writeln!(err, "{value}")
            } else {
                match &self.hint {
                    Some(hint) => writeln!(err, "kbus: {}\nhint: {hint}", self.text),
                    None => writeln!(err, "kbus: {}", self.text),
                }
            };
        }
        ExitCode::from(self.code as u8)
    }
}

/// Says something on the standard error: progress, a summary.
pub fn note(text: impl Display) {
    // If nobody reads it there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{}kbus: {text}", begin());
}

/// What a line on the standard error begins with: on a terminal it takes the place of the `^C` that
/// Ctrl-C has left there.
fn begin() -> &'static str {
    if io::stderr().is_terminal() {
        "\r"
    } else {
        ""
    }
}

/// Says at the end what was done.
pub fn summary(text: impl Display) {
    // If nobody reads it there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{}{text}", begin());
}

/// The same, if somebody looks at it.
pub fn progress(text: impl Display) {
    if io::stderr().is_terminal() {
        note(text);
    }
}

/// Says what clap has to say: the help on the standard output, an error on the other one, in one
/// sentence like all others.
pub fn usage(error: &clap::Error, json: bool) -> ExitCode {
    if !error.use_stderr() {
        // A closed pipe is no error.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    if !text.starts_with("error: ") {
        // The help, as nothing was asked for.
        let _ = write!(io::stderr().lock(), "{text}");
        return ExitCode::from(Code::Usage as u8);
    }
    let parts: Vec<String> = text
        .trim_start_matches("error: ")
        .split("\n\n")
        .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let failure = Failure::usage(parts.first().map_or("", |part| part.trim_end_matches('.')));
    let tips = parts.iter().filter_map(|part| part.strip_prefix("tip: "));
    let usage = parts.iter().find_map(|part| part.strip_prefix("Usage: "));
    let hints: Vec<String> = tips
        .map(str::to_owned)
        .chain(usage.map(|usage| format!("usage: {usage}")))
        .chain(["--help says more".to_owned()])
        .collect();
    failure.hint(hints.join("; ")).report(json)
}

impl From<kbus::Error> for Failure {
    fn from(error: kbus::Error) -> Failure {
        let (code, hint) = match error.kind() {
            ErrorKind::Unavailable => (
                Code::Unavailable,
                "`kbus doctor` says what is missing, and what mends it",
            ),
            ErrorKind::PermissionDenied => (Code::Permission, "`kbus list` shows who owns a bus"),
            ErrorKind::InvalidInput => (Code::Usage, ""),
            ErrorKind::Path => (Code::Usage, "`kbus list` shows the buses that there are"),
            ErrorKind::TooLong => (
                Code::TooLong,
                "the owner of the bus can raise KBUS_MAX_MSG_SIZE, to 16 MiB at most",
            ),
            ErrorKind::NoReplier => (
                Code::NoReplier,
                "`kbus wait NAME` waits for one, `kbus list` shows who there is",
            ),
            ErrorKind::OtherReplier => (
                Code::OtherReplier,
                "call without --to asks whoever is replier",
            ),
            ErrorKind::ReplierExists => (Code::ReplierExists, "`kbus list` shows who it is"),
            ErrorKind::QueueFull | ErrorKind::WouldBlock | ErrorKind::Deadlock => {
                (Code::Full, "`kbus why NAME` says whose queue it is")
            }
            ErrorKind::NoRoomForReply | ErrorKind::Quota => (
                Code::Limit,
                "`kbus doctor` shows the limits and who holds what",
            ),
            ErrorKind::TimedOut => (Code::Timeout, ""),
            _ => (Code::Error, ""),
        };
        let failure = Failure::new(code, error);
        match hint {
            "" => failure,
            hint => failure.hint(hint),
        }
    }
}

impl From<kbus::BusError> for Failure {
    fn from(error: kbus::BusError) -> Failure {
        Failure::usage(error)
            .hint("a bus is @NAME, such as @kbus-0, or a path, such as /run/kbus/av")
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Failure {
        let hint = match error {
            NameError::Wildcard(_) => "`kbus listen` takes wildcards, and `kbus list` shows names",
            _ => "in a shell a name stands best between single quotes: '$.Sensors.Kitchen'",
        };
        Failure::usage(error).hint(hint)
    }
}
