// SPDX-License-Identifier: GPL-2.0
//! Programs of 32 bits: what `selftests/abi/abi.c` sees there is what it sees in 64 bits.

use std::io;
use std::process::Command;

use kbus_selftests::process::skip;
use kbus_selftests::sys::Form;

super::tests! {
    layout_in_32_bits plain_calls_in_32_bits every_size_of_a_control_buffer no_control_buffer_in_32_bits
    every_length_of_a_sent_cmsg request_in_32_bits every_option_in_32_bits wide_options_in_32_bits
    time_limits_in_32_bits ioctls_in_32_bits several_messages_in_32_bits
}

/// What one of the programs prints about a subject, or why it cannot be started.
fn output(bits: u32, subject: &str) -> io::Result<String> {
    let form = match Form::chosen() {
        Form::Literal => "literal",
        Form::Family => "family",
    };
    let done = Command::new(format!("/kbus-abi{bits}"))
        .args([form, subject])
        .output()?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let faults: Vec<&str> = text.lines().filter(|line| line.contains("FAULT")).collect();
    for line in faults.iter().take(40) {
        eprintln!("{bits} bits: {line}");
    }
    assert!(
        faults.is_empty() && done.status.success() && text.ends_with("end\n"),
        "{bits} bits: {} faults, {}, last line {:?}",
        faults.len(),
        done.status,
        text.lines().last()
    );
    Ok(text)
}

/// Insists that both programs find no fault and print the same, of at least so many lines.
fn compare(subject: &str, least: usize) {
    let wide = output(64, subject).expect("the program of 64 bits");
    let narrow = match output(32, subject) {
        Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => {
            skip("this kernel runs no programs of 32 bits")
        }
        result => result.expect("the program of 32 bits"),
    };
    let count = wide.lines().count();
    assert!(count >= least, "only {count} lines");
    let mut differences = 0;
    for (wide, narrow) in wide.lines().zip(narrow.lines()) {
        if wide != narrow {
            differences += 1;
            if differences <= 20 {
                eprintln!("64 bits: {wide}\n32 bits: {narrow}");
            }
        }
    }
    assert_eq!(differences, 0, "lines differ");
    assert_eq!(count, narrow.lines().count());
}

/// The structures of `linux/kbus.h` have one layout.
fn layout_in_32_bits() {
    compare("layout", 6);
}

/// `sendto()`, `recvfrom()`, `connect()`, `read()`, `write()`.
fn plain_calls_in_32_bits() {
    compare("plain_calls", 2);
}

/// Whatever the size of the control buffer, each piece that fits is there, each that does not is cut or missing with
/// `MSG_CTRUNC`, and `SCM_KBUS_INFO` is there if and only if it fits whole.
fn every_size_of_a_control_buffer() {
    compare("receive", 200);
}

/// A size without a buffer is no room, and a missing `SCM_KBUS_INFO` or `SCM_KBUS_VIA` is then no `MSG_CTRUNC`.
fn no_control_buffer_in_32_bits() {
    compare("no_buffer", 3);
}

/// Each kind of control data is accepted or refused by its length, alone and before another one.
fn every_length_of_a_sent_cmsg() {
    compare("send", 1000);
}

/// Flags, cookie, reserved bytes and ids arrive whole.
fn request_in_32_bits() {
    compare("request", 7);
}

/// Each option of `SOL_KBUS` and `SOL_SOCKET` says the same to each length.
fn every_option_in_32_bits() {
    compare("options", 3000);
}

/// Values of 64 bits, `KBUS_BUS_INFO` and the two forms of `KBUS_REPLIER`.
fn wide_options_in_32_bits() {
    compare("wide_options", 20);
}

/// `SO_RCVTIMEO` and `SO_SNDTIMEO` in both of their forms.
fn time_limits_in_32_bits() {
    compare("timeouts", 40);
}

/// `FIONREAD` and others.
fn ioctls_in_32_bits() {
    compare("ioctls", 30);
}

/// `sendmmsg()` and `recvmmsg()`.
fn several_messages_in_32_bits() {
    compare("several", 5);
}
