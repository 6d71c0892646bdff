//! What routes carry, and which there are: by range, by peer, by Service.

use anyhow::{Result, ensure};
use serde_json::json;
use vipcast_lab::wait_for;

use super::{Attributes, NODES, heard, status, tally, wait_for_heard, with_peers};
use crate::objects::{Service, W1A, W1B, port, ready};
use crate::rack::{LONG, Rack};

/// The routes of the lab's configurations and Services, each with what it carries by itself.
const ROUTES: [(&str, Attributes); 10] = {
    const CLUSTER: Attributes = Attributes { communities: &["65001:1"], large_communities: &[], med: None, prepend: 0 };
    const BALANCED: Attributes = Attributes { communities: &["65001:1", "65001:30"], ..CLUSTER };
    const SHOP: Attributes = Attributes {
        communities: &["65001:1", "65001:500", "no-advertise"],
        large_communities: &["65001:500:1"],
        med: Some(7),
        prepend: 0,
    };
    const EXTERNAL: Attributes =
        Attributes { communities: &["65001:1", "65001:20", "65001:500", "no-advertise"], ..SHOP };
    [
        ("10.96.0.0/16", CLUSTER),
        ("fd00:10:96::/112", CLUSTER),
        ("203.0.113.0/24", BALANCED),
        ("2001:db8:3::/64", BALANCED),
        // Of the Service shop: outside of aggregates, and inside of them.
        ("192.0.2.50/32", Attributes { large_communities: &["65001:20:4", "65001:500:1"], ..EXTERNAL }),
        ("2001:db8:2::50/128", Attributes { large_communities: &["65001:20:6", "65001:500:1"], ..EXTERNAL }),
        ("203.0.113.50/32", Attributes { communities: &["65001:1", "65001:30", "65001:500", "no-advertise"], ..SHOP }),
        (
            "2001:db8:3::50/128",
            Attributes { communities: &["65001:1", "65001:30", "65001:500", "no-advertise"], ..SHOP },
        ),
        ("10.96.0.50/32", SHOP),
        ("fd00:10:96::50/128", SHOP),
    ]
};

/// What of the external IPs' ranges every route has.
const PLAIN: [Attributes; 2] = {
    const IPV4: Attributes = Attributes {
        communities: &["65001:1", "65001:20"],
        large_communities: &["65001:20:4"],
        med: Some(20),
        prepend: 0,
    };
    [IPV4, Attributes { large_communities: &["65001:20:6"], ..IPV4 }]
};

/// The VIPs of a Service that comes and changes: two with routes of their own, two inside aggregates.
const DEAL: [&str; 4] = ["192.0.2.70", "2001:db8:2::70", "203.0.113.70", "2001:db8:3::70"];

#[test]
fn each_tor_hears_what_was_asked_for_and_exceptions_inside_aggregates() -> Result<()> {
    with_peers(|rack| {
        all_routes_are_heard_as_configured(rack)?;
        annotations_change_the_routes_of_their_service_alone(rack)?;
        a_route_of_its_own_is_asked_for_or_refused(rack)?;
        a_canary_is_announced_by_its_nodes_alone(rack)?;
        the_last_endpoint_takes_the_route_with_it(rack)
    })
}

/// The routes of [`ROUTES`], over every session; and none for a VIP that an aggregate is enough for.
pub(super) fn all_routes_are_heard_as_configured(rack: &Rack) -> Result<()> {
    for (prefix, attributes) in ROUTES {
        wait_for_heard(rack, prefix, &|link| Some(attributes.over(link)))?;
    }
    for prefix in ["203.0.113.10/32", "2001:db8:3::10/128", "10.96.0.10/32"] {
        ensure_unheard(rack, prefix)?;
    }
    Ok(())
}

fn ensure_unheard(rack: &Rack, prefix: &str) -> Result<()> {
    let found = heard(rack, prefix)?;
    ensure!(found.is_empty(), "{prefix} has a route of its own: {found:#?}");
    Ok(())
}

/// A prefix that holds nothing but this VIP.
fn host(vip: &str) -> String {
    format!("{vip}/{}", if vip.contains(':') { 128 } else { 32 })
}

/// The Service whose annotations change.
fn deal(annotations: &[(&'static str, &'static str)]) -> Service {
    let spec = json!({
        "clusterIPs": ["10.96.0.70", "fd00:10:96::70"],
        "externalIPs": DEAL[..2],
        "ports": [port("http", 80)],
    });
    Service::new("deal", spec).ingress(&DEAL[2..]).annotated(annotations)
}

fn annotations_change_the_routes_of_their_service_alone(rack: &Rack) -> Result<()> {
    let endpoints = ready(&[W1A, W1B]);
    deal(&[]).put(&rack.lab, &endpoints)?;
    for (vip, plain) in DEAL.into_iter().zip(PLAIN) {
        wait_for_heard(rack, &host(vip), &|link| Some(plain.over(link)))?;
    }
    for vip in &DEAL[2..] {
        ensure_unheard(rack, &host(vip))?;
    }
    let asked = [("communities", "65001:70"), ("large-communities", "65001:7:7"), ("med", "9"), ("prepend", "1")];
    deal(&asked).put(&rack.lab, &endpoints)?;
    const ASKED: Attributes =
        Attributes { communities: &[], large_communities: &["65001:7:7"], med: Some(9), prepend: 1 };
    const EXTERNAL: [&str; 3] = ["65001:1", "65001:20", "65001:70"];
    const BALANCED: [&str; 3] = ["65001:1", "65001:30", "65001:70"];
    for (vip, attributes) in DEAL.into_iter().zip([
        Attributes { communities: &EXTERNAL, large_communities: &["65001:20:4", "65001:7:7"], ..ASKED },
        Attributes { communities: &EXTERNAL, large_communities: &["65001:20:6", "65001:7:7"], ..ASKED },
        Attributes { communities: &BALANCED, ..ASKED },
        Attributes { communities: &BALANCED, ..ASKED },
    ]) {
        wait_for_heard(rack, &host(vip), &|link| Some(attributes.over(link)))?;
    }
    // Without them everything is as before.
    deal(&[]).put(&rack.lab, &endpoints)?;
    for (vip, plain) in DEAL.into_iter().zip(PLAIN) {
        wait_for_heard(rack, &host(vip), &|link| Some(plain.over(link)))?;
    }
    for vip in &DEAL[2..] {
        wait_for_heard(rack, &host(vip), &|_| None)?;
    }
    all_routes_are_heard_as_configured(rack)
}

fn a_route_of_its_own_is_asked_for_or_refused(rack: &Rack) -> Result<()> {
    let endpoints = ready(&[W1A, W1B]);
    deal(&[("announce", "false")]).put(&rack.lab, &endpoints)?;
    for vip in DEAL {
        wait_for_heard(rack, &host(vip), &|_| None)?;
    }
    // Its aggregate covers it whatever is asked, which has to be said.
    for name in NODES {
        wait_for(LONG, "a problem of demo/deal", || {
            let status = status(rack.lab.node(name))?;
            let problems = status["services"]["problems"].to_string();
            Ok(if problems.contains("demo/deal") { Ok(()) } else { Err(problems) })
        })?;
    }
    deal(&[("announce", "true")]).put(&rack.lab, &endpoints)?;
    const BALANCED: Attributes =
        Attributes { communities: &["65001:1", "65001:30"], large_communities: &[], med: None, prepend: 0 };
    for (vip, attributes) in DEAL.into_iter().zip([PLAIN[0], PLAIN[1], BALANCED, BALANCED]) {
        wait_for_heard(rack, &host(vip), &|link| Some(attributes.over(link)))?;
    }
    Ok(())
}

/// Inside an aggregate that both LB nodes announce, the longer prefix of one of them draws all traffic of the VIP.
fn a_canary_is_announced_by_its_nodes_alone(rack: &Rack) -> Result<()> {
    deal(&[("announce-nodes", "canary=yes")]).put(&rack.lab, &ready(&[W1A, W1B]))?;
    for vip in &DEAL[2..] {
        wait_for(LONG, &format!("{vip} by lb1 alone"), || {
            let found = heard(rack, &host(vip))?;
            let by_lb1 = |(tor, name): &(&str, String)| {
                super::LINKS.iter().any(|link| link.lb == "lb1" && link.tor == *tor && link.neighbour == name)
            };
            Ok(if !found.is_empty() && found.keys().all(by_lb1) { Ok(()) } else { Err(found) })
        })?;
    }
    for (target, source) in [("203.0.113.70:80", "10.0.1.2"), ("[2001:db8:3::70]:80", "fd00:1::2")] {
        for client in ["client1", "client2"] {
            let found = tally(rack, client, target)?;
            let sources: Vec<String> = found.by_source().keys().map(ToString::to_string).collect();
            ensure!(found.failures.is_empty() && sources == [source], "{client} to {target}: {found:?}");
        }
    }
    super::ensure_served(rack, "client1", &["203.0.113.10:80", "[2001:db8:3::10]:80"])
}

fn the_last_endpoint_takes_the_route_with_it(rack: &Rack) -> Result<()> {
    deal(&[("announce", "true")]).put(&rack.lab, &ready(&[W1A]))?;
    for vip in DEAL {
        wait_for(LONG, &format!("{vip} by both"), || {
            let found = heard(rack, &host(vip))?;
            let all = super::LINKS.iter().filter(|link| link.carries(vip)).count();
            Ok(if found.len() == all { Ok(()) } else { Err(found) })
        })?;
    }
    deal(&[("announce", "true")]).put(&rack.lab, &[])?;
    for vip in DEAL {
        wait_for_heard(rack, &host(vip), &|_| None)?;
    }
    // Its causes are told with the peers that heard it.
    for agent in &rack.agents {
        for vip in DEAL {
            let (what, cause) = (format!("withdrew {} from ", host(vip)), ": no usable endpoint in demo/deal");
            wait_for(LONG, &format!("{what}…{cause}"), || {
                let log = agent.log();
                let told = log.lines().any(|line| line.contains(&what) && line.contains(cause));
                Ok(if told { Ok(()) } else { Err(log) })
            })?;
        }
    }
    all_routes_are_heard_as_configured(rack)
}
