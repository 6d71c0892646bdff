//! Links, addresses and routes over netlink: starting `ip` for each of them costs 60 ms in an emulated machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use futures::TryStreamExt;
use netlink_packet_route::address::AddressHeaderFlags;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth};
use rtnetlink::{Handle, LinkDummy, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::Netns;

/// A netlink conversation with one namespace.
#[derive(Clone, Debug)]
pub struct Netlink {
    handle: Handle,
}

impl Netns {
    /// Runs netlink work inside the namespace, and waits for it.
    ///
    /// ```no_run
    /// # fn main() -> anyhow::Result<()> {
    /// let netns = vipcast_lab::Netns::new()?;
    /// netns.netlink(async |link| link.add_dummy("dummy0").await)?;
    /// # Ok(()) }
    /// ```
    pub fn netlink<R: Send>(&self, work: impl AsyncFnOnce(Netlink) -> Result<R> + Send) -> Result<R> {
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().context("start tokio")?;
            runtime.block_on(async {
                let (connection, handle, _) = rtnetlink::new_connection().context("open a netlink socket")?;
                // Ends with the runtime.
                tokio::spawn(connection);
                work(Netlink { handle }).await
            })
        })?
    }
}

impl Netlink {
    /// The whole of rtnetlink, for what has no shorter way here.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// A link's index.
    pub async fn index(&self, link: &str) -> Result<u32> {
        let mut links = self.handle.link().get().match_name(link.to_owned()).execute();
        let found = links.try_next().await.with_context(|| format!("find link {link}"))?;
        Ok(found.with_context(|| format!("no link {link}"))?.header.index)
    }

    /// Sets a link up.
    pub async fn up(&self, link: &str) -> Result<()> {
        let message = LinkUnspec::new_with_index(self.index(link).await?).up().build();
        self.handle.link().set(message).execute().await.with_context(|| format!("set {link} up"))
    }

    /// Sets a link down.
    pub async fn down(&self, link: &str) -> Result<()> {
        let message = LinkUnspec::new_with_index(self.index(link).await?).down().build();
        self.handle.link().set(message).execute().await.with_context(|| format!("set {link} down"))
    }

    /// Sets a link's MTU.
    pub async fn set_mtu(&self, link: &str, mtu: u32) -> Result<()> {
        let message = LinkUnspec::new_with_index(self.index(link).await?).mtu(mtu).build();
        self.handle.link().set(message).execute().await.with_context(|| format!("set the MTU of {link}"))
    }

    /// Creates a dummy link, up.
    pub async fn add_dummy(&self, link: &str) -> Result<()> {
        let message = LinkDummy::new(link).up().build();
        self.handle.link().add(message).execute().await.with_context(|| format!("create dummy link {link}"))
    }

    /// Creates a cable: `link` here, up, and `peer` in another namespace, down (the kernel does not let it be created up,
    /// since it comes first and is not connected yet).
    pub async fn add_veth(&self, link: &str, peer: &str, peer_netns: &Netns) -> Result<()> {
        let other_end = LinkUnspec::new_with_name(peer).setns_by_fd(peer_netns.file().as_raw_fd()).build();
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(link)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(other_end)))
            .up()
            .build();
        let created = self.handle.link().add(message).execute().await;
        created.with_context(|| format!("connect {link} with {peer} in {}", peer_netns.name()))
    }

    /// Deletes a link.
    pub async fn delete(&self, link: &str) -> Result<()> {
        let index = self.index(link).await?;
        self.handle.link().del(index).execute().await.with_context(|| format!("delete {link}"))
    }

    /// Adds an address. An IPv6 address is usable at once: nobody else can have it in a lab.
    pub async fn add_address(&self, link: &str, address: IpAddr, length: u8) -> Result<()> {
        let index = self.index(link).await?;
        let mut request = self.handle.address().add(index, address, length);
        if address.is_ipv6() {
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        request.execute().await.with_context(|| format!("add {address}/{length} to {link}"))
    }

    /// Adds, or replaces, a route by a gateway, a link, or both.
    pub async fn add_route(&self, route: &Route) -> Result<()> {
        let link = match &route.link {
            Some(link) => Some(self.index(link).await?),
            None => None,
        };
        let message = match (route.destination, route.gateway) {
            (IpAddr::V4(destination), gateway) => {
                let mut builder = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(destination, route.length);
                if let Some(IpAddr::V4(gateway)) = gateway {
                    builder = builder.gateway(gateway);
                }
                if let Some(index) = link {
                    builder = builder.output_interface(index);
                }
                builder.build()
            }
            (IpAddr::V6(destination), gateway) => {
                let mut builder = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(destination, route.length);
                if let Some(IpAddr::V6(gateway)) = gateway {
                    builder = builder.gateway(gateway);
                }
                if let Some(index) = link {
                    builder = builder.output_interface(index);
                }
                builder.build()
            }
        };
        let added = self.handle.route().add(message).replace().execute().await;
        added.with_context(|| format!("add a route to {}/{}", route.destination, route.length))
    }
}

/// A route, as far as labs need them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The prefix's address; its family is the route's.
    pub destination: IpAddr,
    /// The prefix's length.
    pub length: u8,
    /// The next hop.
    pub gateway: Option<IpAddr>,
    /// The link.
    pub link: Option<String>,
}
