//! What a future was made for, where its maker says so: for those who look at who waits for what.

/// What will end it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Purpose {
    /// Nobody has said.
    Unknown,
    /// The lock that its task waits for is released.
    Lock,
    /// The last task of a group is done.
    TaskGroup,
    /// A call in a thread has come to its end.
    Executor,
}
