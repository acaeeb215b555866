// SPDX-License-Identifier: GPL-2.0
//! The man pages, from what clap knows and the table of exit codes.

use std::fs;
use std::io;
use std::io::Write;
use std::path::Path;

use clap::Command;
use clap::CommandFactory;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::failure::Code;

/// Writes `kbus.1` and a page for each subcommand.
pub fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    page(&command, folder, true)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        page(sub, folder, false)?;
    }
    Ok(())
}

fn page(command: &Command, folder: &Path, top: bool) -> io::Result<()> {
    let name = command
        .get_display_name()
        .unwrap_or(command.get_name())
        .to_owned();
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .section("1")
        .date("2026-11-30")
        .source("KBUS")
        .manual("KBUS");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if top {
        man.render_subcommands_section(&mut text)?;
        environment(&mut text)?;
        exit_status(&mut text)?;
    } else {
        text.write_all(
            b".SH EXIT STATUS\n0 when all was done.\nThe others are in\n.BR kbus (1).\n",
        )?;
    }
    if let Some(examples) = command.get_after_help() {
        example(&mut text, &examples.to_string())?;
    }
    see_also(&mut text, command, top)?;
    let text = tidied(&String::from_utf8_lossy(&text));
    fs::write(folder.join(format!("{name}.1")), text)
}

fn environment(out: &mut Vec<u8>) -> io::Result<()> {
    out.write_all(
        b".SH ENVIRONMENT\n\
        .TP\n.B KBUS_BUS\nThe bus, where \\-\\-bus is not given.\n\
        .TP\n.B NO_COLOR\nIf it is set, and not empty, there are no colours.\n",
    )
}

fn exit_status(out: &mut Vec<u8>) -> io::Result<()> {
    out.write_all(
        b".SH EXIT STATUS\nScripts can depend on these numbers.\nAn error is one sentence on the standard \
        error, with a hint after it.\n",
    )?;
    for (code, text) in Code::ALL {
        writeln!(out, ".TP\n.B {}\n{}", *code as u8, escaped(text))?;
    }
    Ok(())
}

/// Lines that begin with two spaces are commands; the title above them is ours.
fn example(out: &mut Vec<u8>, text: &str) -> io::Result<()> {
    writeln!(out, ".SH EXAMPLES\n.EX")?;
    for line in text.lines().filter_map(|line| line.strip_prefix("  ")) {
        writeln!(out, "{}", escaped(line))?;
    }
    writeln!(out, ".EE")
}

fn see_also(out: &mut Vec<u8>, command: &Command, top: bool) -> io::Result<()> {
    writeln!(out, ".SH SEE ALSO")?;
    if top {
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            writeln!(out, ".BR kbus\\-{} (1),", sub.get_name())?;
        }
    } else {
        writeln!(out, ".BR kbus (1),")?;
    }
    writeln!(out, ".BR kbus (7)")
}

/// Text in which nothing is a request or an escape of roff.
fn escaped(text: &str) -> String {
    let text = text
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq");
    match text.starts_with('.') {
        true => format!("\\&{text}"),
        false => text,
    }
}

/// What the generator writes, without what `mandoc -T lint` has to say of it.
fn tidied(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut is_example = false;
    let mut quotes = 0;
    for line in text.lines().map(str::trim_end) {
        let last = lines.last().map_or("", String::as_str);
        // No line is empty, no break follows another, and a section does not begin with a paragraph.
        let needless = line.is_empty()
            || (line == ".br" && last == ".br")
            || (line == ".PP" && last.starts_with(".SH"));
        // What a quote is, is said once.
        let is_quote = line.starts_with(".ie ") || line.starts_with(".el ");
        quotes += usize::from(is_quote);
        if needless || (is_quote && quotes > 2) {
            continue;
        }
        is_example = (is_example || line == ".EX") && line != ".EE";
        if is_example || line.starts_with('.') {
            lines.push(line.to_owned());
        } else {
            wrap(line, &mut lines);
        }
    }
    lines.join("\n") + "\n"
}

/// Lines of at most 79 bytes. None but the first begins with what roff would take for a request.
fn wrap(text: &str, lines: &mut Vec<String>) {
    let mut line = String::new();
    for word in text.split(' ') {
        let is_request = word.starts_with(['.', '\'']);
        if !line.is_empty() && !is_request && line.len() + 1 + word.len() > 79 {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    lines.push(line);
}
