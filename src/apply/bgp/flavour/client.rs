//! The calls.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures::stream::{self, BoxStream, StreamExt};
use tonic::transport::Channel;

use super::{Direction, FLAVOUR, Stub, address_behind, exports, imports, path, peer, proto, session};
use crate::apply::bgp::api::{Api, Event, Failure, Peers};
use crate::apply::bgp::calls::{self, LARGEST_ANSWER, answer, done, each, failure};
use crate::model::bgp::{Export, Flavour, Global, Path, Peer, PeerName};
use crate::model::{Family, Prefix};

/// What `build.rs` made of this version's service.
pub(super) type Calls = Stub<Channel>;

/// Paths in one message of a stream: fast already, and far below any size limit.
const BATCH: usize = 500;

/// A connection to a gobgpd of this version.
pub(in crate::apply::bgp) struct Client {
    calls: Calls,
}

impl Client {
    /// Over this channel.
    pub(in crate::apply::bgp) fn new(channel: Channel) -> Client {
        Client { calls: Calls::new(channel).max_decoding_message_size(LARGEST_ANSWER) }
    }

    async fn global(&mut self) -> Result<proto::Global, Failure> {
        Ok(answer(self.calls.get_bgp(proto::GetBgpRequest {})).await?.global.unwrap_or_default())
    }

    async fn listed(&mut self) -> Result<Vec<proto::Peer>, Failure> {
        let mut found = Vec::new();
        each(self.calls.list_peer(proto::ListPeerRequest::default()), |answer| found.extend(answer.peer)).await?;
        Ok(found)
    }

    /// The address that gobgpd knows a peer by, with its zone if it is link-local; `None` if there is no such peer.
    async fn address_of(&mut self, name: &PeerName) -> Result<Option<String>, Failure> {
        if let PeerName::Address(address) = name {
            return Ok(Some(address.to_string()));
        }
        let listed = self.listed().await?;
        let found = listed.into_iter().find(|one| one.conf.as_ref().and_then(peer::name).as_ref() == Some(name));
        found.and_then(|peer| peer.state).map(|state| calls::one_address(name, state.neighbor_address)).transpose()
    }

    /// The same, where there has to be one.
    async fn known_address_of(&mut self, name: &PeerName) -> Result<String, Failure> {
        let found = self.address_of(name).await?;
        found.ok_or_else(|| Failure::Moved(format!("it has no peer {name}")))
    }

    /// The paths of a table that `read` takes, for these prefixes or for all.
    async fn table(
        &mut self,
        table: proto::TableType,
        name: &str,
        of: Option<&BTreeSet<Prefix>>,
        read: fn(&proto::Path) -> Option<(Prefix, Path)>,
    ) -> Result<BTreeMap<Prefix, Path>, Failure> {
        let mut found = BTreeMap::new();
        for family in Family::ALL {
            let prefixes: Option<Vec<_>> = of.map(|prefixes| {
                prefixes.iter().filter(|prefix| prefix.family() == family).map(|p| path::exactly(*p)).collect()
            });
            if prefixes.as_ref().is_some_and(Vec::is_empty) {
                continue; // No prefix would mean all.
            }
            let request = proto::ListPathRequest {
                table_type: table.into(),
                name: name.to_owned(),
                family: Some(path::family(family)),
                prefixes: prefixes.unwrap_or_default(),
            };
            each(self.calls.list_path(request), |answer| {
                found.extend(answer.destination.unwrap_or_default().paths.iter().filter_map(read));
            })
            .await?;
        }
        Ok(found)
    }
}

#[tonic::async_trait]
impl Api for Client {
    fn flavour(&self) -> Flavour {
        FLAVOUR
    }

    async fn identity(&mut self) -> Result<Option<Global>, Failure> {
        let global = self.global().await?;
        if global.asn == 0 {
            return Ok(None);
        }
        let Ok(router_id) = global.router_id.parse() else {
            return Err(Failure::Refused(format!("its router ID is {:?}, which is no IPv4 address", global.router_id)));
        };
        // -1: no listener.
        Ok(Some(Global { asn: global.asn, router_id, listen_port: u16::try_from(global.listen_port).ok() }))
    }

    async fn start(&mut self, global: Global) -> Result<(), Failure> {
        let global = proto::Global {
            asn: global.asn,
            router_id: global.router_id.to_string(),
            listen_port: global.listen_port.map_or(-1, i32::from),
        };
        done(self.calls.start_bgp(proto::StartBgpRequest { global: Some(global) })).await
    }

    async fn stop(&mut self) -> Result<(), Failure> {
        done(self.calls.stop_bgp(proto::StopBgpRequest {})).await
    }

    async fn rejected(&mut self) -> Result<Option<BTreeSet<Prefix>>, Failure> {
        imports::rejected(&mut self.calls).await
    }

    async fn reject_imports(&mut self, neighbors: &BTreeSet<Prefix>) -> Result<(), Failure> {
        if neighbors.is_empty() {
            imports::remove(&mut self.calls).await
        } else {
            imports::put_in_force(&mut self.calls, neighbors).await
        }
    }

    async fn exports(&mut self) -> Result<Option<BTreeMap<IpAddr, Export>>, Failure> {
        exports::exports(&mut self.calls).await
    }

    async fn set_exports(
        &mut self,
        exports: &BTreeMap<IpAddr, Export>,
        ours: &BTreeSet<PeerName>,
    ) -> Result<(), Failure> {
        let changed = exports::put_in_force(&mut self.calls, exports).await?;
        for peer in changed.into_iter().map(PeerName::Address).filter(|peer| ours.contains(peer)) {
            self.resend(&peer).await?;
        }
        // Only now: what is left tells that somebody may not have been sent what changed.
        exports::remove_others(&mut self.calls).await
    }

    async fn resend(&mut self, name: &PeerName) -> Result<(), Failure> {
        let address = self.known_address_of(name).await?;
        let request = proto::ResetPeerRequest { address, soft: true, direction: Direction::Out.into() };
        done(self.calls.reset_peer(request)).await
    }

    async fn sent(
        &mut self,
        name: &PeerName,
        of: Option<&BTreeSet<Prefix>>,
    ) -> Result<BTreeMap<Prefix, Path>, Failure> {
        let address = self.known_address_of(name).await?;
        self.table(proto::TableType::AdjOut, &address, of, path::read_any).await
    }

    async fn peers(&mut self) -> Result<Peers, Failure> {
        let asn = self.global().await?.asn;
        let mut peers = Peers::default();
        for found in self.listed().await? {
            let Some(name) = found.conf.as_ref().and_then(peer::name) else { continue };
            peers.sessions.extend(session::read(&found).map(|session| (name.clone(), session)));
            match peer::read(asn, found) {
                Some(peer) => drop(peers.ours.insert(name, peer)),
                None => drop(peers.foreign.insert(name)),
            }
        }
        Ok(peers)
    }

    async fn add_peer(&mut self, asn: u32, name: &PeerName, peer: &Peer, restarting: bool) -> Result<(), Failure> {
        let address = match name {
            PeerName::Address(address) => address.to_string(),
            PeerName::Interface(interface) => address_behind(interface).await?,
        };
        let peer = peer::write(asn, name, address, peer, restarting);
        done(self.calls.add_peer(proto::AddPeerRequest { peer: Some(peer) })).await
    }

    async fn delete_peer(&mut self, name: &PeerName) -> Result<(), Failure> {
        let Some(address) = self.address_of(name).await? else { return Ok(()) };
        match done(self.calls.delete_peer(proto::DeletePeerRequest { address })).await {
            Err(Failure::Refused(text)) if text.starts_with("can't delete a peer configuration for") => Ok(()),
            other => other,
        }
    }

    async fn disable_peer(&mut self, name: &PeerName, why: &str) -> Result<(), Failure> {
        let address = self.known_address_of(name).await?;
        let request = proto::DisablePeerRequest { address, communication: why.to_owned() };
        done(self.calls.disable_peer(request)).await
    }

    async fn paths(&mut self, of: Option<&BTreeSet<Prefix>>) -> Result<BTreeMap<Prefix, Path>, Failure> {
        self.table(proto::TableType::Global, "", of, path::read).await
    }

    async fn change_paths(&mut self, changes: &[(Prefix, Option<Path>)]) -> Result<(), Failure> {
        let messages: Vec<_> = changes
            .chunks(BATCH)
            .map(|batch| proto::AddPathStreamRequest {
                table_type: proto::TableType::Global.into(),
                paths: batch.iter().map(|(prefix, path)| path::write(*prefix, path.as_ref())).collect(),
            })
            .collect();
        done(self.calls.add_path_stream(stream::iter(messages))).await
    }

    async fn watch(&mut self) -> Result<BoxStream<'static, Result<Event, Failure>>, Failure> {
        use proto::watch_event_request::table::{Filter, filter};
        use proto::watch_event_request::{Peer, Table};
        use proto::watch_event_response::{Event as Found, peer_event};

        let best = Filter { r#type: filter::Type::Best.into(), init: false };
        let request = proto::WatchEventRequest { peer: Some(Peer {}), table: Some(Table { filters: vec![best] }) };
        let events = answer(self.calls.watch_event(request)).await?;
        let events = events.flat_map(|message| {
            let found = match message.map_err(failure) {
                Err(failure) => vec![Err(failure)],
                Ok(message) => match message.event {
                    Some(Found::Peer(event)) if event.r#type() != peer_event::Type::EndOfInit => {
                        event.peer.as_ref().and_then(session::change).into_iter().map(Ok).collect()
                    }
                    Some(Found::Table(event)) => event.paths.iter().filter_map(path::change).map(Ok).collect(),
                    Some(Found::Peer(_)) | None => Vec::new(),
                },
            };
            stream::iter(found)
        });
        Ok(events.boxed())
    }
}
