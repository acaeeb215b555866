// SPDX-License-Identifier: GPL-2.0

//! Tracepoints. `kbus_trace.h` says what each is told.
//!
//! The kernel crate's `declare_trace!` looks for tracepoints among its own bindings, so that a
//! module outside the kernel tree cannot use it. In a kernel without tracepoints all of this is
//! nothing.
//!
//! C header: [`include/linux/tracepoint.h`](srctree/include/linux/tracepoint.h)

/// Declares a function for each tracepoint, which tells it what has happened if somebody listens,
/// and in a module of the same name `is_on()`, for what is not at hand.
macro_rules! tracepoints {
    ($(
        $(#[$doc:meta])*
        $name:ident, $key:ident, $call:ident, ($($arg:ident: $type:ty),*), ($($name_arg:ident)?);
    )*) => {
        $(
            $(#[$doc])*
            #[inline(always)]
            pub(crate) fn $name($($arg: $type,)* $($name_arg: &[u8])?) {
                if $name::is_on() {
                    $name::tell($($arg,)* $($name_arg)?);
                }
            }

            pub(crate) mod $name {
                #[cfg(CONFIG_TRACEPOINTS)]
                use kernel::{
                    bindings::tracepoint,
                    jump_label::static_branch_unlikely, //
                };

                #[cfg(CONFIG_TRACEPOINTS)]
                #[expect(improper_ctypes, reason = "nobody looks into a tracepoint but its key")]
                extern "C" {
                    static $key: tracepoint;
                    fn $call(
                        $($arg: $type,)*
                        $($name_arg: *const u8, len: usize)?
                    );
                }

                /// Whether somebody listens.
                #[inline(always)]
                pub(crate) fn is_on() -> bool {
                    #[cfg(CONFIG_TRACEPOINTS)]
                    // SAFETY: The key is that of a tracepoint of this module.
                    return unsafe { static_branch_unlikely!($key, tracepoint, key) };
                    #[cfg(not(CONFIG_TRACEPOINTS))]
                    false
                }

                #[cold]
                pub(super) fn tell($($arg: $type,)* $($name_arg: &[u8])?) {
                    #[cfg(CONFIG_TRACEPOINTS)]
                    // SAFETY: It may be called from anywhere, and copies the name.
                    unsafe {
                        $call($($arg,)* $($name_arg.as_ptr(), $name_arg.len())?)
                    };
                    #[cfg(not(CONFIG_TRACEPOINTS))]
                    let _ = ($($arg,)* $($name_arg)?);
                }
            }
        )*
    };
}

tracepoints! {
    /// An announcement or a request is sent. Nobody can read it before this.
    send, __tracepoint_send, rust_do_trace_send,
        (id: u64, peer: u64, flags: u32, bytes: u32), (name);
    /// A reply is sent. Nobody can read it before this.
    reply, __tracepoint_reply, rust_do_trace_reply,
        (id: u64, peer: u64, to: u64, request: u64, bytes: u32), (name);
    /// A message has been read.
    receive, __tracepoint_receive, rust_do_trace_receive,
        (id: u64, peer: u64, sender: u64, flags: u32, bytes: u32, lost: u32), (name);
    /// A copy of a message is in a queue.
    deliver, __tracepoint_deliver, rust_do_trace_deliver, (id: u64, peer: u64), ();
    /// A full queue misses a message.
    miss, __tracepoint_miss, rust_do_trace_miss, (id: u64, peer: u64), ();
    /// A status is in the queue of a requester.
    status, __tracepoint_status, rust_do_trace_status,
        (id: u64, peer: u64, request: u64, replier: u64, error: u32), ();
    /// A listener, or a replier, has bound a name.
    bind, __tracepoint_bind, rust_do_trace_bind, (peer: u64, replier: bool), (name);
    /// It has given it up.
    unbind, __tracepoint_unbind, rust_do_trace_unbind, (peer: u64, replier: bool), (name);
    /// A socket that was on a bus has gone.
    close, __tracepoint_close, rust_do_trace_close, (peer: u64), ();
}
