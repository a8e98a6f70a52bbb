//! What a reader has received and nobody has read.
//!
//! Mostly a packet arrives when nothing waits to be read, and is read whole. So the first one is
//! kept as the very `bytes` object that `read()` will return; what arrives behind it is put
//! together in a plain buffer. That `_buffer` is a bytearray shows when somebody looks: then it
//! becomes one, which may be kept and changed, and stays one until nobody else holds it and it is
//! empty.
//!
//! Nothing is borrowed while Python code can run: exact `bytes` and bytearrays run none, neither
//! when they are made nor when they are freed.

use std::cell::RefCell;
use std::ffi::c_int;

use super::originals::originals;
use crate::ffi::{Buffer, Object, Outcome, Raised, Visitor};

/// Freed when it is empty and larger.
const LARGEST_IDLE: usize = 4096;

/// Received bytes.
pub(super) struct Received(RefCell<Contents>);

enum Contents {
    Native(Segments),
    /// An exact bytearray that Python code may know.
    Python(Object),
    /// Whatever else Python code has put there; asyncio's functions deal with it.
    Foreign(Object),
}

/// The bytes of `head` from `head_start` on, and behind them those of `tail` from `tail_start` on.
struct Segments {
    /// An exact `bytes` object with at least one byte left.
    head: Option<Object>,
    head_start: usize,
    tail: Vec<u8>,
    tail_start: usize,
}

impl Segments {
    const fn new() -> Segments {
        Segments {
            head: None,
            head_start: 0,
            tail: Vec::new(),
            tail_start: 0,
        }
    }

    #[inline]
    fn head(&self) -> &[u8] {
        self.head
            .as_ref()
            .and_then(Object::as_exact_bytes)
            .and_then(|bytes| bytes.get(self.head_start..))
            .unwrap_or_default()
    }

    #[inline]
    fn tail(&self) -> &[u8] {
        self.tail.get(self.tail_start..).unwrap_or_default()
    }

    #[inline]
    fn len(&self) -> usize {
        self.head().len() + self.tail().len()
    }

    /// All of it, in one piece.
    fn contiguous(&mut self) -> &[u8] {
        if self.tail().is_empty() {
            return self.head();
        }
        if self.head.is_some() {
            let mut all = Vec::with_capacity(self.len());
            all.extend_from_slice(self.head());
            all.extend_from_slice(self.tail());
            *self = Segments {
                tail: all,
                ..Segments::new()
            };
        }
        self.tail()
    }

    /// The first `count` bytes; all when there are fewer. They stay where they are.
    #[inline]
    fn copy_front(&self, count: usize) -> Outcome<Object> {
        let (head, tail) = (self.head(), self.tail());
        if let Some(object) = &self.head
            && self.head_start == 0
            && (count == head.len() || (tail.is_empty() && count > head.len()))
        {
            return Ok(object.clone());
        }
        if count <= head.len() {
            return Object::from_bytes(&head[..count]);
        }
        let rest = &tail[..tail.len().min(count - head.len())];
        if head.is_empty() {
            Object::from_bytes(rest)
        } else {
            Object::from_two(head, rest)
        }
    }

    /// Drops the first `count` bytes.
    #[inline]
    fn discard(&mut self, count: usize) {
        let in_head = count.min(self.head().len());
        self.head_start += in_head;
        if self.head().is_empty() {
            self.head = None;
            self.head_start = 0;
        }
        self.tail_start += (count - in_head).min(self.tail().len());
        if self.tail().is_empty() {
            self.tail_start = 0;
            self.tail.clear();
            if self.tail.capacity() > LARGEST_IDLE {
                self.tail = Vec::new();
            }
        } else if self.tail_start > self.tail.len() / 2 {
            self.tail.drain(..self.tail_start);
            self.tail_start = 0;
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Outcome<()> {
        if self.len() == 0 {
            self.head = Some(Object::from_bytes(bytes)?);
            self.head_start = 0;
        } else {
            self.tail.extend_from_slice(bytes);
        }
        Ok(())
    }
}

impl Received {
    pub(super) const fn new() -> Received {
        Received(RefCell::new(Contents::Native(Segments::new())))
    }

    /// Whether it is what native code can deal with.
    #[inline]
    pub(super) fn is_native(&self) -> bool {
        !matches!(&*self.0.borrow(), Contents::Foreign(_))
    }

    /// How many bytes there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match &*self.0.borrow() {
            Contents::Native(segments) => segments.len(),
            Contents::Python(array) => array.look_at_bytearray(<[u8]>::len),
            Contents::Foreign(_) => 0,
        }
    }

    /// Whether it counts as false in Python.
    #[inline]
    pub(super) fn is_empty(&self) -> Outcome<bool> {
        let object = match &*self.0.borrow() {
            Contents::Native(segments) => return Ok(segments.len() == 0),
            Contents::Python(array) => return Ok(array.look_at_bytearray(<[u8]>::is_empty)),
            Contents::Foreign(object) => object.clone(),
        };
        object.is_true().map(|truth| !truth)
    }

    /// Becomes native again, if it is an empty bytearray that nobody else holds.
    fn forget_bytearray(&self) {
        let contents = &mut *self.0.borrow_mut();
        if let Contents::Python(array) = contents
            && !array.is_shared()
            && array.look_at_bytearray(<[u8]>::is_empty)
        {
            *contents = Contents::Native(Segments::new());
        }
    }

    /// Adds bytes behind the others.
    #[inline]
    pub(super) fn push(&self, bytes: &[u8]) -> Outcome<()> {
        self.forget_bytearray();
        match &mut *self.0.borrow_mut() {
            Contents::Native(segments) => segments.push(bytes),
            Contents::Python(array) => array.extend_bytearray(bytes),
            Contents::Foreign(_) => Err(not_a_bytearray()),
        }
    }

    /// `_buffer.extend(data)`. Exact `bytes` are kept as they are where nothing is before them.
    #[inline]
    pub(super) fn extend(&self, data: &Object) -> Outcome<()> {
        self.forget_bytearray();
        if let Some(bytes) = data.as_exact_bytes() {
            if let Contents::Native(segments) = &mut *self.0.borrow_mut()
                && segments.len() == 0
            {
                segments.head = Some(data.clone());
                segments.head_start = 0;
                return Ok(());
            }
            return self.push(bytes);
        }
        let lent = match Buffer::to_read(data) {
            Ok(lent) => lent,
            Err(raised) => {
                raised.discard(); // The bytearray's own words count: it takes integers, too.
                return self
                    .to_python()?
                    .call_method(&originals().names.extend, &[data])
                    .map(drop);
            }
        };
        self.push(lent.as_slice())
    }

    /// Takes out the first `count` bytes, or all there are.
    #[inline]
    pub(super) fn take(&self, count: usize) -> Outcome<Object> {
        match &mut *self.0.borrow_mut() {
            Contents::Native(segments) => {
                let taken = segments.copy_front(count)?;
                segments.discard(count);
                Ok(taken)
            }
            Contents::Python(array) => {
                let taken = array.look_at_bytearray(|bytes| {
                    Object::from_bytes(&bytes[..count.min(bytes.len())])
                })?;
                array.delete_front(count)?;
                Ok(taken)
            }
            Contents::Foreign(_) => Err(not_a_bytearray()),
        }
    }

    /// Drops the first `count` bytes, or all there are.
    pub(super) fn discard(&self, count: usize) -> Outcome<()> {
        match &mut *self.0.borrow_mut() {
            Contents::Native(segments) => {
                segments.discard(count);
                Ok(())
            }
            Contents::Python(array) => array.delete_front(count),
            Contents::Foreign(_) => Err(not_a_bytearray()),
        }
    }

    /// Puts bytes that were taken out back before the others.
    pub(super) fn put_back(&self, blocks: &[Object]) -> Outcome<()> {
        let mut all = Vec::new();
        for block in blocks {
            all.extend_from_slice(block.as_bytes().unwrap_or_default());
        }
        self.look(|rest| all.extend_from_slice(rest))?;
        match &mut *self.0.borrow_mut() {
            Contents::Native(segments) => {
                *segments = Segments {
                    tail: all,
                    ..Segments::new()
                };
                Ok(())
            }
            Contents::Python(array) => {
                array.delete_front(usize::MAX)?;
                array.extend_bytearray(&all)
            }
            Contents::Foreign(_) => Err(not_a_bytearray()),
        }
    }

    /// Shows everything in one piece; `look` runs no Python code.
    #[inline]
    pub(super) fn look<R>(&self, look: impl FnOnce(&[u8]) -> R) -> Outcome<R> {
        match &mut *self.0.borrow_mut() {
            Contents::Native(segments) => Ok(look(segments.contiguous())),
            Contents::Python(array) => Ok(array.look_at_bytearray(look)),
            Contents::Foreign(_) => Err(not_a_bytearray()),
        }
    }

    /// `_buffer`, from now on a bytearray.
    pub(super) fn to_python(&self) -> Outcome<Object> {
        let contents = &mut *self.0.borrow_mut();
        match contents {
            Contents::Native(segments) => {
                let array = Object::bytearray_of(segments.head(), segments.tail())?;
                *contents = Contents::Python(array.clone());
                Ok(array)
            }
            Contents::Python(object) | Contents::Foreign(object) => Ok(object.clone()),
        }
    }

    /// `_buffer = value`.
    pub(super) fn assign(&self, value: &Object) {
        let contents = if value.is_exact_bytearray() {
            Contents::Python(value.clone())
        } else {
            Contents::Foreign(value.clone())
        };
        // What was there goes after the borrow has ended.
        drop(self.0.replace(contents));
    }

    pub(super) fn clear(&self) {
        drop(self.0.replace(Contents::Native(Segments::new())));
    }

    /// For `tp_traverse`: neither `bytes` nor bytearrays refer to anything.
    pub(super) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        // Borrowed only by the few instructions that change it.
        match self.0.try_borrow().as_deref() {
            Ok(Contents::Foreign(object)) => visitor.object(object),
            _ => Ok(()),
        }
    }
}

#[cold]
fn not_a_bytearray() -> Raised {
    Raised::type_error("the reader's _buffer is no bytearray any more")
}
