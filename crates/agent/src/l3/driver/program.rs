//! The programs of a router: radvd and keepalived.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use kernel::{
    Host, Namespace, file,
    process::{self, Process, Signal, TERMINATE_GRACE},
};
use tokio::time::{Instant, sleep_until};
use types::RouterId;

use super::{Driver, DriverError, Running, State, Step, Unfinished};
use crate::l3::{desired::Wanted, ha::keepalived::Keepalived};

/// How long a program may take to go into the background.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long it may then take to note its pid, and how often that is looked for.
const NOTE_LIMIT: Duration = Duration::from_secs(2);
const NOTE_PAUSE: Duration = Duration::from_millis(5);
/// Intervals of advertisements that must lie between two signals to keepalived, which does not take them well while it
/// is still at the last one.
const RELOAD_PAUSE: f64 = 1.5;

impl<H: Host> Driver<H> {
    /// The radvd of a router, if it lives.
    pub fn radvd(&self, router: RouterId) -> Result<Option<Process>, DriverError> {
        Ok(Process::find(&self.config.radvd_pid(router), &router.to_string())?)
    }

    /// The keepalived of a router, if it lives.
    pub fn keepalived(&self, router: RouterId) -> Result<Option<Process>, DriverError> {
        let [pid, _] = self.config.ha.pid_files(router);
        Ok(Process::find(&pid, &router.to_string())?)
    }

    /// Reads what of its programs a router has.
    pub(super) fn read_programs(&self, wanted: &Wanted, state: &mut State) -> Result<(), DriverError> {
        let namespace = self.namespace(wanted);
        let running = |process: Process| Running { arguments: process.arguments(), here: process.is_in(&namespace) };
        state.radvd_file = file::read(&self.config.radvd_file(wanted.router))?;
        state.radvd = self.radvd(wanted.router)?.map(running);
        let directory = self.config.ha.directory(wanted.router);
        state.keepalived_file = file::read(&directory.join("keepalived.conf"))?;
        if let Some(keepalived) = &wanted.ha {
            state.check_file = file::read(&keepalived.check.file)?;
        }
        state.keepalived = self.keepalived(wanted.router)?.map(running);
        state.monitor = self.monitor_files(wanted.router).iter().any(|path| file::exists(path));
        Ok(())
    }

    /// Takes a step that concerns a program; gives back any other.
    pub(super) async fn program_step(&self, wanted: &Wanted, step: Step) -> Result<Option<Step>, DriverError> {
        match step {
            Step::StopRadvd if wanted.ha.is_some() => self.kill_radvd(wanted.router).await?,
            Step::StopRadvd => self.stop_radvd(wanted.router).await?,
            Step::WriteRadvd => self.write_radvd(wanted)?,
            Step::StartRadvd => self.start_radvd(wanted).await?,
            Step::ReloadRadvd => {
                if let Some(process) = self.radvd(wanted.router)? {
                    process.signal(Signal::SIGHUP)?;
                }
                self.note(wanted.router, Unfinished::Radvd, false);
            }
            Step::RemoveRadvd => file::remove(&self.config.radvd_file(wanted.router))?,
            Step::EndMonitor => self.end_monitor(wanted.router).await?,
            Step::StopKeepalived => self.stop_keepalived(wanted.router).await?,
            Step::RemoveKeepalived => file::remove_directory(&self.config.ha.directory(wanted.router))?,
            Step::WriteKeepalived | Step::StartKeepalived | Step::ReloadKeepalived => {
                if let Some(keepalived) = &wanted.ha {
                    self.keepalived_step(wanted, keepalived, step).await?;
                }
            }
            other => return Ok(Some(other)),
        }
        Ok(None)
    }

    /// Ends all programs of a router and removes their files.
    pub(super) async fn end_programs(&self, router: RouterId) -> Result<(), DriverError> {
        self.stop_radvd(router).await?;
        self.end_monitor(router).await?;
        self.stop_keepalived(router).await?;
        file::remove(&self.config.radvd_file(router))?;
        file::remove(&self.config.radvd_pid(router))?;
        Ok(file::remove_directory(&self.config.ha.directory(router))?)
    }

    /// Whether programs of a router have files here.
    pub(super) fn has_programs(&self, router: RouterId) -> bool {
        file::exists(&self.config.radvd_file(router)) || file::exists(&self.config.ha.directory(router))
    }

    fn write_radvd(&self, wanted: &Wanted) -> Result<(), DriverError> {
        let Some(radvd) = &wanted.radvd else { return Ok(()) };
        file::make_directory(&self.config.ra_confs)?;
        self.note(wanted.router, Unfinished::Radvd, true);
        Ok(file::replace_with(&radvd.file, &radvd.text, 0o444)?)
    }

    async fn start_radvd(&self, wanted: &Wanted) -> Result<(), DriverError> {
        let Some(radvd) = &wanted.radvd else { return Ok(()) };
        file::make_directory(&self.config.external_pids)?;
        // What its pid file names is not ours, or gone.
        file::remove(&radvd.pid_file)?;
        start(&self.namespace(wanted), &radvd.command).await?;
        self.note(wanted.router, Unfinished::Radvd, false);
        tracing::info!(router = %wanted.router, "started radvd");
        Ok(())
    }

    async fn stop_radvd(&self, router: RouterId) -> Result<(), DriverError> {
        if let Some(process) = self.radvd(router)? {
            tracing::info!(%router, pid = process.pid(), "stopping radvd");
            process.terminate(TERMINATE_GRACE).await?;
        }
        Ok(())
    }

    /// Ends a radvd without its last word, that it is no router any more: another host is the same router.
    async fn kill_radvd(&self, router: RouterId) -> Result<(), DriverError> {
        if let Some(process) = self.radvd(router)? {
            tracing::info!(%router, pid = process.pid(), "ending radvd, as another host serves the router");
            process.signal(Signal::SIGKILL)?;
            process.terminate(TERMINATE_GRACE).await?;
        }
        Ok(())
    }

    async fn keepalived_step(&self, wanted: &Wanted, it: &Keepalived, step: Step) -> Result<(), DriverError> {
        let router = wanted.router;
        if step == Step::WriteKeepalived {
            file::make_directory(&it.directory)?;
            self.note(router, Unfinished::Keepalived, true);
            match &it.check.text {
                Some(text) => file::replace_with(&it.check.file, text, 0o500)?,
                None => file::remove(&it.check.file)?,
            }
            // A password may stand in it.
            return Ok(file::replace_with(&it.file(), &it.text, 0o600)?);
        }
        self.calm(router).await;
        if step == Step::StartKeepalived {
            // It was on its way when it was looked for.
            if self.keepalived(router)?.is_some() {
                return Ok(());
            }
            // A child whose parent was killed would speak beside the new one.
            end(&it.pid_files[1], router).await?;
            for pid_file in &it.pid_files {
                file::remove(pid_file)?;
            }
            start(&self.namespace(wanted), &it.command).await?;
            self.until_noted(router).await?;
            tracing::info!(%router, "started keepalived");
        } else if let Some(process) = self.keepalived(router)? {
            process.signal(Signal::SIGHUP)?;
        }
        self.signalled.lock().insert(router, Instant::now());
        self.note(router, Unfinished::Keepalived, false);
        Ok(())
    }

    /// Waits for keepalived to note its pid, which it does when it is in the background already. Without it, it would be
    /// taken for dead and started once more.
    async fn until_noted(&self, router: RouterId) -> Result<(), DriverError> {
        let limit = Instant::now() + NOTE_LIMIT;
        while self.keepalived(router)?.is_none() && Instant::now() < limit {
            tokio::time::sleep(NOTE_PAUSE).await;
        }
        Ok(())
    }

    /// Waits until keepalived is over what was last asked of it.
    async fn calm(&self, router: RouterId) {
        let last = self.signalled.lock().get(&router).copied();
        if let Some(last) = last {
            let pause = Duration::from_secs(self.config.ha.vrrp_advert_int.into()).mul_f64(RELOAD_PAUSE);
            sleep_until(last + pause).await;
        }
    }

    async fn stop_keepalived(&self, router: RouterId) -> Result<(), DriverError> {
        for pid_file in self.config.ha.pid_files(router) {
            end(&pid_file, router).await?;
            file::remove(&pid_file)?;
        }
        self.signalled.lock().remove(&router);
        Ok(())
    }

    /// Where an agent of the other kind notes the process by which it watches keepalived, and its conntrackd.
    fn monitor_files(&self, router: RouterId) -> [PathBuf; 2] {
        let monitor = format!("{router}.monitor.pid.neutron-keepalived-state-change-monitor");
        [self.config.external_pids.join(monitor), self.config.ha.directory(router).join("conntrackd.pid")]
    }

    async fn end_monitor(&self, router: RouterId) -> Result<(), DriverError> {
        for pid_file in self.monitor_files(router) {
            end(&pid_file, router).await?;
            file::remove(&pid_file)?;
        }
        Ok(())
    }
}

async fn start(namespace: &Namespace, command: &[String]) -> Result<(), DriverError> {
    Ok(process::run(Some(namespace), command, START_LIMIT).await?)
}

/// Ends the process of a router that a file names.
async fn end(pid_file: &Path, router: RouterId) -> Result<(), DriverError> {
    if let Some(process) = Process::find(pid_file, &router.to_string())? {
        tracing::info!(%router, pid = process.pid(), file = %pid_file.display(), "stopping a program");
        process.terminate(TERMINATE_GRACE).await?;
    }
    Ok(())
}
