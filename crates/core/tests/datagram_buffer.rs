//! The buffer of datagrams: order, what they count, and when the protocol hears of it.

use ferrio_core::DatagramBuffer;
use ferrio_core::flow_control::{Limits, Pressure};

fn names<D: ToString>(buffer: &DatagramBuffer<D>) -> Vec<String> {
    let mut names = Vec::new();
    buffer.for_each(|datagram| names.push(datagram.to_string()));
    names
}

#[test]
fn datagrams_leave_in_order_and_count_until_they_do() {
    let mut buffer = DatagramBuffer::new();
    buffer.push("a", 9);
    buffer.push("b", 8);
    assert_eq!(
        (buffer.len(), names(&buffer)),
        (17, vec!["a".into(), "b".into()])
    );
    assert_eq!(buffer.pop(), Some(("a", 9)));
    assert_eq!(buffer.len(), 8);
    buffer.put_back("a", 9);
    assert_eq!(
        (buffer.len(), names(&buffer)),
        (17, vec!["a".into(), "b".into()])
    );
    assert_eq!(
        [buffer.pop(), buffer.pop(), buffer.pop()],
        [Some(("a", 9)), Some(("b", 8)), None]
    );
    assert_eq!((buffer.is_empty(), buffer.len()), (true, 0));
}

#[test]
fn an_empty_datagram_is_one_that_waits() {
    let mut buffer = DatagramBuffer::new();
    buffer.push((), 0);
    assert!(!buffer.is_empty());
    assert_eq!(buffer.take_all().len(), 1);
    assert!(buffer.is_empty());
}

#[test]
fn each_change_of_pressure_is_told_once() {
    let mut buffer = DatagramBuffer::new();
    buffer.set_limits(Limits { high: 10, low: 5 });
    buffer.push('a', 10);
    assert_eq!(buffer.pressure(), None);
    buffer.push('b', 5);
    assert_eq!(
        (buffer.pressure(), buffer.pressure()),
        (Some(Pressure::Pause), None)
    );
    assert!(buffer.is_paused());
    buffer.pop();
    assert_eq!(
        (buffer.pressure(), buffer.pressure()),
        (Some(Pressure::Resume), None)
    );
}

#[test]
fn what_is_given_up_counts_no_more() {
    let mut buffer = DatagramBuffer::new();
    buffer.push("a", 3);
    assert_eq!(buffer.take_all(), [("a", 3)]);
    assert_eq!((buffer.len(), buffer.pop()), (0, None));
}
