//! `GET /problems/{slug}`: the page that a problem's `type` leads to, in the looks of the page at `/`.

use axum::extract::Path;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

use crate::fault::{Code, Fault, Row};
use crate::http::page;

/// What a kind of failure means and what to do about it.
pub(super) async fn page(Path(slug): Path<String>) -> Result<Response, Fault> {
    let code = Code::ALL.into_iter().find(|code| code.slug() == slug);
    let code = code.ok_or_else(|| Fault::new(Code::NotFound, "There is no problem of this name."))?;
    let html = Html(document(code.row()));
    Ok(([(header::CONTENT_SECURITY_POLICY, page::POLICY), (header::X_CONTENT_TYPE_OPTIONS, page::NO_SNIFFING)], html)
        .into_response())
}

/// Addresses are relative, as those of the page at `/` are.
fn document(Row { name, status, title, help }: Row) -> String {
    let help = escaped(help);
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>{title} - spotter</title>
  <link rel="icon" href="../web/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="../web/style.css">
</head>
<body>
  <header>
    <a class="brand" href="../"><img src="../web/icon.svg" alt="" width="28" height="28">spotter</a>
    <nav><a href="../docs/">API docs</a></nav>
  </header>
  <main>
    <div class="lead"><h1>{title}</h1></div>
    <div class="panel explained">
      <p>{help}</p>
      <dl><dt>Code</dt><dd><code>{name}</code></dd><dt>HTTP status</dt><dd>{status}</dd></dl>
      <p class="small">The answer's <code>detail</code> has the values; its <code>request_id</code> leads to the log.</p>
    </div>
  </main>
</body>
</html>
"#
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
