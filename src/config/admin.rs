//! `admin`: where the HTTP listeners are.

use std::net::{Ipv6Addr, SocketAddr};

use super::item::{Item, Mistake};

/// The section.
pub(super) struct Admin {
    /// All of the interface, meant for this node alone.
    pub(super) listen: SocketAddr,
    /// Health and metrics for others.
    pub(super) metrics: Option<SocketAddr>,
}

/// Reads the section, which may be missing.
pub(super) fn read(item: Option<&Item>) -> Result<Admin, Mistake> {
    let mut admin = Admin { listen: SocketAddr::from(([127, 0, 0, 1], 9180)), metrics: None };
    let Some(item) = item else { return Ok(admin) };
    let table = item.table(&["listen", "metrics"])?;
    if let Some(listen) =
        table.read("listen", |item| item.parse("ADDRESS:PORT, such as 127.0.0.1:9180 or [::1]:9180", address))?
    {
        admin.listen = listen;
    }
    if let Some(item) = table.get("metrics") {
        const ALLOWED: &str = "none, a port such as 9181 (on all addresses), or ADDRESS:PORT";
        let metrics = item.parse(ALLOWED, |text| match text {
            "none" => Some(None),
            text => address(text).or_else(|| on_all_addresses(text)).map(Some),
        })?;
        if let Some(metrics) = metrics.filter(|metrics| is_same(*metrics, admin.listen)) {
            let trouble = format!("where admin.listen ({}) is already", admin.listen);
            return Err(item.conflict(trouble, format_args!("a port other than {}", metrics.port())));
        }
        admin.metrics = metrics;
    }
    Ok(admin)
}

/// An address with a port that others can know of.
fn address(text: &str) -> Option<SocketAddr> {
    text.parse().ok().filter(|address: &SocketAddr| address.port() != 0)
}

/// All addresses: IPv6's "any", which stands for those of IPv4 too.
fn on_all_addresses(text: &str) -> Option<SocketAddr> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port: &u16| digits && *port != 0)?;
    Some(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
}

/// Would one of the two listeners be in the other one's way?
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (any || one.ip() == other.ip())
}
