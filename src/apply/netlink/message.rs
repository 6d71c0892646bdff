//! Building requests.

use super::{ALIGNMENT, ATTRIBUTE_HEADER, ATTRIBUTE_NESTED, FLAG_ACK, FLAG_DUMP, FLAG_REQUEST, GENERIC_HEADER, HEADER};

/// What a request of generic netlink asks for (`struct genlmsghdr`). Netfilter's header is as long (`struct nfgenmsg`): it has
/// the address family where the command is here, and nothing of use in the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The number of the family, as [`Socket::resolve`](super::Socket::resolve) found it; for netfilter the subsystem and
    /// its message.
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
        let mut header = [0; HEADER + GENERIC_HEADER];
        header[4..6].copy_from_slice(&request.family.to_ne_bytes());
        header[6..8].copy_from_slice(&flags.to_ne_bytes());
        header[16] = request.command;
        header[17] = request.version;
        self.writer.bytes.extend_from_slice(&header);
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
    #[inline]
    pub fn u8(&mut self, kind: u16, value: u8) {
        self.small(kind, 1, [value, 0, 0, 0]);
    }

    /// A 16-bit number in the machine's byte order.
    #[inline]
    pub fn u16(&mut self, kind: u16, value: u16) {
        let [first, second] = value.to_ne_bytes();
        self.small(kind, 2, [first, second, 0, 0]);
    }

    /// A 32-bit number in the machine's byte order.
    #[inline]
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.small(kind, 4, value.to_ne_bytes());
    }

    /// A 16-bit number in network byte order: ports.
    #[inline]
    pub fn be16(&mut self, kind: u16, value: u16) {
        let [first, second] = value.to_be_bytes();
        self.small(kind, 2, [first, second, 0, 0]);
    }

    /// A string with the NUL byte that ends it.
    pub fn string(&mut self, kind: u16, value: &str) {
        let start = self.open(kind);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.close(start);
    }

    /// Bytes as they are.
    #[inline]
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        let start = self.open(kind);
        self.bytes.extend_from_slice(value);
        self.close(start);
    }

    /// Attributes within an attribute.
    #[inline]
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Writer)) {
        let start = self.open(kind | ATTRIBUTE_NESTED);
        body(self);
        self.close(start);
    }

    /// A value of up to four bytes, at once: most attributes are such, and building requests is half of what a cold
    /// start costs outside the kernel.
    #[inline]
    fn small(&mut self, kind: u16, length: u16, value: [u8; 4]) {
        let mut attribute = [0; ATTRIBUTE_HEADER + 4];
        attribute[..2].copy_from_slice(&(ATTRIBUTE_HEADER as u16 + length).to_ne_bytes());
        attribute[2..4].copy_from_slice(&kind.to_ne_bytes());
        attribute[4..].copy_from_slice(&value);
        self.bytes.extend_from_slice(&attribute);
    }

    /// Begins an attribute and answers where. Its length is not known yet.
    #[inline]
    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        let [first, second] = kind.to_ne_bytes();
        self.bytes.extend_from_slice(&[0, 0, first, second]);
        start
    }

    /// Ends the attribute that began at `start`.
    #[inline]
    fn close(&mut self, start: usize) {
        let end = self.bytes.len();
        match u16::try_from(end - start) {
            Ok(length) => {
                self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
                if !end.is_multiple_of(ALIGNMENT) {
                    self.bytes.resize(end.next_multiple_of(ALIGNMENT), 0);
                }
            }
            Err(_) => self.bytes.truncate(start),
        }
    }
}
