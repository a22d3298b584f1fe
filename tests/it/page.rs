//! The page at `/` and its files.

use reqwest::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use reqwest::{Response, StatusCode};

use crate::support::service::{Spotter, problem};

fn header(response: &Response, name: impl reqwest::header::AsHeaderName) -> &str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn the_page_may_run_its_own_scripts_only_and_is_asked_about_each_time() {
    let spotter = Spotter::start(&[]).await;
    let page = spotter.get("/").send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    assert_eq!(header(&page, CONTENT_TYPE), "text/html; charset=utf-8");
    assert_eq!(header(&page, CACHE_CONTROL), "no-cache");
    assert_eq!(header(&page, X_CONTENT_TYPE_OPTIONS), "nosniff");
    assert_eq!(header(&page, REFERRER_POLICY), "no-referrer");
    let policy = header(&page, CONTENT_SECURITY_POLICY).to_owned();
    for rule in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(rule), "{rule} in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let html = page.text().await.unwrap();
    assert!(!html.contains("://"), "nothing comes from elsewhere");
    assert!(!html.contains(" style=") && !html.contains("<style") && !html.contains(" onclick"), "nothing is inline");
}

#[tokio::test]
async fn a_file_that_the_browser_has_is_not_sent_again() {
    let spotter = Spotter::start(&[]).await;
    for path in ["/", "/web/main.js", "/web/style.css"] {
        let first = spotter.get(path).send().await.unwrap();
        let tag = header(&first, ETAG).to_owned();
        assert!(tag.starts_with('"') && tag.len() > 2, "{tag}");
        let again = spotter.get(path).header(IF_NONE_MATCH, &tag).send().await.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path}");
        assert_eq!((header(&again, ETAG), header(&again, CACHE_CONTROL)), (tag.as_str(), "no-cache"));
        assert!(again.bytes().await.unwrap().is_empty());
        let other = spotter.get(path).header(IF_NONE_MATCH, "\"of an older release\"").send().await.unwrap();
        assert_eq!(other.status(), StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn files_have_their_types_and_others_are_not_there() {
    let spotter = Spotter::start(&[]).await;
    for (name, media_type) in [
        ("main.js", "text/javascript; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
        ("example.jpg", "image/jpeg"),
    ] {
        let file = spotter.get(&format!("/web/{name}")).send().await.unwrap();
        assert_eq!((file.status(), header(&file, CONTENT_TYPE)), (StatusCode::OK, media_type), "{name}");
    }
    for path in ["/web/no.js", "/web/index.html", "/web/..%2FCargo.toml"] {
        problem(spotter.get(path), 404, "NOT_FOUND").await;
    }
}

#[tokio::test]
async fn the_page_of_a_problem_looks_like_the_page_and_explains() {
    let spotter = Spotter::start(&[]).await;
    let page = spotter.get("/problems/image-too-large").send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    assert_eq!(header(&page, CONTENT_TYPE), "text/html; charset=utf-8");
    assert!(header(&page, CONTENT_SECURITY_POLICY).contains("style-src 'self'"));
    let html = page.text().await.unwrap();
    for text in ["<h1>Too many pixels</h1>", "IMAGE_TOO_LARGE", "413", "--max-image-pixels", "../web/style.css"] {
        assert!(html.contains(text), "{text} in {html}");
    }
    assert!(!html.contains("<style"), "the policy allows none");
}
