// SPDX-License-Identifier: GPL-2.0
//! Memory cgroups: whom the kernel has a piece of memory pay for.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::process::skip;

const ROOT: &str = "/sys/fs/cgroup";

/// A memory cgroup of its own, removed in the end.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
}

impl Group {
    /// Makes an empty one; skips where there are none.
    pub fn new(name: &str) -> Group {
        let root = Path::new(ROOT);
        let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        if !controllers.split_whitespace().any(|word| word == "memory") {
            skip("no memory cgroups here");
        }
        fs::write(root.join("cgroup.subtree_control"), "+memory").expect("enabling memory");
        let path = root.join(format!("kbus-{name}-{}", std::process::id()));
        fs::create_dir(&path).expect("making a cgroup");
        Group { path }
    }

    /// Moves this process into it: what it allocates from now on is the group's.
    pub fn enter(&self) {
        fs::write(self.path.join("cgroup.procs"), "0").expect("entering a cgroup");
    }

    /// Moves this process out of it, to the root.
    pub fn leave(&self) {
        let procs = Path::new(ROOT).join("cgroup.procs");
        fs::write(procs, "0").expect("leaving a cgroup");
    }

    /// Bounds the group's memory.
    pub fn set_max(&self, bytes: u64) {
        fs::write(self.path.join("memory.max"), bytes.to_string()).expect("memory.max");
    }

    /// Bytes of all memory that the group pays for.
    pub fn bytes(&self) -> u64 {
        let text = fs::read_to_string(self.path.join("memory.current")).expect("memory.current");
        text.trim().parse().expect("a number")
    }

    /// How many of its processes were killed for want of memory.
    pub fn kills(&self) -> u64 {
        let events = fs::read_to_string(self.path.join("memory.events")).expect("memory.events");
        let line = events
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "));
        line.expect("oom_kill").parse().expect("a number")
    }

    /// Bytes of kernel memory that the group pays for.
    pub fn kernel_bytes(&self) -> u64 {
        let stat = fs::read_to_string(self.path.join("memory.stat")).expect("memory.stat");
        let line = stat.lines().find_map(|line| line.strip_prefix("kernel "));
        line.expect("kernel memory").parse().expect("a number")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // One that has a process in it stays.
        let _ = fs::remove_dir(&self.path);
    }
}

/// Has the kernel give back what it keeps only because it may be useful again.
pub fn drop_caches() {
    fs::write("/proc/sys/vm/drop_caches", "3").expect("dropping caches");
    for slab in fs::read_dir("/sys/kernel/slab").expect("/sys/kernel/slab") {
        let slab = slab.expect("/sys/kernel/slab").path();
        // Some go away meanwhile.
        let _ = fs::write(slab.join("shrink"), "1");
    }
}

/// Bytes of the kernel's own objects in the whole machine.
pub fn slab_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("SUnreclaim:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .expect("SUnreclaim")
        .parse::<u64>()
        .expect("a number")
        * 1024
}
