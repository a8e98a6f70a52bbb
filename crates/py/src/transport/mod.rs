//! Transports. (The socket transport is being written.)

use std::ffi::{CStr, c_int};

use ferrio_core::Readiness;

use crate::event_loop::EventLoop;
use crate::ffi::{Native, Object, Outcome, This, TypeBuilder, TypeObject, Visitor};

pub(crate) struct StreamTransport;

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for it in `build`.
unsafe impl Native for StreamTransport {
    const NAME: &'static CStr = c"ferrio._ferrio.StreamTransport";

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<StreamTransport> {
        Ok(StreamTransport)
    }

    fn visit(&self, _visitor: Visitor<'_>) -> Result<(), c_int> {
        Ok(())
    }

    fn clear(&self) {}
}

#[derive(Default)]
pub(crate) struct Gathering;

impl Gathering {
    pub(crate) fn visit(&self, _visitor: Visitor<'_>) -> Result<(), c_int> {
        Ok(())
    }
    pub(crate) fn clear(&self) {}
}

impl StreamTransport {
    pub(crate) fn is_closing(&self) -> bool {
        false
    }
}

impl This<'_, StreamTransport> {
    pub(crate) fn on_ready(self, _readiness: Readiness) -> Outcome<()> {
        Ok(())
    }
}

impl This<'_, EventLoop> {
    pub(crate) fn flush_gathered(self) -> Outcome<()> {
        Ok(())
    }
}

pub(crate) fn build(module: &Object) -> Outcome<()> {
    TypeBuilder::<StreamTransport>::new(c"")
        .subclassable()
        .build(module, None)
}
