//! Which node this is: its name and its addresses.

use std::net::IpAddr;

use super::item::{Mistake, Table};
use super::ranges::Taken;
use super::{Context, value};

/// `node`: as given, else `$NODE_NAME`, else the host name in lower case, as kubelet has it.
pub(super) fn name(top: &Table, context: &Context) -> Result<String, Mistake> {
    const ALLOWED: &str = "the name of this node's Node object (lower-case letters, digits, '-' and '.')";
    if let Some(item) = top.get("node") {
        return item.parse(ALLOWED, |text| value::is_node_name(text).then(|| text.to_owned()));
    }
    let variable = (context.env)("NODE_NAME").filter(|name| !name.is_empty());
    let (origin, name) = match variable {
        Some(name) => ("NODE_NAME in the environment", name),
        None => ("the host name", rustix::system::uname().nodename().to_string_lossy().to_lowercase()),
    };
    if value::is_node_name(&name) {
        return Ok(name);
    }
    Err(top.missing("node", &format!("{ALLOWED}, which {origin}, {name:?}, is not")))
}

/// `nodeIPs`: the addresses in their order, and the same as taken.
pub(super) fn addresses(top: &Table) -> Result<(Vec<IpAddr>, Vec<Taken>), Mistake> {
    let Some(list) = top.get("nodeIPs") else { return Ok((Vec::new(), Vec::new())) };
    let (mut addresses, mut taken) = (Vec::new(), Vec::new());
    for item in list.filled_list("a list of this node's addresses; without the key, the Node object says")? {
        let address = value::address(&item, "an IP address of this node that others can reach", false)?;
        if addresses.contains(&address) {
            return Err(item.conflict("for the second time", "each address once"));
        }
        addresses.push(address);
        taken.push((address, item.key().to_owned()));
    }
    Ok((addresses, taken))
}
