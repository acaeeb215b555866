// SPDX-License-Identifier: GPL-2.0
//! `kbus top`.

use std::collections::HashMap;
use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use clap::ValueEnum;
use ratatui::crossterm::event;
use ratatui::crossterm::event::Event;
use ratatui::crossterm::event::KeyCode;
use ratatui::crossterm::event::KeyEventKind;
use ratatui::crossterm::event::KeyModifiers;
use ratatui::layout::Constraint;
use ratatui::layout::Layout;
use ratatui::style::Color;
use ratatui::style::Modifier;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Cell;
use ratatui::widgets::Row;
use ratatui::widgets::Table;
use ratatui::DefaultTerminal;
use ratatui::Frame;
use serde_json::json;
use serde_json::Value;

use crate::capture::Kind;
use crate::capture::Packet;
use crate::context::Context;
use crate::events::Woken;
use crate::failure::Failure;
use crate::failure::Outcome;
use crate::inspect::Files;
use crate::inspect::SocketLine;
use crate::proc;
use crate::snoop::Snoop;
use crate::text;
use crate::who::Names;

/// Names and peers that are counted one by one; what comes beyond is counted together.
const COUNTED: usize = 10_000;
/// Messages that are counted before keys and the clock are looked at again.
const AT_ONCE: usize = 1000;

/// By what rows are sorted, the greatest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Key {
    /// Messages sent in a second.
    Rate,
    /// Messages that wait.
    Unread,
    /// Bytes that wait.
    Bytes,
    /// Messages missed.
    Lost,
    /// Replies owed.
    Owed,
    /// Messages sent so far.
    Sent,
    /// Peer id and name, the least first.
    Id,
}

impl Key {
    fn next(self) -> Key {
        let all = Key::value_variants();
        let at = all.iter().position(|key| *key == self).unwrap_or(0);
        all[(at + 1) % all.len()]
    }

    fn word(self) -> &'static str {
        match self {
            Key::Rate => "rate",
            Key::Unread => "unread",
            Key::Bytes => "bytes",
            Key::Lost => "lost",
            Key::Owed => "owed",
            Key::Sent => "sent",
            Key::Id => "id",
        }
    }
}

/// Watch sockets and names: rates, queues, bytes, missed messages, owed replies
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Keys: s sorts by the next column, r turns the order round, space stops and \
    goes on, q ends it. What is sent is counted by a socket that listens to everything and that \
    nobody fails or waits for; statuses are not seen. Where messages come faster than it reads, \
    the rates are too low by what is told as missed."
)]
pub struct Args {
    /// Print so many plain pictures, and end
    #[arg(long, value_name = "N")]
    batch: Option<u64>,
    /// Time between two pictures
    #[arg(short, long, value_name = "TIME", default_value = "2s", value_parser = every)]
    every: Duration,
    /// What to sort by
    #[arg(short, long, value_name = "KEY", default_value = "rate")]
    sort: Key,
    /// Say on the standard error when all that follows will be counted
    #[arg(long, hide = true)]
    ready: bool,
}

fn every(text: &str) -> Result<Duration, String> {
    let time = text::duration(text)?;
    let enough = time >= Duration::from_millis(100);
    enough
        .then_some(time)
        .ok_or_else(|| "it is at least 100ms".to_owned())
}

/// What was sent under a name, or by a socket.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    messages: u64,
    bytes: u64,
    requests: u64,
    replies: u64,
    /// `messages` when the last picture was made.
    before: u64,
    /// Messages in a second, between the last two pictures.
    rate: f64,
}

impl Count {
    fn add(&mut self, packet: &Packet) {
        self.messages += 1;
        self.bytes += packet.payload.len() as u64;
        self.requests += u64::from(packet.kind == Kind::Request);
        self.replies += u64::from(packet.kind == Kind::Reply);
    }

    fn tick(&mut self, seconds: f64) {
        self.rate = (self.messages - self.before) as f64 / seconds;
        self.before = self.messages;
    }
}

/// What is shown, and how.
struct Top<'a> {
    context: &'a Context,
    bus: String,
    own: u64,
    names: HashMap<String, Count>,
    peers: HashMap<u64, Count>,
    total: Count,
    missed: u64,
    sort: Key,
    reversed: bool,
    who: Names,
    /// Of the last picture.
    sockets: Vec<SocketLine>,
    last: Instant,
    seconds: f64,
}

/// A table: what its columns are called, and rows.
struct Cells {
    head: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

const SOCKETS: &[&str] = &[
    "peer", "process", "user", "msg/s", "sent", "unread", "limit", "bytes", "awaited", "owed",
    "lost",
];
const NAMES: &[&str] = &["msg/s", "messages", "bytes", "requests", "replies", "name"];

impl Top<'_> {
    fn count(&mut self, packet: &Packet) {
        self.missed += u64::from(packet.lost);
        if packet.kind == Kind::Lost {
            return;
        }
        self.total.add(packet);
        let name = packet.name.as_str();
        if let Some(count) = self.names.get_mut(name) {
            count.add(packet);
        } else {
            let name = if self.names.len() < COUNTED {
                name
            } else {
                "(others)"
            };
            self.names.entry(name.to_owned()).or_default().add(packet);
        }
        let known = self.peers.len() < COUNTED || self.peers.contains_key(&packet.peer);
        let peer = if known { packet.peer } else { u64::MAX };
        self.peers.entry(peer).or_default().add(packet);
    }

    /// Makes a picture: what the files say now, and the rates since the last one.
    fn tick(&mut self) -> Outcome {
        let files = Files::read()?;
        self.sockets = files
            .sockets
            .into_iter()
            .filter(|socket| socket.bus == self.bus && socket.peer != self.own)
            .collect();
        let now = Instant::now();
        self.seconds = (now - self.last).as_secs_f64().max(1e-6);
        self.last = now;
        let counts = self.names.values_mut().chain(self.peers.values_mut());
        counts
            .chain([&mut self.total])
            .for_each(|count| count.tick(self.seconds));
        self.order();
        Ok(())
    }

    fn of_peer(&self, peer: u64) -> Count {
        self.peers.get(&peer).copied().unwrap_or_default()
    }

    fn order(&mut self) {
        let mut sockets = std::mem::take(&mut self.sockets);
        sockets.sort_by(|left, right| {
            let key = |socket: &SocketLine| match self.sort {
                Key::Rate => self.of_peer(socket.peer).rate,
                Key::Sent => self.of_peer(socket.peer).messages as f64,
                Key::Unread => socket.unread.into(),
                Key::Bytes => socket.bytes as f64,
                Key::Lost => socket.lost as f64,
                Key::Owed => socket.owed.into(),
                Key::Id => 0.0,
            };
            key(right)
                .total_cmp(&key(left))
                .then(left.peer.cmp(&right.peer))
        });
        if self.reversed {
            sockets.reverse();
        }
        self.sockets = sockets;
    }

    fn by_name(&self) -> Vec<(&str, Count)> {
        let mut names: Vec<(&str, Count)> = self
            .names
            .iter()
            .map(|(name, count)| (name.as_str(), *count))
            .collect();
        names.sort_by(|left, right| {
            let key = |count: &Count| match self.sort {
                Key::Id => 0.0,
                Key::Bytes => count.bytes as f64,
                Key::Sent | Key::Owed | Key::Lost => count.messages as f64,
                Key::Rate | Key::Unread => count.rate,
            };
            key(&right.1)
                .total_cmp(&key(&left.1))
                .then(left.0.cmp(right.0))
        });
        if self.reversed {
            names.reverse();
        }
        names
    }

    fn socket_cells(&self) -> Cells {
        let row = |socket: &SocketLine| {
            let sent = self.of_peer(socket.peer);
            let process = match socket.pid {
                Some(pid) => {
                    let command = i32::try_from(pid).ok().and_then(crate::who::command);
                    format!("{pid} {}", command.unwrap_or_default())
                }
                None => "-".to_owned(),
            };
            vec![
                format!("{:x}", socket.peer),
                process.trim_end().to_owned(),
                socket.uid.map_or("-".to_owned(), |uid| self.who.user(uid)),
                format!("{:.1}", sent.rate),
                sent.messages.to_string(),
                socket.unread.to_string(),
                socket.limit.to_string(),
                socket.bytes.to_string(),
                socket.reserved.to_string(),
                socket.owed.to_string(),
                socket.lost.to_string(),
            ]
        };
        Cells {
            head: SOCKETS,
            rows: self.sockets.iter().map(row).collect(),
        }
    }

    fn name_cells(&self) -> Cells {
        let row = |(name, count): (&str, Count)| {
            vec![
                format!("{:.1}", count.rate),
                count.messages.to_string(),
                count.bytes.to_string(),
                count.requests.to_string(),
                count.replies.to_string(),
                name.to_owned(),
            ]
        };
        Cells {
            head: NAMES,
            rows: self.by_name().into_iter().map(row).collect(),
        }
    }

    fn title(&self) -> String {
        let bytes: u64 = self.sockets.iter().map(|socket| socket.bytes).sum();
        let unread: u64 = self
            .sockets
            .iter()
            .map(|socket| u64::from(socket.unread))
            .sum();
        let time = text::time_of_day(SystemTime::now());
        let mut title = format!(
            "{}  {}: {}, {:.1} messages/s, {} so far, {unread} wait ({bytes} bytes)",
            // To the second.
            time.get(..8).unwrap_or(&time),
            self.bus,
            text::count(self.sockets.len() as u64, "socket"),
            self.total.rate,
            self.total.messages,
        );
        if self.missed > 0 {
            title += &format!(", {} missed by this command", self.missed);
        }
        title
    }

    fn object(&self) -> Value {
        let sockets: Vec<Value> = self
            .sockets
            .iter()
            .map(|socket| {
                let sent = self.of_peer(socket.peer);
                let mut value = json!({"peer": format!("{:x}", socket.peer)});
                let pid = socket.pid.and_then(|pid| i32::try_from(pid).ok());
                self.who.describe(&mut value, pid, socket.uid);
                for (key, number) in [
                    ("sent", sent.messages),
                    ("sent_bytes", sent.bytes),
                    ("unread", socket.unread.into()),
                    ("limit", socket.limit.into()),
                    ("bytes", socket.bytes),
                    ("reserved", socket.reserved.into()),
                    ("owed", socket.owed.into()),
                    ("lost", socket.lost),
                ] {
                    value[key] = number.into();
                }
                value["rate"] = sent.rate.into();
                value
            })
            .collect();
        let names: Vec<Value> = self
            .by_name()
            .into_iter()
            .map(|(name, count)| {
                json!({
                    "name": name,
                    "messages": count.messages,
                    "bytes": count.bytes,
                    "requests": count.requests,
                    "replies": count.replies,
                    "rate": count.rate,
                })
            })
            .collect();
        json!({
            "time": text::timestamp(SystemTime::now()),
            "seconds": self.seconds,
            "bus": self.bus,
            "messages": self.total.messages,
            "missed": self.missed,
            "rate": self.total.rate,
            "sockets": sockets,
            "names": names,
        })
    }

    fn print(&self) -> Outcome {
        let mut out = self.context.output();
        if self.context.json {
            return out.json(&self.object());
        }
        out.line(self.title())?;
        for cells in [self.socket_cells(), self.name_cells()] {
            let widths = cells.widths();
            let head: Vec<String> = cells.head.iter().map(|word| (*word).to_owned()).collect();
            for row in std::iter::once(&head).chain(&cells.rows) {
                let words = row.iter().zip(&widths).zip(cells.head);
                let words = words.map(|((cell, width), head)| match is_text(head) {
                    true => format!("{cell:<width$}"),
                    false => format!("{cell:>width$}"),
                });
                let line = words.collect::<Vec<String>>().join("  ");
                out.line(line.trim_end())?;
            }
            out.line("")?;
        }
        Ok(())
    }

    fn draw(&self, frame: &mut Frame<'_>, stopped: bool) {
        let parts = [
            Constraint::Length(1),
            Constraint::Percentage(55),
            Constraint::Min(3),
            Constraint::Length(1),
        ];
        let [title, sockets, names, foot] = Layout::vertical(parts).areas(frame.area());
        let bold = Style::new().add_modifier(Modifier::BOLD);
        frame.render_widget(Line::styled(self.title(), bold), title);
        for (cells, area) in [(self.socket_cells(), sockets), (self.name_cells(), names)] {
            let widths: Vec<Constraint> = cells
                .widths()
                .into_iter()
                .map(|width| Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX)))
                .collect();
            let head = cells.head;
            let aligned = move |at: usize, cell: String| {
                let line = Line::raw(cell);
                Cell::new(if is_text(head[at]) {
                    line
                } else {
                    line.right_aligned()
                })
            };
            let shown = usize::from(area.height);
            let rows = cells.rows.into_iter().take(shown).map(|row| {
                let full = head == SOCKETS && row[5] == row[6];
                let style = if full {
                    Style::new().fg(Color::Red)
                } else {
                    Style::new()
                };
                Row::new(
                    row.into_iter()
                        .enumerate()
                        .map(move |(at, cell)| aligned(at, cell)),
                )
                .style(style)
            });
            let headings = head
                .iter()
                .enumerate()
                .map(|(at, word)| aligned(at, (*word).to_owned()));
            let headings = Row::new(headings).style(Style::new().fg(Color::Black).bg(Color::Cyan));
            let table = Table::new(rows, widths).header(headings).column_spacing(2);
            frame.render_widget(table, area);
        }
        let order = if self.reversed { ", turned round" } else { "" };
        let state = if stopped { "  STOPPED" } else { "" };
        let text = format!(
            "sorted by {}{order}   s: next  r: turn round  space: stop  q: quit{state}",
            self.sort.word()
        );
        frame.render_widget(Line::styled(text, Style::new().fg(Color::DarkGray)), foot);
    }
}

/// Whether a column holds text; otherwise numbers, which stand at the right.
fn is_text(head: &str) -> bool {
    matches!(head, "peer" | "process" | "user" | "name")
}

impl Cells {
    fn widths(&self) -> Vec<usize> {
        let width = |(at, head): (usize, &&str)| {
            let cells = self.rows.iter().filter_map(|row| row.get(at));
            let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            widest.max(head.len())
        };
        self.head.iter().enumerate().map(width).collect()
    }
}

/// Counts what is there, until there is something else to do. False when the command is to end.
fn gather(top: &mut Top<'_>, snoop: &Snoop, until: Instant, keys: bool) -> Result<bool, Failure> {
    for _ in 0..AT_ONCE {
        match snoop.try_next()? {
            Some(packet) => top.count(&packet),
            None => {
                let stdin = io::stdin();
                let woken = snoop.wait(keys.then(|| stdin.as_fd()), until)?;
                return Ok(!matches!(woken, Woken::Interrupted | Woken::OutputClosed));
            }
        }
    }
    Ok(!snoop.stopped())
}

/// Prints so many pictures.
fn batch(top: &mut Top<'_>, snoop: &Snoop, args: &Args, count: u64) -> Outcome {
    for _ in 0..count {
        let until = Instant::now() + args.every;
        while Instant::now() < until {
            if !gather(top, snoop, until, false)? {
                return Ok(());
            }
        }
        // What was sent before the files are read is counted before, too.
        for _ in 0..AT_ONCE {
            match snoop.try_next()? {
                Some(packet) => top.count(&packet),
                None => break,
            }
        }
        top.tick()?;
        top.print()?;
    }
    Ok(())
}

/// What a key asks for. False: to end.
fn key(top: &mut Top<'_>, code: KeyCode, control: bool, stopped: &mut bool) -> bool {
    match code {
        KeyCode::Char('c') if control => return false,
        KeyCode::Char('q') | KeyCode::Esc => return false,
        KeyCode::Char('s') => top.sort = top.sort.next(),
        KeyCode::Char('r') => top.reversed = !top.reversed,
        KeyCode::Char(' ') => *stopped = !*stopped,
        _ => {}
    }
    top.order();
    true
}

/// Draws until it is told to end.
fn live(top: &mut Top<'_>, snoop: &Snoop, args: &Args, terminal: &mut DefaultTerminal) -> Outcome {
    let failed = |error: io::Error| Failure::io("cannot use the terminal", &error);
    let mut stopped = false;
    let mut until = Instant::now();
    loop {
        if Instant::now() >= until {
            if !stopped {
                top.tick()?;
            }
            until = Instant::now() + args.every;
            terminal
                .draw(|frame| top.draw(frame, stopped))
                .map_err(failed)?;
        }
        if !gather(top, snoop, until, true)? {
            return Ok(());
        }
        while event::poll(Duration::ZERO).map_err(failed)? {
            match event::read().map_err(failed)? {
                Event::Key(pressed) if pressed.kind != KeyEventKind::Release => {
                    let control = pressed.modifiers.contains(KeyModifiers::CONTROL);
                    if !key(top, pressed.code, control, &mut stopped) {
                        return Ok(());
                    }
                }
                _ => {}
            }
            terminal
                .draw(|frame| top.draw(frame, stopped))
                .map_err(failed)?;
        }
    }
}

/// Does it.
pub fn run(args: Args, context: &Context) -> Outcome {
    if args.batch.is_none() && !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        let failure = Failure::usage("top draws on a terminal, and this is none");
        return Err(failure.hint("--batch N prints N plain pictures"));
    }
    let snoop = Snoop::open(context, &[])?;
    let mut top = Top {
        context,
        bus: proc::shown(&context.bus),
        own: snoop.socket().peer_id().get(),
        names: HashMap::new(),
        peers: HashMap::new(),
        total: Count::default(),
        missed: 0,
        sort: args.sort,
        reversed: false,
        who: Names::new(),
        sockets: Vec::new(),
        last: Instant::now(),
        seconds: 0.0,
    };
    if args.ready {
        let _ = writeln!(io::stderr(), "ready");
    }
    if let Some(count) = args.batch {
        return batch(&mut top, &snoop, &args, count);
    }
    let terminal = ratatui::try_init();
    let mut terminal = terminal.map_err(|error| Failure::io("cannot use the terminal", &error))?;
    let result = live(&mut top, &snoop, &args, &mut terminal);
    // Whatever has happened, the terminal is as it was.
    ratatui::restore();
    result
}
