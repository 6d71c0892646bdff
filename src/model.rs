//! What vipcast knows: the cluster's objects, this node, and the state of the kernel and of gobgpd. Types and pure
//! functions only: no IO, no clock, no async. *Desired* and *actual* are the same type, [`State`].

pub mod addr;
pub mod bfd;
pub mod bgp;
pub mod canary;
pub mod cluster;
pub mod fleet;
pub mod ipvs;
pub mod labels;
pub mod lease;
pub mod load;
pub mod nft;
pub mod node;
pub mod orders;
pub mod prefix;
pub mod secret;
pub mod service;
pub mod settings;
pub mod state;
pub mod sysctl;
pub mod time;
pub mod traffic;

pub use cluster::{Cluster, Event, Kind, Object, ObjectRef};
pub use labels::{Labels, Selector};
pub use prefix::{Family, Prefix};
pub use secret::Secret;
pub use service::ServiceKey;
pub use settings::Settings;
pub use state::State;
pub use time::Time;
