use std::iter::repeat_n;

use proptest::prelude::*;
use rustix::io::Errno;

use super::answer::Answers;
use super::*;

const REQUEST: Request = Request { family: 0x1c, command: 5, version: 1, dump: false };

/// A message of the kernel.
fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&((HEADER + payload.len()) as u32).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    bytes
}

fn status(sequence: u32, errno: i32) -> Vec<u8> {
    message(KIND_ERROR, 0, sequence, &(-errno).to_ne_bytes())
}

#[test]
fn every_kind_of_attribute_reads_back_and_starts_aligned() {
    let mut w = Writer::default();
    w.u8(1, 0xab);
    w.u16(2, 0x1234);
    w.u32(3, 0x1234_5678);
    w.be16(4, 80);
    w.string(5, "rr");
    w.bytes(6, &[1, 2, 3, 4, 5]);
    w.nest(7, |w| w.u32(8, 9));
    let attributes: Vec<_> = Attributes::new(w.as_bytes()).collect();
    assert_eq!(attributes.iter().map(|a| a.kind).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(attributes[0].value, [0xab]);
    assert_eq!(attributes[1].u16(), Some(0x1234));
    assert_eq!(attributes[2].u32(), Some(0x1234_5678));
    assert_eq!(attributes[3].be16(), Some(80));
    assert_eq!(attributes[3].value, [0, 80]);
    assert_eq!(attributes[4].string(), Some("rr"));
    assert_eq!(attributes[4].value, b"rr\0");
    assert_eq!(attributes[5].value, [1, 2, 3, 4, 5]);
    assert_eq!(attributes[6].nested().get(8).and_then(|a| a.u32()), Some(9));
    assert_eq!(w.as_bytes().len() % ALIGNMENT, 0);
    assert_eq!(attributes[0].u16(), None, "a number of another size is no number");
}

#[test]
fn an_attribute_that_is_too_long_is_left_out_whole() {
    let mut w = Writer::default();
    w.u16(1, 1);
    w.bytes(2, &vec![0; 65_532]);
    w.nest(3, |w| {
        w.bytes(4, &vec![0; 40_000]);
        w.bytes(5, &vec![0; 40_000]);
    });
    w.bytes(6, &vec![7; 65_531]);
    let kinds: Vec<_> = Attributes::new(w.as_bytes()).map(|a| (a.kind, a.value.len())).collect();
    assert_eq!(kinds, [(1, 2), (6, 65_531)]);
}

#[test]
fn a_batch_is_numbered_upwards_and_only_its_last_request_asks_for_an_acknowledgement() {
    let mut batch = Batch::default();
    for number in 0..3 {
        batch.push(Request { dump: number == 1, ..REQUEST }, |w| w.u16(1, number));
    }
    let first = u32::MAX - 1;
    let expected = [(u32::MAX - 1, FLAG_REQUEST), (u32::MAX, FLAG_REQUEST | FLAG_DUMP), (0, FLAG_REQUEST | FLAG_ACK)];
    for _ in 0..2 {
        let messages: Vec<_> = Messages::new(batch.seal(first)).map(|m| m.unwrap()).collect();
        assert_eq!(messages.iter().map(|m| (m.sequence, m.flags)).collect::<Vec<_>>(), expected);
        for (number, message) in (0..).zip(messages) {
            assert_eq!(message.kind, 0x1c);
            assert_eq!(message.payload[..GENERIC_HEADER], [5, 1, 0, 0]);
            assert_eq!(message.attributes().get(1).and_then(|a| a.u16()), Some(number));
        }
    }
}

#[test]
fn a_datagram_that_ends_within_a_message_is_an_error_and_the_messages_before_it_are_not_lost() {
    let mut bytes = status(1, 0);
    bytes.extend(status(2, 0));
    bytes.truncate(bytes.len() - 4);
    let found: Vec<_> = Messages::new(&bytes).map(|m| m.map(|m| m.sequence)).collect();
    assert_eq!(found, [Ok(1), Err(CutShort)]);
}

#[test]
fn an_error_number_out_of_range_is_an_error_still() {
    for (code, expected) in [
        (0, Ok(())),
        (7, Ok(())),
        (-2, Err(Errno::NOENT)),
        (-4095, Err(Errno::from_raw_os_error(4095))),
        (-4096, Err(Errno::PROTO)),
        (i32::MIN, Err(Errno::PROTO)),
    ] {
        let bytes = message(KIND_ERROR, 0, 1, &code.to_ne_bytes());
        assert_eq!(Messages::new(&bytes).next().unwrap().unwrap().status(), expected, "{code}");
    }
}

#[test]
fn no_answer_means_done_only_when_the_last_answer_came_and_none_was_dropped() {
    use Verdict::{Done, Failed, Unknown};
    type Case<'a> = (&'a str, &'a [Vec<u8>], bool, [Verdict; 3]);
    let cases: [Case<'_>; 6] = [
        ("all well", &[status(12, 0)], false, [Done, Done, Done]),
        ("an error in the middle", &[status(11, 17), status(12, 0)], false, [Done, Failed(Errno::EXIST), Done]),
        ("an error in the last", &[status(12, 3)], false, [Done, Done, Failed(Errno::SRCH)]),
        ("the last answer is missing", &[status(10, 17)], false, [Failed(Errno::EXIST), Unknown, Unknown]),
        ("answers were dropped", &[status(12, 0)], true, [Unknown, Unknown, Done]),
        ("answers to others", &[status(9, 1), status(13, 1), status(12, 0)], false, [Done, Done, Done]),
    ];
    for (name, datagrams, lost, expected) in cases {
        let mut answers = Answers::new(10, 3);
        for datagram in datagrams {
            answers.take(datagram, &mut |_| panic!("{name}: there is no object"));
        }
        if lost {
            answers.lose();
        }
        assert_eq!(answers.verdicts(), expected, "{name}");
    }
}

#[test]
fn a_dump_hands_over_its_objects_and_tells_when_they_changed_meanwhile() {
    let mut w = Writer::default();
    w.u16(1, 42);
    let payload = [&[5, 1, 0, 0], w.as_bytes()].concat();
    for interrupted in [false, true] {
        let flags = if interrupted { FLAG_DUMP_INTERRUPTED } else { 0 };
        let mut answers = Answers::new(10, 1);
        let mut found = Vec::new();
        let datagram = [message(0x1c, 0, 10, &payload), message(0x1c, flags, 10, &payload)].concat();
        answers.take(&datagram, &mut |a| found.push(a.get(1).and_then(|a| a.u16())));
        assert!(!answers.complete());
        answers.take(&message(KIND_DONE, 0, 10, &0i32.to_ne_bytes()), &mut |_| panic!("there is no object"));
        assert!(answers.complete());
        assert_eq!(found, [Some(42), Some(42)]);
        assert_eq!(answers.interrupted(), interrupted);
    }
}

/// The controller of generic netlink is in every kernel and answers everybody, so it serves to try the socket.
#[test]
fn the_socket_resolves_a_family_with_and_without_the_right_to_load_modules() {
    let mut socket = Socket::open().unwrap();
    for load in [Load::Allowed, Load::Never] {
        assert_eq!(socket.resolve("nlctrl", load).unwrap(), Some(0x10), "{load:?}");
        assert_eq!(socket.resolve("no such one", load).unwrap(), None, "{load:?}");
    }
}

/// Asks the controller for families, by name.
fn lookup<'a>(names: impl IntoIterator<Item = &'a str>) -> Batch {
    let mut batch = Batch::default();
    for name in names {
        batch.push(Request { family: 0x10, command: 3, version: 2, dump: false }, |w| w.string(2, name));
    }
    batch
}

#[test]
fn an_error_in_a_batch_belongs_to_its_request_alone() {
    let mut socket = Socket::open().unwrap();
    let names = ["nlctrl", "absent", "nlctrl", "absent", "nlctrl"];
    let (done, failed) = (Verdict::Done, Verdict::Failed(Errno::NOENT));
    assert_eq!(socket.send(lookup(names)).unwrap(), [done, failed, done, failed, done]);
    assert_eq!(socket.send(lookup(repeat_n("absent", 128))).unwrap(), [failed; 128]);
    assert_eq!(socket.send(Batch::default()).unwrap(), []);
}

#[test]
fn where_answers_do_not_fit_the_queue_the_verdict_is_unknown_and_the_socket_works_on() {
    let mut socket = Socket::open().unwrap();
    let verdicts = socket.send(lookup(repeat_n("absent", 3000))).unwrap();
    let count = |verdict| verdicts.iter().filter(|&&v| v == verdict).count();
    let (failed, unknown) = (count(Verdict::Failed(Errno::NOENT)), count(Verdict::Unknown));
    assert!(unknown > 0, "the queue is too short for this many errors");
    assert_eq!(failed + unknown, 3000);
    assert_eq!(socket.send(lookup(["nlctrl", "absent"])).unwrap(), [Verdict::Done, Verdict::Failed(Errno::NOENT)]);
}

#[test]
fn a_datagram_that_the_kernel_does_not_take_is_not_sent() {
    let mut socket = Socket::open().unwrap();
    let error = socket.send(lookup(repeat_n("absent", 200_000))).unwrap_err();
    assert!(matches!(error, NetlinkError::Send(_)), "{error}");
}

proptest! {
    #[test]
    fn parsing_never_panics_and_never_reads_more_than_there_is(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let within = |part: &[u8]| -> Result<(), TestCaseError> {
            prop_assert!(part.is_empty() || bytes.windows(part.len()).any(|window| std::ptr::eq(window, part)));
            Ok(())
        };
        for message in Messages::new(&bytes).flatten() {
            within(message.payload)?;
            let _ = message.status();
            for attribute in message.attributes() {
                within(attribute.value)?;
                let _ = (attribute.u16(), attribute.u32(), attribute.be16(), attribute.string());
                for inner in attribute.nested() {
                    within(inner.value)?;
                }
            }
        }
        let mut answers = Answers::new(0, 3);
        answers.take(&bytes, &mut |_| {});
        prop_assert_eq!(answers.verdicts().len(), 3);
    }

    /// Random bytes seldom hold a length that fits; these mostly do.
    #[test]
    fn parsing_survives_a_damaged_datagram(
        values in prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..20)), 0..8),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut batch = Batch::of(REQUEST, |w| w.nest(1, |w| values.iter().for_each(|(kind, v)| w.bytes(*kind, v))));
        let mut bytes = batch.seal(1).to_vec();
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(keep.index(bytes.len() + 1));
        let mut seen = 0;
        for message in Messages::new(&bytes).flatten() {
            for attribute in message.attributes() {
                seen += attribute.nested().count();
            }
        }
        prop_assert!(seen * ATTRIBUTE_HEADER <= bytes.len());
    }

    #[test]
    fn attributes_read_back_as_written(
        values in prop::collection::vec((0..=ATTRIBUTE_KIND, prop::collection::vec(any::<u8>(), 0..40)), 0..20),
    ) {
        let mut w = Writer::default();
        for (kind, value) in &values {
            w.bytes(*kind, value);
        }
        let found: Vec<_> = Attributes::new(w.as_bytes()).map(|a| (a.kind, a.value.to_vec())).collect();
        prop_assert_eq!(found, values);
    }
}
