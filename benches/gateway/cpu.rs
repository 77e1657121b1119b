//! What processes cost, as the kernel counts it.
//!
//! Owns reading `/proc`: CPU time and resident memory of a process with its children, and how busy
//! the whole machine was. Fails loudly when a process has gone or a field is missing.

use std::fs;
use std::time::Duration;

/// `/proc` counts in hundredths of a second, whatever the kernel's own tick.
const TICK: Duration = Duration::from_millis(10);
/// By how much the coarse clock may exceed the fine one before a thread must have ended.
const TOLERANCE: Duration = Duration::from_millis(50);

/// A process and the children that it had when it was looked at.
pub struct Processes {
    pids: Vec<u32>,
}

/// CPU time, user and system, since the processes began.
pub struct CpuTime {
    /// In nanoseconds by the scheduler, over the threads that live.
    fine: Duration,
    /// In ticks, threads that have ended included.
    coarse: Duration,
}

impl CpuTime {
    /// What was used since `before`: by the fine clock, unless threads have ended meanwhile and
    /// taken their share of it along.
    pub fn since(&self, before: &Self) -> Duration {
        let fine = self.fine.saturating_sub(before.fine);
        let coarse = self.coarse.saturating_sub(before.coarse);
        match coarse > fine + TOLERANCE {
            true => coarse,
            false => fine,
        }
    }
}

impl Processes {
    /// A process with its children.
    pub fn of(pid: u32) -> Self {
        let mut pids = vec![pid];
        pids.extend(children(pid));
        Self { pids }
    }

    /// The ids, the parent's first.
    pub fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// CPU time until now.
    pub fn cpu_time(&self) -> CpuTime {
        CpuTime {
            fine: self.pids.iter().map(|pid| scheduled(*pid)).sum(),
            coarse: self.pids.iter().map(|pid| ticked(*pid)).sum(),
        }
    }

    /// Resident memory in KiB. Pages that processes share count once for each.
    pub fn resident_kib(&self) -> u64 {
        self.pids.iter().map(|pid| status(*pid, "VmRSS:")).sum()
    }

    /// The most that each process ever had resident, in KiB.
    pub fn peak_kib(&self) -> u64 {
        self.pids.iter().map(|pid| status(*pid, "VmHWM:")).sum()
    }
}

/// The children of a process, by all of its threads.
pub fn children(pid: u32) -> Vec<u32> {
    let lists = tasks(pid)
        .into_iter()
        .map(|task| fs::read_to_string(format!("{task}/children")).unwrap_or_default());
    let lists: Vec<String> = lists.collect();
    let ids = lists.iter().flat_map(|list| list.split_whitespace());
    ids.filter_map(|id| id.parse().ok()).collect()
}

/// CPU time of all processes and of interrupts, in steps of [`TICK`].
pub fn machine_busy() -> Duration {
    let text = read("/proc/stat");
    let line = text.lines().next().unwrap_or_default();
    // user nice system idle iowait irq softirq steal
    let fields: Vec<u32> = line.split_whitespace().skip(1).map(number).collect();
    let busy: u32 = [0, 1, 2, 5, 6, 7].iter().map(|at| fields[*at]).sum();
    TICK * busy
}

fn scheduled(pid: u32) -> Duration {
    let nanos = tasks(pid).into_iter().map(|task| {
        // A thread that ends between the listing and the reading is what the ticks are for.
        let text = fs::read_to_string(format!("{task}/schedstat")).unwrap_or_default();
        text.split_whitespace().next().map_or(0, number::<u64>)
    });
    Duration::from_nanos(nanos.sum())
}

fn ticked(pid: u32) -> Duration {
    let text = read(&format!("/proc/{pid}/stat"));
    // The name, in brackets, may hold anything; the state follows it, then utime is the twelfth.
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    TICK * (number::<u32>(fields[11]) + number::<u32>(fields[12]))
}

fn status(pid: u32, name: &str) -> u64 {
    let text = read(&format!("/proc/{pid}/status"));
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_whitespace().nth(1));
    number(value.unwrap_or_else(|| panic!("process {pid} has no {name} any more")))
}

fn tasks(pid: u32) -> Vec<String> {
    let path = format!("/proc/{pid}/task");
    // A process that has gone has none; reading its ticks or its memory says so.
    let listing = fs::read_dir(path).into_iter().flatten();
    listing
        .filter_map(|entry| Some(entry.ok()?.path().to_str()?.to_owned()))
        .collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    let parsed = text.parse().ok();
    parsed.unwrap_or_else(|| panic!("the kernel says {text:?} for a number"))
}
