//! The endpoints of the Service `default/kubernetes`, remembered on disk.
//!
//! On a node without kube-proxy the API server's ClusterIP works only as long as this agent serves it. So the agent
//! remembers which addresses are behind it, and an agent that starts tries those when the ClusterIP does not answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::ipvs::Protocol;
use crate::model::service::Slice;
use crate::model::{Event, Kind, Object};
use crate::runtime;

/// The API servers' Service: namespace and name are the same in every cluster.
const SERVICE: &str = "default/kubernetes";
/// The name of its port.
const PORT: &str = "https";
/// More than any cluster has. Each is tried in turn, and that must come to an end.
const MOST: usize = 16;

/// The file in `runtimeDir`: an `ADDRESS:PORT` in each line.
pub(crate) fn file(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("apiservers")
}

/// What is remembered. A file that is missing, or that nobody can read, holds nothing; so does a line that is no
/// address.
pub(crate) fn read(file: &Path) -> BTreeSet<SocketAddr> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).take(MOST).collect()
}

/// Remembers `endpoints`, so that the file holds either the former ones or these, whenever the machine stops.
pub(super) fn write(file: &Path, endpoints: &BTreeSet<SocketAddr>) -> io::Result<()> {
    let text: String = endpoints.iter().map(|endpoint| format!("{endpoint}\n")).collect();
    runtime::replace_durably(file, text.as_bytes())
}

/// Picks the API servers' endpoints out of what is told of EndpointSlices.
#[derive(Debug, Default)]
pub(super) struct Learner {
    slices: BTreeMap<Arc<str>, BTreeSet<SocketAddr>>,
    /// The slices that the list which is under way told of so far.
    listing: Option<BTreeSet<Arc<str>>>,
    known: BTreeSet<SocketAddr>,
}

impl Learner {
    /// Takes note of an event; answers with the endpoints if they are others than before. None at all are never an
    /// answer: there is an API server, since it said so.
    pub(super) fn note(&mut self, event: &Event) -> Option<&BTreeSet<SocketAddr>> {
        match event {
            Event::Listing(Kind::EndpointSlice) => self.listing = Some(BTreeSet::new()),
            Event::Put(Object::Slice(name, slice)) if slice.service.as_str() == SERVICE => {
                self.listing.iter_mut().for_each(|told| _ = told.insert(name.clone()));
                self.slices.insert(name.clone(), endpoints(slice));
            }
            Event::Put(Object::Slice(name, _)) => drop(self.slices.remove(name)),
            Event::Gone(object) if object.kind == Kind::EndpointSlice => drop(self.slices.remove(&object.name)),
            Event::Listed(Kind::EndpointSlice) => {
                if let Some(told) = self.listing.take() {
                    self.slices.retain(|name, _| told.contains(name));
                }
            }
            _ => return None,
        }
        let now: BTreeSet<SocketAddr> = self.slices.values().flatten().copied().take(MOST).collect();
        if self.listing.is_some() || now.is_empty() || now == self.known {
            return None;
        }
        self.known = now;
        Some(&self.known)
    }
}

/// Where a slice says that API servers listen.
fn endpoints(slice: &Slice) -> BTreeSet<SocketAddr> {
    let is_api = |name: &str, protocol| protocol == Protocol::Tcp && (name == PORT || name.is_empty());
    let ports = slice.ports.iter().filter(|port| is_api(&port.name, port.protocol)).map(|port| port.port);
    let ready = || slice.endpoints.iter().filter(|endpoint| endpoint.ready);
    ports.flat_map(|port| ready().map(move |endpoint| SocketAddr::new(endpoint.address, port))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::service::{Endpoint, ServiceKey, SlicePort};
    use crate::model::{Family, ObjectRef};

    fn slice(service: &str, addresses: &[(&str, bool)]) -> Slice {
        let port = |name: &str, protocol, port| SlicePort { name: name.into(), protocol, port };
        let endpoint = |(address, ready): &(&str, bool)| Endpoint::new(address.parse().unwrap(), *ready);
        Slice {
            service: ServiceKey::from(Arc::from(service)),
            family: Family::Ipv4,
            ports: vec![
                port("https", Protocol::Tcp, 6443),
                port("other", Protocol::Tcp, 1),
                port("", Protocol::Udp, 2),
            ],
            endpoints: addresses.iter().map(endpoint).collect(),
        }
    }

    fn put(name: &str, slice: Slice) -> Event {
        Event::Put(Object::Slice(name.into(), slice))
    }

    fn gone(name: &str) -> Event {
        Event::Gone(ObjectRef { kind: Kind::EndpointSlice, name: name.into() })
    }

    #[test]
    fn the_endpoints_of_one_service_are_learned() {
        const A: &str = "default/kubernetes";
        const B: &str = "default/kubernetes-b";
        let listing = || Event::Listing(Kind::EndpointSlice);
        let listed = || Event::Listed(Kind::EndpointSlice);
        let one = || slice(SERVICE, &[("10.0.0.1", true), ("10.0.0.9", false)]);
        let two = || slice(SERVICE, &[("10.0.0.2", true)]);
        // What is told, and what is learned from it.
        let cases: [(Event, Option<&[&str]>); 14] = [
            (listing(), None),
            (put(A, one()), None),
            (put("shop/web", slice("shop/web", &[("10.0.0.3", true)])), None),
            (listed(), Some(&["10.0.0.1:6443"])),
            (put(A, one()), None),
            (put(B, two()), Some(&["10.0.0.1:6443", "10.0.0.2:6443"])),
            (gone(A), Some(&["10.0.0.2:6443"])),
            (Event::Gone(ObjectRef { kind: Kind::Service, name: B.into() }), None),
            // None left: that cannot be.
            (gone(B), None),
            (put(A, one()), Some(&["10.0.0.1:6443"])),
            // A list that does not tell of it.
            (listing(), None),
            (put(B, two()), None),
            (listed(), Some(&["10.0.0.2:6443"])),
            // It belongs to another Service now.
            (put(B, slice("shop/web", &[("10.0.0.3", true)])), None),
        ];
        let mut learner = Learner::default();
        for (event, expected) in cases {
            let expected = expected.map(|texts| texts.iter().map(|text| text.parse().unwrap()).collect());
            assert_eq!(learner.note(&event).cloned(), expected, "{event:?}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path());
        assert!(read(&file).is_empty());
        let endpoints = BTreeSet::from(["10.0.0.1:6443", "[fd00::1]:6443"].map(|text| text.parse().unwrap()));
        write(&file, &endpoints).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "10.0.0.1:6443\n[fd00::1]:6443\n");
        assert_eq!(read(&file), endpoints);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        fs::write(&file, "nonsense\n 10.0.0.1:6443 \n\n10.0.0.2\n").unwrap();
        assert_eq!(read(&file), BTreeSet::from(["10.0.0.1:6443".parse().unwrap()]));
        assert!(write(&folder.path().join("none/apiservers"), &endpoints).is_err());
    }
}
