//! `docs/reference.md` says what the code says: it is written from the tables that the code itself goes by. With
//! `VIPCAST_REGENERATE=1` this test writes it.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use vipcast::model::ServiceKey;
use vipcast::model::ipvs::{Protocol, Scheduler, ServerKey};
use vipcast::model::settings::Use;
use vipcast::plan::problem::Problem;
use vipcast::watch::convert::annotations::ANNOTATIONS;
use vipcast::watch::convert::fields::FIELDS;

use crate::support::build::ip;

/// One problem of each kind. The kinds are named once more below, where a new one is missed by the compiler.
fn problems() -> Vec<Problem> {
    let (web, server) =
        (ServiceKey::new("shop", "web"), ServerKey { address: ip("192.0.2.7"), protocol: Protocol::Tcp, port: 80 });
    let problems = vec![
        Problem::OutsideRanges(ip("10.97.0.1"), "10.96.0.0/16".into()),
        Problem::NotAllowed(Use::ExternalIp, ip("198.51.100.7")),
        Problem::NotAllowed(Use::LoadBalancerIp, ip("198.51.100.7")),
        Problem::InUse(Use::ExternalIp, ip("192.0.2.1"), "it is a BGP peer's".into()),
        Problem::InUse(Use::LoadBalancerIp, ip("192.0.2.9"), "it is an address of the node w1".into()),
        Problem::NodePortOutside(29_999, 30_000, 32_767),
        Problem::EndpointInRange(ip("10.96.0.9")),
        Problem::WeightsIgnored(Scheduler::new("sh")),
        Problem::HealthPortTaken(30_100, web.clone()),
        Problem::Taken(server, web.clone()),
        Problem::CoveredByRange(ip("10.96.0.7"), "10.96.0.0/16".parse().unwrap()),
        Problem::NoRoomForRoute(ip("10.96.0.7"), 64),
        Problem::RouteOverruled(ip("192.0.2.7"), web),
        Problem::PrependIgnored(65_001),
    ];
    let kind = |problem: &Problem| match problem {
        Problem::OutsideRanges(..) => 0,
        Problem::NotAllowed(..) => 1,
        Problem::InUse(..) => 2,
        Problem::NodePortOutside(..) => 3,
        Problem::EndpointInRange(_) => 4,
        Problem::WeightsIgnored(_) => 5,
        Problem::HealthPortTaken(..) => 6,
        Problem::Taken(..) => 7,
        Problem::CoveredByRange(..) => 8,
        Problem::NoRoomForRoute(..) => 9,
        Problem::RouteOverruled(..) => 10,
        Problem::PrependIgnored(_) => 11,
    };
    assert!((0..=11).all(|number| problems.iter().any(|problem| kind(problem) == number)), "a kind has no sample");
    problems
}

fn reference() -> String {
    let mut text = String::from(
        "# Reference: fields, annotations, refusals\n\n\
         Written from the code by `VIPCAST_REGENERATE=1 cargo test --test pure reference`; a test holds it to the code. What \
         stands behind it is told in [services.md](services.md).\n\n\
         ## Fields\n\nOther fields change nothing.\n\n| object | field | what it does |\n|---|---|---|\n",
    );
    for field in FIELDS {
        let _ = writeln!(text, "| {} | `{}` | {} |", field.kind.name(), field.path, field.meaning);
    }
    text.push_str(
        "\n## Annotations of a Service\n\nOne that cannot be understood is reported, and the Service is served as without \
         it. An alias counts where the name that it stands for is absent.\n\n\
         | annotation | values | what it does |\n|---|---|---|\n",
    );
    for annotation in ANNOTATIONS {
        let alias = annotation.alias_of.map(|name| format!(" (alias of `{name}`)")).unwrap_or_default();
        let _ = writeln!(text, "| `{}`{alias} | {} | {} |", annotation.name, annotation.values, annotation.meaning);
    }
    text.push_str(
        "\n## Refusals\n\nWhat is not served is told in `vipcast status`, in the log, in the metric \
         `vipcast_service_problems`, and, where the owner of the Service can mend it, by an Event with the reason.\n\n\
         | message (a sample) | Event | what to do |\n|---|---|---|\n",
    );
    for problem in problems() {
        let event = problem.reason().map_or("none".to_owned(), |reason| format!("`{reason}`"));
        let _ = writeln!(text, "| {problem} | {event} | {} |", problem.remedy());
    }
    let _ = writeln!(
        text,
        "| an object, or a part of it, is not understood | `UnsupportedValue` | the message names the field, \
         what was found and what is allowed |"
    );
    text
}

#[test]
fn the_reference_says_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md");
    let expected = reference();
    if std::env::var_os("VIPCAST_REGENERATE").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == expected, "docs/reference.md is behind the code: run this test with VIPCAST_REGENERATE=1");
}
