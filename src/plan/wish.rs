//! What a Service wants of the routes of its VIPs, and how much of that there can be: the range that a VIP lies in decides
//! whether a wish makes a difference.

use std::net::IpAddr;

use crate::model::Selector;
use crate::model::bgp::Attributes;
use crate::model::service::{Announcing, Service, TrafficPolicy};
use crate::model::settings::{Announce, BgpSettings, Range, Use};

use super::problem::Problem;

/// What a Service wants of the route of one of its VIPs, where that is not just what the VIP's range does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteWish {
    /// There is to be a route of its own.
    pub announce: bool,
    /// That route comes beside one for the whole range: the longest match draws the traffic to the nodes that have it.
    pub specific: bool,
    /// Just nodes with endpoints of the Service are to have it (the traffic policy is Local, inside an aggregate).
    pub local: bool,
    /// Just nodes with these labels are to have it.
    pub nodes: Option<Selector>,
    /// Its attributes; what they leave open, the range says.
    pub attributes: Attributes,
}

/// The wish of `service` for the route of `vip`, which it has for `usage` under `policy`, in `range`, which is announced in
/// the way `configured` on the nodes that it selects. `None` where the range does all that is wanted.
pub fn wish(
    service: &Service,
    (vip, usage, policy): (IpAddr, Use, TrafficPolicy),
    (range, configured): (&Range, Announce),
    settings: &BgpSettings,
    problems: &mut Vec<Problem>,
) -> Option<RouteWish> {
    let nothing = Announcing::default();
    let asked = service.wishes.announcing.as_deref().unwrap_or(&nothing);
    let wanted = asked.wanted.get(&usage).copied();
    let mut attributes = asked.attributes.clone();
    // A peer that finds its own AS number in the path drops the route (RFC 4271 section 9.1.2).
    if attributes.prepend.is_some_and(|count| count > 0) && has_inner_peer(settings) {
        attributes.prepend = None;
        problems.push(Problem::PrependIgnored(settings.asn));
    }
    let local = policy == TrafficPolicy::Local;
    let differs = asked.nodes.is_some() || !attributes.is_empty();
    let (announce, specific) = match configured {
        Announce::Aggregate if wanted == Some(false) => {
            problems.push(Problem::CoveredByRange(vip, range.prefix));
            return None;
        }
        // The range is the VIP's own route.
        Announce::Aggregate if range.prefix.is_host() => return None,
        Announce::Aggregate if wanted == Some(true) || differs || local => (true, true),
        Announce::Host if wanted == Some(false) => (false, false),
        Announce::Host if differs => (true, false),
        Announce::None if wanted == Some(true) => (true, false),
        Announce::Aggregate | Announce::Host | Announce::None => return None,
    };
    Some(RouteWish { announce, specific, local: local && specific, nodes: asked.nodes.clone(), attributes })
}

/// Is some peer in the own AS, on whatever node? All nodes have to say the same.
fn has_inner_peer(settings: &BgpSettings) -> bool {
    settings.peers.iter().any(|entry| entry.peer.asn == settings.asn)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::Family;
    use crate::model::bgp::{NextHop, Peer};
    use crate::model::service::Wishes;
    use crate::model::settings::PeerEntry;

    fn settings(peer_asn: u32) -> BgpSettings {
        let peer = PeerEntry::new(IpAddr::from([10, 0, 1, 1]), Peer::new(peer_asn, Family::ALL));
        BgpSettings {
            asn: 65001,
            router_id: None,
            listen_port: None,
            exclusive: true,
            next_hop_ipv4: NextHop::Own,
            next_hop_ipv6: NextHop::Own,
            attributes: Attributes::default(),
            max_specifics: 64,
            graceful_restart: None,
            peers: vec![peer],
        }
    }

    /// What becomes of the wish: `announce`, `specific`, `local`, and what the owner is told.
    fn judged(configured: Announce, asked: Announcing, policy: TrafficPolicy, peer: u32) -> (String, Vec<String>) {
        let wishes = Wishes { announcing: Some(Box::new(asked)), ..Wishes::default() };
        let service = Service { wishes: Box::new(wishes), ..Service::default() };
        let vip = IpAddr::from([10, 96, 0, 7]);
        let range = Range::new("10.96.0.0/16".parse().unwrap(), Use::ClusterIp, configured);
        let mut problems = Vec::new();
        let place = (vip, Use::ClusterIp, policy);
        let wish = wish(&service, place, (&range, configured), &settings(peer), &mut problems);
        let words = wish.map_or("as the range".to_owned(), |wish| {
            let prepend = wish.attributes.prepend;
            let RouteWish { announce, specific, local, .. } = wish;
            match (announce, specific, local) {
                (false, ..) => "none".to_owned(),
                (_, false, false) => format!("own {prepend:?}"),
                (_, true, false) => format!("specific {prepend:?}"),
                (_, true, true) => format!("local specific {prepend:?}"),
                (_, false, true) => unreachable!("where each VIP has a route, endpoints decide"),
            }
        });
        (words, problems.into_iter().map(|problem| problem.reason().unwrap().to_owned()).collect())
    }

    #[test]
    fn what_a_range_leaves_of_a_wish() {
        use Announce::{Aggregate, Host, None as Nothing};
        use TrafficPolicy::{Cluster, Local};
        let wanted = |is| Announcing { wanted: BTreeMap::from([(Use::ClusterIp, is)]), ..Announcing::default() };
        let canary = || Announcing { nodes: Some(Selector::default()), ..Announcing::default() };
        let med = || Attributes { med: Some(7), ..Attributes::default() };
        let marked = |is: Option<bool>| Announcing {
            wanted: is.map(|is| (Use::ClusterIp, is)).into_iter().collect(),
            attributes: med(),
            ..Announcing::default()
        };
        let elsewhere = || Announcing { wanted: BTreeMap::from([(Use::ExternalIp, true)]), ..Announcing::default() };
        let cases = [
            (Aggregate, Announcing::default(), Cluster, "as the range", ""),
            (Aggregate, Announcing::default(), Local, "local specific None", ""),
            (Aggregate, wanted(true), Cluster, "specific None", ""),
            (Aggregate, wanted(false), Cluster, "as the range", "AnnouncedByRange"),
            (Aggregate, marked(Some(false)), Local, "as the range", "AnnouncedByRange"),
            (Aggregate, marked(None), Cluster, "specific None", ""),
            (Aggregate, canary(), Cluster, "specific None", ""),
            (Aggregate, elsewhere(), Cluster, "as the range", ""),
            (Host, Announcing::default(), Local, "as the range", ""),
            (Host, wanted(true), Cluster, "as the range", ""),
            (Host, wanted(false), Local, "none", ""),
            (Host, marked(None), Local, "own None", ""),
            (Host, canary(), Cluster, "own None", ""),
            (Nothing, Announcing::default(), Local, "as the range", ""),
            (Nothing, marked(None), Cluster, "as the range", ""),
            (Nothing, marked(Some(true)), Cluster, "own None", ""),
            (Nothing, wanted(false), Cluster, "as the range", ""),
        ];
        for (configured, asked, policy, words, told) in cases {
            let what = format!("{configured:?} {asked:?} {policy:?}");
            let told: Vec<String> = told.split_whitespace().map(str::to_owned).collect();
            assert_eq!(judged(configured, asked, policy, 65000), (words.to_owned(), told), "{what}");
        }
    }

    #[test]
    fn nobody_prepends_towards_the_own_as() {
        let prepend = |count| {
            let attributes = Attributes { prepend: Some(count), ..Attributes::default() };
            Announcing { attributes, ..Announcing::default() }
        };
        let judged = |count, peer| judged(Announce::Host, prepend(count), TrafficPolicy::Cluster, peer);
        assert_eq!(judged(2, 65000), ("own Some(2)".to_owned(), vec![]));
        assert_eq!(judged(2, 65001), ("as the range".to_owned(), vec!["PrependIgnored".to_owned()]));
        assert_eq!(judged(0, 65001), ("own Some(0)".to_owned(), vec![]));
    }
}
