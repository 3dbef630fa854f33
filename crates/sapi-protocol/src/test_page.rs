//! The counterpart of the vendor's browser test tool: one page for all who speak SAPI here. It talks
//! to its own origin alone, and what updates hold goes in as text.

/// How a browser shows its credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageLogin {
    /// The page asks for a token and changes it at `/v1/session` for a cookie.
    Token,
    /// The browser has asked for them before it got the page.
    Browser,
}

/// The page behind `TenantUpdates.jsp`; `tenant` stands in its form, and may be empty.
pub fn test_page(tenant: &str, login: PageLogin) -> String {
    let login = match login {
        PageLogin::Token => "token",
        PageLogin::Browser => "browser",
    };
    let tenant = tenant
        .replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;");
    include_str!("test_page.html")
        .replace("{login}", login)
        .replace("{tenant}", &tenant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_stays_within_its_field() {
        let page = test_page(r#""><script>&"#, PageLogin::Token);
        assert!(page.contains(r#"value="&quot;>&lt;script>&amp;""#));
        assert!(page.contains(r#"data-login="token""#));
        assert!(test_page("", PageLogin::Browser).contains(r#"data-login="browser""#));
    }
}
