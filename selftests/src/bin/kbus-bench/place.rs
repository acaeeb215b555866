// SPDX-License-Identifier: GPL-2.0
//! Where the measured programs run: in the root cgroup, or in a memory cgroup of their own.

use kbus_selftests::cgroup::Group;

/// A place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The root cgroup, whose memory is not counted.
    Root,
    /// A memory cgroup.
    Group,
}

/// Both.
pub const PLACES: [Place; 2] = [Place::Root, Place::Group];

/// This process is there until it is dropped.
pub struct There(Option<Group>);

impl Place {
    /// What is said of it behind the name of what was measured there.
    pub fn note(self) -> &'static str {
        match self {
            Place::Root => "",
            Place::Group => ", in a cgroup",
        }
    }

    /// Moves this process there.
    pub fn enter(self) -> There {
        There(match self {
            Place::Root => None,
            Place::Group => {
                let group = Group::new("bench");
                group.enter();
                Some(group)
            }
        })
    }
}

impl Drop for There {
    fn drop(&mut self) {
        if let Some(group) = &self.0 {
            group.leave();
        }
    }
}
