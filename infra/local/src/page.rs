//! What a browser gets: the chat page, a token for it, health, metrics.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use include_dir::{Dir, include_dir};
use serde::Deserialize;

use crate::{metrics::Metrics, token::Mint};

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/page");

/// Scripts and styles of ours only. `KaTeX` places its glyphs by inline styles.
const SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    font-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; manifest-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How long the page's token is valid: it fetches another before it runs out.
const TOKEN_SECONDS: u64 = 3_600;

struct Page {
    mint: Mint,
    metrics: Metrics,
}

/// Everything that is served beside the platform's own interfaces.
pub fn router(mint: Mint, metrics: Metrics) -> Router {
    Router::new()
        .route(
            "/health",
            get(async || Json(serde_json::json!({ "status": "ok" }))),
        )
        .route("/metrics", get(metrics_text))
        .route("/token", get(token))
        .fallback(file)
        .with_state(Arc::new(Page { mint, metrics }))
}

async fn metrics_text(State(page): State<Arc<Page>>) -> impl IntoResponse {
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        page.metrics.render(),
    )
}

#[derive(Deserialize)]
struct TokenQuery {
    user: Option<String>,
}

/// A token for whoever sits at this machine; `local_only` keeps other sites' pages away.
async fn token(State(page): State<Arc<Page>>, Query(query): Query<TokenQuery>) -> Response {
    let user = query.user.as_deref().unwrap_or("learner");
    match page.mint.token(user, "free", TOKEN_SECONDS) {
        Ok(token) => ([(header::CACHE_CONTROL, "no-store")], Json(token)).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn file(uri: Uri) -> Response {
    let path = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    let is_served = !path.starts_with("test/");
    let Some(file) = FILES.get_file(path).filter(|_| is_served) else {
        return (StatusCode::NOT_FOUND, "nothing here").into_response();
    };
    let kind = match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        Some("md") | None => "text/plain; charset=utf-8",
        Some(_) => "application/octet-stream",
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, file.contents()).into_response()
}
