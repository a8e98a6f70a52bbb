//! Reading this process's memory as another process would: what is not there is an error.
//!
//! What is looked at belongs to threads that run on meanwhile, so any address may be freed by the
//! time it is read. The kernel copies (`process_vm_readv`), and answers `EFAULT` where a
//! dereference would end the process.

use std::fmt;

/// Why something of a running thread could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreadable {
    /// Nothing is mapped at an address, or the kernel allows no reading; the errno.
    Memory(i32),
    /// It was written to while it was read.
    Changed,
    /// What is there is not what belongs there.
    Strange,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Memory(errno) => write!(formatter, "memory cannot be read (errno {errno})"),
            Unreadable::Changed => formatter.write_str("changed while it was read"),
            Unreadable::Strange => formatter.write_str("not laid out as it was expected"),
        }
    }
}

impl std::error::Error for Unreadable {}

/// Fills `buffer` with what is at `address`.
///
/// # Errors
/// [`Unreadable::Memory`] if not all of it could be read.
pub fn read(address: usize, buffer: &mut [u8]) -> Result<(), Unreadable> {
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let remote = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address),
        iov_len: buffer.len(),
    };
    // SAFETY: the kernel writes into `buffer` and no further, which is borrowed mutably for the
    // call. The other address it checks as it checks any that a program gives it.
    let count = unsafe {
        libc::process_vm_readv(
            std::process::id().cast_signed(),
            &raw const local,
            1,
            &raw const remote,
            1,
            0,
        )
    };
    match usize::try_from(count) {
        Ok(count) if count == buffer.len() => Ok(()),
        Ok(_part) => Err(Unreadable::Memory(libc::EFAULT)),
        Err(_negative) => Err(Unreadable::Memory(
            std::io::Error::last_os_error().raw_os_error().unwrap_or(0),
        )),
    }
}

/// `N` bytes.
///
/// # Errors
/// As [`read`].
pub fn read_bytes<const N: usize>(address: usize) -> Result<[u8; N], Unreadable> {
    let mut bytes = [0; N];
    read(address, &mut bytes)?;
    Ok(bytes)
}

/// `length` bytes.
///
/// # Errors
/// As [`read`]; [`Unreadable::Strange`] for more than `most`.
pub fn read_vec(address: usize, length: usize, most: usize) -> Result<Vec<u8>, Unreadable> {
    if length > most {
        return Err(Unreadable::Strange);
    }
    let mut bytes = vec![0; length];
    if length > 0 {
        read(address, &mut bytes)?;
    }
    Ok(bytes)
}

/// A pointer or a `size_t`.
///
/// # Errors
/// As [`read`].
pub fn read_usize(address: usize) -> Result<usize, Unreadable> {
    read_bytes(address).map(usize::from_ne_bytes)
}

/// An `int` that is not negative, or an `unsigned int`.
///
/// # Errors
/// As [`read`].
pub fn read_u32(address: usize) -> Result<u32, Unreadable> {
    read_bytes(address).map(u32::from_ne_bytes)
}

/// A `uint64_t`.
///
/// # Errors
/// As [`read`].
pub fn read_u64(address: usize) -> Result<u64, Unreadable> {
    read_bytes(address).map(u64::from_ne_bytes)
}

/// A stretch of memory as it was at one moment, addressed by offset.
pub(crate) struct Copied(Vec<u8>);

impl Copied {
    /// Copies `length` bytes.
    pub(crate) fn of(address: usize, length: usize) -> Result<Copied, Unreadable> {
        read_vec(address, length, 4096).map(Copied)
    }

    pub(crate) fn usize_at(&self, offset: usize) -> Result<usize, Unreadable> {
        self.bytes_at(offset).map(usize::from_ne_bytes)
    }

    pub(crate) fn u32_at(&self, offset: usize) -> Result<u32, Unreadable> {
        self.bytes_at(offset).map(u32::from_ne_bytes)
    }

    pub(crate) fn u8_at(&self, offset: usize) -> Result<u8, Unreadable> {
        self.bytes_at(offset).map(u8::from_ne_bytes)
    }

    fn bytes_at<const N: usize>(&self, offset: usize) -> Result<[u8; N], Unreadable> {
        self.0
            .get(offset..)
            .and_then(|rest| rest.first_chunk())
            .copied()
            .ok_or(Unreadable::Strange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_read() {
        let value = 0x0123_4567_89ab_cdef_u64;
        assert_eq!(read_u64((&raw const value).addr()), Ok(value));
    }

    #[test]
    fn what_is_not_mapped_is_an_error() {
        assert_eq!(read_usize(8), Err(Unreadable::Memory(libc::EFAULT)));
        assert!(read_usize(usize::MAX - 100).is_err());
        assert_eq!(read_vec(8, 0, 10), Ok(Vec::new()));
        assert_eq!(read_vec(8, 11, 10), Err(Unreadable::Strange));
    }
}
