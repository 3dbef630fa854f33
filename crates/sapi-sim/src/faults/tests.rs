use std::collections::BTreeSet;

use super::{Faults, Takes, WITHOUT_FAULT, all, knob};

#[test]
fn every_row_has_a_fault_or_a_reason_for_none() {
    let rows: BTreeSet<&str> = all()
        .map(|fault| fault.row)
        .chain(WITHOUT_FAULT.iter().map(|(row, _)| *row))
        .collect();
    for row in 1..=27 {
        let row = format!("B{row}");
        assert!(rows.contains(row.as_str()), "{row} has neither");
    }
    assert_eq!(rows.len(), 27);
}

#[test]
fn names_are_distinct_and_parse_back() {
    let mut names = BTreeSet::new();
    for fault in all() {
        assert!(names.insert(fault.name), "{} twice", fault.name);
        let text = match fault.takes {
            Takes::Nothing | Takes::Number(_) => fault.name.to_owned(),
            Takes::Text(_) => format!("{}=x", fault.name),
            Takes::Choice(words) => format!("{}={}", fault.name, words[0]),
        };
        let spec: super::FaultSpec = text.parse().unwrap();
        assert_eq!(spec.name(), fault.name);
        assert_eq!(spec.to_string().parse::<super::FaultSpec>().unwrap(), spec);
    }
}

#[test]
fn bad_specs_are_refused() {
    for text in [
        "nonsense",
        "concat=x",
        "bom=1",
        "redirect",
        "redirect=",
        "same-subs-id=maybe",
    ] {
        assert!(text.parse::<super::FaultSpec>().is_err(), "{text}");
    }
}

#[test]
fn firing_is_counted_and_once_means_once() {
    let faults = Faults::default();
    assert!(faults.fire(&knob::SEQ_GAP).is_none());
    faults.set("seq-gap=3".parse().unwrap());
    faults.set("bom".parse().unwrap());
    assert_eq!(faults.fire(&knob::SEQ_GAP).unwrap().number(), 3);
    assert!(faults.fire(&knob::SEQ_GAP).is_none());
    assert!(faults.fires(&knob::BOM) && faults.fires(&knob::BOM));
    faults.clear("bom").unwrap();
    assert!(!faults.fires(&knob::BOM));
    assert_eq!((faults.fired("seq-gap"), faults.fired("bom")), (1, 2));
    assert!(faults.clear("nonsense").is_err());
}

#[test]
fn every_so_many_th_counts_from_the_argument() {
    let faults = Faults::default();
    faults.set("truncated=3".parse().unwrap());
    let hits: Vec<u64> = (1..=9)
        .filter(|n| faults.fire_each(&knob::TRUNCATED, *n))
        .collect();
    assert_eq!(hits, [3, 6, 9]);
}
