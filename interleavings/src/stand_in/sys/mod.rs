// SPDX-License-Identifier: GPL-2.0

//! The socket layer (`net/sys/`) as the module sees it, for sockets of the tests.

pub(crate) mod msg;
pub(crate) mod sock;
pub(crate) mod socket;
pub(crate) mod sockopt;

pub(crate) mod net_ns {
    //! The one network namespace of a test.

    use super::proc::FileOf;
    use super::sysctl::Folder;
    use super::sysctl::Written;
    use crate::prelude::Result;
    use crate::sync::Arc;

    pub(crate) struct Net;

    pub(crate) struct NetCell;

    impl NetCell {
        pub(crate) const fn new() -> Self {
            NetCell
        }
    }

    impl Net {
        pub(crate) fn is_initial(&self) -> bool {
            true
        }

        pub(crate) fn state<T: NetState>(&self) -> Option<Arc<T>> {
            None
        }
    }

    #[expect(dead_code, reason = "nobody registers it")]
    pub(crate) trait NetState: Sized {
        type Shared;
        type Told: Written;
        fn cell() -> &'static NetCell;
        fn create(
            net: &Net,
            maker: Option<Arc<Self>>,
            shared: &Arc<Self::Shared>,
        ) -> Result<Arc<Self>>;
        fn sysctls(&self, net: &Net) -> Result<Folder<Self::Told>>;
        fn files() -> &'static [FileOf<Self>];
    }
}

pub(crate) mod cred {
    //! Everybody is the same.

    use crate::alloc::AllocError;
    use crate::alloc::Flags;
    use crate::prelude::Result;

    #[derive(Clone, Copy)]
    pub(crate) struct Ucred {
        pub(crate) pid: u32,
        pub(crate) uid: u32,
        pub(crate) gid: u32,
    }

    impl Ucred {
        pub(crate) fn nobody() -> Self {
            Ucred {
                pid: 0,
                uid: 0,
                gid: 0,
            }
        }
    }

    #[derive(Debug)]
    pub(crate) struct Creds;

    impl Creds {
        pub(crate) fn of_current(_with_label: bool) -> Result<Self> {
            Ok(Creds)
        }

        pub(crate) fn claim(self, _claimed: Ucred) -> Result<Self> {
            Ok(self)
        }

        pub(crate) fn seen_here(&self) -> Ucred {
            Ucred::nobody()
        }

        pub(crate) fn copy(&self, _flags: Flags) -> Result<Self, AllocError> {
            Ok(Creds)
        }

        pub(crate) fn label(&self) -> Option<&[u8]> {
            None
        }
    }

    pub(crate) struct Maker;

    impl Maker {
        pub(crate) fn current() -> Result<Self> {
            Ok(Maker)
        }
    }
}

pub(crate) mod scm {
    //! Nobody sends files.

    use crate::alloc::AllocError;
    use crate::alloc::Flags;
    use crate::prelude::Result;
    use std::marker::PhantomData;

    #[derive(Debug)]
    pub(crate) struct Files<C>(PhantomData<C>);

    pub(crate) struct Landing;

    impl<C> Files<C> {
        pub(crate) fn take_up(
            _fds: &[u8],
            _refused: &[i32],
            _count: impl FnOnce(usize) -> Result<C>,
        ) -> Result<Option<Self>> {
            Ok(None)
        }

        pub(crate) fn copy(&self, _flags: Flags) -> Result<Self, AllocError> {
            Ok(Files(PhantomData))
        }

        pub(crate) fn dup(&self) -> Result<Landing> {
            Ok(Landing)
        }
    }
}

pub(crate) mod path {
    //! There is no file system here.

    use super::cred::Maker;
    use crate::prelude::CStr;
    use crate::prelude::Error;
    use crate::prelude::Result;

    /// There is none.
    pub(crate) enum Path {}

    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub(crate) struct InodeId(usize);

    impl Path {
        pub(crate) fn lookup(_: &CStr) -> Result<Self> {
            Err(Error::from_errno(-2))
        }

        pub(crate) fn is_link(_: &CStr) -> bool {
            false
        }

        pub(crate) fn make_socket(_: &CStr, _: u16) -> Result<Self> {
            Err(Error::from_errno(-30))
        }

        pub(crate) fn inode_id(&self) -> InodeId {
            match *self {}
        }

        pub(crate) fn is_socket(&self) -> bool {
            match *self {}
        }

        pub(crate) fn permissions(&self) -> u32 {
            match *self {}
        }

        pub(crate) fn uid(&self) -> u32 {
            match *self {}
        }

        pub(crate) fn gid(&self) -> u32 {
            match *self {}
        }

        pub(crate) fn check_write(&self) -> Result {
            match *self {}
        }

        pub(crate) fn check_connect(&self, _: Option<&Maker>) -> Result {
            match *self {}
        }

        pub(crate) fn is_deleted(&self) -> bool {
            match *self {}
        }

        pub(crate) fn is_net_admin(&self) -> bool {
            match *self {}
        }
    }
}

pub(crate) mod proc {
    //! There is no `/proc` here.

    use std::marker::PhantomData;

    pub(crate) struct Out<'a>(PhantomData<&'a ()>);

    pub(crate) struct FileOf<S>(PhantomData<fn(S)>);
}

pub(crate) mod memory {
    //! Memory cgroups, which tell sockets apart and are never full.

    use crate::alloc::AllocError;
    use crate::alloc::Flags;
    use crate::alloc::KBox;
    use crate::sync::none_held;
    use std::cell::Cell;

    shuttle::thread_local! {
        /// That of this thread.
        pub(crate) static CURRENT: Cell<usize> = const { Cell::new(1) };
    }

    pub(crate) struct MemoryCgroup(usize);

    impl MemoryCgroup {
        pub(crate) fn current() -> Self {
            MemoryCgroup(CURRENT.with(Cell::get))
        }

        pub(crate) fn id(&self) -> usize {
            self.0
        }

        pub(crate) fn charge<R>(&self, f: impl FnOnce() -> R) -> R {
            f()
        }
    }

    pub(crate) fn reclaim(_bytes: usize) -> Result<(), AllocError> {
        none_held("a wait for memory");
        Ok(())
    }

    pub(crate) fn array<T, const N: usize>(
        make: impl Fn() -> T,
        flags: Flags,
    ) -> Result<KBox<[T; N]>, AllocError> {
        KBox::new(std::array::from_fn(|_| make()), flags)
    }
}

pub(crate) mod pid {
    //! Everything is one process.

    use crate::prelude::Result;

    pub(crate) struct Pid;

    impl Pid {
        pub(crate) fn of_current_process() -> Result<Self> {
            Ok(Pid)
        }
    }
}

pub(crate) mod sysctl {
    //! Sysctls that nobody sets.

    use super::net_ns::Net;
    use crate::prelude::CStr;
    use crate::prelude::Result;
    use crate::sync::atomic::Atomic;
    use crate::sync::Arc;
    use std::marker::PhantomData;

    pub(crate) enum Range {
        UpTo(#[expect(dead_code, reason = "nobody sets it")] i32),
        OnlyDown,
    }

    #[expect(dead_code, reason = "nobody reads them")]
    pub(crate) struct Limit {
        pub(crate) name: &'static CStr,
        pub(crate) value: &'static Atomic<u64>,
        pub(crate) min: u64,
        pub(crate) max: u64,
    }

    pub(crate) trait Written: Sized {
        #[expect(dead_code, reason = "nobody sets it")]
        fn written(this: &Arc<Self>);
    }

    pub(crate) struct Folder<T>(PhantomData<T>);

    impl<T: Written> Folder<T> {
        pub(crate) fn new(
            _: &Net,
            _: &CStr,
            _: (&CStr, Arc<Number>),
            _: &[Limit],
            _: Arc<T>,
        ) -> Result<Self> {
            Ok(Folder(PhantomData))
        }
    }

    pub(crate) struct Number(i32);

    impl Number {
        pub(crate) fn new(value: i32, _: Range) -> Self {
            Number(value)
        }

        pub(crate) fn get(&self) -> i32 {
            self.0
        }
    }
}

pub(crate) mod task {
    //! Everybody is the same user.

    pub(crate) fn is_sandboxed() -> bool {
        false
    }

    pub(crate) fn current_euid() -> u32 {
        0
    }

    pub(crate) fn current_payer() -> u64 {
        0
    }

    pub(crate) fn exceeds_nofile(_count: u64) -> bool {
        false
    }

    pub(crate) fn current_egid() -> u32 {
        0
    }

    pub(crate) fn in_group(_gid: u32) -> bool {
        false
    }

    pub(crate) fn uid_here(uid: u32) -> u32 {
        uid
    }

    pub(crate) fn gid_here(gid: u32) -> u32 {
        gid
    }

    pub(crate) fn ram_bytes() -> u64 {
        1 << 30
    }
}

pub(crate) mod random {
    //! Numbers that make each run the same.

    pub(crate) fn number() -> u64 {
        4
    }
}

/// Memory of a program is touched, which may take as long as the program likes.
fn user_copy() {
    crate::sync::none_held("a copy from or to a program");
    crate::sync::atomic::switch();
}

pub(crate) mod trace {
    //! Nobody traces anything.

    macro_rules! tracepoints {
        ($($name:ident($($type:ty),*);)*) => {
            $(
                pub(crate) fn $name($(_: $type),*) {}

                pub(crate) mod $name {
                    #[allow(dead_code, reason = "only asked where it costs something to tell")]
                    pub(crate) fn is_on() -> bool {
                        false
                    }
                }
            )*
        };
    }

    tracepoints! {
        send(u64, u64, u32, u32, &[u8]);
        reply(u64, u64, u64, u64, u32, &[u8]);
        receive(u64, u64, u64, u32, u32, u32, &[u8]);
        deliver(u64, u64);
        miss(u64, u64);
        status(u64, u64, u64, u64, u32);
        bind(u64, bool, &[u8]);
        unbind(u64, bool, &[u8]);
        close(u64);
    }
}
