//! `TaskGroup` as Python sees it.

use super::{EnterGroup, ExitGroup, TYPE, TaskGroup, is_base_error};
use crate::awaitable::Coroutine;
use crate::ffi::{
    Arguments, Attribute, Function, GetSet, Method, Object, Outcome, Raised, Signature, This,
    TypeBuilder, attributes, methods, none, receiver, sys, text,
};
use crate::imports::imports;
use crate::originals::{get, originals};
use crate::sync::{Pickled, StandsIn, class_attribute, pickled_methods};

impl StandsIn for TaskGroup {
    fn original() -> &'static Object {
        &originals().task_group
    }
}

impl Pickled for TaskGroup {
    fn state(this: This<'_, TaskGroup>) -> Outcome<Vec<(&'static str, Object)>> {
        let group = this.value();
        Ok(vec![
            ("_entered", group.entered.read()?),
            ("_exiting", group.exiting.read()?),
            ("_aborting", group.aborting.read()?),
            ("_loop", group.event_loop.read()?),
            ("_parent_task", group.parent.read()?),
            (
                "_parent_cancel_requested",
                group.parent_cancel_requested.read()?,
            ),
            ("_tasks", group.tasks.read()?),
            ("_errors", group.errors.read()?),
            ("_base_error", group.base_error.read()?),
            ("_on_completed_fut", group.on_completed.read()?),
        ])
    }
}

/// Builds the Python type.
pub(in crate::combinators) fn build(module: &Object) -> Outcome<()> {
    TypeBuilder::<TaskGroup>::new(
        c"Tasks that end before the block does: asyncio.TaskGroup, native.\n\n\
        When one fails, the others and the block are cancelled, and what failed is raised as an\n\
        ExceptionGroup.",
    )
    .subclassable()
    .named_as_in_python()
    .changeable()
    .init(|this, arguments| {
        const INIT: Signature<0> = Signature {
            function: "TaskGroup.__init__",
            names: [],
            positional: 0,
            required: 0,
        };
        INIT.parse(arguments)?;
        this.initialise()
    })
    .unary(sys::Py_tp_repr, |this| this.describe())
    .methods(methods(method_table()))
    .attributes(attributes(attribute_table()))
    .build(module, None)?;
    add_functions()
}

impl This<'_, TaskGroup> {
    /// `__init__`, which may be called again.
    fn initialise(self) -> Outcome<()> {
        for flag in [
            &self.entered,
            &self.exiting,
            &self.aborting,
            &self.parent_cancel_requested,
        ] {
            flag.set(false);
        }
        for cell in [
            &self.event_loop,
            &self.parent,
            &self.base_error,
            &self.on_completed,
        ] {
            cell.clear();
        }
        // Made by `create`, and not yet used by anybody the first time.
        if self.has_tasks()? || self.has_errors()? {
            self.tasks.set(Object::set()?);
            self.errors.set(Object::list(Vec::new())?);
        }
        Ok(())
    }
}

fn method_table() -> Vec<Method> {
    type Self_<'a> = This<'a, TaskGroup>;
    pickled_methods::<TaskGroup>(vec![
        Method::no_arguments(
            c"_abort",
            |this: Self_<'_>| this.abort().map(|()| none()),
            c"Ask every task to stop.",
        ),
        Method::one_argument(
            c"_is_base_error",
            |_: Self_<'_>, exception: &Object| is_base_error(exception).map(Object::from_bool),
            c"Return True for a KeyboardInterrupt or a SystemExit.",
        ),
        Method::one_argument(
            c"_on_task_done",
            |this: Self_<'_>, task: &Object| this.on_task_done(task).map(|()| none()),
            c"Note that a task is done; what it calls then.",
        ),
    ])
}

fn attribute_table() -> Vec<GetSet> {
    vec![
        class_attribute::<TaskGroup>(),
        GetSet::instance_dict(),
        GetSet::field(
            c"_entered",
            |group: &TaskGroup| &group.entered,
            c"Whether its block was entered.",
        ),
        GetSet::field(
            c"_exiting",
            |group: &TaskGroup| &group.exiting,
            c"Whether its block has ended.",
        ),
        GetSet::field(
            c"_aborting",
            |group: &TaskGroup| &group.aborting,
            c"Whether its tasks were asked to stop.",
        ),
        GetSet::field(
            c"_loop",
            |group: &TaskGroup| &group.event_loop,
            c"The loop, or None before it is entered.",
        ),
        GetSet::field(
            c"_parent_task",
            |group: &TaskGroup| &group.parent,
            c"The task in its block, or None.",
        ),
        GetSet::field(
            c"_parent_cancel_requested",
            |group: &TaskGroup| &group.parent_cancel_requested,
            c"Whether it has asked the task in its block to stop.",
        ),
        GetSet::field(
            c"_tasks",
            |group: &TaskGroup| &group.tasks,
            c"The set of its tasks that are not done.",
        ),
        GetSet::field(
            c"_errors",
            |group: &TaskGroup| &group.errors,
            c"The list of what its tasks have failed with; None once it was raised.",
        ),
        GetSet::field(
            c"_base_error",
            |group: &TaskGroup| &group.base_error,
            c"The exception that goes before all others, or None.",
        ),
        GetSet::field(
            c"_on_completed_fut",
            |group: &TaskGroup| &group.on_completed,
            c"The future that the end of its block waits for, or None.",
        ),
    ]
}

fn create_task(this: This<'_, TaskGroup>, arguments: Arguments<'_>) -> Outcome<Object> {
    const CREATE_TASK: Signature<3> = Signature {
        function: "TaskGroup.create_task",
        names: [c"coro", c"name", c"context"],
        positional: 1,
        required: 1,
    };
    let [coroutine, name, context] = CREATE_TASK.parse(arguments)?;
    let none = none();
    let coroutine = coroutine.unwrap_or(&none);
    let (name, context) = (name.and_then(Object::some), context.and_then(Object::some));
    let options = name.is_some() || context.is_some();
    this.create_task(coroutine, options, |event_loop| {
        make_task(event_loop, coroutine, name, context)
    })
}

/// `event_loop.create_task(…)`, as the version at hand calls it.
#[cold]
fn make_task(
    event_loop: &Object,
    coroutine: &Object,
    name: Option<&Object>,
    context: Option<&Object>,
) -> Outcome<Object> {
    let originals = originals();
    let none = none();
    let mut arguments = vec![coroutine];
    let mut keywords = Vec::new();
    if !originals.group_names_afterwards {
        arguments.push(name.unwrap_or(&none));
        keywords.push(text("name")?);
    }
    if let Some(context) = context {
        arguments.push(context);
        keywords.push(text("context")?);
    }
    let keywords = Object::tuple_of(&keywords)?;
    let create_task = &originals.names.create_task;
    let task = event_loop.call_method_with(create_task, &arguments, Some(&keywords))?;
    if originals.group_names_afterwards
        && let Some(name) = name
    {
        task.call_method(&imports().names.set_name, &[name])?;
    }
    Ok(task)
}

/// `create_task(coro, **kwargs)`: the keywords are the loop's business.
fn create_task_with_any(this: This<'_, TaskGroup>, arguments: Arguments<'_>) -> Outcome<Object> {
    let [coroutine] = arguments.positional() else {
        let by_name = |arguments: Arguments<'_>| create_task_with_any(this, arguments);
        return match arguments.with_keyword_first(c"coro", by_name) {
            Some(outcome) => outcome,
            None => create_task(this, arguments),
        };
    };
    this.create_task(coroutine, arguments.has_keywords(), |event_loop| {
        arguments.call(&event_loop.get_attr(&originals().names.create_task)?)
    })
}

fn add_functions() -> Outcome<()> {
    let original = &originals().task_group;
    let function = get(original, c"__aenter__")?;
    let function = Function::make_method(&function, |function, group| {
        Coroutine::make(function, EnterGroup(group))
    })?;
    TYPE.add_attribute(c"__aenter__", &function.into_special_method())?;
    let function = get(original, c"__aexit__")?;
    let function = Function::make(&function, "ferrio", |function, arguments| {
        const EXIT: Signature<4> = Signature {
            function: "TaskGroup.__aexit__",
            names: [c"self", c"et", c"exc", c"tb"],
            positional: 4,
            required: 4,
        };
        let [this, class, exception, _] = EXIT.parse(arguments)?;
        let plan = ExitGroup::new(
            receiver(this, "TaskGroup.__aexit__")?,
            class.and_then(Object::some).cloned(),
            exception.and_then(Object::some).cloned(),
        );
        Coroutine::make(function, plan)
    })?;
    TYPE.add_attribute(c"__aexit__", &function.into_special_method())?;
    let function = get(original, c"create_task")?;
    let function = Function::make(&function, "ferrio", |_, arguments| {
        let Some((this, rest)) = arguments.split_first() else {
            return Err(Raised::type_error(
                "TaskGroup.create_task() missing 1 required positional argument: 'self'",
            ));
        };
        let group = receiver::<TaskGroup>(Some(this), "TaskGroup.create_task")?;
        if originals().group_takes_any_keyword {
            create_task_with_any(group.this(), rest)
        } else {
            create_task(group.this(), rest)
        }
    })?;
    TYPE.add_attribute(c"create_task", &function.into_object())
}
