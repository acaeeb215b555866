// SPDX-License-Identifier: GPL-2.0
//! Programs: sequences of calls, as text, at random, and changed at random.
//!
//! One call a line: its name, then arguments as `key=value` in any order. What is left out has its default, so that a
//! text stays a program when calls get further arguments.

use std::fmt;

use crate::ops::OPS;
use crate::random::Rng;
use crate::words::Arg;
use crate::words::Kind;
use crate::words::Op;
use crate::words::Word;
use crate::words::COMMON;
use crate::words::NAMES;
use crate::words::SOCKETS;

/// Calls that a program has at most.
const LONGEST: usize = 40;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    op: usize,
    values: Vec<i64>,
}

impl Call {
    fn new(op: usize) -> Call {
        let values = args(op).map(|arg| arg.default).collect();
        Call { op, values }
    }

    /// A call that this program itself makes, in the words of a text.
    pub fn text(line: &str) -> Call {
        Call::parse(line).expect("a call")
    }

    /// What kind of call it is.
    pub fn op(&self) -> &'static Op {
        &OPS[self.op]
    }

    /// Its number among those kinds.
    pub fn number(&self) -> usize {
        self.op
    }

    fn argument(&self, key: &str) -> (&'static Arg, i64) {
        let mut all = args(self.op).zip(&self.values);
        let (arg, value) = all
            .find(|(arg, _)| arg.key == key)
            .expect("a key of the call");
        (arg, *value)
    }

    /// An argument.
    pub fn get(&self, key: &str) -> i64 {
        self.argument(key).1
    }

    /// The socket that an argument names.
    pub fn socket(&self, key: &str) -> Option<usize> {
        let s = usize::try_from(self.get(key)).ok()?;
        (s < SOCKETS).then_some(s)
    }

    /// An argument that is one of some words.
    pub fn word(&self, key: &str) -> &'static str {
        let (arg, value) = self.argument(key);
        arg.kind.word(value).expect("a word of the argument")
    }

    /// Whether an argument that is a set of words has this one.
    pub fn has(&self, key: &str, word: &str) -> bool {
        let (arg, value) = self.argument(key);
        value & arg.kind.number(word).expect("a word of the argument") != 0
    }

    fn random(rng: &mut Rng) -> Call {
        let all: usize = OPS.iter().map(|op| op.weight).sum();
        let mut at = rng.below(all);
        let mut op = 0;
        while at >= OPS[op].weight {
            at -= OPS[op].weight;
            op += 1;
        }
        let mut call = Call::new(op);
        for (n, arg) in args(op).enumerate() {
            call.values[n] = random_value(arg, rng, COMMON.iter().any(|c| c.key == arg.key));
        }
        call
    }

    fn parse(line: &str) -> Result<Call, String> {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        let op = OPS.iter().position(|op| op.name == name);
        let mut call = Call::new(op.ok_or_else(|| format!("no such call: {line}"))?);
        for word in words {
            let bad = || format!("no such argument of {name}: {word}");
            let (key, value) = word.split_once('=').ok_or_else(bad)?;
            let at = args(call.op).position(|arg| arg.key == key);
            let at = at.ok_or_else(bad)?;
            let arg = args(call.op).nth(at).expect("it was found");
            call.values[at] = parse_value(&arg.kind, value).ok_or_else(bad)?;
        }
        Ok(call)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(OPS[self.op].name)?;
        for (arg, value) in args(self.op).zip(&self.values) {
            if *value != arg.default {
                write!(f, " {}={}", arg.key, show_value(&arg.kind, *value))?;
            }
        }
        Ok(())
    }
}

fn args(op: usize) -> impl Iterator<Item = &'static Arg> {
    OPS[op].args.iter().chain(COMMON)
}

fn show_value(kind: &Kind, value: i64) -> String {
    match kind {
        Kind::Choice(..) | Kind::Word(..) => {
            let word = kind.word(value);
            word.expect("a word of the argument").to_string()
        }
        Kind::Set(_) | Kind::Bits(_) => {
            let set = kind.words().filter(|(_, bit)| value & bit == *bit);
            let mut parts: Vec<String> = set.map(|(word, _)| word.to_string()).collect();
            let rest = kind.words().fold(value, |rest, (_, bit)| rest & !bit);
            if rest != 0 || parts.is_empty() {
                parts.push(format!("{rest}"));
            }
            parts.join("+")
        }
        Kind::Number(..) => value.to_string(),
    }
}

fn parse_value(kind: &Kind, text: &str) -> Option<i64> {
    match kind {
        Kind::Choice(..) | Kind::Word(..) => kind.number(text),
        Kind::Set(_) | Kind::Bits(_) => text.split('+').try_fold(0, |sum, part| {
            let bit = kind.number(part).or_else(|| part.parse().ok())?;
            Some(sum | bit)
        }),
        Kind::Number(..) => text.parse().ok(),
    }
}

fn random_value(arg: &Arg, rng: &mut Rng, common: bool) -> i64 {
    let words: Vec<Word> = arg.kind.words().collect();
    // What is not usual is rare, or no program would come far.
    let mut among = |usual: usize, all: usize| {
        let rare = !rng.chance(if common { 96 } else { 90 });
        rng.below(if rare { all } else { usual })
    };
    match &arg.kind {
        Kind::Choice(_, usual) | Kind::Word(_, usual) => words[among(*usual, words.len())].1,
        Kind::Number(numbers, usual) => numbers[among(*usual, numbers.len())],
        Kind::Set(_) | Kind::Bits(_) => match rng.below(10) {
            0..5 => arg.default,
            5..8 => rng.pick(&words).1,
            8 => arg.default ^ rng.pick(&words).1,
            _ => rng.pick(&words).1 | rng.pick(&words).1 | rng.pick(&words).1,
        },
    }
}

/// A sequence of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The calls.
    pub calls: Vec<Call>,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.calls.iter().try_for_each(|call| writeln!(f, "{call}"))
    }
}

impl Program {
    /// Programs of a text, each of which ends at an empty line; `#` begins a comment.
    ///
    /// # Errors
    ///
    /// What is no call.
    pub fn parse_all(text: &str) -> Result<Vec<Program>, String> {
        let mut all = Vec::new();
        let mut program = Program::default();
        for line in text.lines().chain([""]) {
            let line = line.trim();
            if line.starts_with('#') {
                continue;
            }
            if !line.is_empty() {
                program.calls.push(Call::parse(line)?);
            } else if !program.calls.is_empty() {
                all.push(std::mem::take(&mut program));
            }
        }
        Ok(all)
    }

    /// Whether some call has this argument other than 0.
    pub fn has(&self, key: &str) -> bool {
        let common = COMMON.iter().any(|arg| arg.key == key);
        common && self.calls.iter().any(|call| call.get(key) != 0)
    }

    /// Whether a process is afterwards what it was before.
    pub fn leaves_no_trace(&self) -> bool {
        !["sandbox", "namespace", "memory", "sysctl"]
            .iter()
            .any(|name| self.calls(name))
    }

    /// Whether there is such a call.
    pub fn calls(&self, name: &str) -> bool {
        self.calls.iter().any(|call| call.op().name == name)
    }

    /// A program that begins sensibly: with sockets that are bound.
    pub fn random(rng: &mut Rng) -> Program {
        let mut calls = Vec::new();
        let sockets = 2 + rng.below(3);
        let bus = *rng.pick(&["a0", "a0", "a0", "a1", "p0"]);
        for s in 0..sockets {
            let form = *rng.pick(&["literal", "family"]);
            calls.push(Call::text(&format!("socket s={s} form={form}")));
            calls.push(Call::text(&format!("bind s={s} bus={bus}")));
            if rng.chance(60) {
                let option = *rng.pick(&["LISTEN", "REPLIER"]);
                let name = *rng.pick(&NAMES[..9]);
                calls.push(Call::text(&format!(
                    "name s={s} option={option} name={name}"
                )));
            }
            if rng.chance(20) {
                calls.push(Call::text(&format!("set s={s} option=PASS value=15")));
            }
        }
        for _ in 0..3 + rng.below(15) {
            calls.push(Call::random(rng));
        }
        Program { calls }
    }

    /// Another program, made from this one and maybe a part of `other`.
    pub fn mutate(&self, other: &Program, rng: &mut Rng) -> Program {
        let mut calls = self.calls.clone();
        for _ in 0..1 + rng.below(4) {
            let at = rng.below(calls.len() + 1);
            match rng.below(10) {
                0..4 => calls.insert(at, Call::random(rng)),
                4..8 if at < calls.len() => {
                    let call = &mut calls[at];
                    let n = rng.below(call.values.len());
                    let own = OPS[call.op].args.len();
                    let arg = args(call.op).nth(n).expect("it has so many");
                    call.values[n] = match n >= own {
                        // Always: it was asked for.
                        true => random_value(arg, rng, false),
                        false => random_value(arg, rng, true),
                    };
                }
                8 if at < calls.len() => {
                    calls.remove(at);
                }
                _ if !other.calls.is_empty() => {
                    let from = rng.below(other.calls.len());
                    let len = 1 + rng.below((other.calls.len() - from).min(8));
                    let part = other.calls[from..from + len].iter().cloned();
                    calls.splice(at..at, part);
                }
                _ => {}
            }
        }
        calls.truncate(LONGEST);
        Program { calls }
    }

    /// The same without some calls.
    pub fn without(&self, range: std::ops::Range<usize>) -> Program {
        let mut calls = self.calls.clone();
        calls.drain(range);
        Program { calls }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written can be read, and is the same program.
    #[test]
    fn text_and_back() {
        let mut rng = Rng::new(1);
        for _ in 0..3000 {
            let one = Program::random(&mut rng);
            let program = one.mutate(&Program::random(&mut rng), &mut rng);
            let text = program.to_string();
            assert_eq!(Program::parse_all(&text), Ok(vec![program]), "{text}");
        }
    }

    /// A seed gives the same program again.
    #[test]
    fn seeds_repeat() {
        let one = Program::random(&mut Rng::new(5));
        assert_eq!(one, Program::random(&mut Rng::new(5)));
        assert_ne!(one, Program::random(&mut Rng::new(6)));
    }

    /// The programs of the tree are programs.
    #[test]
    fn corpus_can_be_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");
        let mut count = 0;
        for file in std::fs::read_dir(folder).expect("selftests/corpus") {
            let path = file.expect("a file").path();
            let text = std::fs::read_to_string(&path).expect("text");
            let programs = Program::parse_all(&text);
            count += programs
                .unwrap_or_else(|error| panic!("{path:?}: {error}"))
                .len();
        }
        assert!(count > 20, "{count} programs");
    }
}
