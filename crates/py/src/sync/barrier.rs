//! `Barrier`: so many tasks wait until all of them have come.
//!
//! A plain barrier's coroutines are native. Those of any other one are asyncio's own functions,
//! which call whatever was overridden; the attributes that they work on are the native ones.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use super::condition::{Condition, WaitCondition};
use super::lock::Enter;
use super::{
    BoundLoop, Count, Enumeration, LoopBound, Pickled, StandsIn, describe, loop_bound_attributes,
    pickled_methods,
};
use crate::awaitable::{Coroutine, Steps};
use crate::ffi::{
    Attribute, Function, GetSet, Native, Object, ObjectCell, Outcome, Own, Progress, Raised,
    Signature, This, TypeBuilder, TypeObject, Visitor, attributes, methods, none, sys, text,
};
use crate::inspect::Told;
use crate::originals::{get, originals};
use ferrio_inspect::snapshot::WaitKind;

/// What a barrier is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Tasks come.
    Filling,
    /// All have come, and go.
    Draining,
    /// It was reset while tasks waited, and these go.
    Resetting,
    /// It was aborted, until it is reset.
    Broken,
}

impl Enumeration for State {
    const ALL: &'static [State] = &[
        State::Filling,
        State::Draining,
        State::Resetting,
        State::Broken,
    ];

    fn value(self) -> &'static str {
        match self {
            State::Filling => "filling",
            State::Draining => "draining",
            State::Resetting => "resetting",
            State::Broken => "broken",
        }
    }

    fn class() -> &'static Object {
        &originals().barrier_state
    }
}

/// The native part of a `Barrier`.
#[repr(C)]
pub(crate) struct Barrier {
    dict: ObjectCell,
    weak_references: ObjectCell,
    bound_loop: BoundLoop,
    /// Notified whenever the state changes.
    condition: ObjectCell,
    parties: Count,
    state: Cell<State>,
    /// How many tasks are in it.
    count: Cell<i64>,
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `Barrier` in `build`; the offsets are those of fields that only
// CPython touches.
unsafe impl Native for Barrier {
    const NAME: &'static CStr = c"ferrio._ferrio.Barrier";
    const DICT_OFFSET: Option<usize> = Some(std::mem::offset_of!(Barrier, dict));
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(Barrier, weak_references));

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<Barrier> {
        Ok(Barrier {
            dict: ObjectCell::new(),
            weak_references: ObjectCell::new(),
            bound_loop: BoundLoop::new(),
            condition: ObjectCell::new(),
            parties: Count::new(0),
            state: Cell::new(State::Filling),
            count: Cell::new(0),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.bound_loop.visit(visitor)?;
        self.condition.visit(visitor)?;
        self.parties.visit(visitor)
    }

    fn clear(&self) {
        self.bound_loop.clear();
        self.condition.clear();
        self.parties.clear();
    }
}

impl StandsIn for Barrier {
    fn original() -> &'static Object {
        &originals().barrier
    }
}

impl LoopBound for Barrier {
    fn bound_loop(&self) -> &BoundLoop {
        &self.bound_loop
    }
}

impl Pickled for Barrier {
    fn state(this: This<'_, Barrier>) -> Outcome<Vec<(&'static str, Object)>> {
        let barrier = this.value();
        Ok(vec![
            ("_cond", barrier.condition.read()?),
            ("_parties", barrier.parties.read()?),
            ("_state", barrier.state.read()?),
            ("_count", barrier.count.read()?),
        ])
    }
}

impl This<'_, Barrier> {
    /// Its condition, when it is certain that nobody has replaced a method of either.
    fn plain_condition(self) -> Option<Own<Condition>> {
        if !self.has_original_methods() || !self.dict.has_no_attributes() {
            return None;
        }
        let condition = self.condition.get()?;
        let condition = This::<Condition>::from_exact(&condition)?;
        condition.plain_lock()?;
        Some(condition.own())
    }

    /// One task less; the last one makes room for the next round.
    fn depart(self, condition: This<'_, Condition>) -> Outcome<()> {
        self.count.set(self.count.get() - 1);
        if self.count.get() != 0 {
            return Ok(());
        }
        if matches!(self.state.get(), State::Resetting | State::Draining) {
            self.state.set(State::Filling);
        }
        condition.notify_everybody()
    }

    fn n_waiting(self) -> i64 {
        match self.state.get() {
            State::Filling => self.count.get(),
            _ => 0,
        }
    }
}

/// A coroutine's condition, and where it is.
pub(crate) struct WaitBarrier {
    barrier: Own<Barrier>,
    condition: Own<Condition>,
    stage: Stage,
}

enum Stage {
    /// For the condition's lock.
    Entering(Enter),
    /// For the last round to be over.
    Blocked(Option<Box<WaitCondition>>),
    /// For the others.
    Waiting {
        index: i64,
        wait: Option<Box<WaitCondition>>,
    },
}

impl WaitBarrier {
    fn new(barrier: Own<Barrier>, condition: Own<Condition>) -> WaitBarrier {
        let stage = Stage::Entering(Enter::new(&condition.this().object()));
        WaitBarrier {
            barrier,
            condition,
            stage,
        }
    }

    /// Runs until it waits, or has its index.
    fn advance(&mut self, mut thrown: Option<Object>) -> Outcome<Progress> {
        loop {
            let barrier = self.barrier.this();
            match &mut self.stage {
                Stage::Entering(enter) => {
                    if let Progress::Yielded(item) = enter.resume(thrown.take())? {
                        return Ok(Progress::Yielded(item));
                    }
                    self.stage = Stage::Blocked(None);
                }
                Stage::Blocked(wait) => {
                    let blocking =
                        || matches!(barrier.state.get(), State::Draining | State::Resetting);
                    if let Some(item) = wait_while(wait, &self.condition, &mut thrown, blocking)? {
                        return Ok(Progress::Yielded(item));
                    }
                    if barrier.state.get() == State::Broken {
                        return Err(broken("Barrier aborted"));
                    }
                    let index = barrier.count.get();
                    barrier.count.set(index + 1);
                    self.stage = Stage::Waiting { index, wait: None };
                    let all = Object::from_i64(index + 1)?.equals(&barrier.parties.get()?)?;
                    if all {
                        barrier.state.set(State::Draining);
                        self.condition.this().notify_everybody()?;
                        return Object::from_i64(index).map(Progress::Returned);
                    }
                }
                Stage::Waiting { index, wait } => {
                    let filling = || barrier.state.get() == State::Filling;
                    if let Some(item) = wait_while(wait, &self.condition, &mut thrown, filling)? {
                        return Ok(Progress::Yielded(item));
                    }
                    if matches!(barrier.state.get(), State::Broken | State::Resetting) {
                        return Err(broken("Abort or reset of barrier"));
                    }
                    return Object::from_i64(*index).map(Progress::Returned);
                }
            }
        }
    }

    /// What follows however it ended: it is one of the tasks no more, and lets the lock go.
    fn leave(&self) -> Outcome<()> {
        let condition = self.condition.this();
        let departed = match self.stage {
            Stage::Entering(_) => return Ok(()),
            Stage::Blocked(_) => Ok(()),
            Stage::Waiting { .. } => self.barrier.this().depart(condition),
        };
        let departed = departed.map_err(Raised::take);
        condition.release()?;
        departed.map_err(|exception| Raised::exception(&exception))
    }
}

/// `await condition.wait_for(lambda: not waiting())`: what it yields, or `None` when it is over.
fn wait_while(
    wait: &mut Option<Box<WaitCondition>>,
    condition: &Own<Condition>,
    thrown: &mut Option<Object>,
    waiting: impl Fn() -> bool,
) -> Outcome<Option<Object>> {
    loop {
        if let Some(wait) = wait
            && let Progress::Yielded(item) = wait.resume_within(thrown.take())?
        {
            return Ok(Some(item));
        }
        if !waiting() {
            return Ok(None);
        }
        *wait = Some(Box::new(WaitCondition::new(condition.clone())));
    }
}

#[cold]
fn broken(message: &str) -> Raised {
    Raised::new(&originals().broken_barrier_error, message)
}

impl Steps for WaitBarrier {
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        match self.advance(thrown) {
            Ok(Progress::Yielded(item)) => Ok(Progress::Yielded(item)),
            Ok(Progress::Returned(index)) => {
                self.leave()?;
                Ok(Progress::Returned(index))
            }
            Err(raised) => {
                let exception = raised.take();
                self.leave()?;
                Err(Raised::with_its_context(exception))
            }
        }
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.barrier)?;
        visitor.own(&self.condition)?;
        match &self.stage {
            Stage::Entering(enter) => enter.visit(visitor),
            Stage::Blocked(wait) | Stage::Waiting { wait, .. } => {
                wait.as_ref().map_or(Ok(()), |wait| wait.visit(visitor))
            }
        }
    }

    fn tell(&self, told: &mut Told) {
        match &self.stage {
            Stage::Entering(enter) => enter.tell(told),
            Stage::Blocked(_) | Stage::Waiting { .. } => {
                told.waits_for(WaitKind::Barrier, &self.barrier.this().object());
            }
        }
    }
}

/// `await barrier.reset()` and `await barrier.abort()`.
pub(crate) struct ChangeBarrier {
    barrier: Own<Barrier>,
    condition: Own<Condition>,
    enter: Enter,
    abort: bool,
}

impl ChangeBarrier {
    fn new(barrier: Own<Barrier>, condition: Own<Condition>, abort: bool) -> ChangeBarrier {
        let enter = Enter::new(&condition.this().object());
        ChangeBarrier {
            barrier,
            condition,
            enter,
            abort,
        }
    }
}

impl Steps for ChangeBarrier {
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        if let Progress::Yielded(item) = self.enter.resume(thrown)? {
            return Ok(Progress::Yielded(item));
        }
        let barrier = self.barrier.this();
        barrier.state.set(if self.abort {
            State::Broken
        } else if barrier.count.get() > 0 {
            State::Resetting
        } else {
            State::Filling
        });
        let condition = self.condition.this();
        let notified = condition.notify_everybody().map_err(Raised::take);
        condition.release()?;
        notified.map_err(|exception| Raised::exception(&exception))?;
        Ok(Progress::Returned(none()))
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.barrier)?;
        visitor.own(&self.condition)?;
        self.enter.visit(visitor)
    }

    fn tell(&self, told: &mut Told) {
        self.enter.tell(told);
    }
}

/// Builds the Python type.
pub(super) fn build(module: &Object) -> Outcome<()> {
    TypeBuilder::<Barrier>::new(
        c"Has tasks wait until `parties` of them have come: asyncio.Barrier, native.",
    )
    .subclassable()
    .named_as_in_python()
    .changeable()
    .init(|this, arguments| {
        const INIT: Signature<1> = Signature {
            function: "Barrier.__init__",
            names: [c"parties"],
            positional: 1,
            required: 1,
        };
        let [parties] = INIT.parse(arguments)?;
        let none = none();
        let given = Count::new(0);
        given.assign(parties.unwrap_or(&none));
        if !given.is_at_least(&Count::new(1))? {
            // asyncio's own words, which are not the same in every version.
            originals().barrier.call1(parties.unwrap_or(&none))?;
        }
        this.parties.assign(parties.unwrap_or(&none));
        // As asyncio finds it: the name may have been replaced.
        let condition = get(&originals().locks_module, c"Condition")?;
        let condition = if condition.is(&originals().condition) {
            Condition::type_object().object()
        } else {
            condition
        };
        this.condition.set(condition.call0()?);
        this.state.set(State::Filling);
        this.count.set(0);
        Ok(())
    })
    .unary(sys::Py_tp_repr, |this| {
        let object = this.object();
        let mut extra = this.state.get().value().to_owned();
        if !object.get_attr(&text("broken")?)?.is_true()? {
            let waiting = object.get_attr(&text("n_waiting")?)?.to_text()?;
            let parties = object.get_attr(&text("parties")?)?.to_text()?;
            extra += &format!(", waiters:{waiting}/{parties}");
        }
        describe(this, &extra)
    })
    .methods(methods(pickled_methods::<Barrier>(Vec::new())))
    .attributes(attributes(attribute_table()))
    .build(module, None)?;
    add_functions()
}

fn attribute_table() -> Vec<GetSet> {
    type Self_<'a> = This<'a, Barrier>;
    loop_bound_attributes::<Barrier>([
        GetSet::field(
            c"_cond",
            |barrier: &Barrier| &barrier.condition,
            c"The condition that is notified whenever the state changes.",
        ),
        GetSet::field(
            c"_parties",
            |barrier: &Barrier| &barrier.parties,
            c"How many tasks it takes.",
        ),
        GetSet::field(
            c"_state",
            |barrier: &Barrier| &barrier.state,
            c"What it is doing: a member of asyncio's enumeration.",
        ),
        GetSet::field(
            c"_count",
            |barrier: &Barrier| &barrier.count,
            c"How many tasks are in it.",
        ),
        GetSet::read_only(
            c"parties",
            |this: Self_<'_>| this.parties.get(),
            c"How many tasks it takes.",
        ),
        GetSet::read_only(
            c"n_waiting",
            |this: Self_<'_>| Object::from_i64(this.n_waiting()),
            c"How many tasks wait in it.",
        ),
        GetSet::read_only(
            c"broken",
            |this: Self_<'_>| Ok(Object::from_bool(this.state.get() == State::Broken)),
            c"True if it was aborted and not reset since.",
        ),
    ])
}

fn add_functions() -> Outcome<()> {
    let original = &originals().barrier;
    for name in [c"__aexit__", c"_block", c"_release", c"_wait", c"_exit"] {
        TYPE.add_attribute(name, &get(original, name)?)?;
    }
    for name in [c"wait", c"__aenter__"] {
        let function =
            Function::make_method(&get(original, name)?, |function, barrier: Own<Barrier>| {
                match barrier.this().plain_condition() {
                    Some(condition) => {
                        Coroutine::make(function, WaitBarrier::new(barrier, condition))
                    }
                    None => function.call_original(&barrier.into_object()),
                }
            })?;
        TYPE.add_attribute(name, &function.into_object())?;
    }
    let function = Function::make_method(&get(original, c"reset")?, |function, barrier| {
        change(function, barrier, false)
    })?;
    TYPE.add_attribute(c"reset", &function.into_object())?;
    let function = Function::make_method(&get(original, c"abort")?, |function, barrier| {
        change(function, barrier, true)
    })?;
    TYPE.add_attribute(c"abort", &function.into_object())
}

fn change(function: This<'_, Function>, barrier: Own<Barrier>, abort: bool) -> Outcome<Object> {
    match barrier.this().plain_condition() {
        Some(condition) => Coroutine::make(function, ChangeBarrier::new(barrier, condition, abort)),
        None => function.call_original(&barrier.into_object()),
    }
}
