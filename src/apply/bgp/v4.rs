//! Version 4 of GoBGP's API, as of GoBGP 4.8.
//!
//! `flavour/` is compiled for each version, against that version's messages: their names are shared, their numbers are
//! not. What else the versions differ in is said here and in `oneof`.

#![allow(clippy::duplicate_mod, reason = "the files of flavour/ belong to each version")]

#[path = "flavour/client.rs"]
mod client;
#[path = "flavour/exports.rs"]
mod exports;
#[path = "flavour/imports.rs"]
mod imports;
mod oneof;
#[path = "flavour/path.rs"]
mod path;
#[path = "flavour/peer.rs"]
mod peer;
#[path = "flavour/policy.rs"]
mod policy;
#[path = "flavour/session.rs"]
mod session;

use self::oneof as any;

pub(super) use self::client::Client as V4;
use self::proto::go_bgp_service_client::GoBgpServiceClient as Stub;
use self::proto::reset_peer_request::Direction;
use crate::apply::bgp::api::Failure;
use crate::model::bgp::Flavour;

/// What `build.rs` made of `proto/gobgp/v4`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    clippy::large_enum_variant,
    reason = "generated code"
)]
mod proto {
    tonic::include_proto!("api");
}

/// This version.
const FLAVOUR: Flavour = Flavour::V4;

/// The address of the peer at the other end of an interface, for AddPeer: this version finds it by itself.
async fn address_behind(_interface: &str) -> Result<String, Failure> {
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use super::proto::*;

    /// The numbers of those enums that version 3 has one lower, as GoBGP 4.8 has them.
    #[test]
    fn the_numbers_are_those_of_version_4() {
        assert_eq!([TableType::Global as i32, TableType::AdjOut as i32], [1, 4]);
        assert_eq!(table_lookup_prefix::Type::Exact as i32, 1);
        assert_eq!(watch_event_request::table::filter::Type::Best as i32, 1);
        assert_eq!(super::Direction::Out as i32, 2);
        assert_eq!([PeerType::Internal as i32, PeerType::External as i32], [1, 2]);
        assert_eq!([peer_state::AdminState::Up as i32, peer_state::AdminState::Down as i32], [1, 2]);
        assert_eq!(DefinedType::Neighbor as i32, 2);
        assert_eq!(match_set::Type::Any as i32, 1);
        assert_eq!(community_action::Type::Add as i32, 1);
        assert_eq!(med_action::Type::Replace as i32, 2);
    }
}
