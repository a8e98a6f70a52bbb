//! A semaphore's number: an int nearly always, but Python takes anything that counts.

use std::cell::Cell;
use std::ffi::c_int;

use crate::ffi::{Attribute, Object, ObjectCell, Outcome, Raised, Visitor, required, sys};

/// A number that is counted up and down.
pub(crate) struct Count {
    small: Cell<i64>,
    /// The number, if it is no int of ordinary size.
    other: ObjectCell,
}

impl Count {
    pub(crate) const fn new(value: i64) -> Count {
        Count {
            small: Cell::new(value),
            other: ObjectCell::new(),
        }
    }

    pub(crate) fn assign(&self, value: &Object) {
        // SAFETY: a question about a live object, and its value if it is an int.
        let small = unsafe {
            let mut overflow: c_int = 0;
            let exact = sys::PyLong_CheckExact(value.as_ptr()) != 0;
            let small = if exact {
                sys::PyLong_AsLongLongAndOverflow(value.as_ptr(), &raw mut overflow)
            } else {
                0
            };
            // Half of the range, so that counting cannot leave it.
            (exact && overflow == 0 && small.unsigned_abs() < 1 << 62).then_some(small)
        };
        if let Some(small) = small {
            self.small.set(small);
            self.other.clear();
        } else {
            self.other.set(value.clone());
        }
    }

    /// The number, if it is an int of ordinary size.
    pub(crate) fn small_value(&self) -> Option<i64> {
        self.other.get().is_none().then(|| self.small.get())
    }

    pub(crate) fn get(&self) -> Outcome<Object> {
        match self.other.get() {
            Some(other) => Ok(other),
            None => Object::from_i64(self.small.get()),
        }
    }

    #[inline]
    pub(crate) fn add(&self, amount: i64) -> Outcome<()> {
        let Some(other) = self.other.get() else {
            self.small.set(self.small.get() + amount);
            return Ok(());
        };
        let amount = Object::from_i64(amount)?;
        // SAFETY: live objects; a new reference or null.
        let sum = unsafe { Object::from_new(sys::PyNumber_Add(other.as_ptr(), amount.as_ptr()))? };
        self.other.set(sum);
        Ok(())
    }

    #[inline]
    pub(crate) fn is_zero(&self) -> Outcome<bool> {
        match self.other.get() {
            None => Ok(self.small.get() == 0),
            Some(other) => other.equals(&Object::from_i64(0)?),
        }
    }

    #[inline]
    pub(crate) fn is_positive(&self) -> Outcome<bool> {
        match self.other.get() {
            None => Ok(self.small.get() > 0),
            Some(other) => compare(&other, &Object::from_i64(0)?, sys::Py_GT),
        }
    }

    /// The number, if it is an int of ordinary size.
    #[inline]
    pub(crate) fn small(&self) -> Option<i64> {
        (!self.other.is_some()).then(|| self.small.get())
    }

    pub(crate) fn is_negative(&self) -> Outcome<bool> {
        match self.other.get() {
            None => Ok(self.small.get() < 0),
            Some(other) => compare(&other, &Object::from_i64(0)?, sys::Py_LT),
        }
    }

    pub(crate) fn is_at_least(&self, bound: &Count) -> Outcome<bool> {
        if !self.other.is_some() && !bound.other.is_some() {
            return Ok(self.small.get() >= bound.small.get());
        }
        compare(&self.get()?, &bound.get()?, sys::Py_GE)
    }

    pub(crate) fn clear(&self) {
        self.other.clear();
    }

    pub(crate) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.other.visit(visitor)
    }
}

impl Attribute for Count {
    fn read(&self) -> Outcome<Object> {
        self.get()
    }

    fn write(&self, value: Option<&Object>, name: &str) -> Outcome<()> {
        self.assign(required(value, name)?);
        Ok(())
    }
}

fn compare(left: &Object, right: &Object, operation: c_int) -> Outcome<bool> {
    // SAFETY: live objects.
    match unsafe { sys::PyObject_RichCompareBool(left.as_ptr(), right.as_ptr(), operation) } {
        -1 => Err(Raised::NOW),
        truth => Ok(truth == 1),
    }
}
