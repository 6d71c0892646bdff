//! Taking answers apart. Input is never trusted: whatever its bytes are, nothing here panics or reads past them.

use rustix::io::Errno;

use super::{ALIGNMENT, ATTRIBUTE_HEADER, ATTRIBUTE_KIND, FLAG_DUMP_INTERRUPTED, GENERIC_HEADER, HEADER};

/// `MAX_ERRNO`: no error of the kernel has a higher number.
const HIGHEST_ERROR: i32 = 4095;

/// A message of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its kind: one of netlink's own, or the number of the family.
    pub kind: u16,
    /// Its flags (`NLM_F_*`).
    pub flags: u16,
    /// The number of the request that it answers.
    pub sequence: u32,
    /// What follows its header.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The error that an answer of kind `NLMSG_ERROR` or `NLMSG_DONE` carries; `Ok` where it says that there was none.
    /// The kernel writes error numbers negated. One that no error has counts as a protocol error.
    pub fn status(&self) -> Result<(), Errno> {
        let code = self.payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        match code.checked_neg() {
            Some(..=0) => Ok(()),
            Some(number @ 1..=HIGHEST_ERROR) => Err(Errno::from_raw_os_error(number)),
            _ => Err(Errno::PROTO),
        }
    }

    /// Did what was being dumped change meanwhile, so that objects may be missing?
    pub fn interrupted(&self) -> bool {
        self.flags & FLAG_DUMP_INTERRUPTED != 0
    }

    /// The attributes that follow the header of generic netlink.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.payload.get(GENERIC_HEADER..).unwrap_or_default())
    }
}

/// A datagram ends in the middle of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a datagram of the kernel ends in the middle of a message")]
pub struct CutShort;

/// The messages of a datagram. After an error there are no more.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// The messages of `datagram`.
    pub fn new(datagram: &'a [u8]) -> Messages<'a> {
        Messages { rest: datagram }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, CutShort>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        let message = split(rest, length32(rest), HEADER).map(|(message, rest)| {
            self.rest = rest;
            message
        });
        let parse = |bytes: &'a [u8]| {
            Some(Message {
                kind: u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?),
                flags: u16::from_ne_bytes(*bytes.get(6..)?.first_chunk()?),
                sequence: u32::from_ne_bytes(*bytes.get(8..)?.first_chunk()?),
                payload: bytes.get(HEADER..)?,
            })
        };
        Some(message.and_then(parse).ok_or(CutShort))
    }
}

/// An attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its kind, without flags.
    pub kind: u16,
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// A 16-bit number in the machine's byte order.
    pub fn u16(&self) -> Option<u16> {
        self.value.try_into().ok().map(u16::from_ne_bytes)
    }

    /// A 32-bit number in the machine's byte order.
    pub fn u32(&self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_ne_bytes)
    }

    /// A 64-bit number in the machine's byte order.
    pub fn u64(&self) -> Option<u64> {
        self.value.try_into().ok().map(u64::from_ne_bytes)
    }

    /// A 16-bit number in network byte order.
    pub fn be16(&self) -> Option<u16> {
        self.value.try_into().ok().map(u16::from_be_bytes)
    }

    /// A string, up to the NUL byte that ends it.
    pub fn string(&self) -> Option<&'a str> {
        let end = self.value.iter().position(|&byte| byte == 0).unwrap_or(self.value.len());
        std::str::from_utf8(&self.value[..end]).ok()
    }

    /// Attributes within the attribute. The kernel does not always mark such an attribute as nested.
    pub fn nested(&self) -> Attributes<'a> {
        Attributes::new(self.value)
    }
}

/// A run of attributes. It ends before the first one that does not fit into what is left.
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// The attributes that `bytes` are.
    pub fn new(bytes: &'a [u8]) -> Attributes<'a> {
        Attributes { rest: bytes }
    }

    /// The first attribute of this kind.
    pub fn get(&self, kind: u16) -> Option<Attribute<'a>> {
        self.clone().find(|attribute| attribute.kind == kind)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let rest = std::mem::take(&mut self.rest);
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let (attribute, rest) = split(rest, Some(length), ATTRIBUTE_HEADER)?;
        self.rest = rest;
        let kind = u16::from_ne_bytes(*attribute.get(2..)?.first_chunk()?);
        Some(Attribute { kind: kind & ATTRIBUTE_KIND, value: attribute.get(ATTRIBUTE_HEADER..)? })
    }
}

fn length32(bytes: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()
}

/// The first `length` bytes and what follows them and their padding, which may be missing at the end. Nothing where
/// `length` is less than `least` or more than there is.
fn split(bytes: &[u8], length: Option<usize>, least: usize) -> Option<(&[u8], &[u8])> {
    let length = length.filter(|&length| length >= least)?;
    let first = bytes.get(..length)?;
    let rest = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    Some((first, rest))
}
