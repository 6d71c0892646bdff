//! What can be asked for: `VIP[:PORT[/PROTOCOL]]` or `NAMESPACE/SERVICE`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::model::ServiceKey;
use crate::model::ipvs::{Protocol, ServerKey};

/// What an explanation is asked of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A VIP, or one port of it.
    Vip {
        /// The VIP.
        address: IpAddr,
        /// The port; `None`: all.
        port: Option<u16>,
        /// The protocol; `None`: all.
        protocol: Option<Protocol>,
    },
    /// A Service.
    Service(ServiceKey),
}

impl Asked {
    /// Is the virtual server `key` one that is asked for?
    pub(super) fn covers(&self, key: &ServerKey) -> bool {
        match self {
            Asked::Vip { address, port, protocol } => {
                key.address == *address
                    && port.is_none_or(|port| key.port == port)
                    && protocol.is_none_or(|protocol| key.protocol == protocol)
            }
            Asked::Service(_) => true,
        }
    }
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Asked, String> {
        let mistake = || {
            format!(
                "{text:?} is neither a VIP (192.0.2.7, 192.0.2.7:80, [2001:db8::7]:53/UDP) nor a Service (NAMESPACE/NAME)"
            )
        };
        let bare = |text: &str| text.strip_prefix('[').and_then(|text| text.strip_suffix(']'))?.parse().ok();
        if let Some(address) = text.parse().ok().or_else(|| bare(text)) {
            return Ok(Asked::Vip { address, port: None, protocol: None });
        }
        let (place, protocol) = text.split_once('/').map_or((text, None), |(place, rest)| (place, Some(rest)));
        if let Ok(place) = place.parse::<SocketAddr>() {
            let protocol = match protocol.map(str::to_ascii_uppercase).as_deref() {
                None => None,
                Some("TCP") => Some(Protocol::Tcp),
                Some("UDP") => Some(Protocol::Udp),
                Some("SCTP") => Some(Protocol::Sctp),
                Some(_) => return Err(format!("{text:?} ends with none of /TCP, /UDP and /SCTP")),
            };
            return Ok(Asked::Vip { address: place.ip(), port: Some(place.port()), protocol });
        }
        match protocol {
            Some(name) if is_name(place) && is_name(name) => Ok(Asked::Service(ServiceKey::new(place, name))),
            _ => Err(mistake()),
        }
    }
}

/// Can a namespace or a Service have this name (DNS label of RFC 1123)?
fn is_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= 63 && text.bytes().all(is_letter)
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Asked::Service(service) => write!(f, "{service}"),
            Asked::Vip { address, port: None, .. } => write!(f, "{address}"),
            Asked::Vip { address, port: Some(port), protocol } => {
                write!(f, "{}", SocketAddr::new(*address, *port))?;
                protocol.iter().try_for_each(|protocol| write!(f, "/{protocol}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_reads_as_it_is_written() {
        for text in [
            "192.0.2.7",
            "2001:db8::7",
            "192.0.2.7:80",
            "192.0.2.7:80/TCP",
            "[2001:db8::7]:53/UDP",
            "[2001:db8::7]:5060/SCTP",
            "shop/cart",
            "kube-system/kube-dns",
        ] {
            assert_eq!(text.parse::<Asked>().map(|asked| asked.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("192.0.2.7:80/tcp".parse(), "192.0.2.7:80/TCP".parse::<Asked>());
        assert_eq!("[2001:db8::7]".parse(), "2001:db8::7".parse::<Asked>());
        for text in ["", "cart", "shop/", "/cart", "shop/cart/80", "Shop/cart", "192.0.2.7:99999", "192.0.2.7:80/ICMP"]
        {
            let error = text.parse::<Asked>().unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }
}
