//! What annotations ask for, and what is said of wrong ones.

use std::collections::BTreeSet;

use super::*;
use crate::model::Selector;
use crate::model::bgp::{Attributes, Community, LargeCommunity};
use crate::model::ipvs::{Scheduler, ServerFlags};
use crate::model::service::{Announcing, TrafficPolicy, Weights, Wishes};
use crate::model::settings::Use;
use crate::watch::convert::annotations::{ANNOTATIONS, is_read};

/// The Service of type LoadBalancer with these annotations, and what is wrong with it.
fn annotated(annotations: &[(&str, &str)]) -> (Service, String) {
    let annotations: Vec<String> = annotations.iter().map(|(name, text)| format!("{name}: '{text}'")).collect();
    let yaml = format!(
        "{{metadata: {{name: web, annotations: {{{}}}}},
          spec: {{type: LoadBalancer, clusterIP: 10.96.0.1, internalTrafficPolicy: Local, ports: [{{port: 80}}]}},
          status: {{loadBalancer: {{ingress: [{{ip: 192.0.2.1}}]}}}}}}",
        annotations.join(", ")
    );
    match read(Kind::Service, &yaml) {
        Reading::Good(Object::Service(_, service)) => (service, String::new()),
        Reading::Partly(Object::Service(_, service), problem) => (service, problem),
        other => panic!("{yaml}: {other:?}"),
    }
}

fn scheduler(name: &str) -> Wishes {
    Wishes { scheduler: Some(Scheduler::new(name)), ..Wishes::default() }
}

fn flags(bits: u32) -> Wishes {
    Wishes { flags: Some(ServerFlags(bits)), ..Wishes::default() }
}

fn weights(weights: Weights) -> Wishes {
    Wishes { weights, ..Wishes::default() }
}

fn zones(zones: &[(&str, u32)]) -> Wishes {
    let zones = zones.iter().map(|(zone, weight)| (Arc::from(*zone), *weight)).collect();
    weights(Weights::ByZone(Arc::new(zones)))
}

fn hints(are: bool) -> Wishes {
    Wishes { topology_hints: Some(are), ..Wishes::default() }
}

fn routes(announcing: Announcing) -> Wishes {
    Wishes { announcing: Some(Box::new(announcing)), ..Wishes::default() }
}

fn announced(uses: &[Use], are: bool) -> Wishes {
    routes(Announcing { wanted: uses.iter().map(|usage| (*usage, are)).collect(), ..Announcing::default() })
}

fn canary(labels: &[(&str, &str)]) -> Wishes {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    routes(Announcing { nodes: Some(Selector::new(labels)), ..Announcing::default() })
}

fn attributes(attributes: Attributes) -> Wishes {
    routes(Announcing { attributes, ..Announcing::default() })
}

fn none() -> Attributes {
    Attributes::default()
}

#[test]
fn wishes() {
    let cases = [
        ("vipcast.io/scheduler", "mh", scheduler("mh")),
        ("vipcast.io/scheduler", " wlc ", scheduler("wlc")),
        ("kube-router.io/service.scheduler", "sh", scheduler("sh")),
        ("vipcast.io/scheduler-flags", "none", flags(0)),
        ("vipcast.io/scheduler-flags", "mh-fallback", flags(0x8)),
        ("vipcast.io/scheduler-flags", "sh-port", flags(0x10)),
        ("vipcast.io/scheduler-flags", "mh-port, mh-fallback", flags(0x18)),
        ("kube-router.io/service.schedflags", "flag-1", flags(0x8)),
        ("kube-router.io/service.schedflags", "flag-1,flag-2", flags(0x18)),
        ("vipcast.io/weights", "even", weights(Weights::Even)),
        ("vipcast.io/weights", "zones", weights(Weights::ZonesAlike)),
        ("vipcast.io/weights", "a=3", zones(&[("a", 3)])),
        ("vipcast.io/weights", "eu-1a=65535, eu-1b = 1", zones(&[("eu-1a", 65535), ("eu-1b", 1)])),
        ("vipcast.io/topology-hints", "true", hints(true)),
        ("vipcast.io/topology-hints", "false", hints(false)),
        ("kube-router.io/service.hairpin", "", Wishes::default()),
        ("kube-router.io/service.hairpin.externalips", "true", Wishes::default()),
        ("vipcast.io/announce", "true", announced(&Use::ALL, true)),
        ("vipcast.io/announce", "false", announced(&Use::ALL, false)),
        ("kube-router.io/service.advertise.clusterip", "true", announced(&[Use::ClusterIp], true)),
        ("kube-router.io/service.advertise.externalip", "false", announced(&[Use::ExternalIp], false)),
        ("kube-router.io/service.advertise.loadbalancerip", "true", announced(&[Use::LoadBalancerIp], true)),
        ("vipcast.io/announce-nodes", "canary=yes", canary(&[("canary", "yes")])),
        ("vipcast.io/announce-nodes", "a.b/c = d, e=", canary(&[("a.b/c", "d"), ("e", "")])),
        (
            "vipcast.io/communities",
            "65001:100, no-export",
            attributes(Attributes { communities: [Community(0xfde9_0064), Community(0xffff_ff01)].into(), ..none() }),
        ),
        (
            "vipcast.io/large-communities",
            "65001:1:100",
            attributes(Attributes { large_communities: [LargeCommunity(65001, 1, 100)].into(), ..none() }),
        ),
        ("vipcast.io/med", "0", attributes(Attributes { med: Some(0), ..none() })),
        ("vipcast.io/local-pref", "4294967295", attributes(Attributes { local_pref: Some(u32::MAX), ..none() })),
        ("vipcast.io/prepend", "16", attributes(Attributes { prepend: Some(16), ..none() })),
        // Not about forwarding, or not for us.
        ("kube-router.io/peers", "x", Wishes::default()),
        ("example.org/scheduler", "x", Wishes::default()),
    ];
    for (name, text, expected) in cases {
        let (service, problem) = annotated(&[(name, text)]);
        assert_eq!((*service.wishes, problem.as_str()), (expected, ""), "{name}: {text}");
    }
}

#[test]
fn a_wrong_annotation_is_told_and_the_service_is_served_as_without_it() {
    let cases = [
        ("vipcast.io/scheduler", "rrr"),
        ("vipcast.io/scheduler", ""),
        ("vipcast.io/scheduler", "none"),
        ("vipcast.io/scheduler", "RR"),
        ("kube-router.io/service.scheduler", "x"),
        ("vipcast.io/scheduler-flags", ""),
        ("vipcast.io/scheduler-flags", "fallback"),
        ("vipcast.io/scheduler-flags", "mh-port,none"),
        ("vipcast.io/scheduler-flags", "mh-port,sh-fallback"),
        ("kube-router.io/service.schedflags", "flag-4"),
        ("vipcast.io/weights", ""),
        ("vipcast.io/weights", "a"),
        ("vipcast.io/weights", "a=0"),
        ("vipcast.io/weights", "a=65536"),
        ("vipcast.io/weights", "a=-1"),
        ("vipcast.io/weights", "=1"),
        ("vipcast.io/weights", "a=1,"),
        ("vipcast.io/weights", "a=1,a=2"),
        ("vipcast.io/topology-hints", "yes"),
        ("vipcast.io/announce", "yes"),
        ("kube-router.io/service.advertise.clusterip", ""),
        ("vipcast.io/announce-nodes", ""),
        ("vipcast.io/announce-nodes", "canary"),
        ("vipcast.io/announce-nodes", "=yes"),
        ("vipcast.io/announce-nodes", "a=b,a=c"),
        ("vipcast.io/announce-nodes", "a b=c"),
        ("vipcast.io/announce-nodes", "a=b;c"),
        ("vipcast.io/communities", ""),
        ("vipcast.io/communities", "65001:100,"),
        ("vipcast.io/communities", "65536:1"),
        ("vipcast.io/large-communities", "65001:1"),
        ("vipcast.io/med", "-1"),
        ("vipcast.io/med", "+1"),
        ("vipcast.io/med", "4294967296"),
        ("vipcast.io/local-pref", "high"),
        ("vipcast.io/prepend", "17"),
        ("vipcast.io/prepend", "256"),
        ("vipcast.io/prepend", ""),
        ("kube-router.io/service.local", "Local"),
        ("kube-router.io/service.skiplbips", "1"),
    ];
    let (plain, _) = annotated(&[]);
    for (name, text) in cases {
        let allowed = ANNOTATIONS.iter().find(|known| known.name == name).unwrap().values;
        let (service, problem) = annotated(&[(name, text)]);
        assert_eq!(problem, format!("annotation {name} is {text:?}; allowed: {allowed}; left out"));
        assert_eq!(service, plain, "{name}: {text}");
    }
}

#[test]
fn a_name_of_ours_that_does_not_exist_is_told() {
    let (service, problem) = annotated(&[("vipcast.io/schedular", "mh")]);
    let ours = ANNOTATIONS.iter().map(|known| known.name).filter(|name| name.starts_with("vipcast.io/"));
    let names = ours.collect::<Vec<_>>().join(", ");
    assert_eq!(problem, format!("annotation vipcast.io/schedular is \"mh\"; allowed: the names {names}; left out"));
    assert_eq!(service, annotated(&[]).0);
}

#[test]
fn our_name_wins_over_kube_routers() {
    let (ours, alias) = ("vipcast.io/scheduler", "kube-router.io/service.scheduler");
    let (service, problem) = annotated(&[(ours, "mh"), (alias, "x")]);
    assert_eq!((*service.wishes, problem.as_str()), (scheduler("mh"), ""));
    let (service, problem) = annotated(&[(ours, "x"), (alias, "mh")]);
    assert_eq!(*service.wishes, Wishes::default(), "a slip does not bring back what it was to replace");
    assert!(problem.starts_with("annotation vipcast.io/scheduler is \"x\""), "{problem}");
}

#[test]
fn our_announcement_wins_over_kube_routers_for_all_uses() {
    let alias = "kube-router.io/service.advertise.loadbalancerip";
    let (service, _) = annotated(&[("vipcast.io/announce", "false"), (alias, "true")]);
    assert_eq!(*service.wishes, announced(&Use::ALL, false));
}

#[test]
fn communities_are_bounded() {
    let many = |count: usize| (0..count).map(|n| format!("65001:{n}")).collect::<Vec<_>>().join(",");
    let found = |count| annotated(&[("vipcast.io/communities", &many(count))]).0.wishes.announcing;
    assert_eq!(found(32).map(|announcing| announcing.attributes.communities.len()), Some(32));
    assert_eq!(found(33), None);
}

#[test]
fn flags_belong_to_the_scheduler_that_is_named_beside_them() {
    let both =
        |name: &str, flags: &str| annotated(&[("vipcast.io/scheduler", name), ("vipcast.io/scheduler-flags", flags)]);
    let (service, problem) = both("mh", "mh-port");
    assert_eq!((service.wishes.flags, problem.as_str()), (Some(ServerFlags(0x10)), ""));
    let (service, problem) = both("rr", "none");
    assert_eq!((service.wishes.flags, problem.as_str()), (Some(ServerFlags(0)), ""));
    for (name, flags) in [("mh", "sh-port"), ("rr", "mh-port")] {
        let (service, problem) = both(name, flags);
        assert_eq!(*service.wishes, scheduler(name), "{flags}");
        let allowed = format!("flags of the scheduler {name}, if it has any; left out");
        assert_eq!(problem, format!("annotation vipcast.io/scheduler-flags is {flags:?}; allowed: {allowed}"));
    }
}

#[test]
fn what_kube_router_knows_and_we_do_in_another_way() {
    let (plain, _) = annotated(&[]);
    assert_eq!(plain.internal_policy, TrafficPolicy::Local);

    let (local, problem) = annotated(&[("kube-router.io/service.local", "true")]);
    let policies = (local.internal_policy, local.external_policy);
    assert_eq!((policies, problem.as_str()), ((TrafficPolicy::Cluster, TrafficPolicy::Local), ""));
    assert_eq!(annotated(&[("kube-router.io/service.local", "false")]), (plain.clone(), String::new()));

    let (skips, problem) = annotated(&[("kube-router.io/service.skiplbips", "true")]);
    assert_eq!((skips, problem.as_str()), (Service { load_balancer_ips: Vec::new(), ..plain.clone() }, ""));

    let (third, problem) = annotated(&[("kube-router.io/service.schedflags", "flag-1,flag-3")]);
    assert_eq!(*third.wishes, flags(0x8));
    assert!(problem.ends_with("; flag-3 is left out"), "{problem}");

    let (dsr, problem) = annotated(&[("kube-router.io/service.dsr", "tunnel")]);
    assert_eq!(dsr, plain);
    let allowed = "allowed: nothing: direct server return is not supported; served by NAT";
    assert_eq!(problem, format!("annotation kube-router.io/service.dsr is \"tunnel\"; {allowed}"));
}

#[test]
fn the_table_is_whole() {
    let names: BTreeSet<&str> = ANNOTATIONS.iter().map(|known| known.name).collect();
    assert_eq!(names.len(), ANNOTATIONS.len(), "each name once");
    for known in ANNOTATIONS {
        assert!(is_read(known.name), "{} would not get here from the API server", known.name);
        assert!(known.alias_of.is_none_or(|name| names.contains(name)), "{}", known.name);
        if known.meaning.contains("IPVS scheduler") {
            assert_eq!(known.values, Scheduler::OF_LINUX.join(", "), "{}", known.name);
        }
        if let Some(ours) = known.alias_of.filter(|_| known.values.contains("rr")) {
            let ours = ANNOTATIONS.iter().find(|other| other.name == ours).unwrap();
            assert_eq!(known.values, ours.values);
        }
    }
    assert!(!is_read("kubectl.kubernetes.io/last-applied-configuration"));
}
