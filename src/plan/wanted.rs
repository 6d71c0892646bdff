//! Which routes there should be, with which attributes, and why others should not. The range of a VIP says how it is
//! announced, and the oldest of its Services what it wants to be otherwise.

use std::net::IpAddr;

use crate::model::bgp::{Attributes, Path};
use crate::model::settings::{Announce, Range};
use crate::model::{Prefix, ServiceKey};

use super::away::Bearing;
use super::bgp;
use super::planner::Planner;
use super::preconditions::{Footing, bounds};
use super::role::Role;

/// A route that there should be, as soon as it can be.
pub(super) struct Wanted<'a> {
    /// The range that it is of, or that its VIP lies in.
    pub(super) range: &'a Range,
    /// The route.
    pub(super) path: Path,
}

impl Planner {
    /// The route for `prefix` as it should be, or why there must be none.
    pub(super) fn wanted_in(&self, prefix: Prefix) -> Result<Wanted<'_>, String> {
        if let Role::StandingBy(reason) = &self.role {
            return Err(reason.clone());
        }
        if self.leaving.is_some() {
            return Err("this node is leaving".into());
        }
        let bearing = self.away.state.bearing();
        let is_new = || self.actual.bgp.as_ref().is_some_and(|bgp| !bgp.paths.contains_key(&prefix));
        if bearing == Bearing::Withdraw || bearing == Bearing::Shun && is_new() {
            return Err(self.leaving_words());
        }
        let range = self.ranges.covering(prefix.address()).ok_or("no range in force holds it")?;
        let settings = self.settings.bgp.as_ref().ok_or("BGP is not configured")?;
        let is_of_range = prefix == range.prefix && range.announce == Announce::Aggregate;
        if !is_of_range && !prefix.is_host() {
            return Err(format!("range {} is not announced in this way", range.prefix));
        }
        if prefix.is_host() && self.here.addresses.contains(&prefix.address()) {
            return Err("it is an address of this node".into());
        }
        let own = if is_of_range { Own::Plain } else { self.own_route(prefix.address(), range)? };
        if let Some(reason) = self.unmendable(prefix.address()).filter(|_| prefix.is_host()) {
            return Err(reason);
        }
        if let Some(Footing::Broken(reason)) = self.speaker.footings.get(&range.prefix) {
            return Err(reason.clone());
        }
        if let Some(reason) = self.unannounceable(settings, prefix.family()) {
            return Err(reason);
        }
        let path = match own {
            Own::Plain => bgp::path(settings, range, prefix, None),
            Own::With(attributes) => bgp::path(settings, range, prefix, Some(attributes)),
            // As it is, until it goes.
            Own::Left(path) => return Ok(Wanted { range, path: path.clone() }),
        };
        let path = if bearing == Bearing::Shun { self.shunned(path) } else { path };
        Ok(Wanted { range, path })
    }

    /// What the route of `vip` alone should be, `range` holding it, or why there must be none.
    fn own_route(&self, vip: IpAddr, range: &Range) -> Result<Own<'_>, String> {
        let configured = self.ranges.configured(range);
        if let Some(left) = self.left_route(vip, configured) {
            return Ok(left);
        }
        let prefix = range.prefix;
        let wish = self.ledger.wish(vip);
        let owner = self.ledger.vip_owner(vip);
        if configured == Announce::Host && owner.is_none() {
            return Err("no Service has this VIP".to_owned());
        }
        let is_wanted = wish.map_or(configured == Announce::Host, |wish| wish.announce);
        if !is_wanted {
            return Err(match (configured, owner) {
                (Announce::Aggregate, _) => format!("the route of the range {prefix} covers it"),
                (Announce::Host, Some(owner)) => format!("{owner} asks for no route"),
                _ => format!("the range {prefix} is not announced"),
            });
        }
        let missing = self.missing_labels(&range.node_selector);
        if !missing.is_empty() {
            return Err(format!("other nodes announce the range {prefix}: this one has not the label {missing}"));
        }
        if self.ledger.is_crowded_out(vip) {
            return Err(format!(
                "older Services have all the routes that bgp.maxSpecifics allows; the route of the range {prefix} covers it"
            ));
        }
        if let Some(nodes) = wish.and_then(|wish| wish.nodes.as_ref()) {
            let missing = self.missing_labels(nodes);
            if !missing.is_empty() {
                return Err(format!("other nodes announce it: this one has not the label {missing}"));
            }
        }
        // A route that draws traffic here for the endpoints of this node needs those of the Service that asks for it.
        let local = wish.is_some_and(|wish| wish.local);
        let is_served =
            if local { self.ledger.is_served_by_owner(vip) } else { self.ledger.servers_at(vip).next().is_some() };
        match owner {
            Some(owner) if !is_served => Err(self.nobody_serves(vip, owner)),
            _ => Ok(wish.map_or(Own::Plain, |wish| Own::With(&wish.attributes))),
        }
    }

    /// A route that an earlier run announced for what could not be understood since the start: a virtual server that nobody has
    /// claimed since, or a wish, where the range gives VIPs no routes. It stays as it is.
    fn left_route(&self, vip: IpAddr, configured: Announce) -> Option<Own<'_>> {
        if !self.is_blind() {
            return None;
        }
        let host = Prefix::host(vip);
        let path = self.actual.bgp.as_ref()?.paths.get(&host)?;
        let (first, last) = bounds(host);
        let mut servers = self.actual.ipvs.range(first..=last).map(|(key, _)| key);
        let is_unwished = configured != Announce::Host && !self.ledger.is_wished_for(vip);
        let is_left = is_unwished || servers.any(|key| self.may_be_wanted(key));
        is_left.then_some(Own::Left(path))
    }

    /// That no endpoint at `vip`, which `owner` has, takes traffic.
    fn nobody_serves(&self, vip: IpAddr, owner: &ServiceKey) -> String {
        let (first, last) = bounds(Prefix::host(vip));
        let claim = self.ledger.claim(owner);
        let mut asks = claim.into_iter().flat_map(|claim| claim.servers.range(first..=last));
        // Clients keep their addresses just where the policy is Local.
        let local = asks.any(|(_, ask)| ask.filter.keep);
        format!("no usable endpoint in {owner}{}", if local { " on this node" } else { "" })
    }

    fn missing_labels(&self, selector: &crate::model::Selector) -> String {
        // Who leaves announces what it announced, until it withdraws all of it.
        if self.away.disowned.is_some() {
            return String::new();
        }
        let nothing = Default::default();
        selector.missing(self.cluster.node().map_or(&nothing, |node| &node.labels))
    }
}

/// What the route of a VIP alone is to be like.
enum Own<'a> {
    /// As its range says.
    Plain,
    /// As its Service says.
    With(&'a Attributes),
    /// As it is.
    Left(&'a Path),
}
