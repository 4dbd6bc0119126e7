//! The process of a weir: started by the test, or by the weir before it, whose child it is no more
//! when that one has ended.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Once};

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};

use super::log::Log;

/// Started, and what it says is read.
#[derive(Debug)]
pub(super) struct Process {
    running: Running,
    pub(super) log: Arc<Log>,
    status: Option<ExitStatus>,
}

#[derive(Debug)]
enum Running {
    Child(Child),
    /// Its parent has ended: it is this process's child, as a subreaper's.
    Successor(Pid),
}

impl Process {
    pub(super) fn new(child: Child, log: Arc<Log>) -> Process {
        Process { running: Running::Child(child), log, status: None }
    }

    /// From now on processes whose parent ends are this one's children: to be called before the
    /// first of them may.
    pub(super) fn adopt_orphans() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| set_child_subreaper(Some(getpid())).expect("Linux 3.4"));
    }

    /// Another process has taken this one's place, and writes into the same log.
    pub(super) fn follow(&mut self, successor: u32) {
        let pid =
            i32::try_from(successor).ok().and_then(Pid::from_raw).expect("a process has an id");
        *self =
            Process { running: Running::Successor(pid), log: Arc::clone(&self.log), status: None };
    }

    pub(super) fn id(&self) -> u32 {
        match &self.running {
            Running::Child(child) => child.id(),
            Running::Successor(pid) => pid.as_raw_nonzero().get().unsigned_abs(),
        }
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.wait(WaitOptions::NOHANG)
    }

    /// The same; what it said is then read to the end.
    pub(super) fn poll(&mut self) -> Option<ExitStatus> {
        let was_known = self.status.is_some();
        let status = self.ended();
        if status.is_some() && !was_known {
            self.log.finish();
        }
        status
    }

    /// `kill -9`, and waits until it is gone.
    pub(super) fn kill(&mut self) {
        match &mut self.running {
            Running::Child(child) => drop(child.kill()),
            Running::Successor(pid) if self.status.is_none() => {
                let _ = kill_process(*pid, Signal::KILL);
            }
            Running::Successor(_) => {}
        }
        if self.wait(WaitOptions::empty()).is_some() {
            self.log.finish();
        }
    }

    fn wait(&mut self, options: WaitOptions) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = match &mut self.running {
                Running::Child(child) if options.contains(WaitOptions::NOHANG) => {
                    child.try_wait().ok().flatten()
                }
                Running::Child(child) => child.wait().ok(),
                Running::Successor(pid) => {
                    let waited = waitpid(Some(*pid), options).ok().flatten();
                    waited.map(|(_, status)| ExitStatus::from_raw(status.as_raw()))
                }
            };
        }
        self.status
    }
}
