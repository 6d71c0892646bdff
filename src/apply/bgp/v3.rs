//! Version 3 of GoBGP's API, as of GoBGP 3.10.
//!
//! Its errors all carry the code Unknown, so they are told apart by their text.

mod path;
mod peer;
mod policy;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use tonic::transport::Channel;
use tonic::{Code, Response, Status, Streaming};

use self::proto::gobgp_api_client::GobgpApiClient;
use super::api::{Api, Event, Failure, Peers};
use super::endpoint::Endpoint;
use crate::model::bgp::{Global, Path, Peer, PeerName};
use crate::model::{Family, Prefix};

/// What `build.rs` made of `proto/gobgp/v3`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    clippy::large_enum_variant,
    reason = "generated code"
)]
mod proto {
    tonic::include_proto!("apipb");
}

/// How long gobgpd may take to answer, or to go on with an answer that it began. It answers within milliseconds; a
/// list of 100,000 paths begins after a second.
const DEADLINE: Duration = Duration::from_secs(10);

/// The largest answer that is accepted: what gobgpd itself limits its messages to.
const LARGEST_ANSWER: usize = 256 << 20;

/// Paths in one message of a stream: fast already, and far below any size limit.
const BATCH: usize = 500;

/// A connection to a gobgpd of version 3.
pub(crate) struct V3 {
    client: GobgpApiClient<Channel>,
}

impl V3 {
    /// Connects on first use. To be called within a Tokio runtime.
    pub(crate) fn new(endpoint: &Endpoint) -> V3 {
        V3 { client: GobgpApiClient::new(endpoint.channel()).max_decoding_message_size(LARGEST_ANSWER) }
    }
}

#[tonic::async_trait]
impl Api for V3 {
    async fn identity(&mut self) -> Result<Option<Global>, Failure> {
        let global = answer(self.client.get_bgp(proto::GetBgpRequest {})).await?.global.unwrap_or_default();
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
        answer(self.client.start_bgp(proto::StartBgpRequest { global: Some(global) })).await
    }

    async fn stop(&mut self) -> Result<(), Failure> {
        answer(self.client.stop_bgp(proto::StopBgpRequest {})).await
    }

    async fn rejected(&mut self) -> Result<Option<BTreeSet<Prefix>>, Failure> {
        policy::rejected(&mut self.client).await
    }

    async fn reject_imports(&mut self, neighbors: &BTreeSet<Prefix>) -> Result<(), Failure> {
        if neighbors.is_empty() {
            policy::remove(&mut self.client).await
        } else {
            policy::put_in_force(&mut self.client, neighbors).await
        }
    }

    async fn peers(&mut self) -> Result<Peers, Failure> {
        let mut peers = Peers::default();
        let request = proto::ListPeerRequest::default();
        each(self.client.list_peer(request), |answer| match answer.peer.and_then(peer::read) {
            Some((name, Some(peer))) => drop(peers.ours.insert(name, peer)),
            Some((name, None)) => drop(peers.foreign.insert(name)),
            None => {}
        })
        .await?;
        Ok(peers)
    }

    async fn add_peer(&mut self, asn: u32, name: &PeerName, peer: &Peer) -> Result<(), Failure> {
        let request = proto::AddPeerRequest { peer: Some(peer::write(asn, name, peer)) };
        answer(self.client.add_peer(request)).await
    }

    async fn delete_peer(&mut self, name: &PeerName) -> Result<(), Failure> {
        let (address, interface) = peer::spelled(name);
        match answer(self.client.delete_peer(proto::DeletePeerRequest { address, interface })).await {
            Err(Failure::Refused(text)) if text.starts_with("can't delete a peer configuration for") => Ok(()),
            other => other,
        }
    }

    async fn paths(&mut self, of: Option<&BTreeSet<Prefix>>) -> Result<BTreeMap<Prefix, Path>, Failure> {
        let mut found = BTreeMap::new();
        for family in Family::ALL {
            let prefixes: Option<Vec<_>> = of.map(|prefixes| {
                prefixes.iter().filter(|prefix| prefix.family() == family).map(|p| path::exactly(*p)).collect()
            });
            if prefixes.as_ref().is_some_and(Vec::is_empty) {
                continue; // No prefix would mean all.
            }
            let request = proto::ListPathRequest {
                table_type: proto::TableType::Global.into(),
                family: Some(path::family(family)),
                prefixes: prefixes.unwrap_or_default(),
            };
            each(self.client.list_path(request), |answer| {
                found.extend(answer.destination.unwrap_or_default().paths.iter().filter_map(path::read));
            })
            .await?;
        }
        Ok(found)
    }

    async fn change_paths(&mut self, changes: &[(Prefix, Option<Path>)]) -> Result<(), Failure> {
        let messages: Vec<_> = changes
            .chunks(BATCH)
            .map(|batch| proto::AddPathStreamRequest {
                table_type: proto::TableType::Global.into(),
                paths: batch.iter().map(|(prefix, path)| path::write(*prefix, path.as_ref())).collect(),
            })
            .collect();
        answer(self.client.add_path_stream(stream::iter(messages))).await
    }

    async fn watch(&mut self) -> Result<BoxStream<'static, Result<Event, Failure>>, Failure> {
        use proto::watch_event_request::table::{Filter, filter};
        use proto::watch_event_request::{Peer, Table};
        use proto::watch_event_response::{Event as Found, peer_event};

        let best = Filter { r#type: filter::Type::Best.into(), init: false };
        let request = proto::WatchEventRequest { peer: Some(Peer {}), table: Some(Table { filters: vec![best] }) };
        let events = answer(self.client.watch_event(request)).await?;
        let events = events.flat_map(|message| {
            let found = match message.map_err(failure) {
                Err(failure) => vec![Err(failure)],
                Ok(message) => match message.event {
                    Some(Found::Peer(event)) if event.r#type() != peer_event::Type::EndOfInit => {
                        event.peer.and_then(peer::session).into_iter().map(Ok).collect()
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

/// The answer to one call.
async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Failure> {
    within(call).await.map(Response::into_inner)
}

/// Hands every message of the answer to `take`.
async fn each<T>(
    call: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
    mut take: impl FnMut(T),
) -> Result<(), Failure> {
    let mut messages = answer(call).await?;
    while let Some(message) = within(messages.message()).await? {
        take(message);
    }
    Ok(())
}

/// What `work` comes to, if it does so in time.
async fn within<T>(work: impl Future<Output = Result<T, Status>>) -> Result<T, Failure> {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(result) => result.map_err(failure),
        Err(_) => Err(Failure::Unreachable(format!("no answer within {} s", DEADLINE.as_secs()))),
    }
}

/// What a status means. One without a cause came from gobgpd, one with a cause from the connection.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn failure(status: Status) -> Failure {
    let mut text = status.message().to_owned();
    let mut cause = status.source();
    if cause.is_some() || matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded) {
        let mut absent = false;
        while let Some(error) = cause {
            let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
            absent |= matches!(kind, Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound));
            let more = error.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            cause = error.source();
        }
        return if absent { Failure::Absent(text) } else { Failure::Unreachable(text) };
    }
    if status.code() == Code::Unimplemented {
        return Failure::Refused(format!("it does not speak version 3 of GoBGP's API ({text})"));
    }
    let moved = ["bgp server hasn't started yet", "can't overwrite the existing peer"];
    if moved.iter().any(|known| text.starts_with(known)) { Failure::Moved(text) } else { Failure::Refused(text) }
}

/// Written by hand since it holds a password.
impl fmt::Debug for proto::PeerConf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerConf")
            .field("neighbor_address", &self.neighbor_address)
            .field("peer_asn", &self.peer_asn)
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}
