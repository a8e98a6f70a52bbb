//! Where TLS records end.

use ferrio_core::RecordStream;

fn record(kind: u8, size: u16) -> Vec<u8> {
    let mut bytes = vec![kind, 3, 3];
    bytes.extend(size.to_be_bytes());
    bytes.extend(std::iter::repeat_n(0xff, usize::from(size)));
    bytes
}

#[test]
fn wherever_the_stream_is_cut_the_unfinished_record_is_known() {
    let sizes = [1, 7, 300, 0, 20];
    let stream: Vec<u8> = sizes.iter().flat_map(|&size| record(23, size)).collect();
    let mut ends = vec![0];
    for size in sizes {
        ends.push(ends[ends.len() - 1] + 5 + usize::from(size));
    }
    for first in 0..=stream.len() {
        for second in [first, (first + 3).min(stream.len()), stream.len()] {
            let mut records = RecordStream::default();
            records.take_in(&stream[..first]);
            records.take_in(&stream[first..second]);
            let whole = *ends.iter().rfind(|&&end| end <= second).expect("0 is one");
            assert_eq!(records.unfinished(), second - whole, "{first} {second}");
        }
    }
}

#[test]
fn of_what_is_no_record_nothing_is_known() {
    let garbage: [&[u8]; 3] = [b"GET / HTTP/1.1", &[23, 2, 0, 0, 9], &[23, 3, 3, 255, 0]];
    for bytes in garbage {
        let mut records = RecordStream::default();
        records.take_in(&record(22, 4));
        records.take_in(bytes);
        assert_eq!(records.unfinished(), 0);
        records.take_in(&record(22, 4)[..6]);
        assert_eq!(records.unfinished(), 0);
    }
}

#[test]
fn once_lost_nothing_is_known() {
    let mut records = RecordStream::default();
    records.lose();
    records.take_in(&record(23, 100)[..50]);
    assert_eq!(records.unfinished(), 0);
}
