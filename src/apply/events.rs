//! Tells the owners of objects what they can mend, as Events (`events.k8s.io/v1`), which `kubectl describe` shows.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use tracing::{debug, warn};

use self::book::{Book, Fact, Next};
use crate::model::Time;
use crate::plan::Notice;
use crate::watch::convert;
use crate::watch::kubernetes::words;

mod book;

/// Who says so (`reportingController`).
const CONTROLLER: &str = "vipcast";
/// How long an answer of the API server is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest `note` that the API server takes, in bytes (pkg/apis/core/validation/events.go).
const LONGEST_NOTE: usize = 1024;
/// The longest `reportingInstance`, likewise.
const LONGEST_INSTANCE: usize = 128;
/// How much of an object's name goes into an event's, whose length is limited to 253.
const LONGEST_NAME: usize = 200;

/// Sends events for as long as `notices` come. `node` is this node's name.
pub async fn tell(client: Client, node: String, mut notices: UnboundedReceiver<Notice>) {
    let origin = Instant::now();
    let now = || Time(origin.elapsed());
    let mut book = Book::default();
    loop {
        let pause = match book.next(now()) {
            Next::Tell(fact) => {
                let told = send(&client, &node, &fact).await;
                let object = fact.object.clone();
                let first = book.ended(fact, told.is_ok(), now());
                if let Err(problem) = told
                    && first
                {
                    warn!(%object, problem, "event not sent; trying again");
                }
                // What was said meanwhile comes first: it may have ended what would be told next.
                while let Ok(notice) = notices.try_recv() {
                    book.replace(notice, now());
                }
                continue;
            }
            Next::At(time) => Some(time.0.saturating_sub(origin.elapsed())),
            Next::Nothing => None,
        };
        tokio::select! {
            notice = notices.recv() => match notice {
                Some(notice) => book.replace(notice, now()),
                None => return,
            },
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
        }
    }
}

/// Creates the event. That it exists already is as good: another node was first, or this one before it was restarted.
async fn send(client: &Client, node: &str, fact: &Fact) -> Result<(), String> {
    let event = event(node, fact, Timestamp::now());
    let namespace = event.metadata.namespace.clone().unwrap_or_default();
    let api = Api::<Event>::namespaced(client.clone(), &namespace);
    match timeout(PATIENCE, api.create(&PostParams::default(), &event)).await {
        Ok(Ok(_)) => {
            debug!(object = %fact.object, reason = fact.reason, "event sent");
            Ok(())
        }
        Ok(Err(kube::Error::Api(status))) if status.is_already_exists() => Ok(()),
        Ok(Err(error)) => Err(words::request(&error)),
        Err(_) => Err(format!("the API server does not answer within {} s", PATIENCE.as_secs())),
    }
}

/// The event that tells `fact`. Only its time and its instance say which node made it.
fn event(node: &str, fact: &Fact, now: Timestamp) -> Event {
    let (namespace, name) = fact.object.name.split_once('/').unwrap_or(("default", &fact.object.name));
    let uid = fact.uid.as_deref();
    let parts = [fact.object.kind.name(), uid.unwrap_or_default(), fact.reason, &fact.note];
    let stem = cut(name, LONGEST_NAME).trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    Event {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(format!("{stem}.{:016x}", fingerprint(&parts))),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(cut(node, LONGEST_INSTANCE).to_owned()),
        action: Some("Serve".to_owned()),
        reason: Some(fact.reason.to_owned()),
        note: Some(cut(&fact.note, LONGEST_NOTE).to_owned()),
        type_: Some("Warning".to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(convert::api_version(fact.object.kind).to_owned()),
            kind: Some(fact.object.kind.name().to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            uid: uid.map(str::to_owned),
            ..ObjectReference::default()
        }),
        ..Event::default()
    }
}

/// The longest beginning of `text` with at most `bytes` bytes.
fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

/// The same number for the same parts on every node, in every version: FNV-1a with 64 bits.
fn fingerprint(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Kind, ObjectRef};

    fn fact(name: &str, note: &str) -> Fact {
        let object = ObjectRef { kind: Kind::Service, name: Arc::from(name) };
        Fact { object, uid: Some(Arc::from("u-1")), reason: "AddressTaken", note: note.to_owned() }
    }

    fn named(node: &str, fact: &Fact) -> (String, String) {
        let metadata = event(node, fact, Timestamp::UNIX_EPOCH).metadata;
        (metadata.namespace.unwrap(), metadata.name.unwrap())
    }

    #[test]
    fn the_fingerprint_is_fnv_1a() {
        // The published values for "" and "foobar", without the separators that parts get.
        let hash = |text: &str| {
            let separated = fingerprint(&[text]);
            // Multiplication by the prime can be undone: the separator is a zero byte.
            separated.wrapping_mul(0xce96_5057_aff6_957b)
        };
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn all_nodes_give_a_fact_the_same_name_and_other_facts_another() {
        let one = fact("shop/web", "taken");
        assert_eq!(named("lb1", &one), named("lb2", &one));
        assert_eq!(named("lb1", &one).0, "shop");
        let others = [
            fact("shop/web", "taken again"),
            fact("shop/api", "taken"),
            Fact { reason: "UnsupportedValue", ..one.clone() },
            Fact { uid: None, ..one.clone() },
        ];
        for other in others {
            assert_ne!(named("lb1", &other), named("lb1", &one), "{other:?}");
        }
    }

    #[test]
    fn an_event_keeps_to_the_limits_of_the_api_server() {
        let long = fact(&format!("shop/{}.{}", "a".repeat(199), "b".repeat(50)), &"ü".repeat(2000));
        let event = event(&"n".repeat(253), &long, Timestamp::UNIX_EPOCH);
        let name = event.metadata.name.unwrap();
        assert_eq!(name.split_once('.').unwrap().0, "a".repeat(199));
        assert!(name.len() <= 253);
        assert_eq!(event.note.unwrap().len(), 1024);
        assert_eq!(event.reporting_instance.unwrap().len(), 128);
        assert_eq!(event.regarding.unwrap().name.unwrap().len(), 250);
    }
}
