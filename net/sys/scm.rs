// SPDX-License-Identifier: GPL-2.0

//! Open files that come with a message: `SCM_RIGHTS`.
//!
//! C header: [`include/net/scm.h`](srctree/include/net/scm.h).

use super::{
    bindings,
    msg::RecvMsg, //
};
use kernel::{
    alloc::{
        AllocError,
        Flags, //
    },
    prelude::*,
    sync::Arc, //
};

use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// The most that one message may bring.
const FILES_MAX: usize = bindings::SCM_MAX_FD as usize;
/// What the kernel calls the file of an io_uring, whose operations no module can name.
///
/// No other file can have this name: a path begins with `/` or `(`, and it is the kernel that names
/// anonymous inodes.
const IO_URING: &CStr = c"anon_inode:[io_uring]";

/// Open files on their way.
///
/// # Invariants
///
/// `list` is valid and nobody else's; it owns a reference to each of its `count` files, and one to
/// its `user`.
struct List(NonNull<bindings::scm_fp_list>);

// SAFETY: References to files and users may be used and given up from any thread.
unsafe impl Send for List {}
// SAFETY: A shared list is only copied, which changes nothing but the reference counts.
unsafe impl Sync for List {}

impl List {
    /// An empty one, of the current user.
    fn new() -> Result<Self> {
        let mut place = KBox::<bindings::scm_fp_list>::new_uninit(GFP_KERNEL_ACCOUNT)?;
        // SAFETY: All zeroes are a valid list, but for its user and the head of a list that only
        // AF_UNIX uses.
        let list = unsafe {
            place.as_mut_ptr().write_bytes(0, 1);
            KBox::into_raw(place.assume_init())
        };
        // SAFETY: `list` is valid and belongs to nobody else yet; the current user is valid.
        unsafe {
            (*list).max = FILES_MAX as i16;
            (*list).user = bindings::get_uid(bindings::current_user());
            bindings::INIT_LIST_HEAD(&raw mut (*list).vertices);
        }
        // INVARIANT: It has no files, and a reference to its user.
        NonNull::new(list).map(Self).ok_or(ENOMEM)
    }

    /// Adds the file of a descriptor of the current task.
    fn push(&mut self, fd: i32) -> Result<NonNull<bindings::file>> {
        let fd = u32::try_from(fd).map_err(|_| EBADF)?;
        // SAFETY: It may be called in process context with any number.
        let file = NonNull::new(unsafe { bindings::fget_raw(fd) }).ok_or(EBADF)?;
        // SAFETY: By the type invariant nobody else has the list.
        let list = unsafe { self.0.as_mut() };
        let at = list.count as usize;
        // INVARIANT: The list takes over the reference of `fget_raw()`.
        *list.fp.get_mut(at).ok_or(EINVAL)? = file.as_ptr();
        list.count += 1;
        Ok(file)
    }

    /// The same, with memory of these flags: it may be called where nobody may sleep.
    fn copy(&self, flags: Flags) -> Result<Self, AllocError> {
        let mut place = KBox::<bindings::scm_fp_list>::new_uninit(flags)?;
        // SAFETY: By the type invariant the list is valid. The copy gets references of its own
        // below.
        let list = unsafe {
            place
                .as_mut_ptr()
                .copy_from_nonoverlapping(self.0.as_ptr(), 1);
            KBox::into_raw(place.assume_init())
        };
        // SAFETY: `list` is valid and belongs to nobody else yet; its files and its user are valid
        // while `self` is.
        unsafe {
            bindings::get_uid((*list).user);
            for file in (*list).fp.iter().take((*list).count as usize) {
                bindings::get_file(*file);
            }
            bindings::INIT_LIST_HEAD(&raw mut (*list).vertices);
        }
        // INVARIANT: The references were just taken.
        NonNull::new(list).map(Self).ok_or(AllocError)
    }

    /// Another list of the same files.
    fn dup(&self) -> Result<Self> {
        // SAFETY: By the type invariant the list is valid; what this changes are reference counts.
        let list = unsafe { bindings::scm_fp_dup(self.0.as_ptr()) };
        // INVARIANT: `scm_fp_dup()` takes the references.
        NonNull::new(list).map(Self).ok_or(ENOMEM)
    }

    /// The list in the wrapping that the kernel's functions take, which then own it.
    fn into_cookie(self) -> bindings::scm_cookie {
        bindings::scm_cookie {
            fp: ManuallyDrop::new(self).0.as_ptr(),
            ..pin_init::zeroed()
        }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        let mut cookie = bindings::scm_cookie {
            fp: self.0.as_ptr(),
            ..pin_init::zeroed()
        };
        // SAFETY: By the type invariant; nobody uses the list after this.
        unsafe { bindings::__scm_destroy(&mut cookie) };
    }
}

/// The files of a message that is in flight, and what they count as.
pub(crate) struct Files<C> {
    list: List,
    counted: Arc<C>,
}

impl<C> Files<C> {
    /// Takes up the files of the current task's descriptors `fds`, whose bytes are those of
    /// `SCM_RIGHTS`.
    ///
    /// Sockets of the address families `refused` and io_uring are refused: those hold references to
    /// other files, maybe to the very socket that these files are sent to, and nobody would find
    /// such a circle. `None` is for no files. `count_files` is told how many they are.
    ///
    /// # Errors
    ///
    /// `EINVAL` for too many or a part of a number, `EBADF` for what is not open, `EOPNOTSUPP` for
    /// what is refused, `ENOMEM`, or what `count_files` says.
    pub(crate) fn take_up(
        fds: &[u8],
        refused: &[i32],
        count_files: impl FnOnce(usize) -> Result<C>,
    ) -> Result<Option<Self>> {
        let count = fds.len() / size_of::<i32>();
        if fds.len() % size_of::<i32>() != 0 || count > FILES_MAX {
            return Err(EINVAL);
        }
        if count == 0 {
            return Ok(None);
        }
        let mut list = List::new()?;
        for fd in fds.chunks_exact(size_of::<i32>()) {
            let file = list.push(i32::from_ne_bytes(fd.try_into().map_err(|_| EINVAL)?))?;
            // SAFETY: The list has a reference to it.
            if unsafe { is_io_uring(file) || family(file).is_some_and(|f| refused.contains(&f)) } {
                return Err(EOPNOTSUPP);
            }
        }
        let counted = Arc::new(count_files(count)?, GFP_KERNEL_ACCOUNT)?;
        Ok(Some(Self { list, counted }))
    }

    /// The same in other memory, of these flags. Together they count once.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub(crate) fn copy(&self, flags: Flags) -> Result<Self, AllocError> {
        Ok(Self {
            list: self.list.copy(flags)?,
            counted: self.counted.clone(),
        })
    }

    /// A set of its own for one reader.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn dup(&self) -> Result<Landing> {
        self.list.dup().map(Landing)
    }
}

/// Files that are about to become descriptors of the current task.
pub(crate) struct Landing(List);

impl RecvMsg<'_> {
    /// Whether there is room for descriptors of the current task.
    pub(crate) fn takes_files(&self) -> bool {
        // SAFETY: Valid by the type invariant; the union is a pointer either way.
        unsafe {
            (*self.as_raw()).msg_control_is_user()
                && !(*self.as_raw()).__bindgen_anon_1.msg_control.is_null()
        }
    }

    /// Makes descriptors of the files and attaches `SCM_RIGHTS`; what does not fit is closed and
    /// told by `MSG_CTRUNC`.
    ///
    /// It is not to be called unless [`Self::takes_files`]: then nothing is attached.
    pub(crate) fn put_files(&mut self, files: Landing) {
        if !self.takes_files() {
            return;
        }
        let mut cookie = files.0.into_cookie();
        // SAFETY: Valid by the type invariant, with a control buffer in user space; the list's
        // ownership goes along.
        unsafe { bindings::scm_detach_fds(self.as_raw(), &raw mut cookie) };
    }
}

/// # Safety
///
/// `file` must be valid.
unsafe fn is_io_uring(file: NonNull<bindings::file>) -> bool {
    let mut room = [0u8; 32];
    // SAFETY: The file is valid, and the buffer as long as is said.
    let name =
        unsafe { bindings::file_path(file.as_ptr(), room.as_mut_ptr().cast(), room.len() as i32) };
    if kernel::error::from_err_ptr(name).is_err() {
        // It is longer.
        return false;
    }
    // SAFETY: It is NUL-terminated and lies in `room`.
    unsafe { CStr::from_char_ptr(name) == IO_URING }
}

/// The address family of a socket; `None` for other files.
///
/// # Safety
///
/// `file` must be valid.
unsafe fn family(file: NonNull<bindings::file>) -> Option<i32> {
    // SAFETY: The file is valid, and while it is its socket is, with its operations, which are
    // never taken away.
    unsafe {
        let sock = NonNull::new(bindings::sock_from_file(file.as_ptr()))?;
        let ops = (&raw const (*sock.as_ptr()).ops).read_volatile();
        Some((*NonNull::new(ops.cast_mut())?.as_ptr()).family)
    }
}
