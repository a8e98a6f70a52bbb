//! When a protocol is asked to stop sending and to go on, and writes that come too late.

use ferrio_core::flow_control::{Limits, Pressure};

use super::Transport;
use crate::ffi::{Object, Outcome, Raised, This, sys, text};

impl<T: Transport> This<'_, T> {
    /// `set_write_buffer_limits(high, low)`.
    pub(super) fn set_limits(self, high: Option<&Object>, low: Option<&Object>) -> Outcome<()> {
        let limits = limits(high, low)?;
        T::flush(self)?;
        self.value().replace_limits(limits);
        self.pause_if_full()
    }

    /// Asks the protocol to stop writing when too much waits for the kernel.
    pub(super) fn pause_if_full(self) -> Outcome<()> {
        self.counted.buffered(self.value().refused());
        // Only what the kernel takes makes it resume.
        if self.value().is_protocol_paused() {
            return Ok(());
        }
        match self.value().pressure() {
            Some(Pressure::Pause) => self.tell_protocol("pause_writing"),
            Some(Pressure::Resume) | None => Ok(()),
        }
    }

    /// Tells the protocol to go on when little enough waits for the kernel.
    pub(super) fn resume_if_drained(self) -> Outcome<()> {
        self.counted.buffered(self.value().refused());
        if !self.value().is_protocol_paused() {
            return Ok(());
        }
        match self.value().pressure() {
            Some(Pressure::Resume) => self.tell_protocol("resume_writing"),
            Some(Pressure::Pause) | None => Ok(()),
        }
    }

    /// A write after the connection was lost is not an error, but many are worth a warning.
    #[cold]
    pub(super) fn count_lost_write(self) -> Outcome<()> {
        warn_of_late_writes(self.lost.get(), "socket.send() raised exception.")?;
        self.lost.set(self.lost.get().saturating_add(1));
        Ok(())
    }
}

/// Warns of the latest of many writes that came after the connection was lost.
#[cold]
pub(super) fn warn_of_late_writes(count: usize, message: &str) -> Outcome<()> {
    let threshold = crate::imports::module(c"asyncio.constants")?
        .get_attr(&text("LOG_THRESHOLD_FOR_CONNLOST_WRITES")?)?
        .to_i64()?;
    if i64::try_from(count).unwrap_or(i64::MAX) < threshold {
        return Ok(());
    }
    crate::imports::module(c"asyncio.log")?
        .get_attr(&text("logger")?)?
        .call_method(&text("warning")?, &[&text(message)?])
        .map(drop)
}

/// What asyncio says of data that is not what it should be, something `wanted`.
#[cold]
pub(super) fn not_bytes_like(data: &Object, wanted: &str) -> Raised {
    let name = data.type_object().get_attr(&match text("__name__") {
        Ok(name) => name,
        Err(raised) => return raised,
    });
    match name.and_then(|name| name.repr_text()) {
        Ok(name) => Raised::type_error(&format!("data argument must be a {wanted}, not {name}")),
        Err(raised) => raised,
    }
}

/// Completes and checks water marks by asyncio's rules.
pub(super) fn limits(high: Option<&Object>, low: Option<&Object>) -> Outcome<Limits> {
    let high = high.map(water_mark).transpose()?;
    let low = low.map(water_mark).transpose()?;
    // A negative mark is refused in terms of both, one of which may follow from the other.
    let (Ok(high_size), Ok(low_size)) = (size(high), size(low)) else {
        let high = high.or(low.map(|low| low.saturating_mul(4))).unwrap_or(0);
        let low = low.unwrap_or(high.div_euclid(4));
        return Err(Raised::value_error(&format!(
            "high ({high}) must be >= low ({low}) must be >= 0"
        )));
    };
    Limits::new(high_size, low_size).map_err(|invalid| Raised::value_error(&invalid.to_string()))
}

fn size(mark: Option<i64>) -> Result<Option<usize>, std::num::TryFromIntError> {
    mark.map(usize::try_from).transpose()
}

/// A water mark in bytes. asyncio compares with whatever number it was given; what is beyond
/// every buffer (infinity, say) or between two bytes means the same here.
fn water_mark(number: &Object) -> Outcome<i64> {
    // SAFETY: a question about a live object's type.
    if unsafe { sys::PyLong_Check(number.as_ptr()) } == 0 {
        let number = number.to_f64()?;
        if number.is_nan() {
            let message = "high (nan) must be >= low (nan) must be >= 0";
            return Err(Raised::value_error(message));
        }
        #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
        return Ok(number.floor() as i64);
    }
    number.to_i64().or_else(|raised| {
        // SAFETY: a built-in class.
        if !raised.matches(unsafe { sys::PyExc_OverflowError }) {
            return Err(raised);
        }
        raised.discard(); // An int of any size is a water mark.
        let negative = number.to_f64().map_or_else(
            |raised| {
                raised.discard(); // Beyond floats, too: the sign is all that is lost.
                false
            },
            f64::is_sign_negative,
        );
        Ok(if negative { i64::MIN } else { i64::MAX })
    })
}
