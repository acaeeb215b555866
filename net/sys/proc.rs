// SPDX-License-Identifier: GPL-2.0

//! Files of `/proc/net` whose lines are found one after another, and what is written to them.
//!
//! C headers: [`include/linux/seq_file.h`](srctree/include/linux/seq_file.h),
//! [`include/linux/proc_fs.h`](srctree/include/linux/proc_fs.h).

use super::{
    bindings,
    net_ns::{
        Net,
        NetState, //
    },
    task, //
};
use kernel::{
    cred::Credential,
    error::from_err_ptr,
    prelude::*,
    seq_file::SeqFile, //
};

use core::{
    marker::PhantomData,
    ptr::null_mut, //
};

/// A file of `/proc/net`, which each network namespace has.
///
/// It consists of a head and one line for each item. No lock is held between two items, so they
/// need an order in which the next one can be found although others have come and gone.
pub(crate) trait NetFile: Sized + 'static {
    /// What is listed is part of.
    type State: NetState;

    /// A line before it is written, and with it the place of a reader; all zeroes is the place
    /// before the first. It is forgotten without being dropped, and so owns nothing.
    type Item: Zeroable + Copy + Send;

    /// The file's name.
    const NAME: &'static CStr;

    /// Writes what comes before the first line.
    fn head(out: &Out<'_>);

    /// Goes on by one step. It should be a short one: between two of them a reader can be killed,
    /// and others get the processor.
    fn advance(state: &Self::State, item: &mut Self::Item) -> Step;

    /// Writes an item's line, or nothing if what it is of has gone.
    fn show(state: &Self::State, item: &Self::Item, net: &Net, out: &Out<'_>);
}

/// What a step of [`NetFile::advance`] has led to.
pub(crate) enum Step {
    /// To the next item.
    Item,
    /// To a place between two items, from which to go on.
    Between,
    /// Nowhere: there is no further item.
    End,
}

/// Where the text of a file goes.
pub(crate) struct Out<'a> {
    file: *mut bindings::seq_file,
    _borrow: PhantomData<&'a SeqFile>,
}

impl Out<'_> {
    /// # Safety
    ///
    /// `file` must be valid, open, and used by this thread only, for as long as the result lives.
    pub(super) unsafe fn new(file: *mut bindings::seq_file) -> Self {
        Self {
            file,
            _borrow: PhantomData,
        }
    }

    /// For `seq_print!`.
    pub(crate) fn text(&self) -> &SeqFile {
        // SAFETY: It is valid and used by this thread only.
        unsafe { SeqFile::from_raw(self.file) }
    }

    /// Writes bytes as they are. What does not fit, the kernel asks for once more, with a larger
    /// buffer.
    pub(crate) fn bytes(&self, bytes: &[u8]) {
        // SAFETY: The file is valid, and the bytes are.
        unsafe { bindings::seq_write(self.file, bytes.as_ptr().cast(), bytes.len()) };
    }

    /// The effective user who opened the file, as a number of the initial user namespace.
    ///
    /// Not who reads it: that may be a program that can be made to read whatever is handed to it.
    pub(crate) fn opener(&self) -> u32 {
        // SAFETY: An open `seq_file` has its file, and that its credentials.
        let cred = unsafe { Credential::from_ptr((*(*self.file).file).f_cred) };
        cred.euid().into_raw().val
    }

    /// A user as who opened the file sees it; the overflow id if it is not one of its namespace.
    pub(crate) fn as_opener_sees(&self, uid: u32) -> u32 {
        // SAFETY: As in `opener`; credentials keep their user namespace.
        unsafe {
            bindings::from_kuid_munged(
                (*(*(*self.file).file).f_cred).user_ns,
                bindings::kuid_t { val: uid },
            )
        }
    }

    /// Whether who opened the file has `CAP_NET_ADMIN` over this network namespace.
    pub(crate) fn is_net_admin(&self, net: &Net) -> bool {
        // SAFETY: As in `opener`; a network namespace keeps its user namespace.
        unsafe {
            bindings::file_ns_capable(
                (*self.file).file,
                (*net.as_raw()).user_ns,
                bindings::CAP_NET_ADMIN as c_int,
            )
        }
    }
}

/// A [`NetFile`] as the namespaces of `S` are told of it.
pub(crate) struct FileOf<S> {
    name: &'static CStr,
    ops: &'static bindings::seq_operations,
    size: usize,
    _state: PhantomData<fn(&S)>,
}

impl<S: NetState> FileOf<S> {
    /// Describes `F`.
    pub(crate) const fn new<F: NetFile<State = S>>() -> Self {
        Self {
            name: F::NAME,
            ops: &Adapter::<F>::OPS,
            size: size_of::<Reader<F::Item>>(),
            _state: PhantomData,
        }
    }

    /// Makes the file.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also when there is one of this name.
    pub(super) fn create(&self, net: &Net) -> Result {
        // SAFETY: The namespace is valid, and name and operations are static. The size is that of
        // what the operations take the private state for.
        let entry = unsafe {
            bindings::proc_create_net_data(
                self.name.as_char_ptr(),
                0o444,
                (*net.as_raw()).proc_net,
                self.ops,
                self.size as u32,
                null_mut(),
            )
        };
        match entry.is_null() {
            true => Err(ENOMEM),
            false => Ok(()),
        }
    }

    /// Removes the file, and waits for those who are reading.
    pub(super) fn remove(&self, net: &Net) {
        // SAFETY: The namespace is valid; a name that is not there is only complained of.
        unsafe { bindings::remove_proc_entry(self.name.as_char_ptr(), (*net.as_raw()).proc_net) };
    }
}

/// The private state of an open file. The kernel makes it of zeroes.
#[repr(C)]
struct Reader<I> {
    /// Must come first.
    net: bindings::seq_net_private,
    /// The number of `item`: 0 is the head.
    at: i64,
    item: I,
}

/// The callbacks of `struct seq_operations` for `F`.
///
/// Positions are numbers of items. A read goes on where the last one ended, so that a position
/// other than the reader's own occurs only when a program seeks; then everything is gone through
/// from the start.
struct Adapter<F>(PhantomData<F>);

impl<F: NetFile> Adapter<F> {
    const OPS: bindings::seq_operations = bindings::seq_operations {
        start: Some(Self::start),
        stop: Some(Self::stop),
        next: Some(Self::next),
        show: Some(Self::show),
    };

    /// What stands for the head: it must not be null.
    const HEAD: *mut c_void = core::ptr::without_provenance_mut(1);

    /// # Safety
    ///
    /// `file` must be one that is open with [`Self::OPS`], and used by this thread only during
    /// `'a`.
    unsafe fn reader<'a>(file: *mut bindings::seq_file) -> &'a mut Reader<F::Item> {
        // SAFETY: The private state has the size of a reader and began as zeroes, which is one.
        unsafe { &mut *(*file).private.cast() }
    }

    /// # Safety
    ///
    /// As for [`Self::reader`].
    unsafe fn net<'a>(file: *mut bindings::seq_file) -> &'a Net {
        // SAFETY: An open file keeps its namespace.
        unsafe { Net::from_raw(Self::reader(file).net.net) }
    }

    /// Goes on by one item: a pointer to it, null at the end, or an error in the way of the C side.
    ///
    /// There may be any number of steps before the next item, and of items before the one at which
    /// a program wants to read: so a reader that was killed is looked for at each step.
    ///
    /// # Safety
    ///
    /// As for [`Self::reader`].
    unsafe fn advance(file: *mut bindings::seq_file) -> *mut c_void {
        // SAFETY: The caller's promise.
        let (net, reader) = unsafe { (Self::net(file), Self::reader(file)) };
        let Some(state) = net.state::<F::State>() else {
            return null_mut();
        };
        loop {
            if task::is_dying() {
                return EINTR.to_ptr();
            }
            match F::advance(&state, &mut reader.item) {
                Step::Item => {
                    reader.at = reader.at.saturating_add(1);
                    return (&raw mut reader.item).cast();
                }
                Step::Between => task::let_others_run(),
                Step::End => return null_mut(),
            }
        }
    }

    /// Callback `start`.
    ///
    /// # Safety
    ///
    /// To be called by the seq_file code only.
    unsafe extern "C" fn start(file: *mut bindings::seq_file, pos: *mut i64) -> *mut c_void {
        // SAFETY: The seq_file code's own call: it has the file's lock.
        let (wanted, reader) = unsafe { (*pos, Self::reader(file)) };
        if wanted < reader.at || wanted == 0 {
            reader.at = 0;
            reader.item = pin_init::zeroed();
        }
        if wanted == 0 {
            return Self::HEAD;
        }
        let mut item: *mut c_void = (&raw mut reader.item).cast();
        let mut at = reader.at;
        while at < wanted {
            // SAFETY: As above; `reader` is not used after this.
            item = unsafe { Self::advance(file) };
            if from_err_ptr(item).map_or(true, <*mut c_void>::is_null) {
                break;
            }
            at = at.saturating_add(1);
            task::let_others_run();
        }
        item
    }

    /// Callback `next`.
    ///
    /// # Safety
    ///
    /// To be called by the seq_file code only.
    unsafe extern "C" fn next(
        file: *mut bindings::seq_file,
        _item: *mut c_void,
        pos: *mut i64,
    ) -> *mut c_void {
        // SAFETY: As in `start`.
        unsafe {
            // Also at the end: the kernel insists on it.
            *pos = (*pos).saturating_add(1);
            Self::advance(file)
        }
    }

    /// Callback `stop`: nothing is held.
    ///
    /// # Safety
    ///
    /// To be called by the seq_file code only.
    unsafe extern "C" fn stop(_file: *mut bindings::seq_file, _item: *mut c_void) {}

    /// Callback `show`.
    ///
    /// # Safety
    ///
    /// To be called by the seq_file code only.
    unsafe extern "C" fn show(file: *mut bindings::seq_file, item: *mut c_void) -> c_int {
        // SAFETY: As in `start`.
        let (out, net, reader) = unsafe { (Out::new(file), Self::net(file), Self::reader(file)) };
        if item == Self::HEAD {
            F::head(&out);
        } else if let Some(state) = net.state::<F::State>() {
            F::show(&state, &reader.item, net, &out);
        }
        0
    }
}
