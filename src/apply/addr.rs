//! The dummy link and the local routes, over rtnetlink; and the link of the probe.
//!
//! Ours are the link [`LINK`], the pair of the probe (`probe`) and, in the local table, routes of type `local` with protocol [`ROUTE_PROTOCOL`]. No
//! request here can match another protocol's route: additions are exclusive, a replacement follows only when the route
//! in its way is known to be ours, and deletions carry the protocol, which the kernel compares (`fib_table_delete` in
//! net/ipv4/fib_trie.c, `ip6_route_del` in net/ipv6/route.c).

pub(crate) mod neighbor;
mod probe;
mod read;
mod rtnl;

use std::collections::BTreeMap;
use std::net::IpAddr;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType};
use rtnetlink::{LinkDummy, LinkUnspec};
use rustix::io::Errno;

pub(in crate::apply) use self::read::is_node_address;
use self::rtnl::{Failure, Rtnl};
use crate::model::addr::{Addr, LINK, LocalRoute, ROUTE_PROTOCOL};
use crate::model::node::Host;
use crate::model::{Family, Prefix};
use crate::plan::{Outcome, Step};

/// `RT_TABLE_LOCAL` (include/uapi/linux/rtnetlink.h), the table that the kernel asks first.
pub(in crate::apply) const LOCAL_TABLE: u8 = 255;

/// The link and the routes of the network namespace that it was made in.
#[derive(Debug)]
pub struct Links {
    rtnl: Rtnl,
}

impl Links {
    /// Opens the connection in the network namespace of the calling thread. Has to be called within a Tokio runtime,
    /// where a task of the connection's stays behind.
    ///
    /// # Errors
    /// When there is no rtnetlink socket to be had.
    pub fn connect() -> std::io::Result<Links> {
        Ok(Links { rtnl: Rtnl::connect()? })
    }

    /// Performs `steps` in their order; their outcomes. Steps of other targets are refused.
    pub async fn perform(&self, steps: &[Step]) -> Vec<Outcome> {
        let mut foreign = ForeignRoutes::default();
        let mut outcomes = Vec::with_capacity(steps.len());
        for step in steps {
            let done = match step {
                Step::EnsureLink => self.ensure_link().await,
                Step::DeleteLink => self.delete_link().await,
                Step::EnsureProbe(routes) => probe::ensure(&self.rtnl, routes).await,
                Step::DeleteProbe => probe::delete(&self.rtnl).await,
                Step::SetRoute(prefix, route) => self.set_route(*prefix, *route, &mut foreign).await,
                Step::DeleteRoute(prefix) => self.delete_route(*prefix).await,
                other => Ok(Outcome::Refused(format!("{other:?} is no step for links and routes"))),
            };
            outcomes.push(done.unwrap_or_else(|failure| failure.outcome()));
        }
        outcomes
    }

    /// Reads back the links and the routes that are ours.
    ///
    /// # Errors
    /// In words, when a request fails.
    pub async fn read(&self) -> Result<Addr, String> {
        read::addr(&self.rtnl).await.map_err(|failure| failure.to_string())
    }

    /// Reads the facts about the node.
    ///
    /// # Errors
    /// In words, when a request fails.
    pub async fn read_host(&self) -> Result<Host, String> {
        read::host(&self.rtnl).await.map_err(|failure| failure.to_string())
    }

    async fn ensure_link(&self) -> Result<Outcome, Failure> {
        match self.rtnl.link(LINK).await? {
            None => {
                let message = LinkDummy::new(LINK).up().arp(false).build();
                let request = self.rtnl.handle.link().add(message);
                rtnl::answer(format!("create the link {LINK}"), request.execute()).await?;
            }
            Some(found) if !read::link(&found).dummy => return Ok(Outcome::Refused(not_a_dummy())),
            Some(found) => {
                let message = LinkUnspec::new_with_index(found.header.index).up().arp(false).build();
                let request = self.rtnl.handle.link().set(message);
                rtnl::answer(format!("set up the link {LINK}"), request.execute()).await?;
            }
        }
        Ok(Outcome::Done)
    }

    async fn delete_link(&self) -> Result<Outcome, Failure> {
        match self.rtnl.link(LINK).await? {
            None => Ok(Outcome::Done),
            Some(found) if !read::link(&found).dummy => Ok(Outcome::Refused(not_a_dummy())),
            Some(found) => {
                let request = self.rtnl.handle.link().del(found.header.index);
                gone(rtnl::answer(format!("delete the link {LINK}"), request.execute()).await)
            }
        }
    }

    async fn set_route(
        &self,
        prefix: Prefix,
        route: LocalRoute,
        foreign: &mut ForeignRoutes,
    ) -> Result<Outcome, Failure> {
        let Some(link) = self.rtnl.link(LINK).await? else {
            return Ok(Outcome::Drifted(format!("cannot set the local route {prefix}: there is no link {LINK}")));
        };
        if !read::link(&link).dummy {
            return Ok(Outcome::Refused(not_a_dummy()));
        }
        let what = || match route.source {
            Some(source) => format!("set the local route {prefix} with source {source}"),
            None => format!("set the local route {prefix}"),
        };
        let message = route_message(prefix, route.source, &link);
        let routes = self.rtnl.handle.route();
        let added = rtnl::answer(what(), routes.add(message.clone()).execute()).await;
        let added = match added {
            Err(failure) if failure.is(Errno::EXIST) => {
                if let Some(protocol) = foreign.protocol(&self.rtnl, prefix).await? {
                    return Ok(Outcome::Refused(format!(
                        "cannot {}: the local table has a route for {prefix} that is not ours (protocol {protocol})",
                        what()
                    )));
                }
                rtnl::answer(what(), routes.add(message).replace().execute()).await
            }
            other => other,
        };
        match added {
            Err(failure) if failure.is(Errno::INVAL) && route.source.is_some() => Ok(Outcome::Refused(format!(
                "{failure}: the kernel takes only a source that is an address of this node and not still being checked \
                 for duplicates"
            ))),
            other => other.map(|()| Outcome::Done),
        }
    }

    async fn delete_route(&self, prefix: Prefix) -> Result<Outcome, Failure> {
        let mut message = local_routes(prefix.family(), Some(ROUTE_PROTOCOL));
        message.header.destination_prefix_length = prefix.length();
        // "Any scope": IPv4 compares the scope of a route to delete.
        message.header.scope = RouteScope::NoWhere;
        message.attributes.push(RouteAttribute::Destination(prefix.address().into()));
        let request = self.rtnl.handle.route().del(message);
        gone(rtnl::answer(format!("delete the local route {prefix}"), request.execute()).await)
    }
}

/// The local table's routes that are not ours, by prefix, with their protocols. Listed once for a run of steps, and only
/// if a route is in the way of one: else replacing many routes would list them all for each.
#[derive(Debug, Default)]
struct ForeignRoutes {
    listed: BTreeMap<Family, BTreeMap<Prefix, u8>>,
}

impl ForeignRoutes {
    /// The protocol of the route for `prefix` that is not ours, if there is one.
    async fn protocol(&mut self, rtnl: &Rtnl, prefix: Prefix) -> Result<Option<u8>, Failure> {
        if let Some(routes) = self.listed.get(&prefix.family()) {
            return Ok(routes.get(&prefix).copied());
        }
        let routes = rtnl.routes(local_routes(prefix.family(), None)).await?;
        let foreign = routes.iter().filter(|route| route.header.protocol != RouteProtocol::from(ROUTE_PROTOCOL));
        let foreign: BTreeMap<Prefix, u8> =
            foreign.filter_map(|route| Some((read::destination(route)?, route.header.protocol.into()))).collect();
        let found = foreign.get(&prefix).copied();
        self.listed.insert(prefix.family(), foreign);
        Ok(found)
    }
}

fn not_a_dummy() -> String {
    format!("a link {LINK} exists that is not of kind dummy, so it is not ours: rename or delete it")
}

/// Deleting what is not there is done.
fn gone(answer: Result<(), Failure>) -> Result<Outcome, Failure> {
    match answer {
        Err(failure) if !failure.says_missing() => Err(failure),
        _ => Ok(Outcome::Done),
    }
}

/// The local table's routes of a family, of a protocol if one is given: what requests for our routes have in common.
fn local_routes(family: Family, protocol: Option<u8>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = match family {
        Family::Ipv4 => AddressFamily::Inet,
        Family::Ipv6 => AddressFamily::Inet6,
    };
    message.header.table = LOCAL_TABLE;
    if let Some(protocol) = protocol {
        message.header.protocol = RouteProtocol::from(protocol);
        message.header.kind = RouteType::Local;
    }
    message
}

/// Our local route for `prefix`.
fn route_message(prefix: Prefix, source: Option<IpAddr>, link: &LinkMessage) -> RouteMessage {
    let mut message = local_routes(prefix.family(), Some(ROUTE_PROTOCOL));
    message.header.destination_prefix_length = prefix.length();
    message.header.scope = RouteScope::Host;
    message.attributes.push(RouteAttribute::Destination(RouteAddress::from(prefix.address())));
    message.attributes.push(RouteAttribute::Oif(link.header.index));
    if let Some(source) = source {
        message.attributes.push(RouteAttribute::PrefSource(RouteAddress::from(source)));
    }
    message
}
