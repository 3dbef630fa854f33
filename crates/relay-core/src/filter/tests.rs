//! Globs against a naive matcher, verdicts against their cache.

use proptest::prelude::*;

use super::*;

/// The definition, by recursion.
fn naive(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['*', rest @ ..], _) => {
            naive(rest, text)
                || text
                    .split_first()
                    .is_some_and(|(_, tail)| naive(pattern, tail))
        }
        ([wanted, rest @ ..], [found, tail @ ..]) => {
            (*wanted == '?' || wanted == found) && naive(rest, tail)
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn a_glob_matches_what_the_definition_says(pattern in "[ab*?]{1,8}", text in "[ab]{0,10}") {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        let glob = Glob::parse(&pattern, &pattern).unwrap();
        prop_assert_eq!(glob.matches(&text), naive(&chars(&pattern), &chars(&text)));
    }

    #[test]
    fn what_is_remembered_is_what_is_judged(
        globs in prop::collection::vec("!?[A-Ba-b*]{1,3}(/[ab*]{1,2})?", 0..4),
        events in prop::collection::vec(("[ab]{1,2}", "[abAB]{0,3}"), 0..600),
    ) {
        let filter = Filter::parse(&globs).unwrap();
        for (class, event_type) in &events {
            prop_assert_eq!(filter.matches(class, event_type), filter.judge(class, event_type));
        }
    }
}

#[test]
fn the_rules_of_the_contract() {
    let cases: [(&[&str], &str, &str, bool); 12] = [
        (&[], "Interaction", "InteractionCreated", true),
        (
            &["AgentStatusChange"],
            "AgentStatusChange",
            "AgentStatusChange",
            true,
        ),
        (
            &["agentstatuschange"],
            "AgentStatusChange",
            "AgentStatusChange",
            true,
        ),
        (&["Interaction"], "Interaction", "InteractionCreated", false),
        (
            &["Interaction/*"],
            "Interaction",
            "InteractionCreated",
            true,
        ),
        (
            &["interaction/interactioncreated"],
            "Interaction",
            "InteractionCreated",
            true,
        ),
        (
            &["Interaction/*", "!InteractionRecording*"],
            "Interaction",
            "InteractionRecordingAdded",
            false,
        ),
        (
            &["!InteractionRecording*"],
            "Interaction",
            "InteractionCreated",
            true,
        ),
        (
            &["!Interaction/*"],
            "Interaction",
            "InteractionCreated",
            false,
        ),
        (
            &["*Deleted", "*Created"],
            "Interaction",
            "InteractionCreated",
            true,
        ),
        (&["?gent*"], "AgentStatusChange", "AgentStatusChange", true),
        (&["*/*"], "Ä", "Ö", true),
    ];
    for (globs, class, event_type, passes) in cases {
        let filter = Filter::parse(globs).unwrap();
        assert_eq!(
            filter.matches(class, event_type),
            passes,
            "{globs:?} on {class}/{event_type}"
        );
    }
}

#[test]
fn an_error_names_the_glob() {
    for (glob, part) in [
        ("", "\"\" is empty"),
        ("!", "\"!\" is empty"),
        ("A,B", "\"A,B\" holds a comma"),
    ] {
        let error = Filter::parse(&["Fine", glob]).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let long = "x".repeat(201);
    assert!(
        matches!(Filter::parse(&[long]), Err(FilterError::TooLong(start)) if start.len() == 40)
    );
    assert_eq!(
        Filter::parse(&["*"; 257]).unwrap_err(),
        FilterError::TooMany(257)
    );
}

#[test]
fn a_wish_within_an_allow_list() {
    let allowed = Filter::parse(&["Agent*"]).unwrap();
    let wish = Filter::parse_list("*Change, !AgentProvChange").unwrap();
    let both = allowed.and(&wish);
    assert!(both.matches("AgentStatusChange", "AgentStatusChange"));
    assert!(!both.matches("QueueChange", "QueueChange"));
    assert!(!both.matches("AgentProvChange", "AgentProvChange"));
    assert_eq!(Filter::default().and(&allowed), allowed);
    assert!(Filter::parse_list("").unwrap().is_open());
}

#[test]
fn equal_filters_are_one() {
    let filters = Filters::default();
    let one = filters.share(Filter::parse(&["Agent*"]).unwrap());
    let two = filters.share(Filter::parse(&["agent*"]).unwrap());
    assert!(Arc::ptr_eq(&one.0, &two.0));
    drop((one, two));
    let three = filters.share(Filter::parse(&["Queue*"]).unwrap());
    assert!(!three.matches("AgentStatusChange", "AgentStatusChange"));
    assert_eq!(
        filters.0.lock().unwrap().len(),
        1,
        "unused filters are forgotten"
    );
}

#[test]
fn hostile_types_do_not_grow_it() {
    let filter = Filter::parse(&["Agent*"]).unwrap();
    for n in 0..10_000 {
        assert!(!filter.matches("X", &format!("type{n}")));
        assert!(filter.matches("X", "AgentStatusChange"));
    }
    assert_eq!(filter.0.verdicts.len(), SLOTS);
}
