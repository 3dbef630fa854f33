use proptest::prelude::*;

use super::*;

fn target(origin: &str, tenant: &str, subs_id: &str) -> SubscribeTarget {
    SubscribeTarget {
        origin: origin.parse().unwrap(),
        version: 1,
        tenant: tenant.to_owned(),
        subs_id: subs_id.to_owned(),
        output: OutputType::NewlineJson,
    }
}

fn refused(path: &str, query: &str) -> String {
    match parse_subscribe_path(path, Some(query)) {
        Err(SubscribeError::BadParameter(reason)) => reason,
        other => panic!("{path}?{query}: {other:?}"),
    }
}

const BARE: &str = "/api/streaming/v1/clientconnect/subscribe/TenantUpdates";

#[test]
fn both_documented_forms_are_written() {
    let origin = platform_origin("NA12").unwrap();
    let target = target(&origin, "acmecorp01", "real-time-monitor");
    assert_eq!(
        target.url(PathStyle::Bare),
        "wss://vcc-na12.8x8.com/api/streaming/v1/clientconnect/subscribe/TenantUpdates\
         ?desiredOutputType=NEWLINE_JSON&tenantId=acmecorp01&subsId=real-time-monitor"
    );
    assert_eq!(
        target.url(PathStyle::Suffixed),
        "wss://vcc-na12.8x8.com/api/streaming/v1/clientconnect/subscribe/TenantUpdates-acmecorp01-real-time-monitor\
         ?desiredOutputType=NEWLINE_JSON&tenantId=acmecorp01&subsId=real-time-monitor"
    );
}

#[test]
fn a_platform_is_a_host_label_and_nothing_else() {
    for good in ["na12", "na12b", "eu1", "sapi-bridge-euw2"] {
        assert_eq!(
            platform_origin(good).unwrap(),
            format!("wss://vcc-{good}.8x8.com")
        );
    }
    for bad in [
        "",
        "na12.evil.com/",
        "na12@x",
        "-a",
        "a-",
        "na 12",
        "é",
        &"a".repeat(41),
    ] {
        assert_eq!(
            platform_origin(bad),
            Err(OriginError::Platform(bad.to_owned()))
        );
    }
}

#[test]
fn an_origin_is_scheme_host_and_port() {
    for (text, shown, port) in [
        ("ws://127.0.0.1:9700", "ws://127.0.0.1:9700", 9700),
        ("wss://Example.com", "wss://example.com", 443),
        ("ws://h/", "ws://h", 80),
        ("ws://[::1]:1", "ws://[::1]:1", 1),
    ] {
        let origin: Origin = text.parse().unwrap();
        assert_eq!((origin.to_string().as_str(), origin.port()), (shown, port));
        assert_eq!(origin.is_secure(), text.starts_with("wss"));
    }
    assert_eq!(
        "http://h".parse::<Origin>(),
        Err(OriginError::Scheme("http".into()))
    );
    for bad in ["", "h:1", "ws://", "/x"] {
        assert!(bad.parse::<Origin>().is_err(), "{bad}");
    }
    for bad in ["ws://h/x", "ws://h?a", "ws://h#a", "ws://user:secret@h"] {
        let error = bad.parse::<Origin>().unwrap_err();
        assert!(matches!(error, OriginError::MoreThanOrigin(_)), "{bad}");
        assert!(!error.to_string().contains("secret"));
    }
}

#[test]
fn another_path_is_not_this_path() {
    for path in [
        "/",
        "/api/streaming/v1/TenantUpdates.jsp",
        "/api/streaming/v/clientconnect/subscribe/TenantUpdates",
        "/api/streaming/vx/clientconnect/subscribe/TenantUpdates",
        "/api/streaming/v1/clientconnect/subscribe/tenantupdates",
        "/api/streaming/v1/clientconnect/subscribe/TenantUpdates/",
        "/api/streaming/v1/clientconnect/subscribe/TenantUpdatesX",
        "/api/streaming/v1/clientconnect/subscribe/TenantUpdates-a/b",
        "/api/streaming/v99999999999/clientconnect/subscribe/TenantUpdates",
    ] {
        assert_eq!(
            parse_subscribe_path(path, Some("tenantId=a&subsId=b")),
            Err(SubscribeError::NotThisPath),
            "{path}"
        );
    }
}

#[test]
fn a_wrong_parameter_is_refused_with_its_name() {
    for (query, name) in [
        ("", "tenantId"),
        ("tenantId=a", "subsId"),
        ("tenantId=&subsId=b", "tenantId"),
        ("tenantId=a&subsId=b%20c", "subsId"),
        ("tenantId=a&subsId=b&subsId=c", "subsId"),
        ("tenantId=%ff&subsId=b", "tenantId"),
        ("tenantId=a%00&subsId=b", "tenantId"),
        (
            "tenantId=a&subsId=b&desiredOutputType=YAML",
            "desiredOutputType",
        ),
        ("TenantId=a&subsId=b", "tenantId"),
    ] {
        assert!(refused(BARE, query).contains(name), "{query}");
    }
    assert!(parse_subscribe_path(BARE, None).is_err());
}

#[test]
fn a_suffix_agrees_with_the_query() {
    let path = format!("{BARE}-acme%2Dcorp-b");
    let request = parse_subscribe_path(
        &path,
        Some("subsId=b&tenantId=acme-corp&x=1&desiredOutputType=newline_xml"),
    )
    .unwrap();
    assert_eq!(request.suffix.as_deref(), Some("acme-corp-b"));
    assert_eq!(request.style(), PathStyle::Suffixed);
    assert_eq!(request.output, Some(OutputType::NewlineXml));
    assert!(refused(&path, "subsId=c&tenantId=acme-corp").contains("suffix"));
    assert!(refused(&format!("{BARE}-"), "subsId=c&tenantId=a").contains("suffix"));
}

proptest! {
    #[test]
    fn what_is_written_reads_back(tenant in "[ -~é]{1,20}", subs_id in "[A-Za-z0-9_.-]{1,64}", suffixed: bool, version in 0_u32..100) {
        let target = SubscribeTarget { version, ..target("ws://h:1", &tenant, &subs_id) };
        let url = target.url(if suffixed { PathStyle::Suffixed } else { PathStyle::Bare });
        let url = url::Url::parse(&url).unwrap();
        let request = parse_subscribe_path(url.path(), url.query()).unwrap();
        prop_assert_eq!(request.style() == PathStyle::Suffixed, suffixed);
        prop_assert_eq!(request.version, version);
        prop_assert_eq!(request.tenant_id, tenant);
        prop_assert_eq!(request.subs_id, subs_id);
        prop_assert_eq!(request.output, Some(OutputType::NewlineJson));
    }

    #[test]
    fn any_request_is_read_or_refused(path in "/api/streaming/v[0-9]{0,3}/clientconnect/subscribe/TenantUpdates[-a-z/%]{0,5}", query in "[a-zA-Z=&%+]{0,40}") {
        drop(parse_subscribe_path(&path, Some(&query)));
    }
}
