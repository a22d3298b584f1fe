//! `GET /problems/{slug}`: the page that a problem's `type` leads to.

use axum::extract::Path;
use axum::response::Html;

use crate::fault::{Code, Fault, Row};

/// What a kind of failure means and what to do about it.
pub(super) async fn page(Path(slug): Path<String>) -> Result<Html<String>, Fault> {
    let code = Code::ALL.into_iter().find(|code| code.slug() == slug);
    let code = code.ok_or_else(|| Fault::new(Code::NotFound, "There is no problem of this name."))?;
    let Row { name, status, title, help } = code.row();
    Ok(Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}}</style>\
         <h1>{title}</h1><p><code>{name}</code>, HTTP {status}</p><p>{}</p><p><a href=\"/docs/\">API documentation</a></p></html>",
        escaped(help)
    )))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
