//! The heartbeat document (`ClientCheck`) as a SAPI server writes it; knows no period and no counter.

use crate::output::Format;
use crate::xml;

/// The fields of one heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat<'a> {
    /// msgInfo.instanceId.
    pub instance_id: &'a str,
    /// msgInfo.sequenceId: heartbeats take numbers of the events' series.
    pub sequence: u64,
    /// msgInfo.timestamp, Unix time in milliseconds.
    pub timestamp_ms: u64,
    /// The subsId of the subscription that it is written to.
    pub subscription_id: &'a str,
    /// The tenant.
    pub tenant_id: &'a str,
}

impl Heartbeat<'_> {
    /// The document, compact, with the member order of the vendor's sample.
    pub fn write(&self, format: Format) -> Vec<u8> {
        match format {
            Format::Json => self.json(),
            Format::Xml => self.xml(),
        }
    }

    fn json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(224);
        out.extend_from_slice(
            br#"{"ClientCheck":{"heartbeat":"[HEARTBEAT]","msgInfo":{"instanceId":"#,
        );
        xml::write_json_text(&mut out, self.instance_id);
        out.extend_from_slice(br#","sequenceId":"#);
        number(&mut out, self.sequence);
        out.extend_from_slice(br#","timestamp":"#);
        number(&mut out, self.timestamp_ms);
        out.extend_from_slice(br#"},"subscription-id":"#);
        xml::write_json_text(&mut out, self.subscription_id);
        out.extend_from_slice(br#","tenant-id":"#);
        xml::write_json_text(&mut out, self.tenant_id);
        out.extend_from_slice(b"}}");
        out
    }

    fn xml(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(288);
        out.extend_from_slice(
            b"<ClientCheck><heartbeat>[HEARTBEAT]</heartbeat><msgInfo><instanceId>",
        );
        xml::write_xml_text(&mut out, self.instance_id);
        out.extend_from_slice(b"</instanceId><sequenceId>");
        number(&mut out, self.sequence);
        out.extend_from_slice(b"</sequenceId><timestamp>");
        number(&mut out, self.timestamp_ms);
        out.extend_from_slice(b"</timestamp></msgInfo><subscription-id>");
        xml::write_xml_text(&mut out, self.subscription_id);
        out.extend_from_slice(b"</subscription-id><tenant-id>");
        xml::write_xml_text(&mut out, self.tenant_id);
        out.extend_from_slice(b"</tenant-id></ClientCheck>");
        out
    }
}

fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use crate::samples;

    const SAMPLE: Heartbeat<'_> = Heartbeat {
        instance_id: "us1tomcat04.us1.whitepj.net-sapi-v1",
        sequence: 70,
        timestamp_ms: 1_669_230_226_093,
        subscription_id: "real-time-monitor",
        tenant_id: "acmecorp01",
    };

    #[test]
    fn it_is_the_vendors_sample() {
        let json = String::from_utf8(SAMPLE.write(Format::Json)).unwrap();
        assert_eq!(json, samples::compact(samples::ALL[0]));
        let xml = SAMPLE.write(Format::Xml);
        assert_eq!(xml, xml::json_to_xml(json.as_bytes()).unwrap());
    }

    #[test]
    fn text_that_needs_escaping_is_escaped() {
        let heartbeat = Heartbeat {
            instance_id: "a\"<\\",
            ..SAMPLE
        };
        for format in [Format::Json, Format::Xml] {
            let document = Document::parse(heartbeat.write(format).into()).unwrap();
            assert!(document.is_heartbeat());
            assert_eq!(document.format(), format);
            assert_eq!(
                document.msg_info().complete(),
                Some(("a\"<\\", 70, 1_669_230_226_093))
            );
        }
    }
}
