//! Link, routes, packet filter rules, parameters and notifications on a real kernel: apply, read back, apply again; and
//! what somebody else put there stays as it was.

mod addr;
mod foreign;
mod monitor;
mod nft;
mod probe;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;

use vipcast::apply::kernel::Kernel;
use vipcast::model::Prefix;
use vipcast::model::addr::{Addr, Link, LocalRoute};
use vipcast::plan::step::{Executor, HostReading};
use vipcast::plan::{Observation, Outcome, Step};

use super::in_namespace;

/// Runs `test` with an executor in a fresh network namespace, on a current-thread runtime, as the agent does.
fn with_kernel(test: impl AsyncFnOnce(&mut Node) + Send) {
    in_namespace(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { test(&mut Node { kernel: Kernel::connect().unwrap() }).await });
    });
}

/// A node with an executor.
struct Node {
    kernel: Kernel,
}

impl Node {
    /// A link to the outside with two addresses of each family.
    fn with_uplink(&self) {
        sh("ip link add uplink0 type dummy");
        sh("ip link set uplink0 up");
        for address in ["10.0.1.2/24", "10.0.1.3/24", "fd01::2/64", "fd01::3/64"] {
            sh(&format!("ip addr add {address} dev uplink0 nodad"));
        }
    }

    async fn perform(&mut self, step: Step) -> Outcome {
        let mut reports = self.kernel.perform(vec![step.clone()]).await;
        let report = reports.pop().unwrap();
        assert!(reports.is_empty() && report.step == step, "{report:?}");
        report.outcome
    }

    /// Performs steps that have to succeed.
    async fn done(&mut self, steps: impl IntoIterator<Item = Step>) {
        for report in self.kernel.perform(steps.into_iter().collect()).await {
            assert_eq!(report.outcome, Outcome::Done, "{:?}", report.step);
        }
    }

    /// Performs a step that has to be refused; the reason.
    async fn refused(&mut self, step: Step) -> String {
        match self.perform(step).await {
            Outcome::Refused(words) => words,
            other => panic!("{other:?}"),
        }
    }

    async fn read(&mut self) -> HostReading {
        match self.perform(Step::ReadHost).await {
            Outcome::Read(Observation::Host(reading)) => *reading,
            other => panic!("{other:?}"),
        }
    }

    async fn addr(&mut self) -> Addr {
        self.read().await.addr.unwrap()
    }
}

/// Runs a command line in the namespace of this thread; its output. Words are split at blanks.
fn sh(line: &str) -> String {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn ranges(prefixes: &[&str]) -> BTreeSet<Prefix> {
    prefixes.iter().map(|text| prefix(text)).collect()
}

/// A local route on our link with this preferred source.
fn from(source: &str) -> LocalRoute {
    LocalRoute { source: Some(source.parse::<IpAddr>().unwrap()), on_link: true }
}

fn set_route(range: &str, source: &str) -> Step {
    Step::SetRoute(prefix(range), from(source))
}

/// Our link, up, with these routes.
fn link_with(routes: &[(&str, &str)]) -> Addr {
    let routes = routes.iter().map(|(range, source)| (prefix(range), from(source))).collect();
    Addr { link: Some(Link::DESIRED), routes, probe: None }
}

const V4: &str = "10.96.0.0/16";
const V6: &str = "fd00:10:96::/112";

#[test]
fn reports_come_in_the_order_of_the_steps() {
    with_kernel(async |node| {
        let steps = vec![
            Step::ListServers,
            Step::DeleteTable,
            Step::StopBgp,
            Step::ListServers,
            Step::ListServers,
            Step::ReadHost,
        ];
        let reports = node.kernel.perform(steps.clone()).await;
        assert_eq!(reports.iter().map(|report| report.step.clone()).collect::<Vec<_>>(), steps);
        for (report, step) in reports.iter().zip(&steps) {
            match step {
                Step::DeleteTable => assert_eq!(report.outcome, Outcome::Done),
                Step::StopBgp => {
                    assert_eq!(report.outcome, Outcome::Refused("StopBgp is no step for the kernel".into()))
                }
                _ => assert!(matches!(report.outcome, Outcome::Read(_)), "{report:?}"),
            }
        }
    });
}

#[test]
fn parameters_are_those_of_the_namespace() {
    with_kernel(async |node| {
        let forward = |reading: HostReading| {
            let sysctls = reading.sysctls.unwrap();
            sysctls.into_iter().find(|(name, _)| &*name.0 == "net/ipv4/ip_forward").unwrap()
        };
        let (name, value) = forward(node.read().await);
        assert_eq!(value, "0");
        node.done([Step::SetSysctl(name.clone(), "1".into())]).await;
        assert_eq!(forward(node.read().await).1, "1");

        let words = node.refused(Step::SetSysctl(name, "many".into())).await;
        assert!(words.starts_with("net/ipv4/ip_forward is 1 and has to be many, but cannot be written: "), "{words}");
    });
}

#[test]
fn parameters_of_ipvs_are_there() {
    with_kernel(async |node| {
        let sysctls = node.read().await.sysctls.unwrap();
        for known in vipcast::model::sysctl::KNOWN {
            assert!(sysctls.keys().any(|name| &*name.0 == known), "{known}");
        }
    });
}
