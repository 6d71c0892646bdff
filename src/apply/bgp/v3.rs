//! Version 3 of GoBGP's API, as of GoBGP 3.10.
//!
//! `flavour/` is compiled for each version, against that version's messages: their names are shared, their numbers are
//! not. What else the versions differ in is said here and in `any`.

#![allow(clippy::duplicate_mod, reason = "the files of flavour/ belong to each version")]

mod any;
#[path = "flavour/client.rs"]
mod client;
#[path = "flavour/exports.rs"]
mod exports;
#[path = "flavour/imports.rs"]
mod imports;
#[path = "flavour/path.rs"]
mod path;
#[path = "flavour/peer.rs"]
mod peer;
#[path = "flavour/policy.rs"]
mod policy;
#[path = "flavour/session.rs"]
mod session;

pub(super) use self::client::Client as V3;
use self::proto::gobgp_api_client::GobgpApiClient as Stub;
use self::proto::reset_peer_request::SoftResetDirection as Direction;
use crate::apply::addr::neighbor;
use crate::apply::bgp::api::Failure;
use crate::model::bgp::Flavour;

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

/// This version.
const FLAVOUR: Flavour = Flavour::V3;

/// The address of the peer at the other end of an interface, for AddPeer: this version does not find it by itself.
async fn address_behind(interface: &str) -> Result<String, Failure> {
    let address = neighbor::link_local(interface).await.map_err(Failure::Refused)?;
    Ok(format!("{address}%{interface}"))
}

#[cfg(test)]
mod tests {
    use super::proto::*;

    /// The numbers of those enums that version 4 moved by one, as GoBGP 3.10 has them.
    #[test]
    fn the_numbers_are_those_of_version_3() {
        assert_eq!([TableType::Global as i32, TableType::AdjOut as i32], [0, 3]);
        assert_eq!(table_lookup_prefix::Type::Exact as i32, 0);
        assert_eq!(watch_event_request::table::filter::Type::Best as i32, 0);
        assert_eq!(super::Direction::Out as i32, 1);
        assert_eq!([PeerType::Internal as i32, PeerType::External as i32], [0, 1]);
        assert_eq!([peer_state::AdminState::Up as i32, peer_state::AdminState::Down as i32], [0, 1]);
        assert_eq!(DefinedType::Neighbor as i32, 1);
        assert_eq!(match_set::Type::Any as i32, 0);
        assert_eq!(community_action::Type::Add as i32, 0);
        assert_eq!(med_action::Type::Replace as i32, 1);
    }
}
