use super::*;
use crate::model::ipvs::{Forwarding, Scheduler, ServerFlags, ServerSettings};

const KEY: ServerKey =
    ServerKey { address: IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1)), protocol: Protocol::Tcp, port: 80 };
const POD: DestinationKey = DestinationKey { address: IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1)), port: 8080 };
const LIMIT: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> Time {
    Time(Duration::from_secs(seconds))
}

/// A book, and a virtual server with one destination that nobody wants.
#[derive(Default)]
struct Case {
    book: DrainBook,
    weight: u32,
    whole: bool,
    listed: bool,
    reading: bool,
}

impl Case {
    fn destinations(&self) -> BTreeMap<DestinationKey, Destination> {
        [(POD, Destination { weight: self.weight, forwarding: Forwarding::Masquerade })].into()
    }

    /// What becomes of the destination at this second, and whether its connections have to be counted now.
    fn judge(&mut self, seconds: u64) -> (Fate, bool) {
        let listed: BTreeSet<IpAddr> = self.listed.then_some(POD.address).into_iter().collect();
        let (unwanted, whole, reading) = (&self.destinations(), self.whole, self.reading);
        let situation = Situation { unwanted, whole, listed: &listed, reading, limit: LIMIT };
        let verdict = self.book.judge(KEY, &situation, at(seconds));
        (verdict.fates[&POD], verdict.count)
    }

    /// It is read as it is, with so many connections.
    fn count(&mut self, connections: u64, seconds: u64) {
        let settings = ServerSettings { scheduler: Scheduler::new("rr"), flags: ServerFlags::default(), timeout: 0 };
        let server = VirtualServer { settings, destinations: self.destinations() };
        let connections = [(POD, connections)].into_iter().collect();
        self.book.counted(&KEY, Some(&server), &connections, at(seconds));
    }

    /// The weight becomes 0, and the connections are so many.
    fn quiet(&mut self, connections: u64, seconds: u64) {
        self.weight = 0;
        self.book.written(&KEY, &POD);
        assert_eq!(self.judge(seconds), (Fate::Wait, true));
        self.count(connections, seconds);
    }
}

fn case() -> Case {
    Case { weight: 1, ..Case::default() }
}

#[test]
fn the_weight_goes_first_and_what_was_counted_before_does_not_count() {
    let mut case = case();
    assert_eq!(case.judge(0), (Fate::Quiet, false));
    case.count(0, 0);
    assert_eq!(case.judge(0), (Fate::Quiet, false));
    case.weight = 0;
    assert_eq!(case.judge(0), (Fate::Wait, false), "it was counted under another weight");
    case.quiet(0, 0);
    assert_eq!(case.judge(0), (Fate::Delete, false));
}

#[test]
fn connections_are_counted_at_growing_intervals_until_there_are_none() {
    let mut case = case();
    case.listed = true;
    case.judge(0);
    case.quiet(3, 0);
    let mut times = Vec::new();
    for second in 0..60 {
        for key in case.book.due(at(second)) {
            assert_eq!(key, KEY);
            assert_eq!(case.judge(second), (Fate::Wait, true));
            assert_eq!(case.judge(second), (Fate::Wait, false), "it is under way");
            case.count(2, second);
            times.push(second);
        }
        assert_eq!(case.judge(second).0, Fate::Wait);
    }
    assert_eq!(times, [1, 3, 7, 15, 25, 35, 45, 55]);
    case.count(0, 60);
    assert_eq!(case.judge(60), (Fate::Delete, false));
}

#[test]
fn time_runs_from_when_no_slice_lists_the_address() {
    let mut case = case();
    case.listed = true;
    case.judge(0);
    case.quiet(1, 0);
    assert_eq!(case.judge(1000).0, Fate::Wait, "a slice still lists it");
    case.count(1, 1000);
    case.listed = false;
    assert_eq!(case.judge(1001).0, Fate::Wait);
    case.count(1, 1001);
    assert_eq!(case.judge(1030).0, Fate::Wait);
    case.listed = true;
    assert_eq!(case.judge(1031).0, Fate::Wait);
    case.listed = false;
    assert_eq!(case.judge(1040).0, Fate::Wait);
    case.count(1, 1040);
    assert!(case.book.next_alarm() <= Some(at(1070)));
    assert_eq!(case.judge(1069).0, Fate::Wait);
    assert_eq!(case.judge(1070), (Fate::Delete, false));
}

#[test]
fn time_begins_anew_after_somebody_wanted_the_destination_for_a_moment() {
    let mut case = case();
    assert_eq!(case.judge(0).0, Fate::Quiet);
    case.book.wanted(&KEY, &case.destinations());
    assert_eq!(case.judge(29).0, Fate::Quiet);
    assert_eq!(case.judge(58).0, Fate::Quiet);
    assert_eq!(case.judge(59).0, Fate::Delete);
}

#[test]
fn what_cannot_get_the_weight_0_goes_when_its_time_is_over() {
    let mut case = case();
    assert_eq!(case.judge(0).0, Fate::Quiet);
    assert_eq!(case.book.next_alarm(), Some(at(30)));
    assert_eq!(case.judge(29).0, Fate::Quiet);
    assert_eq!(case.judge(30).0, Fate::Delete);
}

#[test]
fn a_write_makes_what_was_counted_worthless() {
    let mut case = case();
    case.judge(0);
    case.quiet(0, 0);
    case.book.written(&KEY, &POD);
    assert_eq!(case.judge(0), (Fate::Wait, true));
}

#[test]
fn a_whole_virtual_server_is_counted_first_by_a_count_that_began_after_its_end() {
    for reading in [false, true] {
        let mut case = Case { whole: true, reading, ..case() };
        let connections = |case: &mut Case| {
            let listed = BTreeSet::new();
            let unwanted = &case.destinations();
            let situation = Situation { unwanted, whole: true, listed: &listed, reading: false, limit: LIMIT };
            case.book.judge(KEY, &situation, at(0)).connections
        };
        assert_eq!(case.judge(0), (Fate::Quiet, true));
        case.count(0, 0);
        assert_eq!(connections(&mut case), (!reading).then_some(0));
        case.count(5, 0);
        assert_eq!(connections(&mut case), Some(5));
    }
}

#[test]
fn a_virtual_server_that_goes_after_its_destinations_did_is_counted_anew() {
    let mut case = case();
    case.judge(0);
    case.quiet(2, 0);
    case.whole = true;
    assert_eq!(case.judge(0), (Fate::Wait, true));
    case.count(2, 0);
    case.whole = false;
    assert_eq!(case.judge(0), (Fate::Wait, true));
}

#[test]
fn a_service_finds_what_drains_for_it() {
    let (web, other) = (ServiceKey::new("shop", "web"), ServiceKey::new("shop", "other"));
    let mut case = case();
    case.book.own(KEY, Some(&web));
    let of = |case: &Case, service| case.book.of_service(service).collect::<Vec<_>>();
    assert_eq!(of(&case, &web), []);
    case.judge(0);
    assert_eq!((of(&case, &web), case.book.destinations()), (vec![KEY], 1));
    case.book.own(KEY, Some(&other));
    case.judge(0);
    assert_eq!((of(&case, &web), of(&case, &other)), (vec![], vec![KEY]));
    case.book.forget(&KEY);
    assert_eq!((of(&case, &other), case.book.destinations(), case.book.next_alarm()), (vec![], 0, None));
    assert_eq!(case.book.owner(&KEY), Some(&other), "its slices may still list what comes back");
    case.book.own(KEY, None);
    assert_eq!(case.book.owner(&KEY), None);
}
