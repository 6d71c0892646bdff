//! The annotations of Services: the one place that knows their names, what they may say, and what that means.
//!
//! kube-router's annotations are read too, so that a cluster can move. A name of ours wins over the name that means the
//! same there, even if it says something wrong: else a slip of the pen would bring back what it was meant to replace. An
//! annotation that is not understood is reported, and the Service is served as without it.

mod routes;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::routes::{announce, announce_nodes, communities, large_communities, local_pref, med, prepend};
use super::field::BadField;
use crate::model::ipvs::{Scheduler, ServerFlags};
use crate::model::service::{Weights, Wishes};
use crate::model::settings::Use;

/// What all names of ours begin with.
const OURS: &str = "vipcast.io/";
/// What kube-router's names for Services begin with.
const KUBE_ROUTER: &str = "kube-router.io/service.";

const SCHEDULER: &str = "vipcast.io/scheduler";
const FLAGS: &str = "vipcast.io/scheduler-flags";
const ANNOUNCE: &str = "vipcast.io/announce";

/// The largest weight: what `ipvsadm` takes.
const HEAVIEST: u32 = 65_535;

/// An annotation that a Service may have.
#[derive(Debug, Clone, Copy)]
pub struct Annotation {
    /// Its name.
    pub name: &'static str,
    /// The annotation of ours that means the same, and wins.
    pub alias_of: Option<&'static str>,
    /// What it may say.
    pub values: &'static str,
    /// What that means.
    pub meaning: &'static str,
    read: fn(&str, &mut Asked) -> Result<(), Fault>,
}

/// What the annotations of a Service ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) wishes: Wishes,
    /// The external traffic policy is Local and the internal one is Cluster, whatever the spec says.
    pub(super) local: bool,
    /// Its load-balancer IPs are not served here.
    pub(super) no_load_balancer_ips: bool,
}

/// The value is not, or not whole, one of those allowed; this happens instead of what it asks for.
struct Fault(&'static str);

/// It is as if the annotation was not there.
const LEFT_OUT: Fault = Fault("left out");

/// All annotations, those of ours first.
pub const ANNOTATIONS: &[Annotation] = &[
    Annotation {
        name: SCHEDULER,
        alias_of: None,
        values: "rr, wrr, lc, wlc, fo, ovf, lblc, lblcr, dh, sh, mh, sed, nq, twos",
        meaning: "the IPVS scheduler of its virtual servers, instead of `dataplane.scheduler`",
        read: scheduler,
    },
    Annotation {
        name: FLAGS,
        alias_of: None,
        values: "mh-fallback, mh-port, sh-fallback, sh-port, with commas, those of one scheduler; or none",
        meaning: "flags of that scheduler: `fallback` sends a client whose endpoint drains to another one, `port` hashes \
                  the client's port too",
        read: flags,
    },
    Annotation {
        name: "vipcast.io/weights",
        alias_of: None,
        values: "even, zones, or ZONE=N with commas, each zone once, N from 1 to 65535",
        meaning: "`even`: all endpoints weigh the same (the default); `zones`: every zone gets the same share, however \
                  many endpoints it has; `a=3,b=1`: endpoints weigh what their zone does, and 1 where it is not named. \
                  A scheduler that knows weights is needed",
        read: weights,
    },
    Annotation {
        name: "vipcast.io/topology-hints",
        alias_of: None,
        values: "true, false",
        meaning: "are the hints of its EndpointSlices followed, instead of what `dataplane.topologyHints` says",
        read: topology_hints,
    },
    Annotation {
        name: ANNOUNCE,
        alias_of: None,
        values: "true, false",
        meaning: "`true`: each of its VIPs has a route of its own, also in a range that is announced as an aggregate or not at \
                  all; `false`: none has, which a range that is announced as an aggregate does not allow",
        read: |text, asked| Use::ALL.into_iter().try_for_each(|usage| announce(text, usage, asked)),
    },
    Annotation {
        name: "vipcast.io/announce-nodes",
        alias_of: None,
        values: "KEY=VALUE with commas, each key once",
        meaning: "only nodes with these labels announce the routes of its VIPs, as a canary; inside an aggregate they draw \
                  all of the traffic",
        read: announce_nodes,
    },
    Annotation {
        name: "vipcast.io/communities",
        alias_of: None,
        values: "communities such as 65001:100 or no-export, with commas, up to 32",
        meaning: "communities of the routes of its VIPs, beside those that the configuration gives them",
        read: communities,
    },
    Annotation {
        name: "vipcast.io/large-communities",
        alias_of: None,
        values: "large communities such as 65001:1:100, with commas, up to 32",
        meaning: "large communities of these routes, in the same way",
        read: large_communities,
    },
    Annotation {
        name: "vipcast.io/med",
        alias_of: None,
        values: "0 to 4294967295",
        meaning: "MULTI_EXIT_DISC of these routes, instead of what the configuration says",
        read: med,
    },
    Annotation {
        name: "vipcast.io/local-pref",
        alias_of: None,
        values: "0 to 4294967295",
        meaning: "LOCAL_PREF of these routes, which only peers of the own AS are sent",
        read: local_pref,
    },
    Annotation {
        name: "vipcast.io/prepend",
        alias_of: None,
        values: "0 to 16",
        meaning: "how often the own AS number is put in front of the AS path of these routes, beyond the one time that every \
                  route to another AS has it",
        read: prepend,
    },
    Annotation {
        name: "kube-router.io/service.scheduler",
        alias_of: Some(SCHEDULER),
        values: "rr, wrr, lc, wlc, fo, ovf, lblc, lblcr, dh, sh, mh, sed, nq, twos",
        meaning: "the same",
        read: scheduler,
    },
    Annotation {
        name: "kube-router.io/service.schedflags",
        alias_of: Some(FLAGS),
        values: "flag-1, flag-2, with commas",
        meaning: "`flag-1` is `fallback`, `flag-2` is `port`; `flag-3` has no meaning to `mh` and `sh`",
        read: kube_router_flags,
    },
    Annotation {
        name: "kube-router.io/service.local",
        alias_of: None,
        values: "true, false",
        meaning: "`true`: as `externalTrafficPolicy: Local` and `internalTrafficPolicy: Cluster`, whatever the spec says",
        read: |text, asked| truth(text).map(|is| asked.local = is),
    },
    Annotation {
        name: "kube-router.io/service.skiplbips",
        alias_of: None,
        values: "true, false",
        meaning: "`true`: its load-balancer IPs are not served here",
        read: |text, asked| truth(text).map(|is| asked.no_load_balancer_ips = is),
    },
    Annotation {
        name: "kube-router.io/service.advertise.clusterip",
        alias_of: Some(ANNOUNCE),
        values: "true, false",
        meaning: "the same for its ClusterIPs alone",
        read: |text, asked| announce(text, Use::ClusterIp, asked),
    },
    Annotation {
        name: "kube-router.io/service.advertise.externalip",
        alias_of: Some(ANNOUNCE),
        values: "true, false",
        meaning: "the same for its external IPs alone",
        read: |text, asked| announce(text, Use::ExternalIp, asked),
    },
    Annotation {
        name: "kube-router.io/service.advertise.loadbalancerip",
        alias_of: Some(ANNOUNCE),
        values: "true, false",
        meaning: "the same for its load-balancer IPs alone",
        read: |text, asked| announce(text, Use::LoadBalancerIp, asked),
    },
    Annotation {
        name: "kube-router.io/service.hairpin",
        alias_of: None,
        values: "anything",
        meaning: "nothing has to be done: a pod that reaches itself through a VIP gets its replies in any case",
        read: |_, _| Ok(()),
    },
    Annotation {
        name: "kube-router.io/service.hairpin.externalips",
        alias_of: None,
        values: "anything",
        meaning: "the same",
        read: |_, _| Ok(()),
    },
    Annotation {
        name: "kube-router.io/service.dsr",
        alias_of: None,
        values: "nothing: direct server return is not supported",
        meaning: "reported; the Service is served by NAT",
        read: |_, _| Err(Fault("served by NAT")),
    },
];

/// May an annotation called `name` be one of [`ANNOTATIONS`]? Nobody here reads others, and some are long.
pub fn is_read(name: &str) -> bool {
    name.starts_with(OURS) || name.starts_with(KUBE_ROUTER)
}

/// What the annotations `found` ask for; what is wrong with them is added to `problems`. Names of ours that do not exist
/// are wrong too; names of kube-router's that are not here are about other things than forwarding.
pub(super) fn read(found: Option<&BTreeMap<String, String>>, problems: &mut Vec<BadField>) -> Asked {
    let mut asked = Asked::default();
    let Some(found) = found else { return asked };
    for known in ANNOTATIONS {
        let Some(text) = found.get(known.name) else { continue };
        if known.alias_of.is_some_and(|name| found.contains_key(name)) {
            continue;
        }
        if let Err(Fault(instead)) = (known.read)(text.trim(), &mut asked) {
            problems.push(bad(known.name, text, known.values).instead(instead));
        }
    }
    for (name, text) in found.iter().filter(|(name, _)| name.starts_with(OURS)) {
        if ANNOTATIONS.iter().all(|known| known.name != name) {
            let names = ANNOTATIONS.iter().map(|known| known.name).filter(|known| known.starts_with(OURS));
            problems.push(bad(name, text, &format!("the names {}", names.collect::<Vec<_>>().join(", "))));
        }
    }
    let flags = found.get(FLAGS).map(String::as_str).unwrap_or_default();
    if let Some(scheduler) = &asked.wishes.scheduler
        && asked.wishes.flags.is_some()
        && words(flags).any(|flag| flag.split_once('-').is_some_and(|(owner, _)| owner != &*scheduler.0))
    {
        asked.wishes.flags = None;
        problems.push(bad(FLAGS, flags, &format!("flags of the scheduler {scheduler}, if it has any")));
    }
    asked
}

fn bad(name: &str, text: &str, allowed: &str) -> BadField {
    BadField::new(format_args!("annotation {name}"), format_args!("{text:?}"), allowed)
}

/// The words of a list with commas.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

fn truth(text: &str) -> Result<bool, Fault> {
    text.parse().map_err(|_| LEFT_OUT)
}

/// Only what Linux has: a name that nobody knows would make the Service unreachable.
fn scheduler(text: &str, asked: &mut Asked) -> Result<(), Fault> {
    let known = Scheduler::OF_LINUX.contains(&text);
    asked.wishes.scheduler = Some(known.then(|| Scheduler::new(text)).ok_or(LEFT_OUT)?);
    Ok(())
}

fn flags(text: &str, asked: &mut Asked) -> Result<(), Fault> {
    let mut bits = 0;
    let mut owners = words(text).filter_map(|word| word.split_once('-')).map(|(owner, _)| owner);
    let first = owners.next();
    if owners.any(|owner| Some(owner) != first) {
        return Err(LEFT_OUT);
    }
    for word in words(text).filter(|_| text != "none") {
        bits |= match word {
            "mh-fallback" | "sh-fallback" => ServerFlags::MH_FALLBACK,
            "mh-port" | "sh-port" => ServerFlags::MH_PORT,
            _ => return Err(LEFT_OUT),
        };
    }
    asked.wishes.flags = Some(ServerFlags(bits));
    Ok(())
}

/// kube-router names the bits by their numbers (`IP_VS_SVC_F_SCHED1` to `IP_VS_SVC_F_SCHED3`).
fn kube_router_flags(text: &str, asked: &mut Asked) -> Result<(), Fault> {
    let mut bits = 0;
    for word in words(text) {
        bits |= match word {
            "flag-1" => ServerFlags::MH_FALLBACK,
            "flag-2" => ServerFlags::MH_PORT,
            "flag-3" => 0,
            _ => return Err(LEFT_OUT),
        };
    }
    asked.wishes.flags = Some(ServerFlags(bits));
    if words(text).any(|word| word == "flag-3") { Err(Fault("flag-3 is left out")) } else { Ok(()) }
}

fn weights(text: &str, asked: &mut Asked) -> Result<(), Fault> {
    asked.wishes.weights = match text {
        "even" => Weights::Even,
        "zones" => Weights::ZonesAlike,
        _ => {
            let mut zones = BTreeMap::new();
            for word in words(text) {
                let (zone, weight) = word.split_once('=').ok_or(LEFT_OUT)?;
                let weight = weight.trim().parse().ok().filter(|weight| (1..=HEAVIEST).contains(weight));
                let zone: Arc<str> = Arc::from(zone.trim());
                if zone.is_empty() || zones.insert(zone, weight.ok_or(LEFT_OUT)?).is_some() {
                    return Err(LEFT_OUT);
                }
            }
            Weights::ByZone(Arc::new(zones))
        }
    };
    Ok(())
}

fn topology_hints(text: &str, asked: &mut Asked) -> Result<(), Fault> {
    asked.wishes.topology_hints = Some(truth(text)?);
    Ok(())
}
