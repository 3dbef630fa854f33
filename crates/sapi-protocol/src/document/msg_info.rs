//! msgInfo and the event id made of it; knows not where in a document it stands.

use std::borrow::Cow;

/// What msgInfo says of a document; any part can be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MsgInfo<'a> {
    /// instanceId, if it is there once and not empty.
    pub instance: Option<Cow<'a, str>>,
    /// sequenceId, if it is there once, an unsigned number in plain decimal, quoted or not.
    pub sequence: Option<u64>,
    /// timestamp, under the same rule: Unix time in milliseconds.
    pub timestamp: Option<u64>,
}

impl MsgInfo<'_> {
    /// All three, if all three are there: only then is the event known by them.
    pub fn complete(&self) -> Option<(&str, u64, u64)> {
        Some((self.instance.as_deref()?, self.sequence?, self.timestamp?))
    }
}

/// `{tenant}:{instanceId}:{sequenceId}:{timestamp}` of a complete msgInfo; `%` and `:` of the
/// instanceId are percent-encoded, so that different msgInfo make different ids.
pub fn event_id(tenant: &str, info: &MsgInfo<'_>) -> Option<String> {
    let mut id = String::new();
    write_event_id(&mut id, tenant, info).then_some(id)
}

/// As [`event_id`], appended to a text that may be used again. False: msgInfo is not complete, and
/// nothing was appended.
pub fn write_event_id(id: &mut String, tenant: &str, info: &MsgInfo<'_>) -> bool {
    let Some((instance, sequence, timestamp)) = info.complete() else {
        return false;
    };
    id.reserve(tenant.len() + instance.len() + 40);
    id.push_str(tenant);
    id.push(':');
    let mut rest = instance;
    while let Some(at) = memchr::memchr2(b'%', b':', rest.as_bytes()) {
        let (plain, special) = rest.split_at(at);
        id.push_str(plain);
        id.push_str(if special.starts_with('%') {
            "%25"
        } else {
            "%3A"
        });
        rest = special.get(1..).unwrap_or_default();
    }
    id.push_str(rest);
    let mut digits = itoa::Buffer::new();
    for number in [sequence, timestamp] {
        id.push(':');
        id.push_str(digits.format(number));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(instance: &str, sequence: u64, timestamp: u64) -> MsgInfo<'_> {
        MsgInfo {
            instance: Some(instance.into()),
            sequence: Some(sequence),
            timestamp: Some(timestamp),
        }
    }

    #[test]
    fn an_id_has_all_four_parts() {
        let id = event_id(
            "acmecorp01",
            &info("us1tomcat04-sapi-v1", 215, 1_669_235_544_917),
        );
        assert_eq!(
            id.as_deref(),
            Some("acmecorp01:us1tomcat04-sapi-v1:215:1669235544917")
        );
    }

    #[test]
    fn colons_of_an_instance_make_no_other_id() {
        let one = event_id("t", &info("a:1", 2, 3));
        assert_eq!(one.as_deref(), Some("t:a%3A1:2:3"));
        assert_ne!(one, event_id("t", &info("a%3A1", 2, 3)));
    }

    #[test]
    fn whatever_an_instance_is_its_marks_are_encoded_and_nothing_else() {
        for (instance, encoded) in [(":", "%3A"), ("%:%", "%25%3A%25"), ("ä:€", "ä%3A€")] {
            let id = event_id("t", &info(instance, 0, u64::MAX));
            assert_eq!(id, Some(format!("t:{encoded}:0:{}", u64::MAX)));
        }
    }

    #[test]
    fn an_incomplete_msg_info_makes_none() {
        let whole = info("a", 1, 2);
        assert_eq!(
            event_id(
                "t",
                &MsgInfo {
                    instance: None,
                    ..whole.clone()
                }
            ),
            None
        );
        assert_eq!(
            event_id(
                "t",
                &MsgInfo {
                    sequence: None,
                    ..whole.clone()
                }
            ),
            None
        );
        assert_eq!(
            event_id(
                "t",
                &MsgInfo {
                    timestamp: None,
                    ..whole
                }
            ),
            None
        );
    }
}
