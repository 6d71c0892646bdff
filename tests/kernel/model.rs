//! [`ModelNode`], which `vipcast plan` and the tests of the planner trust, held against the real kernel: the same steps
//! end alike on both, and leave the same.

use std::collections::BTreeMap;
use std::mem::discriminant;
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use vipcast::apply::kernel::Kernel;
use vipcast::model::addr::LocalRoute;
use vipcast::model::ipvs::{
    Destination, DestinationKey, Forwarding, Protocol, Scheduler, ServerFlags, ServerKey, ServerSettings,
};
use vipcast::model::nft::Table;
use vipcast::model::sysctl::Sysctl;
use vipcast::model::{Prefix, State};
use vipcast::plan::rehearse::ModelNode;
use vipcast::plan::step::Executor;
use vipcast::plan::{Observation, Outcome, Report, Step};

use crate::in_namespace;

/// How the world may be before the first step.
const WORLDS: [&str; 4] = [
    "true",
    "ip link add vipcast0 type dummy",
    "ip link add vipcast0 type dummy; ip link set vipcast0 up arp off
     ip route add local 10.96.0.0/16 dev uplink0 src 10.0.1.3 proto 118",
    "ip link add vipcast0 type veth peer name other0",
];

fn sh(script: &str) {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

fn any_prefix() -> impl Strategy<Value = Prefix> {
    let texts = ["10.96.0.0/16", "10.96.128.0/17", "192.0.2.7/32", "fd00:10:96::/112", "fd00:10:96::7/128"];
    prop::sample::select(texts.map(|text| text.parse().unwrap()).to_vec())
}

fn any_server() -> impl Strategy<Value = ServerKey> {
    let protocols = vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    (prop::sample::select(vec!["10.96.0.1", "fd00:10:96::1"]), prop::sample::select(protocols))
        .prop_map(|(address, protocol)| ServerKey { address: address.parse().unwrap(), protocol, port: 80 })
}

fn any_settings() -> impl Strategy<Value = ServerSettings> {
    let flags = prop::sample::select(vec![0, 1, ServerFlags::MH_FALLBACK | ServerFlags::MH_PORT]);
    (prop::sample::select(vec!["rr", "wlc", "mh", "none"]), flags, 0..3u32).prop_map(|(scheduler, flags, timeout)| {
        ServerSettings { scheduler: Scheduler::new(scheduler), flags: ServerFlags(flags), timeout: timeout * 100 }
    })
}

/// A destination of a server: of its family, as all that are ever planned.
fn any_destination() -> impl Strategy<Value = (ServerKey, DestinationKey)> {
    (any_server(), 8080..8083u16).prop_map(|(server, port)| {
        let address = if server.address.is_ipv4() { "10.244.1.1" } else { "fd00:244::1" };
        (server, DestinationKey { address: address.parse().unwrap(), port })
    })
}

fn any_weight() -> impl Strategy<Value = Destination> {
    (0..4u32).prop_map(|weight| Destination { weight, forwarding: Forwarding::Masquerade })
}

fn any_ipvs_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (any_server(), any_settings()).prop_map(|(key, settings)| Step::AddServer(key, settings)),
        2 => (any_server(), any_settings()).prop_map(|(key, settings)| Step::SetServer(key, settings)),
        1 => any_server().prop_map(Step::DeleteServer),
        5 => (any_destination(), any_weight()).prop_map(|((key, name), value)| Step::AddDestination(key, name, value)),
        2 => (any_destination(), any_weight()).prop_map(|((key, name), value)| Step::SetDestination(key, name, value)),
        2 => any_destination().prop_map(|(key, name)| Step::DeleteDestination(key, name)),
    ]
}

fn any_addr_step() -> impl Strategy<Value = Step> {
    let route = (any_prefix(), 0..4usize).prop_map(|(prefix, source)| {
        // The last is no address of the node.
        let sources = match prefix.address().is_ipv4() {
            true => ["10.0.1.2", "10.0.1.3", "10.9.9.9"],
            false => ["fd01::2", "fd01::3", "fd09::9"],
        };
        let source = sources.get(source).map(|text| text.parse().unwrap());
        Step::SetRoute(prefix, LocalRoute { source, on_link: true })
    });
    prop_oneof![
        2 => Just(Step::EnsureLink),
        1 => Just(Step::DeleteLink),
        6 => route,
        3 => any_prefix().prop_map(Step::DeleteRoute),
    ]
}

fn any_host_step() -> impl Strategy<Value = Step> {
    let ranges = || prop::collection::btree_set(any_prefix(), 0..4);
    let table = (ranges(), ranges())
        .prop_map(|(masquerade, guard)| Step::ReplaceTable(Table { masquerade, guard, ..Table::default() }));
    let names =
        ["net/ipv4/ip_forward", "net/ipv4/vs/conntrack", "net/ipv4/conf/all/rp_filter", "net/ipv6/conf/all/forwarding"];
    let values = prop::sample::select(vec!["0", "1", "many"]);
    let sysctl = (prop::sample::select(names.to_vec()), values)
        .prop_map(|(name, value)| Step::SetSysctl(Sysctl(name.into()), value.to_owned()));
    prop_oneof![2 => table, 1 => Just(Step::DeleteTable), 3 => sysctl]
}

/// Programs are started for rules, so those are few.
fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![12 => any_ipvs_step(), 6 => any_addr_step(), 1 => any_host_step()]
}

/// The node as it is.
async fn observed(kernel: &mut Kernel) -> ModelNode {
    let mut reports = kernel.perform(vec![Step::ReadHost, Step::ListServers]).await.into_iter();
    let Some(Outcome::Read(Observation::Host(host))) = reports.next().map(|report| report.outcome) else { panic!() };
    let Some(Outcome::Read(Observation::Servers(servers))) = reports.next().map(|report| report.outcome) else {
        panic!()
    };
    let mut ipvs = BTreeMap::new();
    for report in kernel.perform(servers.into_keys().map(Step::ReadServer).collect()).await {
        let Report { step: Step::ReadServer(key), outcome: Outcome::Read(Observation::Server(Some(found), _)) } =
            report
        else {
            panic!("{report:?}")
        };
        ipvs.insert(key, found);
    }
    let state = State {
        ipvs,
        sysctls: host.sysctls.unwrap(),
        addr: host.addr.unwrap(),
        nft: host.nft.unwrap(),
        ..State::default()
    };
    ModelNode { state, host: host.host.unwrap(), ..ModelNode::default() }
}

/// Performs `steps` on both; they have to agree on each of them and on what is there afterwards.
async fn compare(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut kernel = Kernel::connect().unwrap();
    let mut model = observed(&mut kernel).await;
    for Report { step, outcome } in kernel.perform(steps).await {
        let modelled = model.perform_one(&step);
        prop_assert_eq!(
            discriminant(&outcome),
            discriminant(&modelled),
            "{}: the kernel says {:?}, the model {:?}",
            step,
            outcome,
            modelled
        );
    }
    let found = observed(&mut kernel).await;
    prop_assert_eq!(&found.state, &model.state, "the kernel holds the left, the model the right");
    prop_assert_eq!(found.host.addresses, model.host.addresses);
    Ok(())
}

/// Some random sequences, each in each of the worlds' turn.
fn hold_against_kernel(step: impl Strategy<Value = Step>, cases: u32, most: usize, worlds: &'static [&'static str]) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 60, ..Config::default() };
    let sequences = (prop::sample::select(worlds.to_vec()), prop::collection::vec(step, 1..most));
    let result = TestRunner::new(config).run(&sequences, |(world, steps)| {
        let mut verdict = Ok(());
        in_namespace(|| {
            sh(&format!(
                "ip link add uplink0 type dummy; ip link set uplink0 up
                 for a in 10.0.1.2/24 10.0.1.3/24 fd01::2/64 fd01::3/64; do ip addr add $a dev uplink0 nodad; done
                 {world}"
            ));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            verdict = runtime.block_on(compare(steps));
        });
        verdict
    });
    result.unwrap();
}

#[test]
fn the_model_does_what_the_kernel_does() {
    hold_against_kernel(any_step(), 12, 40, &WORLDS);
}

#[test]
fn the_model_handles_links_and_routes_as_the_kernel_does() {
    hold_against_kernel(any_addr_step(), 12, 12, &WORLDS);
}

#[test]
fn the_model_handles_rules_and_parameters_as_the_kernel_does() {
    hold_against_kernel(any_host_step(), 6, 8, &WORLDS[..1]);
}
