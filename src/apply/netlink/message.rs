//! Building requests.

use super::{ALIGNMENT, ATTRIBUTE_HEADER, ATTRIBUTE_NESTED, FLAG_ACK, FLAG_DUMP, FLAG_REQUEST, GENERIC_HEADER, HEADER};

/// What a request of generic netlink asks for (`struct genlmsghdr`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The number of the family, as [`Socket::resolve`](super::Socket::resolve) found it.
    pub family: u16,
    /// The family's command.
    pub command: u8,
    /// The version of the family's interface.
    pub version: u8,
    /// Whether it asks for all objects.
    pub dump: bool,
}

/// Requests that go to the kernel in one datagram.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    writer: Writer,
    starts: Vec<usize>,
}

impl Batch {
    /// A batch of one request.
    pub fn of(request: Request, body: impl FnOnce(&mut Writer)) -> Batch {
        let mut batch = Batch::default();
        batch.push(request, body);
        batch
    }

    /// Adds a request; `body` writes its attributes.
    pub fn push(&mut self, request: Request, body: impl FnOnce(&mut Writer)) {
        let start = self.writer.bytes.len();
        self.starts.push(start);
        let flags = if request.dump { FLAG_REQUEST | FLAG_DUMP } else { FLAG_REQUEST };
        let bytes = &mut self.writer.bytes;
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(&request.family.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&[request.command, request.version, 0, 0]);
        debug_assert_eq!(bytes.len() - start, HEADER + GENERIC_HEADER, "the two headers are written in full");
        body(&mut self.writer);
        // Attributes end aligned, so the length needs no padding. It fits: the kernel takes no datagram near 4 GiB.
        let length = (self.writer.bytes.len() - start) as u32;
        self.writer.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// How many requests it holds.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Does it hold none?
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The datagram: requests numbered upwards from `first`, with an acknowledgement wanted for the last one.
    pub fn seal(&mut self, first: u32) -> &[u8] {
        let mut sequence = first;
        for &start in &self.starts {
            self.writer.bytes[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
            sequence = sequence.wrapping_add(1);
        }
        if let Some(&last) = self.starts.last() {
            // The low byte of the flags holds NLM_F_ACK; which of the two bytes that is depends on the machine.
            let flags = [self.writer.bytes[last + 6], self.writer.bytes[last + 7]];
            let flags = u16::from_ne_bytes(flags) | FLAG_ACK;
            self.writer.bytes[last + 6..last + 8].copy_from_slice(&flags.to_ne_bytes());
        }
        &self.writer.bytes
    }
}

/// Writes attributes (`struct nlattr`), each padded to four bytes. An attribute's length has 16 bits: one that does not
/// fit is left out whole, and the kernel then refuses the request for want of it.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// What was written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// An 8-bit number.
    pub fn u8(&mut self, kind: u16, value: u8) {
        self.bytes(kind, &[value]);
    }

    /// A 16-bit number in the machine's byte order.
    pub fn u16(&mut self, kind: u16, value: u16) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// A 32-bit number in the machine's byte order.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// A 16-bit number in network byte order: ports.
    pub fn be16(&mut self, kind: u16, value: u16) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A string with the NUL byte that ends it.
    pub fn string(&mut self, kind: u16, value: &str) {
        self.attribute(kind, |bytes| {
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        });
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind, |bytes| bytes.extend_from_slice(value));
    }

    /// Attributes within an attribute.
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Writer)) {
        let start = self.open(kind | ATTRIBUTE_NESTED);
        body(self);
        self.close(start);
    }

    fn attribute(&mut self, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
        let start = self.open(kind);
        value(&mut self.bytes);
        self.close(start);
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&0u16.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        debug_assert_eq!(self.bytes.len() - start, ATTRIBUTE_HEADER, "the header is written in full");
        start
    }

    fn close(&mut self, start: usize) {
        match u16::try_from(self.bytes.len() - start) {
            Ok(length) => {
                self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
                self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
            }
            Err(_) => self.bytes.truncate(start),
        }
    }
}
