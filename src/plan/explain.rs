//! `vipcast explain`: the chain from a Service to what each peer was sent, link by link, with a verdict on each and,
//! where something is wrong, the reason and what to do. The field names are a contract.

mod announcement;
mod asked;
mod inquiry;
mod kernel;
mod near;
mod service;

use serde::{Deserialize, Serialize};

use crate::model::ServiceKey;

use super::planner::Planner;
use super::role::Role;
pub use asked::Asked;
pub(super) use inquiry::{Inquiry, Readings};

/// The chain behind a VIP or a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The node's name: another node may say otherwise.
    pub node: String,
    /// What was asked for.
    pub asked: String,
    /// The worst of all links.
    pub verdict: Verdict,
    /// What to know about this answer: that it may be old, for example.
    pub remarks: Vec<String>,
    /// The links, in the order in which a packet's fate is decided.
    pub links: Vec<Link>,
}

/// How a link stands, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// As it should be.
    #[serde(rename = "ok")]
    Ok,
    /// Rightly not on this node, or not at all.
    #[serde(rename = "not here")]
    NotHere,
    /// Not as it should be yet; it is being seen to.
    #[serde(rename = "waits")]
    Waits,
    /// Not as it should be.
    #[serde(rename = "wrong")]
    Wrong,
}

impl Verdict {
    /// The sign in the table.
    pub fn sign(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::NotHere => "--",
            Verdict::Waits => "..",
            Verdict::Wrong => "!!",
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::NotHere => "not here",
            Verdict::Waits => "waits",
            Verdict::Wrong => "wrong",
        }
    }
}

/// What a link is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LinkKind {
    /// This node, where it does not serve.
    Node,
    /// A Service.
    Service,
    /// The endpoints of a port.
    Endpoints,
    /// A virtual server.
    VirtualServer,
    /// A destination of the virtual server before it.
    Destination,
    /// The local route that makes the VIP this node's.
    LocalRoute,
    /// The replacement of the client's address.
    Snat,
    /// The guard, which refuses what IPVS does not take.
    Guard,
    /// A route that gobgpd announces.
    Announcement,
    /// What a peer was sent of the announcement before it.
    Peer,
}

impl LinkKind {
    /// All of them.
    pub const ALL: [LinkKind; 10] = [
        LinkKind::Node,
        LinkKind::Service,
        LinkKind::Endpoints,
        LinkKind::VirtualServer,
        LinkKind::Destination,
        LinkKind::LocalRoute,
        LinkKind::Snat,
        LinkKind::Guard,
        LinkKind::Announcement,
        LinkKind::Peer,
    ];

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            LinkKind::Node => "node",
            LinkKind::Service => "Service",
            LinkKind::Endpoints => "endpoints",
            LinkKind::VirtualServer => "virtual server",
            LinkKind::Destination => "  destination",
            LinkKind::LocalRoute => "local route",
            LinkKind::Snat => "SNAT",
            LinkKind::Guard => "guard",
            LinkKind::Announcement => "announcement",
            LinkKind::Peer => "  peer",
        }
    }
}

/// A link of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// What it is about.
    pub kind: LinkKind,
    /// The VIP, where it is about one.
    pub vip: Option<String>,
    /// Its name: of the Service, the port, the virtual server, the prefix, the peer.
    pub name: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What is there.
    pub found: String,
    /// Why it is not as it should be.
    pub reason: Option<String>,
    /// What to do about it.
    pub fix: Option<String>,
    /// The weight of a destination in the kernel.
    pub weight: Option<u32>,
    /// The connections of a destination, active and inactive ones; `null` where they were not counted.
    pub connections: Option<u64>,
}

impl Link {
    fn new(kind: LinkKind, name: impl ToString, verdict: Verdict, found: impl Into<String>) -> Link {
        Link {
            kind,
            vip: None,
            name: name.to_string(),
            verdict,
            found: found.into(),
            reason: None,
            fix: None,
            weight: None,
            connections: None,
        }
    }

    /// What it adds to the verdict on the whole: a peer that is not meant to carry a route takes nothing from it.
    fn counts(&self) -> Option<Verdict> {
        Some(self.verdict).filter(|verdict| self.kind != LinkKind::Peer || *verdict != Verdict::NotHere)
    }

    fn because(self, reason: impl Into<String>) -> Link {
        Link { reason: Some(reason.into()), ..self }
    }

    fn mended_by(self, fix: impl Into<String>) -> Link {
        Link { fix: Some(fix.into()), ..self }
    }
}

/// Nothing is known by the name that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unknown(String);

impl Unknown {
    /// In these words.
    pub fn new(words: impl Into<String>) -> Unknown {
        Unknown(words.into())
    }
}

impl Planner {
    /// The chain behind what was asked for, with what was read of its virtual servers for this answer.
    fn explain(&self, asked: &Asked, readings: &Readings) -> Result<Explanation, Unknown> {
        let scope = self.scope(asked)?;
        let mut links = Vec::new();
        links.extend(self.node_link());
        for service in &scope.services {
            self.explain_service(service, &scope, &mut links);
        }
        if self.serves() {
            for (vip, keys) in &scope.vips {
                let from = links.len();
                for key in keys {
                    links.extend(self.explain_endpoints(key));
                    self.explain_server(key, readings, &mut links);
                }
                self.explain_way_in(*vip, keys, &mut links);
                self.explain_announcements(*vip, &mut links);
                links[from..].iter_mut().for_each(|link| link.vip = Some(vip.to_string()));
            }
        }
        Ok(Explanation {
            node: self.settings.node.clone(),
            asked: asked.to_string(),
            verdict: links.iter().filter_map(Link::counts).max().unwrap_or(Verdict::Ok),
            remarks: readings.remarks(),
            links,
        })
    }

    /// Does the node do something for Services, as far as is known?
    fn serves(&self) -> bool {
        self.role == Role::Serving && self.leaving.is_none() && self.derived
    }

    /// Why this node does nothing for any Service, if so.
    fn node_link(&self) -> Option<Link> {
        if self.serves() {
            return None;
        }
        let reason = self.reasons().join("; ");
        let link = |verdict, found| Some(Link::new(LinkKind::Node, &self.settings.node, verdict, found));
        match self.role {
            _ if self.leaving.is_some() => link(Verdict::NotHere, "leaves"),
            Role::StandingBy(_) => link(Verdict::NotHere, "stands by").map(|link| {
                let wanted = self.settings.node_selector.to_string();
                link.because(reason)
                    .mended_by(format!("if it is to serve: kubectl label node {} {wanted}", self.settings.node))
            }),
            Role::Frozen => link(Verdict::Wrong, "touches nothing").map(|link| {
                link.because(reason).mended_by("make `node` in the configuration the name of this node's Node object")
            }),
            Role::Unknown | Role::Serving => link(Verdict::Waits, "knows too little yet").map(|link| {
                link.because(reason).mended_by("mend the source that is named; the agent goes on by itself")
            }),
        }
    }

    /// The order of claimants in words, where there are several.
    fn queue(claimants: &[(i64, ServiceKey)]) -> Option<String> {
        let names: Vec<&str> = claimants.iter().map(|(_, service)| service.as_str()).collect();
        (names.len() > 1).then(|| format!("claimed by {}, the first has it", names.join(", then ")))
    }
}
