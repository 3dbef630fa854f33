use super::*;

fn change(key: &str, value: Option<&[u8]>) -> Change {
    (Table::Cursors, key.to_owned(), value.map(<[u8]>::to_vec))
}

fn filled(path: &Path) {
    let state = State::open(path).unwrap();
    assert_eq!(state.set_aside(), None);
    let changes: Vec<_> = (0..200)
        .map(|n| change(&format!("sink{n}"), Some(&[n; 100])))
        .collect();
    state.put(&changes).unwrap();
}

#[test]
fn values_are_there_after_opening_again_and_tables_are_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    filled(&path);
    let state = State::open(&path).unwrap();
    assert_eq!(
        state.get(Table::Cursors, "sink7").unwrap(),
        Some(vec![7; 100])
    );
    assert_eq!(state.get(Table::Facts, "sink7").unwrap(), None);
    state
        .put(&[change("sink7", None), change("sink8", Some(b"x"))])
        .unwrap();
    assert_eq!(state.get(Table::Cursors, "sink7").unwrap(), None);
    assert_eq!(
        state.get(Table::Cursors, "sink8").unwrap(),
        Some(b"x".to_vec())
    );
    assert_eq!(state.all(Table::Cursors).unwrap().len(), 199);
    assert_eq!(state.all(Table::SubsIds).unwrap(), []);
    assert!(matches!(State::open(&path), Err(StateError::Locked)));
}

#[test]
fn a_damaged_file_is_set_aside_and_nothing_of_it_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    filled(&path);
    let whole = fs::read(&path).unwrap();
    let damages: [(&str, Vec<u8>); 3] = [
        ("not a database", b"hello".repeat(1000)),
        ("magic", [&b"x"[..], &whole[1..]].concat()),
        (
            "all pages",
            [&whole[..4096], &vec![0xa5; whole.len() - 4096]].concat(),
        ),
    ];
    for (n, (what, bytes)) in damages.into_iter().enumerate() {
        fs::write(&path, bytes).unwrap();
        let state = State::open(&path).unwrap();
        let aside = dir.path().join(format!("state.redb.damaged-{}", n + 1));
        assert_eq!(state.set_aside(), Some(aside.as_path()), "{what}");
        assert!(aside.exists());
        assert_eq!(state.all(Table::Cursors).unwrap(), [], "{what}");
        state.put(&[change("a", Some(b"1"))]).unwrap();
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]
    #[test]
    fn a_flipped_bit_never_yields_a_wrong_value(at: proptest::sample::Index, bit in 0u8..8) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        filled(&path);
        let mut bytes = fs::read(&path).unwrap();
        *at.get_mut(&mut bytes) ^= 1 << bit;
        fs::write(&path, bytes).unwrap();
        let state = State::open(&path).unwrap();
        for (key, value) in state.all(Table::Cursors).unwrap() {
            let n: u8 = key.strip_prefix("sink").unwrap().parse().unwrap();
            assert_eq!(value, [n; 100]);
        }
        state.put(&[change("sink0", Some(&[0; 100]))]).unwrap();
    }
}
