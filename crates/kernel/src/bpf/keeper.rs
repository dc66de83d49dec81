//! What is done beside the caller: programs are put at devices and taken from them, each of which may take long, and the
//! kernel is told that somebody looks after them.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{
    failed,
    layout::Validity,
    programs::{self, Programs},
    syscall,
};
use crate::{Error, Namespace, Result};

/// How long what is known holds if nobody renews it.
const LEASE: Duration = Duration::from_secs(5);
const RENEWAL: Duration = Duration::from_secs(1);

/// What there is to do at a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Attach,
    Detach,
}

/// The thread that does it, which ends with this.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    programs: Programs,
    validity: OwnedFd,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// None holds while it is 0.
    generation: u64,
    renewed: Instant,
    due: BTreeMap<u32, Task>,
    attached: BTreeSet<u32>,
    failure: Option<Error>,
    is_over: bool,
}

impl Keeper {
    pub(super) fn start(namespace: Namespace, programs: Programs, validity: OwnedFd) -> Result<Self> {
        let state = State {
            generation: 0,
            renewed: Instant::now(),
            due: BTreeMap::new(),
            attached: BTreeSet::new(),
            failure: None,
            is_over: false,
        };
        let shared = Arc::new(Shared { programs, validity, state: Mutex::new(state), changed: Condvar::new() });
        let work = {
            let shared = shared.clone();
            move || {
                if let Err(error) = namespace.run(|| shared.serve()) {
                    shared.fail(&mut shared.state.lock(), error);
                }
            }
        };
        let thread = thread::Builder::new().name("fast-path".to_owned()).spawn(work);
        let thread = thread.map_err(|error| failed("start a thread for", "flows", &error))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has that done at a device, in place of what was to be done there before. It is done while ways hold, one device
    /// after the other: whoever is about to change something changes links as well, and would have to wait for each.
    pub(super) fn ask(&self, device: u32, task: Task) {
        self.shared.state.lock().due.insert(device, task);
        self.shared.changed.notify_one();
    }

    /// From now on ways hold that are of that generation. None ever does after a failure.
    pub(super) fn set_generation(&self, generation: u64) -> Result<()> {
        let mut state = self.shared.state.lock();
        state.check()?;
        state.generation = generation;
        self.shared.write(&mut state)?;
        self.shared.changed.notify_one();
        Ok(())
    }

    /// The number of devices at which the programs are.
    pub(super) fn devices(&self) -> Result<usize> {
        let state = self.shared.state.lock();
        state.check()?;
        Ok(state.attached.len())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        (state.generation, state.is_over) = (0, true);
        // If it were refused, the kernel would stop by itself when the lease ends.
        let _ = self.shared.write(&mut state);
        drop(state);
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    /// What went wrong beside the caller, if anything did.
    fn check(&self) -> Result<()> {
        self.failure.clone().map_or(Ok(()), Err)
    }
}

impl Shared {
    fn serve(&self) {
        let mut state = self.state.lock();
        while !state.is_over {
            if state.generation == 0 {
                self.changed.wait(&mut state);
                continue;
            }
            if state.renewed.elapsed() >= RENEWAL
                && let Err(error) = self.write(&mut state)
            {
                self.fail(&mut state, error);
            } else if let Some((device, task)) = state.due.pop_first() {
                state.attached.remove(&device);
                let began = Instant::now();
                match MutexGuard::unlocked(&mut state, || self.work(device, task)) {
                    Ok(true) => drop(state.attached.insert(device)),
                    Ok(false) => {}
                    Err(error) => self.fail(&mut state, error),
                }
                // The links of this host are for others for as long.
                let rested = Instant::now() + began.elapsed();
                while !state.is_over && Instant::now() < rested {
                    self.changed.wait_until(&mut state, rested);
                }
            } else {
                self.changed.wait_for(&mut state, RENEWAL);
            }
        }
    }

    /// Whether the programs are at the device, once that is done.
    fn work(&self, device: u32, task: Task) -> Result<bool> {
        let (action, done) = match task {
            Task::Attach => ("put a program to the packets of", self.programs.attach(device)),
            Task::Detach => ("take a program from the packets of", programs::detach(device)),
        };
        match done.map_err(|error| failed(action, format!("device {device}"), &error)) {
            Ok(()) => Ok(task == Task::Attach),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Nothing more is done, and nothing holds.
    fn fail(&self, state: &mut State, error: Error) {
        (state.generation, state.is_over, state.failure) = (0, true, Some(error));
        let _ = self.write(state);
    }

    fn write(&self, state: &mut State) -> Result<()> {
        let until = now().map_err(|error| failed("read", "the clock", &error.into()))? + LEASE;
        let validity = Validity { generation: state.generation, until: until.as_nanos() as u64 };
        let set = syscall::set(&self.validity, &0_u32.to_ne_bytes(), &validity.bytes());
        state.renewed = Instant::now();
        set.map_err(|error| failed("change", "the generation of flows", &error))
    }
}

/// Time since the start of this machine, as programs see it.
fn now() -> nix::Result<Duration> {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from)
}
