// SPDX-License-Identifier: GPL-2.0
//! Chooses the next program: those that reach what none has reached before are kept, and changed.

use std::time::Duration;
use std::time::Instant;

use crate::cover::Spot;
use crate::cover::BATCH;
use crate::program::Program;
use crate::random::Rng;
use crate::run::Outcome;
use crate::run::Runner;

/// Findings after which a run is over: the same fault is found again and again.
const ENOUGH: usize = 5;

/// A fuzzer and the programs that it has kept.
#[derive(Debug)]
pub struct Fuzzer {
    runner: Runner,
    rng: Rng,
    kept: Vec<Program>,
    verbose: bool,
}

impl Fuzzer {
    /// A fuzzer with nothing kept.
    pub fn new(seed: u64, verbose: bool) -> Fuzzer {
        Fuzzer {
            runner: Runner::new(),
            rng: Rng::new(seed),
            kept: Vec::new(),
            verbose,
        }
    }

    /// Offsets of the module's code that was reached.
    pub fn code(&self) -> Vec<u32> {
        self.runner.shared().code()
    }

    fn run(&mut self, program: &Program) -> Outcome {
        self.run_all(std::slice::from_ref(program)).remove(0)
    }

    fn run_all(&mut self, programs: &[Program]) -> Vec<Outcome> {
        if self.verbose {
            programs
                .iter()
                .for_each(|program| print!("# ---\n{}", comment(program)));
        }
        self.runner.run_all(programs)
    }

    /// Runs these programs and keeps them; returns what was wrong.
    pub fn replay(&mut self, programs: &[Program], repeat: u32) -> Vec<String> {
        let start = Instant::now();
        let mut findings = Vec::new();
        for _ in 0..repeat {
            let mut rest = programs;
            while !rest.is_empty() && findings.len() < ENOUGH {
                let outcomes = self.run_all(&rest[..batch(rest)]);
                for (outcome, program) in outcomes.iter().zip(rest) {
                    if let Some(finding) = &outcome.finding {
                        findings.push(format!("{finding}\n{program}"));
                    }
                }
                rest = &rest[outcomes.len()..];
            }
        }
        self.kept.extend_from_slice(programs);
        self.say("the corpus", start);
        findings
    }

    /// Tries new programs for so long; returns what was wrong.
    pub fn fuzz(&mut self, time: Duration) -> Vec<String> {
        let (start, mut said) = (Instant::now(), Instant::now());
        let mut findings: Vec<String> = Vec::new();
        while start.elapsed() < time && findings.len() < ENOUGH {
            let programs: Vec<Program> = (0..BATCH).map(|_| self.next()).collect();
            let outcomes = self.run_all(&programs[..batch(&programs)]);
            for (outcome, program) in outcomes.into_iter().zip(&programs) {
                if let Some(finding) = outcome.finding {
                    println!("# wrong: {finding}\n{}", comment(program));
                    let wrong = |fuzzer: &mut Fuzzer, shorter: &Program| {
                        fuzzer.run(shorter).finding.is_some()
                    };
                    // It may need luck, or what the programs before it have left.
                    let shorter = self.shorten(program, 100, wrong);
                    findings.push(format!("{finding}\n{program}\nin short, maybe\n{shorter}"));
                } else if !outcome.fresh.is_empty() {
                    let program = self.shorten(program, 12, |fuzzer, shorter| {
                        fuzzer.reaches(shorter, &outcome.fresh)
                    });
                    println!(
                        "# kept, new: {}\n{}",
                        outcome.fresh.len(),
                        comment(&program)
                    );
                    self.kept.push(program);
                }
            }
            if said.elapsed() > Duration::from_secs(60) {
                self.say("so far", start);
                said = Instant::now();
            }
        }
        self.say("new programs", start);
        findings
    }

    fn say(&self, what: &str, start: Instant) {
        let shared = self.runner.shared();
        println!(
            "# {what}: {} programs run, {} calls, {} kept, {} places of the code reached, {} s{}",
            self.runner.runs(),
            shared.calls.load(std::sync::atomic::Ordering::Relaxed),
            self.kept.len(),
            self.code().len(),
            start.elapsed().as_secs(),
            if self.runner.sees_code() {
                ""
            } else {
                " (this kernel has no KCOV)"
            },
        );
    }

    fn next(&mut self) -> Program {
        if self.kept.is_empty() || self.rng.chance(10) {
            return Program::random(&mut self.rng);
        }
        // The newest are tried more often: what they reached is what is little known.
        let recent = self.kept.len().saturating_sub(self.kept.len() / 4 + 1);
        let from = if self.rng.chance(40) { recent } else { 0 };
        let one = from + self.rng.below(self.kept.len() - from);
        let other = self.rng.below(self.kept.len());
        self.kept[one]
            .clone()
            .mutate(&self.kept[other], &mut self.rng)
    }

    /// Whether a program reaches all of these.
    fn reaches(&mut self, program: &Program, spots: &[Spot]) -> bool {
        let shared = self.runner.shared();
        shared.forget(spots);
        let fresh = self.run(program).fresh;
        let all = spots.iter().all(|spot| fresh.contains(spot));
        // What it reaches by chance is for a program that is kept.
        let others: Vec<Spot> = fresh
            .into_iter()
            .filter(|spot| !spots.contains(spot))
            .collect();
        shared.forget(&others);
        if !all {
            // They were reached once; that stays so.
            shared.remember(spots);
        }
        all
    }

    /// A program without the calls that are not needed for something to be so, as far as so many tries show.
    fn shorten(
        &mut self,
        program: &Program,
        mut tries: u32,
        holds: impl Fn(&mut Fuzzer, &Program) -> bool,
    ) -> Program {
        let mut program = program.clone();
        let mut len = program.calls.len().div_ceil(2);
        while len > 0 && tries > 0 {
            let mut at = program.calls.len();
            while at > 0 && tries > 0 {
                let from = at.saturating_sub(len);
                tries -= 1;
                let shorter = program.without(from..at);
                if !shorter.calls.is_empty() && holds(self, &shorter) {
                    program = shorter;
                }
                at = from;
            }
            len /= 2;
        }
        program
    }

    /// Prints those of these programs without which less would be reached, made as short as they can be.
    pub fn distil(&mut self, mut all: Vec<Program>) {
        // Short ones first: longer ones stay only if they add something.
        all.sort_by_key(|program| program.calls.len());
        let mut rest = &all[..];
        while !rest.is_empty() {
            let outcomes = self.run_all(&rest[..batch(rest)]);
            let count = outcomes.len();
            for (outcome, program) in outcomes.into_iter().zip(rest) {
                if !outcome.fresh.is_empty() {
                    let program = self.shorten(program, 100, |fuzzer, shorter| {
                        fuzzer.reaches(shorter, &outcome.fresh)
                    });
                    println!("# distilled\n{}", comment(&program));
                    self.kept.push(program);
                }
            }
            rest = &rest[count..];
        }
        println!("# distilled: {} programs", self.kept.len());
    }
}

/// How many of these may share a process: the last of them may be one that leaves it changed.
fn batch(programs: &[Program]) -> usize {
    let clean = programs
        .iter()
        .take_while(|program| program.leaves_no_trace())
        .count();
    (clean + 1).min(programs.len()).min(BATCH)
}

/// A program in KTAP, where a line that is no result is a comment.
fn comment(program: &Program) -> String {
    let lines = program.calls.iter().map(|call| format!("# | {call}"));
    lines.fold(String::new(), |text, line| text + &line + "\n")
}
