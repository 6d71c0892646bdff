//! The kernel executor: hands each step to its target.
//!
//! All of it stays on the thread that calls: sockets, files below `/proc/sys/net` and child processes belong to that
//! thread's network namespace. Most of what it does blocks for as long as the kernel takes, so it is to have a thread of
//! its own, with a current-thread runtime.

use std::io;

use super::addr::Links;
use super::ipvs::{Ipvs, IpvsError};
use super::netlink::Load;
use super::{nft, sysctl};
use crate::plan::step::{Executor, HostReading, Target};
use crate::plan::{Observation, Outcome, Report, Step};

/// Performs the steps of all targets but BGP.
pub struct Kernel {
    links: Links,
    /// None until IPVS could be reached; each use tries again.
    ipvs: Option<Ipvs>,
    load: Load,
}

/// The kernel cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("cannot open an rtnetlink socket: {0}")]
pub struct KernelError(#[from] io::Error);

impl Kernel {
    /// Connects to the kernel, which loads the module `ip_vs` if it has to. Without that module there are no virtual
    /// servers, and steps about them say so.
    ///
    /// Has to be called within a Tokio runtime.
    ///
    /// # Errors
    /// When there is no rtnetlink socket to be had.
    pub fn connect() -> Result<Kernel, KernelError> {
        Kernel::with(Load::Allowed)
    }

    /// Connects to the kernel for reading only: nothing is loaded, and without the module `ip_vs` reading virtual
    /// servers is refused.
    ///
    /// # Errors
    /// As [`Kernel::connect`].
    pub fn connect_if_loaded() -> Result<Kernel, KernelError> {
        Kernel::with(Load::Never)
    }

    fn with(load: Load) -> Result<Kernel, KernelError> {
        let mut kernel = Kernel { links: Links::connect()?, ipvs: None, load };
        // A failure is told by the first step that needs it.
        let _ = kernel.ipvs();
        Ok(kernel)
    }

    fn ipvs(&mut self) -> Result<&mut Ipvs, IpvsError> {
        let connected = match self.ipvs.take() {
            Some(ipvs) => ipvs,
            None => match self.load {
                Load::Allowed => Ipvs::connect()?,
                Load::Never => Ipvs::connect_if_loaded()?,
            },
        };
        Ok(self.ipvs.insert(connected))
    }

    /// Virtual servers are changed many at a time.
    fn perform_ipvs(&mut self, steps: Vec<Step>) -> Vec<Report> {
        let outcome = match self.ipvs() {
            Ok(ipvs) => return ipvs.perform(steps),
            Err(error @ IpvsError::Absent) => Outcome::Refused(error.to_string()),
            Err(error) => Outcome::Later(error.to_string()),
        };
        steps.into_iter().map(|step| Report { step, outcome: outcome.clone() }).collect()
    }

    async fn perform_one(&mut self, step: &Step) -> Outcome {
        match step {
            Step::ReadHost => Outcome::Read(Observation::Host(Box::new(self.read_host().await))),
            Step::SetSysctl(sysctl, value) => sysctl::write(sysctl, value),
            step => match step.target() {
                Target::Addr => self.links.perform(step).await,
                Target::Nft => nft::perform(step).await,
                Target::Sysctl | Target::Ipvs | Target::Bgp => {
                    Outcome::Refused(format!("{step:?} is no step for the kernel"))
                }
            },
        }
    }

    async fn read_host(&mut self) -> HostReading {
        // With IPVS its parameters appear; without it they are absent.
        let _ = self.ipvs();
        HostReading {
            sysctls: sysctl::read(),
            addr: self.links.read().await,
            nft: nft::read().await,
            host: self.links.read_host().await,
        }
    }
}

impl Executor for Kernel {
    async fn perform(&mut self, steps: Vec<Step>) -> Vec<Report> {
        let mut reports = Vec::with_capacity(steps.len());
        let mut steps = steps.into_iter().peekable();
        while let Some(step) = steps.next() {
            if step.target() == Target::Ipvs {
                let mut run = vec![step];
                while let Some(next) = steps.next_if(|next| next.target() == Target::Ipvs) {
                    run.push(next);
                }
                reports.extend(self.perform_ipvs(run));
            } else {
                let outcome = self.perform_one(&step).await;
                reports.push(Report { step, outcome });
            }
        }
        reports
    }
}
