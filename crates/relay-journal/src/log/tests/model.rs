//! The log against a Vec.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::{Group, ReadError, TrimPolicy};

/// Time, kind, and the lengths of head and payload.
type Pushed = (u64, u8, usize, usize);

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Pushed>),
    Close,
    Kill,
    TrimAge(Index, Index),
    TrimBytes(u64),
    TrimPassed(Index, u64),
    Read(Index, usize),
    At(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let record = (0u64..5000, any::<u8>(), 0usize..30, 0usize..1500);
    let step = prop_oneof![
        8 => prop::collection::vec(record, 1..8).prop_map(Step::Commit),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        1 => any::<(Index, Index)>().prop_map(|(a, b)| Step::TrimAge(a, b)),
        1 => (0u64..60_000).prop_map(Step::TrimBytes),
        1 => (any::<Index>(), 0u64..30_000).prop_map(|(a, b)| Step::TrimPassed(a, b)),
        4 => (any::<Index>(), 0usize..20_000).prop_map(|(a, b)| Step::Read(a, b)),
        2 => (0u64..5000).prop_map(Step::At),
    ];
    prop::collection::vec(step, 1..60)
}

#[derive(Default)]
struct Model {
    records: Vec<Plain>,
    first: u64,
}

impl Model {
    fn pick(&self, index: Index) -> Offset {
        Offset(index.index(self.records.len() + 3) as u64)
    }

    fn kept(&self) -> &[Plain] {
        &self.records[usize::try_from(self.first).unwrap() - 1..]
    }

    /// Commits records as two groups, the second of them filled before the first is committed.
    fn commit(&mut self, writer: &mut Writer, mut records: Vec<Pushed>) {
        let ahead = records.split_off(records.len() / 2);
        let mut first = writer.begin();
        let from = self.records.len();
        self.fill(&mut first, records);
        let mut second = first.after();
        assert_eq!(second.next(), first.next());
        self.fill(&mut second, ahead);
        let mut given = Vec::new();
        for group in [first, second] {
            let committed = writer.commit(group).unwrap();
            given.extend(committed.records.iter().map(plain));
        }
        assert_eq!(given, self.records[from..]);
    }

    fn fill(&mut self, group: &mut Group, records: Vec<Pushed>) {
        for (time, kind, head, payload) in records {
            let (head, payload) = (vec![kind; head], vec![!kind; payload]);
            let offset = group.push(kind, time, &head, &payload);
            let time = self.records.last().map_or(time, |last| last.1.max(time));
            self.records.push((offset, time, kind, head, payload));
        }
    }

    fn trim_by_age(&mut self, log: &Log, passed: Offset, age: Index) {
        let age = self
            .records
            .get(age.index(self.records.len() + 1))
            .map(|record| record.1);
        let policy = TrimPolicy {
            passed,
            older_than_ms: age,
            max_bytes: None,
        };
        let trimmed = log.trim(&policy).unwrap();
        for gone in &self.kept()[..usize::try_from(trimmed.first.0 - self.first).unwrap()] {
            assert!(gone.0 <= passed && age.is_some_and(|age| gone.1 < age));
        }
        self.first = trimmed.first.0;
    }

    fn check(&self, log: &Log) {
        let next = self.records.len() as u64 + 1;
        assert_eq!(
            (log.first().0, log.next().0, log.last().0),
            (self.first, next, next - 1)
        );
        assert_eq!(
            log.oldest_time_ms(),
            self.kept().first().map(|record| record.1)
        );
    }
}

fn run(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut log, recovery) = open(dir.path());
    assert!(recovery.created);
    let epoch = log.epoch();
    let mut model = Model {
        first: 1,
        ..Model::default()
    };
    for step in steps {
        match step {
            Step::Commit(records) => model.commit(&mut writer, records),
            end @ (Step::Close | Step::Kill) => {
                if matches!(end, Step::Close) {
                    writer.close().unwrap();
                } else {
                    drop(writer);
                }
                let recovery;
                (writer, log, recovery) = open(dir.path());
                assert_eq!(
                    (recovery.torn, recovery.damage, log.epoch()),
                    (None, vec![], epoch)
                );
            }
            Step::TrimAge(passed, age) => model.trim_by_age(&log, model.pick(passed), age),
            Step::TrimBytes(max) => {
                let policy = TrimPolicy {
                    max_bytes: Some(max),
                    ..TrimPolicy::default()
                };
                model.first = log.trim(&policy).unwrap().first.0;
                assert!(log.bytes() <= max.max(3 * SEGMENT));
            }
            Step::TrimPassed(passed, want) => {
                let passed = model.pick(passed);
                let trimmed = log.trim_passed(passed, want).unwrap();
                assert!(trimmed.first <= passed.next().max(Offset(model.first)));
                model.first = trimmed.first.0;
            }
            Step::Read(from, max) => read(&log, &model, model.pick(from).max(Offset(1)), max),
            Step::At(time) => {
                let found = model.kept().iter().find(|record| record.1 >= time);
                assert_eq!(
                    log.offset_at(time),
                    found.map_or(log.next(), |record| record.0)
                );
            }
        }
        model.check(&log);
    }
    assert_eq!(read_all(&log, Offset(0), 3000), model.kept());
    let mut findings = Vec::new();
    let verified = Log::verify(dir.path(), |finding| findings.push(finding)).unwrap();
    assert_eq!(
        (findings, verified.records),
        (vec![], model.kept().len() as u64)
    );
}

fn read(log: &Log, model: &Model, from: Offset, max: usize) {
    match log.read(from, max) {
        Ok(records) => {
            let all = &model.records;
            let expected = all
                .get(usize::try_from(from.0).unwrap() - 1..)
                .unwrap_or_default();
            assert_eq!(records.is_empty(), expected.is_empty());
            let read: Vec<_> = records.iter().map(plain).collect();
            assert_eq!(read, expected[..read.len()]);
            let bytes: usize = records.iter().map(Record::encoded_len).sum();
            assert!(bytes <= max || records.len() == 1);
        }
        Err(ReadError::Trimmed { first }) => {
            assert!(from < first && first.0 == model.first);
        }
        Err(error) => panic!("{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_log_is_a_vec_that_loses_its_oldest(steps in steps()) {
        run(steps);
    }
}
