//! What the kernel has: virtual server, destinations, local route, SNAT, guard.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::model::ipvs::{DestinationKey, ServerKey, ServerSettings, VirtualServer};
use crate::model::settings::{Range, Snat};
use crate::model::{Family, Prefix};
use crate::plan::memory::{Failure, Key};
use crate::plan::nft::covers;
use crate::plan::planner::Planner;

use super::{Link, LinkKind, Readings, Verdict};

/// What helps when the kernel refuses.
const CHECK: &str = "`vipcast check` names what the kernel or this process lacks";

impl Planner {
    /// The virtual server `key` and its destinations.
    pub(super) fn explain_server(&self, key: &ServerKey, readings: &Readings, links: &mut Vec<Link>) {
        let desired = self.ledger.server(key);
        let actual = self.actual.ipvs.get(key);
        links.push(self.server_link(key, desired.as_ref(), actual));
        let names: BTreeSet<DestinationKey> =
            desired.iter().chain(actual).flat_map(|server| server.destinations.keys()).copied().collect();
        for name in names {
            let wanted = desired.as_ref().and_then(|server| server.destinations.get(&name));
            let there = actual.and_then(|server| server.destinations.get(&name));
            let count = readings.connections(key).filter(|_| there.is_some()).map(|known| known.of(&name));
            let failure = self.memory.failure(&Key::Destination(*key, name));
            let link = |verdict, found: String| Link::new(LinkKind::Destination, name, verdict, found);
            let connections = match count {
                Some(1) => ", 1 connection".to_owned(),
                Some(count) => format!(", {count} connections"),
                None => String::new(),
            };
            let link = match (wanted, there) {
                (Some(wanted), Some(there)) if wanted == there => {
                    link(Verdict::Ok, format!("weight {}{connections}", there.weight))
                }
                (Some(wanted), Some(there)) => {
                    let found = format!("weight {}, and not {} yet{connections}", there.weight, wanted.weight);
                    held_up(link, found, failure)
                }
                (Some(_), None) if actual.is_none() => {
                    link(Verdict::Waits, "is added as soon as the virtual server is there".to_owned())
                }
                (Some(_), None) => held_up(link, "is not there yet".to_owned(), failure),
                (None, Some(there)) if failure.is_none() => {
                    link(Verdict::Ok, format!("drains: weight {}{connections}", there.weight))
                }
                (None, _) => held_up(link, format!("should be gone{connections}"), failure),
            };
            links.push(Link { weight: there.map(|there| there.weight), connections: count, ..link });
        }
    }

    fn server_link(&self, key: &ServerKey, desired: Option<&VirtualServer>, actual: Option<&VirtualServer>) -> Link {
        let link = |verdict, found: String| Link::new(LinkKind::VirtualServer, key, verdict, found);
        let failure = self.memory.failure(&Key::Server(*key));
        let claimants = self.ledger.claimed_in(Prefix::host(key.address)).find(|(claimed, _)| *claimed == key);
        let queue = claimants.and_then(|(_, claimants)| Planner::queue(claimants));
        let with_queue = |text: String| match &queue {
            Some(queue) => format!("{text}; {queue}"),
            None => text,
        };
        match (desired, actual) {
            (Some(desired), Some(actual)) if desired.settings == actual.settings && failure.is_none() => {
                link(Verdict::Ok, with_queue(format!("{}, as desired", words(&actual.settings))))
            }
            (Some(desired), Some(actual)) => {
                let found = format!("{}, and not {} yet", words(&actual.settings), words(&desired.settings));
                held_up(link, with_queue(found), failure)
            }
            (Some(_), None) if failure.is_none() && !self.is_filtered(key) => {
                link(Verdict::Waits, with_queue("is made once the packet filter has been written".to_owned()))
            }
            (Some(_), None) => held_up(link, with_queue("is not there yet".to_owned()), failure),
            (None, Some(_)) if failure.is_none() => link(
                Verdict::Ok,
                "nobody wants it any more: it takes no new connections, and goes with the last".into(),
            ),
            (None, Some(_)) => held_up(link, "should be gone".to_owned(), failure),
            (None, None) => {
                link(Verdict::NotHere, with_queue("none without endpoints: the guard refuses at once".to_owned()))
            }
        }
    }

    /// How packets to `vip` get to the virtual servers `keys`, and their replies back: local route, SNAT, guard.
    pub(super) fn explain_way_in(&self, vip: IpAddr, keys: &BTreeSet<ServerKey>, links: &mut Vec<Link>) {
        if self.here.addresses.contains(&vip) {
            let found = "an address of this node: it is local and no route of ours";
            links.push(Link::new(LinkKind::LocalRoute, vip, Verdict::Ok, found));
            links.extend(self.snat_link(None, keys));
            return;
        }
        let Some(range) = self.ranges.covering(vip) else {
            let found = "none: no range in force holds the VIP";
            links.push(Link::new(LinkKind::LocalRoute, vip, Verdict::NotHere, found));
            return;
        };
        links.push(self.local_route_link(vip, range));
        links.extend(self.snat_link(Some(range), keys));
        links.push(self.guard_link(range));
    }

    fn local_route_link(&self, vip: IpAddr, range: &Range) -> Link {
        let own = !range.is_whole();
        let prefix = if own { Prefix::host(vip) } else { range.prefix };
        let link = |verdict, found: String| Link::new(LinkKind::LocalRoute, prefix, verdict, found);
        let there = self.actual.addr.routes.get(&prefix);
        let whose = if own { "the VIP's own" } else { "that of the range" };
        let source = |source: Option<IpAddr>| source.map(|source| format!(", source {source}")).unwrap_or_default();
        match (self.desired_route(prefix), there) {
            (Some(wanted), Some(there)) if *there == wanted => {
                link(Verdict::Ok, format!("{whose}{}", source(there.source)))
            }
            _ if own && self.ledger.servers_at(vip).next().is_none() && there.is_none() => {
                link(Verdict::NotHere, "none: the VIP has no virtual server".to_owned())
            }
            (None, _) => {
                let reason = format!("no {} address of this node is present", prefix.family());
                let fix = "give the node its address back, or correct `nodeIPs`";
                link(Verdict::Wrong, "is missing".to_owned()).because(reason).mended_by(fix)
            }
            _ => held_up(link, "is missing".to_owned(), self.memory.failure(&Key::Route(prefix))),
        }
    }

    fn snat_link(&self, range: Option<&Range>, keys: &BTreeSet<ServerKey>) -> Option<Link> {
        let family = keys.first().map_or_else(|| range.map(|r| r.prefix.family()), |k| Some(Family::of(k.address)))?;
        let link = |verdict, found: String| Link::new(LinkKind::Snat, family, verdict, found);
        let snat = self.settings.dataplane.snat;
        let table = self.actual.nft.table.as_ref();
        let wanted: Vec<&ServerKey> = keys.iter().filter(|key| self.ledger.ask(key).is_some()).collect();
        let keeps = |key: &&&ServerKey| table.is_some_and(|table| table.elements.keep.contains(**key));
        let keeping = wanted.iter().filter(keeps).count();
        let kept = if keeping > 0 { "; clients keep their address where the policy is Local" } else { "" };
        let whole = range.filter(|range| range.is_whole());
        Some(match snat {
            Snat::None => link(Verdict::Ok, "none (dataplane.snat): replies come back by routing".to_owned()),
            Snat::IpvsMatch if self.actual.nft.classic.contains(&family) => {
                link(Verdict::Ok, format!("the iptables rule with `-m ipvs` is in force{kept}"))
            }
            Snat::IpvsMatch => {
                held_up(link, "the iptables rule is missing".to_owned(), self.memory.failure(&Key::ClassicSnat(family)))
            }
            Snat::Nftables => {
                let in_force = match whole {
                    Some(range) => table.is_some_and(|table| covers(&table.masquerade, range.prefix)),
                    None => wanted.iter().all(|key| self.is_filtered(key)),
                };
                let what = whole.map_or("the virtual server".to_owned(), |range| range.prefix.to_string());
                if wanted.is_empty() && whole.is_none() {
                    return Some(link(Verdict::NotHere, "none: the VIP has no virtual server".to_owned()));
                }
                let pool = table.and_then(|table| table.source.pool.get(&family));
                let pool = pool.map(|(first, last)| format!(" to {first}-{last}")).unwrap_or_default();
                if in_force {
                    link(Verdict::Ok, format!("nftables masquerades connections to {what}{pool}{kept}"))
                } else {
                    let found = format!("no rule masquerades connections to {what}");
                    held_up(link, found, self.memory.failure(&Key::Table))
                }
            }
        })
    }

    fn guard_link(&self, range: &Range) -> Link {
        let link = |verdict, found: String| Link::new(LinkKind::Guard, range.prefix, verdict, found);
        let stray = self.actual.nft.table.as_ref().is_some_and(|table| !table.stray.is_empty());
        let failure = self.memory.failure(&Key::Table);
        if stray {
            held_up(link, "somebody else's rules are in the table inet vipcast".to_owned(), failure)
        } else if self.guarded(range.prefix) {
            link(Verdict::Ok, "in force: what IPVS does not take is refused".to_owned())
        } else {
            held_up(link, "is not in force".to_owned(), failure)
        }
    }
}

/// A link that is not as it should be: wrong if trying to mend it fails, else it waits for its turn.
fn held_up(link: impl Fn(Verdict, String) -> Link, found: String, failure: Option<&Failure>) -> Link {
    tried(link, found, failure, CHECK)
}

/// The same with another `fix`.
pub(super) fn tried(
    link: impl Fn(Verdict, String) -> Link,
    found: String,
    failure: Option<&Failure>,
    fix: &'static str,
) -> Link {
    match failure {
        Some(failure) => {
            let times = if failure.count == 1 { "once".to_owned() } else { format!("{} times", failure.count) };
            let reason = format!("{} (tried {times})", failure.reason);
            link(Verdict::Wrong, found).because(reason).mended_by(fix)
        }
        None => link(Verdict::Waits, found).because("it is being seen to"),
    }
}

/// Scheduler, flags and persistence in words.
fn words(settings: &ServerSettings) -> String {
    let flags = if settings.flags.0 == 0 { String::new() } else { format!(", flags {:#x}", settings.flags.0) };
    let sticks = if settings.timeout == 0 { String::new() } else { format!(", persistent for {} s", settings.timeout) };
    format!("scheduler {}{flags}{sticks}", settings.scheduler)
}
