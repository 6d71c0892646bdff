//! A watchman who looks at every step when it is planned and when it is performed, and knows how things really are. He
//! holds the laws that are about order: forward first, nothing of somebody else's, nothing that is right torn down.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use vipcast::model::addr::{Link, LocalRoute};
use vipcast::model::bgp::{Community, Path};
use vipcast::model::ipvs::{Connections, DestinationKey, Protocol, ServerKey, VirtualServer};
use vipcast::model::nft::Table;
use vipcast::model::settings::{Announce, Snat};
use vipcast::model::{Family, Prefix, Settings, State, Time};
use vipcast::plan::change::Leave;
use vipcast::plan::step::Target;
use vipcast::plan::{Outcome, Planner, Status, Step, sysctl};

use super::build::{host, ip};

/// What he has seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watchman {
    /// Counts what happens.
    clock: u64,
    /// When the agent began, on that clock.
    began: u64,
    host_written: u64,
    host_read: u64,
    sysctls_meddled: u64,
    written: BTreeMap<ServerKey, u64>,
    read: BTreeMap<ServerKey, u64>,
    meddled: BTreeMap<ServerKey, u64>,
    /// When a client connected to a destination the last time.
    connected: BTreeMap<(ServerKey, DestinationKey), u64>,
    /// Since when a destination is there and not wanted, as far as the agent knows.
    unwanted: BTreeMap<(ServerKey, DestinationKey), (u64, Time)>,
    /// Since when a virtual server is there and not wanted, as far as the agent knows.
    surplus: BTreeMap<ServerKey, u64>,
    /// When a path that was out went away, whoever took it.
    gone: BTreeMap<Prefix, Time>,
    /// What was out when he last looked.
    out: BTreeSet<Prefix>,
    /// Paths in a shared gobgpd that nothing on the node tells apart from somebody else's.
    pub(crate) stray_paths: BTreeSet<Prefix>,
}

/// How things are at a moment.
pub(crate) struct Moment<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) planner: &'a Planner,
    pub(crate) truth: &'a State,
    pub(crate) connections: &'a BTreeMap<ServerKey, Connections>,
    /// Steps that were planned and not performed yet.
    pub(crate) pending: &'a dyn Fn() -> Vec<Step>,
    pub(crate) now: Time,
}

impl Watchman {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// A new agent began: it knows only what it reads itself.
    pub(crate) fn restart(&mut self) {
        self.began = self.tick();
        self.unwanted.clear();
        self.surplus.clear();
    }

    /// A client connected.
    pub(crate) fn connected(&mut self, key: ServerKey, name: DestinationKey) {
        let at = self.tick();
        self.connected.insert((key, name), at);
    }

    /// Somebody else changed virtual servers or kernel parameters, which the kernel does not tell.
    pub(crate) fn meddle(&mut self, servers: impl IntoIterator<Item = ServerKey>) {
        let at = self.tick();
        self.sysctls_meddled = at;
        self.meddled.extend(servers.into_iter().map(|key| (key, at)));
    }

    /// Paths may have come or gone.
    pub(crate) fn look_at_paths(&mut self, truth: &State, now: Time) {
        let out = truth.bgp.iter().flat_map(|bgp| bgp.paths.keys().copied());
        let out: BTreeSet<Prefix> = out.filter(|prefix| !self.stray_paths.contains(prefix)).collect();
        self.gone.extend(self.out.difference(&out).map(|prefix| (*prefix, now)));
        self.out = out;
    }

    /// A step was performed.
    pub(crate) fn performed(&mut self, step: &Step, outcome: &Outcome, truth: &State, now: Time) {
        let at = self.tick();
        let touched = matches!(outcome, Outcome::Done | Outcome::Later(_));
        match (step, step.target()) {
            (Step::ReadHost, _) => {
                if matches!(outcome, Outcome::Read(_)) {
                    self.host_read = at;
                }
            }
            (Step::ReadServer(key), _) => {
                if matches!(outcome, Outcome::Read(_)) {
                    self.read.insert(*key, at);
                }
            }
            (Step::ListServers, _) => {}
            (_, Target::Sysctl | Target::Addr | Target::Nft) if touched => self.host_written = at,
            (_, Target::Ipvs) if touched => {
                self.written.extend(server_of(step).map(|key| (key, at)));
            }
            _ => {}
        }
        self.look_at_paths(truth, now);
    }

    /// A step is about to be performed, with its effect.
    pub(crate) fn performing(&self, step: &Step, silent: bool, truth: &State) {
        if let Step::StartBgp(_) = step
            && !silent
        {
            let running = truth.bgp.as_ref().and_then(|bgp| bgp.global);
            assert_eq!(running, None, "StartBgp on a gobgpd that runs BGP");
        }
    }

    /// A plan was made; its steps are not under way yet.
    pub(crate) fn planned(&mut self, steps: &[Step], moment: &Moment<'_>) {
        let desired = moment.planner.desired_servers();
        self.note_unwanted(&desired, moment);
        if steps.iter().all(Step::is_read) {
            return;
        }
        let ranges = Ranges::of(&moment.planner.status());
        let wanted = |key, name| desired.get(&key).and_then(|server: &VirtualServer| server.destinations.get(name));
        let nothing = BTreeSet::new();
        for step in steps.iter().filter(|step| !step.is_read()) {
            if let Some(key) = server_of(step) {
                assert_ne!(key, FOREIGN, "{step}: it is somebody else's");
            }
            match step {
                Step::Announce(prefix, path) => {
                    self.announced(*prefix, &ranges, steps, moment);
                    stays(*prefix, path, moment);
                }
                Step::DeleteServer(key) => {
                    assert!(!desired.contains_key(key), "{step}: it is wanted");
                    let others = desired.keys().any(|other| other.address == key.address);
                    self.server_goes(key.address, others, &ranges, moment, step);
                    self.connections_end(*key, moment, step);
                }
                Step::DeleteDestination(key, name) => {
                    assert_eq!(wanted(*key, name), None, "{step}: it is wanted");
                    self.connection_ends(*key, *name, false, moment, step);
                }
                Step::AddDestination(key, name, value) => assert_eq!(wanted(*key, name), Some(value), "{step}"),
                Step::SetDestination(key, name, value) => match wanted(*key, name) {
                    Some(wanted) => assert_eq!(value, wanted, "{step}"),
                    None => {
                        assert_eq!(value.weight, 0, "{step}: it drains");
                        // IPVS alone would refuse new connections slowly.
                        let known = moment.planner.actual();
                        let nothing_local = ranges.prefixes().next().is_none() && known.addr.routes.is_empty();
                        let refused = refused(known).contains(key) || nothing_local;
                        assert!(desired.contains_key(key) || refused, "{step}: nothing refuses new connections");
                    }
                },
                Step::Forget(key, name) => {
                    let there = moment.planner.actual().ipvs.get(key);
                    let there = there.is_some_and(|server| server.destinations.contains_key(name));
                    assert!(key.protocol == Protocol::Udp && !there, "{step}: it may still answer");
                }
                Step::SetRoute(prefix, _) => self.becomes_local(*prefix, moment, step),
                Step::DeleteRoute(prefix) => self.infrastructure_goes(*prefix, &nothing, &ranges, moment, step),
                Step::DeleteLink => {
                    let routes: Vec<Prefix> = moment.truth.addr.routes.keys().copied().collect();
                    let goes = |prefix: &Prefix| self.infrastructure_goes(*prefix, &nothing, &ranges, moment, step);
                    routes.iter().for_each(goes);
                }
                Step::ReplaceTable(table) => self.table_shrinks(table, &ranges, moment, step),
                Step::DeleteTable => self.table_shrinks(&Table::default(), &ranges, moment, step),
                _ => {}
            }
        }
    }

    /// Notes what the agent knows to be there and does not want.
    fn note_unwanted(&mut self, desired: &BTreeMap<ServerKey, VirtualServer>, moment: &Moment<'_>) {
        let at = self.tick();
        let wanted = |key: &ServerKey, name: &DestinationKey| {
            desired.get(key).is_some_and(|server| server.destinations.contains_key(name))
        };
        let there = moment.planner.actual().ipvs.iter();
        let there = there.flat_map(|(key, server)| server.destinations.keys().map(move |name| (*key, *name)));
        let unwanted: BTreeSet<_> = there.filter(|(key, name)| !wanted(key, name)).collect();
        self.unwanted.retain(|destination, _| unwanted.contains(destination));
        for destination in unwanted {
            self.unwanted.entry(destination).or_insert((at, moment.now));
        }
        let is_surplus = |key: &ServerKey| moment.planner.actual().ipvs.contains_key(key) && !desired.contains_key(key);
        self.surplus.retain(|key, _| is_surplus(key));
        for key in moment.planner.actual().ipvs.keys().filter(|key| is_surplus(key)) {
            self.surplus.entry(*key).or_insert(at);
        }
    }

    /// A virtual server is to be deleted, and with it the connections that its destinations have.
    fn connections_end(&self, key: ServerKey, moment: &Moment<'_>, step: &Step) {
        let destinations = moment.truth.ipvs.get(&key).into_iter().flat_map(|server| server.destinations.keys());
        destinations.for_each(|name| self.connection_ends(key, *name, true, moment, step));
    }

    /// A destination is to be deleted: without connections, or after their time. Of one that goes with its virtual server,
    /// they may have begun since it was read.
    fn connection_ends(&self, key: ServerKey, name: DestinationKey, whole: bool, moment: &Moment<'_>, step: &Step) {
        let count = moment.connections.get(&key).map_or(0, |connections| connections.of(&name));
        if key.protocol == Protocol::Udp || removing(moment.planner) || count == 0 {
            return;
        }
        // What somebody else has added is not known to the agent before it reads the virtual server.
        let Some((_, since)) = self.unwanted.get(&(key, name)) else { return };
        let over = moment.now.since(*since) >= moment.settings.dataplane.drain;
        let read = self.read.get(&key).copied().unwrap_or_default();
        // What was found by a reading alone was counted by it: somebody may have put it into a virtual server that goes.
        let late = whole
            && Some(&read) > self.surplus.get(&key)
            && self.connected.get(&(key, name)).is_some_and(|at| *at > read);
        assert!(over || late, "{step}: {name} has {count} connections");
    }

    /// A route is to be announced: the node must hold what it promises, and that must have been read back.
    fn announced(&self, prefix: Prefix, ranges: &Ranges, steps: &[Step], moment: &Moment<'_>) {
        let believed_out = |bgp: &vipcast::model::bgp::Bgp| bgp.paths.contains_key(&prefix);
        if moment.planner.actual().bgp.as_ref().is_some_and(believed_out) {
            return;
        }
        let what = format!("announce {prefix}");
        let (range, announce) = ranges.covering(prefix.address()).unwrap_or_else(|| panic!("{what}: in no range"));
        let whole = is_whole(range, announce, moment);
        let local = if whole { range } else { prefix };
        let truth = moment.truth;
        assert_eq!(truth.addr.link, Some(Link::DESIRED), "{what}: link");
        let source = match prefix.family() {
            Family::Ipv4 => ip("10.0.1.2"),
            Family::Ipv6 => ip("fd01::2"),
        };
        let route = LocalRoute { source: Some(source), on_link: true };
        assert_eq!(truth.addr.routes.get(&local), Some(&route), "{what}: local route");
        let table = truth.nft.table.as_ref();
        assert!(table.is_some_and(|table| covers(&table.guard, local) && table.stray.is_empty()), "{what}: guard");
        match moment.settings.dataplane.snat {
            Snat::Nftables if !whole => {}
            Snat::Nftables => assert!(table.is_some_and(|table| covers(&table.masquerade, range)), "{what}: SNAT"),
            Snat::IpvsMatch => assert!(truth.nft.classic.contains(&range.family()), "{what}: classic SNAT"),
            Snat::None => {}
        }
        if self.sysctls_meddled < self.host_read {
            for (name, value) in sysctl::desired(&[range.family()].into()) {
                assert_eq!(truth.sysctls.get(&name), Some(&value), "{what}: {name}");
            }
        }
        assert!(self.host_read > self.host_written.max(self.began), "{what}: the host was not read back");
        let is_host_write =
            |step: &Step| !step.is_read() && matches!(step.target(), Target::Sysctl | Target::Addr | Target::Nft);
        let under_way = (moment.pending)();
        let pending = under_way.iter().chain(steps).find(|step| is_host_write(step));
        assert_eq!(pending, None, "{what}: the host is being written");

        let failures = moment.planner.status().failures;
        let mut proven = 0;
        for (key, wanted) in moment.planner.desired_servers().iter().filter(|(key, _)| prefix.contains(key.address)) {
            let failed = |name: &str| name.ends_with(&format!(" {key}"));
            let meddled = self.meddled.get(key).copied().unwrap_or_default();
            let read = self.read.get(key).copied().unwrap_or_default();
            if failures.iter().any(|failure| failed(&failure.what)) {
                continue;
            }
            assert!(read > self.began && self.written.get(key).is_none_or(|at| read > *at), "{what}: {key} not read");
            if meddled < read {
                let mut there = truth.ipvs.get(key).cloned();
                let drains = |name: &DestinationKey, weight| weight == 0 && !wanted.destinations.contains_key(name);
                there.iter_mut().for_each(|server| server.destinations.retain(|name, it| !drains(name, it.weight)));
                assert_eq!(there.as_ref(), Some(wanted), "{what}: {key}");
            }
            let alone = !whole && moment.settings.dataplane.snat == Snat::Nftables;
            let masqueraded = table.is_some_and(|table| table.elements.masquerade.contains(key));
            assert!(!alone || masqueraded, "{what}: no SNAT for {key}");
            proven += 1;
        }
        assert!(!prefix.is_host() || proven > 0 || !failures.is_empty(), "{what}: nothing behind it");
    }

    /// A range is to become local: from then on the node answers for it, so SNAT, virtual servers and guard come first.
    fn becomes_local(&self, prefix: Prefix, moment: &Moment<'_>, step: &Step) {
        let known = moment.planner.actual();
        if known.addr.routes.contains_key(&prefix) {
            return;
        }
        let table = known.nft.table.clone().unwrap_or_default();
        assert!(covers(&table.guard, prefix), "{step}: no guard");
        let classic = known.nft.classic.contains(&prefix.family());
        let range = Ranges::of(&moment.planner.status()).covering(prefix.address());
        let whole = range.is_none_or(|(range, announce)| is_whole(range, announce, moment));
        let mut there = known.ipvs.keys().filter(|key| prefix.contains(key.address));
        let masquerade = if whole {
            covers(&table.masquerade, prefix)
        } else {
            there.all(|key| table.elements.masquerade.contains(key))
        };
        match moment.settings.dataplane.snat {
            Snat::Nftables => assert!(masquerade, "{step}: no SNAT"),
            Snat::IpvsMatch => assert!(classic, "{step}: no classic SNAT"),
            Snat::None => {}
        }
        let failures = moment.planner.status().failures;
        for key in moment.planner.desired_servers().keys().filter(|key| prefix.contains(key.address)) {
            // A NodePort needs no route of ours.
            let failed = failures.iter().any(|failure| failure.what.ends_with(&format!(" {key}")));
            let is_own = host().addresses.contains(&key.address);
            assert!(failed || is_own || known.ipvs.contains_key(key), "{step}: {key} is missing");
        }
    }

    /// A virtual server at `vip` is to be deleted.
    fn server_goes(&self, vip: IpAddr, others: bool, ranges: &Ranges, moment: &Moment<'_>, step: &Step) {
        let promises: Box<dyn Fn(Prefix) -> bool> = match ranges.covering(vip) {
            // Another virtual server keeps the VIP's own route in force.
            Some(_) if others => return,
            // The range's route promises no single virtual server; a host route that was left behind does.
            Some((_, Announce::Aggregate | Announce::None)) => {
                let known = moment.planner.actual().bgp.as_ref();
                let left = known.is_some_and(|bgp| bgp.paths.contains_key(&Prefix::host(vip)));
                assert!(!left, "{step}: its host route is out");
                return;
            }
            Some(_) => Box::new(move |path| path == Prefix::host(vip)),
            None => Box::new(move |path| path.contains(vip)),
        };
        self.released(&*promises, moment, step);
    }

    /// What a local route, or rules for a range, stand for is to be removed; what is `kept` stays.
    fn infrastructure_goes(
        &self,
        prefix: Prefix,
        kept: &BTreeSet<Prefix>,
        ranges: &Ranges,
        moment: &Moment<'_>,
        step: &Step,
    ) {
        // What lies in a range in force stands on that range's own route and rules.
        let local = |range: Prefix| moment.planner.actual().addr.routes.contains_key(&range);
        let stands = |path: Prefix| ranges.prefixes().any(|range| range.covers(path) && local(range));
        self.released(&|path| path.overlaps(prefix) && !stands(path) && !covers(kept, path), moment, step);
    }

    /// The table is to be replaced: what it covers no more, no route may promise.
    fn table_shrinks(&self, table: &Table, ranges: &Ranges, moment: &Moment<'_>, step: &Step) {
        let there = moment.truth.nft.table.clone().unwrap_or_default();
        let desired = moment.planner.desired_servers();
        let known = moment.planner.actual();
        for key in known.nft.table.iter().flat_map(|table| &table.elements.draining) {
            let drained = desired.contains_key(key) || !known.ipvs.contains_key(key) || removing(moment.planner);
            assert!(drained || table.elements.draining.contains(key), "{step}: {key} still drains");
        }
        for prefix in there.guard.iter().filter(|prefix| !covers(&table.guard, **prefix)) {
            self.infrastructure_goes(*prefix, &table.guard, ranges, moment, step);
        }
        let classic = |prefix: &Prefix| moment.planner.actual().nft.classic.contains(&prefix.family());
        if moment.settings.dataplane.snat == Snat::None {
            return;
        }
        // Virtual servers can be masqueraded one by one.
        let alone = table.elements.masquerade.iter().map(|key| Prefix::host(key.address));
        let masqueraded: BTreeSet<Prefix> = table.masquerade.iter().copied().chain(alone).collect();
        for prefix in there.masquerade.iter().filter(|p| !covers(&table.masquerade, **p) && !classic(p)) {
            self.infrastructure_goes(*prefix, &masqueraded, ranges, moment, step);
        }
    }

    /// No path that `promises` may be out or on its way out, and peers must have had time to hear of its end.
    fn released(&self, promises: &dyn Fn(Prefix) -> bool, moment: &Moment<'_>, step: &Step) {
        if moment.settings.bgp.is_none() {
            return;
        }
        let out = self.out.iter().copied().find(|path| promises(*path));
        assert_eq!(out, None, "{step}: this route is out");
        let coming = |pending: &Step| matches!(pending, Step::Announce(path, _) if promises(*path));
        assert!(!(moment.pending)().iter().any(coming), "{step}: a route is on its way out");
        let delay: Duration = moment.settings.withdraw_delay;
        for (path, at) in self.gone.iter().filter(|(path, _)| promises(**path)) {
            assert!(moment.now.since(*at) >= delay, "{step}: {path} went {:?} ago", moment.now.since(*at));
        }
    }
}

/// A route is announced: who is on the way out tells just of what is out that it is about to go.
fn stays(prefix: Prefix, path: &Path, moment: &Moment<'_>) {
    let phase = moment.planner.status().drain.phase;
    let known = moment.planner.actual().bgp.as_ref();
    match phase.as_str() {
        "here" | "asking" | "returning" => {}
        "shunned" => {
            assert!(known.is_some_and(|bgp| bgp.paths.contains_key(&prefix)), "announce {prefix}: the node leaves");
            assert!(path.communities.contains(&Community::GRACEFUL_SHUTDOWN), "announce {prefix}: not marked");
        }
        _ => panic!("announce {prefix}: the node is {phase}"),
    }
}

/// The ranges in force, as the status shows them.
struct Ranges(BTreeMap<Prefix, Announce>);

impl Ranges {
    fn of(status: &Status) -> Ranges {
        let announce = |name: &str| match name {
            "aggregate" => Announce::Aggregate,
            "host" => Announce::Host,
            _ => Announce::None,
        };
        let range = |range: &vipcast::plan::status::RangeStatus| {
            (range.prefix.parse().expect("a prefix"), announce(range.announce.as_str()))
        };
        Ranges(status.ranges.iter().map(range).collect())
    }

    fn covering(&self, address: IpAddr) -> Option<(Prefix, Announce)> {
        self.0.iter().find(|(prefix, _)| prefix.contains(address)).map(|(prefix, announce)| (*prefix, *announce))
    }

    fn prefixes(&self) -> impl Iterator<Item = Prefix> {
        self.0.keys().copied()
    }
}

/// Virtual servers to which new connections are refused.
fn refused(state: &State) -> BTreeSet<ServerKey> {
    state.nft.table.iter().flat_map(|table| table.elements.draining.iter().copied()).collect()
}

/// Does all that is ours go?
fn removing(planner: &Planner) -> bool {
    planner.leaving() == Some(Leave::Remove) || planner.status().role == "standing by"
}

/// Is all of the range local, whether a Service has an address or not?
fn is_whole(range: Prefix, announce: Announce, moment: &Moment<'_>) -> bool {
    announce == Announce::Aggregate || moment.settings.allowed.iter().all(|allowed| allowed.prefix != range)
}

fn covers(set: &BTreeSet<Prefix>, prefix: Prefix) -> bool {
    set.iter().any(|outer| outer.covers(prefix))
}

/// The virtual server that a step changes.
pub(crate) fn server_of(step: &Step) -> Option<ServerKey> {
    match step {
        Step::AddServer(key, _)
        | Step::SetServer(key, _)
        | Step::DeleteServer(key)
        | Step::AddDestination(key, ..)
        | Step::SetDestination(key, ..)
        | Step::DeleteDestination(key, _) => Some(*key),
        _ => None,
    }
}

/// Somebody else's virtual server, outside all ranges.
pub(crate) const FOREIGN: ServerKey =
    ServerKey { address: IpAddr::V4(std::net::Ipv4Addr::new(10, 200, 0, 1)), protocol: Protocol::Tcp, port: 80 };
