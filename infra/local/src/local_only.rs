//! Keeps other sites' pages, open in a browser on this machine, from using what is served here.
//!
//! Such a page can send requests to 127.0.0.1 (which carry its `Origin`), and by pointing a name of
//! its own here (DNS rebinding, visible in `Host`) it could even read the answers: tokens, the
//! Invoke API. Sockets are left to the authorizer, as on AWS, which looks at neither header.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Lets a request through if it was sent to this machine by name, and not by another site's page.
pub async fn check(request: Request, next: Next) -> Response {
    let upgrade = request.headers().get(header::UPGRADE);
    let is_upgrade = upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if is_upgrade || is_local(request.headers()) {
        return next.run(request).await;
    }
    let text = |name: HeaderName| request.headers().get(name).cloned();
    let (host, origin) = (text(header::HOST), text(header::ORIGIN));
    tracing::warn!(
        ?host,
        ?origin,
        path = request.uri().path(),
        "refused: not of this machine"
    );
    let message = "this is served to this machine only: use 127.0.0.1 or localhost as the host";
    (StatusCode::FORBIDDEN, message).into_response()
}

/// HTTP/1.1 requires a `Host`; browsers add an `Origin` to what crosses sites and is not plain GET.
fn is_local(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let host_is_local = text(header::HOST).is_some_and(|host| is_here(&format!("http://{host}")));
    host_is_local && text(header::ORIGIN).is_none_or(is_here)
}

fn is_here(url: &str) -> bool {
    let url: Option<Uri> = url.parse().ok();
    let host = url.as_ref().and_then(Uri::host).unwrap_or_default();
    let here = ["127.0.0.1", "localhost", "[::1]"];
    here.iter().any(|name| host.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        is_local(&headers)
    }

    #[test]
    fn this_machine_passes_under_each_of_its_names() {
        for host in ["127.0.0.1:3000", "localhost", "LOCALHOST:1", "[::1]:3000"] {
            assert!(passes(host, None), "{host}");
        }
        assert!(passes("localhost:3000", Some("http://localhost:5173")));
    }

    #[test]
    fn other_names_do_not() {
        assert!(!is_local(&HeaderMap::new()));
        for host in [
            "evil.example",
            "127.0.0.1.evil.example:3000",
            "localhost.evil.example",
            "127.0.0.1@evil.example",
            "",
            "::1",
        ] {
            assert!(!passes(host, None), "{host}");
        }
        for origin in [
            "http://evil.example",
            "null",
            "",
            "file://",
            "http://localhost@evil.example",
        ] {
            assert!(!passes("127.0.0.1:3000", Some(origin)), "{origin}");
        }
    }
}
