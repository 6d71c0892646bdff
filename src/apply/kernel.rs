//! The kernel executor: hands each step to its target.
//!
//! All of it stays on the thread that calls: sockets, files below `/proc/sys/net` and child processes belong to that
//! thread's network namespace. Most of what it does blocks for as long as the kernel takes, so it is to have a thread of
//! its own, with a current-thread runtime.

use std::io;

use super::addr::Links;
use super::conntrack::Conntrack;
use super::ipvs::{Ipvs, IpvsError};
use super::netlink::Load;
use super::nft::Rules;
use super::sysctl;
use crate::plan::step::{Executor, HostReading, Target};
use crate::plan::{Observation, Outcome, Report, Step};

/// Performs the steps of all targets but BGP.
pub struct Kernel {
    links: Links,
    rules: Rules,
    /// None until IPVS could be reached; each use tries again.
    ipvs: Option<Ipvs>,
    conntrack: Conntrack,
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
    /// Has to be called within a Tokio runtime that has its IO and time drivers.
    ///
    /// # Errors
    /// When there is no rtnetlink socket to be had.
    pub fn connect() -> Result<Kernel, KernelError> {
        Kernel::with(Load::Allowed)
    }

    /// Connects to the kernel for reading only: nothing is loaded. Without the module `ip_vs` reading virtual servers is
    /// refused; without `nf_tables` there are no packet filter rules but those of iptables legacy.
    ///
    /// # Errors
    /// As [`Kernel::connect`].
    pub fn connect_if_loaded() -> Result<Kernel, KernelError> {
        Kernel::with(Load::Never)
    }

    fn with(load: Load) -> Result<Kernel, KernelError> {
        let (links, conntrack) = (Links::connect()?, Conntrack::default());
        let mut kernel = Kernel { links, rules: Rules::new(load), ipvs: None, conntrack, load };
        // A failure is told by the first step that needs it.
        let _ = kernel.ipvs();
        Ok(kernel)
    }

    fn ipvs(&mut self) -> Result<&mut Ipvs, IpvsError> {
        let connected = match self.ipvs.take() {
            Some(ipvs) => ipvs,
            None => Ipvs::with(self.load)?,
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

    async fn perform_run(&mut self, run: Vec<Step>) -> Vec<Report> {
        let outcomes = match (&run[..], run[0].target()) {
            ([Step::ReadHost], _) => vec![Outcome::Read(Observation::Host(Box::new(self.read_host().await)))],
            (_, Target::Ipvs) => return self.perform_ipvs(run),
            ([Step::SetTimeouts(_), ..], _) => return self.perform_ipvs(run),
            (_, Target::Connections) => self.conntrack.perform(&run),
            (_, Target::Sysctl) => run.iter().map(sysctl::perform).collect(),
            (_, Target::Addr) => self.links.perform(&run).await,
            (_, Target::Nft) => self.rules.perform(&run).await,
            (_, Target::Bgp) => {
                run.iter().map(|step| Outcome::Refused(format!("{step:?} is no step for the kernel"))).collect()
            }
        };
        run.into_iter().zip(outcomes).map(|(step, outcome)| Report { step, outcome }).collect()
    }

    async fn read_host(&mut self) -> HostReading {
        // With IPVS its parameters appear; without it they are absent.
        let timeouts = match self.ipvs() {
            Ok(ipvs) => ipvs.timeouts().map(Some).map_err(|error| error.to_string()),
            Err(IpvsError::Absent) => Ok(None),
            Err(error) => Err(error.to_string()),
        };
        HostReading {
            sysctls: sysctl::read(),
            addr: self.links.read().await,
            nft: self.rules.read().await,
            timeouts,
            host: self.links.read_host().await,
        }
    }
}

impl Executor for Kernel {
    async fn perform(&mut self, steps: Vec<Step>) -> Vec<Report> {
        let mut reports = Vec::with_capacity(steps.len());
        let mut steps = steps.into_iter().peekable();
        while let Some(step) = steps.next() {
            let mut run = vec![step];
            while let Some(next) = steps.next_if(|next| is_run(&run[0], next)) {
                run.push(next);
            }
            reports.extend(self.perform_run(run).await);
        }
        reports
    }
}

/// Are the two steps for the same target, which then can do better than one at a time?
fn is_run(first: &Step, next: &Step) -> bool {
    let alike = matches!(first, Step::SetTimeouts(_)) == matches!(next, Step::SetTimeouts(_));
    // Reading the host asks several targets.
    first.target() == next.target() && alike && ![first, next].contains(&&Step::ReadHost)
}
