//! Where gobgpd's API is.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use tonic::transport::{self, Channel, Uri};

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(2);

/// The address of gobgpd's gRPC API: a unix socket, or a TCP address without TLS.
#[derive(Clone)]
pub struct Endpoint {
    text: String,
    transport: transport::Endpoint,
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an address of gobgpd's API: it is unix:/absolute/path or http://host:port")]
pub struct EndpointError;

impl Endpoint {
    /// The unix socket `path`, which has to be absolute.
    pub fn unix(path: &Path) -> Result<Endpoint, EndpointError> {
        format!("unix:{}", path.to_str().ok_or(EndpointError)?).parse()
    }

    /// The unix socket, if it is one.
    pub(crate) fn socket(&self) -> Option<&Path> {
        self.text.strip_prefix("unix:").map(Path::new)
    }

    /// A channel that connects when it is first used, and again whenever the connection was lost. To be called within
    /// a Tokio runtime.
    pub(crate) fn channel(&self) -> Channel {
        self.transport.connect_lazy()
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Endpoint, EndpointError> {
        let text = match text.strip_prefix("unix:") {
            Some(path) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                if !path.starts_with('/') || path.ends_with('/') {
                    return Err(EndpointError);
                }
                format!("unix:{path}")
            }
            None => {
                let uri: Uri = text.parse().map_err(|_| EndpointError)?;
                let bare = uri.path_and_query().is_none_or(|path| path == "/");
                let authority = uri.authority().filter(|a| a.port_u16().is_some() && !a.as_str().contains('@'));
                match (uri.scheme_str(), authority) {
                    (Some("http"), Some(authority)) if bare => format!("http://{authority}"),
                    _ => return Err(EndpointError),
                }
            }
        };
        let transport = transport::Endpoint::from_shared(text.clone()).map_err(|_| EndpointError)?;
        Ok(Endpoint { text, transport: transport.connect_timeout(CONNECT) })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Endpoint) -> bool {
        self.text == other.text
    }
}

impl Eq for Endpoint {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_unix_sockets_and_plain_tcp() {
        let cases = [
            ("unix:/run/gobgpd/api.sock", Some("unix:/run/gobgpd/api.sock")),
            ("unix:///run/gobgpd/api.sock", Some("unix:/run/gobgpd/api.sock")),
            ("http://127.0.0.1:50051", Some("http://127.0.0.1:50051")),
            ("http://[::1]:50051/", Some("http://[::1]:50051")),
            ("http://gobgpd.example:50051", Some("http://gobgpd.example:50051")),
            ("unix:", None),
            ("unix:relative.sock", None),
            ("unix://host/path/", None),
            ("http://127.0.0.1", None),
            ("http://user@127.0.0.1:50051", None),
            ("http://127.0.0.1:50051/path", None),
            ("https://127.0.0.1:50051", None),
            ("127.0.0.1:50051", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let found = text.parse::<Endpoint>().ok().map(|endpoint| endpoint.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_path_is_a_unix_endpoint() {
        let endpoint = Endpoint::unix(Path::new("/run/vipcast/gobgpd.sock"));
        assert_eq!(endpoint.map(|e| e.to_string()), Ok("unix:/run/vipcast/gobgpd.sock".to_owned()));
        assert_eq!(Endpoint::unix(Path::new("gobgpd.sock")), Err(EndpointError));
    }
}
