//! As much of PromQL as it takes to find all names in a query: each word is a metric, a label, a function or a keyword,
//! and has to be one that is known.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::str::CharIndices;

use vipcast::admin::metrics::Metrics;
use vipcast::model::bgp::{Flavour, SessionState};
use vipcast::plan::Status;
use vipcast::plan::audit::Repairs;
use vipcast::plan::status::{BfdSessionStatus, BgpStatus, PeerStatus, ProofStatus};

const FUNCTIONS: [&str; 12] = [
    "absent",
    "changes",
    "count",
    "histogram_quantile",
    "increase",
    "max",
    "min",
    "rate",
    "scalar",
    "sum",
    "time",
    "vector",
];
const KEYWORDS: [&str; 5] = ["and", "bool", "offset", "or", "unless"];
/// Words before a list of labels.
const GROUPINGS: [&str; 6] = ["by", "group_left", "group_right", "ignoring", "on", "without"];
/// Labels that Prometheus or the PodMonitor gives to all of a target's series.
const TARGET: [&str; 5] = ["instance", "job", "namespace", "node", "pod"];
/// Metrics of others, with their labels.
const OTHERS: [(&str, &[&str]); 2] =
    [("kube_daemonset_status_desired_number_scheduled", &["daemonset", "namespace"]), ("up", &[])];

/// What queries may speak of.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    /// By metric, by label: the values that there are; none where they can be any.
    metrics: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Vocabulary {
    /// What an agent renders that has something of everything, and what others are known to have.
    pub(super) fn of_the_agent() -> Vocabulary {
        let metrics = Metrics::default();
        metrics.session(&"10.0.1.1".parse().unwrap(), true);
        let states = [
            SessionState::Idle,
            SessionState::Connect,
            SessionState::Active,
            SessionState::OpenSent,
            SessionState::OpenConfirm,
            SessionState::Established,
        ];
        let peer = |state: SessionState| PeerStatus {
            name: state.to_string(),
            state: state.to_string(),
            since: Some("2026-01-01T00:00:00Z".into()),
            desired: Some(0),
            sent: Some(0),
            ..PeerStatus::default()
        };
        let flavour = Some(Flavour::V3.to_string());
        let repairs = Repairs::default().by_kind().map(|(kind, count)| (kind.to_owned(), count)).into();
        let bgp = BgpStatus { flavour, repairs, peers: states.map(peer).into(), ..BgpStatus::default() };
        let proof = vec![ProofStatus { family: "IPv4".into(), ..ProofStatus::default() }];
        let bfd = vec![BfdSessionStatus::default()];
        let text = metrics.render(&Status { bgp: Some(bgp), bfd, proof, ..Status::default() }).unwrap();
        let mut vocabulary = Vocabulary::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, labels) = line.split_once('{').unwrap_or((line.split(' ').next().unwrap(), "}"));
            let known = vocabulary.metrics.entry(name.to_owned()).or_default();
            for label in labels.split('}').next().unwrap().split(',').filter(|label| !label.is_empty()) {
                let (label, value) = label.split_once('=').unwrap();
                known.entry(label.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
            }
        }
        for (name, labels) in OTHERS {
            let labels = labels.iter().map(|label| ((*label).to_owned(), BTreeSet::new())).collect();
            vocabulary.metrics.insert(name.to_owned(), labels);
        }
        vocabulary
    }

    /// Has some metric this label?
    pub(super) fn has_label(&self, label: &str) -> bool {
        TARGET.contains(&label) || self.metrics.values().any(|labels| labels.contains_key(label))
    }

    fn check_matcher(&self, metric: &str, matcher: &str) -> Result<(), String> {
        let labels = &self.metrics[metric];
        let (label, rest) = matcher.split_at(matcher.find(['=', '!', '~']).ok_or(format!("no matcher: {matcher}"))?);
        let label = label.trim();
        if TARGET.contains(&label) {
            return Ok(());
        }
        let values = labels.get(label).ok_or(format!("{metric} has no label {label}"))?;
        let value = rest.trim_start_matches(['=', '!', '~']).trim().trim_matches('"');
        if rest.contains('~') || values.is_empty() || values.contains(value) {
            return Ok(());
        }
        Err(format!("{metric} never has {label}=\"{value}\""))
    }
}

/// Is every word of `query` known?
pub(super) fn check(query: &str, vocabulary: &Vocabulary) -> Result<(), String> {
    let mut letters = query.char_indices().peekable();
    let mut metrics = 0;
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => drop(until(query, &mut letters, '"')?),
            '[' => drop(until(query, &mut letters, ']')?),
            '{' => return Err(format!("a selector without a metric in {query}")),
            _ if letter.is_ascii_digit() => {
                while letters.next_if(|(_, c)| c.is_ascii_digit() || *c == '.').is_some() {}
            }
            _ if letter.is_ascii_alphabetic() || letter == '_' => {
                let mut end = at + 1;
                while let Some((place, _)) = letters.next_if(|(_, c)| c.is_ascii_alphanumeric() || *c == '_') {
                    end = place + 1;
                }
                metrics += usize::from(word(&query[at..end], query, &mut letters, vocabulary)?);
            }
            _ => {}
        }
    }
    if metrics == 0 { Err(format!("no metric in {query}")) } else { Ok(()) }
}

/// Judges one word and what belongs to it. True: it is a metric.
fn word(
    word: &str,
    query: &str,
    letters: &mut Peekable<CharIndices<'_>>,
    vocabulary: &Vocabulary,
) -> Result<bool, String> {
    if KEYWORDS.contains(&word) {
        return Ok(false);
    }
    while letters.next_if(|(_, c)| c.is_whitespace()).is_some() {}
    let next = letters.peek().map(|(_, c)| *c);
    if GROUPINGS.contains(&word) && next == Some('(') {
        letters.next();
        let labels = until(query, letters, ')')?;
        let mut labels = labels.split(',').map(str::trim).filter(|label| !label.is_empty());
        return match labels.find(|label| !vocabulary.has_label(label)) {
            Some(label) => Err(format!("nothing has the label {label}")),
            None => Ok(false),
        };
    }
    // An aggregation may have its labels before what it is about.
    if FUNCTIONS.contains(&word) && next.is_some_and(|c| c == '(' || c.is_ascii_alphabetic()) {
        return Ok(false);
    }
    if !vocabulary.metrics.contains_key(word) {
        return Err(format!("there is no {word}"));
    }
    if next == Some('{') {
        letters.next();
        let matchers = until(query, letters, '}')?;
        matchers.split(',').try_for_each(|matcher| vocabulary.check_matcher(word, matcher.trim()))?;
    }
    Ok(true)
}

/// What comes before `end`, which is taken too.
fn until<'a>(query: &'a str, letters: &mut Peekable<CharIndices<'_>>, end: char) -> Result<&'a str, String> {
    let start = letters.peek().map_or(query.len(), |(at, _)| *at);
    let (at, _) = letters.find(|(_, c)| *c == end).ok_or(format!("no {end} in {query}"))?;
    Ok(&query[start..at])
}

#[test]
fn unknown_names_are_found() {
    let vocabulary = Vocabulary::of_the_agent();
    let good = [
        "vipcast_ready == 0",
        "sum by (target) (rate(vipcast_steps_total{outcome=\"drifted\", job=~\"$job\"}[5m])) > 1.5",
        "max without (state) (vipcast_bgp_peers{state!=\"Established\"}) == 1",
        "up{job=\"x\"} and on (job) vipcast_routes",
    ];
    for query in good {
        assert_eq!(check(query, &vocabulary), Ok(()), "{query}");
    }
    let bad = [
        ("vipcast_redy == 0", "there is no vipcast_redy"),
        ("vipcast_steps", "there is no vipcast_steps"),
        ("rates(vipcast_passes_total[5m])", "there is no rates"),
        ("vipcast_routes{peer=\"x\"}", "vipcast_routes has no label peer"),
        ("vipcast_bgp_peers{state=\"established\"}", "vipcast_bgp_peers never has state=\"established\""),
        ("sum by (peers) (vipcast_bgp_peers)", "nothing has the label peers"),
        ("vipcast_ready and on (machine) vipcast_routes", "nothing has the label machine"),
        ("vipcast_ready{job=\"x\"", "no } in vipcast_ready{job=\"x\""),
        ("1 + 2", "no metric in 1 + 2"),
    ];
    for (query, problem) in bad {
        assert_eq!(check(query, &vocabulary).unwrap_err(), problem, "{query}");
    }
}
