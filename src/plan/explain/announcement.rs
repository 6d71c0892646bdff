//! What is announced for a VIP, and what of that each peer was sent.

use std::net::IpAddr;

use crate::model::bgp::{Path, Peer, PeerName};
use crate::model::settings::Announce;
use crate::model::{Family, Prefix};
use crate::plan::memory::Key;
use crate::plan::planner::Planner;
use crate::plan::preconditions::Footing;
use crate::plan::status::next_hop;

use super::kernel::tried;
use super::{Link, LinkKind, Verdict};

/// What helps when gobgpd refuses a path.
const POLICIES: &str =
    "mend what is named; `gobgp global policy` shows the import policies that gobgpd judges paths by";

impl Planner {
    /// The routes that lead to `vip`, and what the peers were sent of them.
    pub(super) fn explain_announcements(&self, vip: IpAddr, links: &mut Vec<Link>) {
        let host = Prefix::host(vip);
        let none = |verdict, found: String| Link::new(LinkKind::Announcement, host, verdict, found);
        if self.here.addresses.contains(&vip) {
            links.push(none(Verdict::NotHere, "an address of this node is announced by nobody here".to_owned()));
            return;
        }
        if self.settings.bgp.is_none() {
            links.push(none(Verdict::NotHere, "BGP is not configured".to_owned()));
            return;
        }
        let Some(range) = self.ranges.covering(vip) else {
            links.push(none(Verdict::NotHere, "no range in force holds the VIP".to_owned()));
            return;
        };
        let is_held = |prefix: &Prefix| self.actual.bgp.as_ref().is_some_and(|bgp| bgp.paths.contains_key(prefix));
        let is_aggregate = range.announce == Announce::Aggregate;
        let of_range = Some(range.prefix).filter(|_| is_aggregate);
        let is_own = !is_aggregate || is_held(&host) || self.wanted_in(host).is_ok();
        let of_vip = Some(host).filter(|host| is_own && of_range != Some(*host));
        for prefix in of_range.into_iter().chain(of_vip) {
            links.push(self.announcement_link(prefix));
            if is_held(&prefix) {
                links.extend(self.peers.iter().map(|(name, peer)| self.peer_link(prefix, name, peer)));
            }
        }
    }

    fn announcement_link(&self, prefix: Prefix) -> Link {
        let kind = self.route_kind(prefix).name();
        let link =
            |verdict, found: String| Link::new(LinkKind::Announcement, prefix, verdict, format!("{kind}: {found}"));
        let Some(bgp) = &self.actual.bgp else {
            let reason = self.bgp_problem().unwrap_or_else(|| "gobgpd has not been read yet".to_owned());
            let link = link(Verdict::Wrong, "what gobgpd holds is not known".to_owned()).because(reason);
            return link.mended_by(self.gobgpd_fix());
        };
        let held = bgp.paths.get(&prefix);
        let failure = self.memory.failure(&Key::Path(prefix));
        match (self.wanted_in(prefix), held) {
            (Ok(wanted), Some(path)) if *path == wanted.path => {
                link(Verdict::Ok, format!("gobgpd holds it; {}", attributes(path)))
            }
            (Ok(_), Some(path)) => {
                tried(link, format!("gobgpd holds it with other attributes; {}", attributes(path)), failure, POLICIES)
            }
            (Ok(wanted), None) => {
                if failure.is_some() {
                    return tried(link, "not announced".to_owned(), failure, POLICIES);
                }
                let reason = match self.footing(wanted.range.prefix) {
                    Footing::Broken(reason) | Footing::Mending(reason) => reason,
                    Footing::Proven => match self.bgp_problem() {
                        Some(problem) => problem,
                        None if !self.settled(prefix) => "its virtual servers are being programmed".to_owned(),
                        None => "the kernel has to be read back first".to_owned(),
                    },
                };
                link(Verdict::Waits, "not announced yet".to_owned()).because(reason)
            }
            (Err(reason), Some(_)) => link(Verdict::Waits, "is about to be withdrawn".to_owned()).because(reason),
            (Err(reason), None) => match self.footing(self.range_around(prefix)) {
                Footing::Broken(broken) if broken == reason => {
                    let fix = "mend what is named; the route returns by itself";
                    link(Verdict::Wrong, "not announced".to_owned()).because(reason).mended_by(fix)
                }
                _ => link(Verdict::NotHere, "not announced".to_owned()).because(reason),
            },
        }
    }

    /// What one peer was sent for `prefix`, which gobgpd holds.
    fn peer_link(&self, prefix: Prefix, name: &PeerName, peer: &Peer) -> Link {
        let link = |verdict, found: String| Link::new(LinkKind::Peer, name, verdict, found);
        let family = prefix.family();
        if !peer.families.contains(&family) {
            return link(Verdict::NotHere, format!("carries no {family} routes"));
        }
        let Some(bgp) = &self.actual.bgp else { return link(Verdict::Waits, "not known".to_owned()) };
        if bgp.foreign_peers.contains(name) {
            let fix = format!("remove the peer from gobgpd, or from bgp.peers: `gobgp neighbor del {name}`");
            let reason = "gobgpd has a peer of this name that is somebody else's; it is left alone";
            return link(Verdict::Wrong, "not known".to_owned()).because(reason).mended_by(fix);
        }
        let problem = self.peer_problem(name);
        let Some(session) = self.speaker.sessions.get(name) else {
            if let Some(problem) = problem {
                return link(Verdict::Wrong, "not sent: gobgpd is not told of it".to_owned()).because(problem);
            }
            return link(Verdict::Waits, "nothing is known of its session yet".to_owned());
        };
        if !session.is_established() {
            let silent = || "nobody answers, or not in a way that gobgpd tells of".to_owned();
            return link(Verdict::Wrong, format!("not sent: the session is {}", session.state))
                .because(problem.or_else(|| self.session_reason(name)).unwrap_or_else(silent))
                .mended_by(session_fix(name, peer));
        }
        if !session.families.contains(&family) {
            let fix =
                format!("activate {family} unicast for this neighbour on the switch; `vipcast switch-config` shows it");
            let reason = format!("the other side does not carry {family} routes over this session");
            return link(Verdict::Wrong, "not sent".to_owned()).because(reason).mended_by(fix);
        }
        let astray = self.astray(name).find(|(astray, _)| *astray == prefix);
        match (astray, bgp.sent.get(name).and_then(|sent| sent.get(&prefix))) {
            (Some((_, difference)), _) => match self.sending_problem(name) {
                Some(problem) => {
                    let fix =
                        format!("`gobgp global policy` and `gobgp neighbor {name} adj-out` show what gobgpd does");
                    link(Verdict::Wrong, difference.to_string()).because(problem).mended_by(fix)
                }
                None => link(Verdict::Waits, difference.to_string()).because("its routes are sent again"),
            },
            (None, Some(path)) => link(Verdict::Ok, format!("sent; {}", attributes(path))),
            (None, None) => link(Verdict::Waits, "what it was sent of it has not been read yet".to_owned()),
        }
    }

    /// What brings gobgpd back.
    fn gobgpd_fix(&self) -> &'static str {
        if self.is_exclusive() {
            "the speaker starts gobgpd again by itself; if it does not, its log says why (docs/runbook.md: where it is)"
        } else {
            "start gobgpd, or correct bgp.gobgpd.address"
        }
    }

    fn range_around(&self, prefix: Prefix) -> Prefix {
        self.ranges.covering(prefix.address()).map_or(prefix, |range| range.prefix)
    }
}

/// What to look at on the other side of a session that does not come up.
fn session_fix(name: &PeerName, peer: &Peer) -> String {
    let what = match name {
        PeerName::Address(address) => {
            let ping = if Family::of(*address) == Family::Ipv6 { "ping -6" } else { "ping" };
            format!("{ping} {address}; does it listen on port {}?", peer.port)
        }
        PeerName::Interface(link) => format!("does the other end of {link} send router advertisements?"),
    };
    let password = if peer.password.is_some() { ", with the same password" } else { "" };
    format!("{what} Is this node its neighbour, in AS {}{password}? `vipcast switch-config` prints its side", peer.asn)
}

/// The attributes of a path in words.
fn attributes(path: &Path) -> String {
    let mut words = vec![format!("next hop {}", next_hop(path.next_hop))];
    if !path.as_path.is_empty() {
        let numbers: Vec<String> = path.as_path.iter().map(ToString::to_string).collect();
        words.push(format!("AS path {}", numbers.join(" ")));
    }
    let names = path.communities.iter().map(ToString::to_string);
    let names: Vec<String> = names.chain(path.large_communities.iter().map(ToString::to_string)).collect();
    if !names.is_empty() {
        words.push(format!("communities {}", names.join(" ")));
    }
    words.extend(path.med.map(|med| format!("MED {med}")));
    words.extend(path.local_pref.map(|preference| format!("local preference {preference}")));
    words.join(", ")
}
