//! Finding out which version of GoBGP's API is spoken.

use super::Endpoint;
use super::api::{Api, Failure};
use super::v3::V3;
use super::v4::V4;

/// Connects to the gobgpd at `endpoint` and asks which version of its API it speaks. To be called anew for each connection:
/// gobgpd may have been replaced by another version of it.
///
/// A gobgpd answers what is asked in the words of the other version with an error and without doing anything, since each
/// version has a name of its own for the service.
pub(super) async fn dial(endpoint: &Endpoint) -> Result<Box<dyn Api>, Failure> {
    let channel = endpoint.channel();
    let mut said = String::new();
    let versions: [Box<dyn Api>; 2] = [Box::new(V4::new(channel.clone())), Box::new(V3::new(channel))];
    for mut version in versions {
        match version.identity().await {
            Err(Failure::Unspoken(text)) => said = text,
            Err(failure @ (Failure::Unreachable(_) | Failure::Absent(_))) => return Err(failure),
            Ok(_) | Err(Failure::Moved(_) | Failure::Refused(_)) => return Ok(version),
        }
    }
    Err(Failure::Refused(format!("it speaks neither version 3 nor version 4 of GoBGP's API ({said})")))
}
