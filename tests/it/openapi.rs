//! The document: committed as generated, complete, and its examples accepted.

use std::collections::BTreeSet;

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::Value;
use spotter::fault::Code;

use crate::support::repo;
use crate::support::service::Spotter;

fn document() -> Value {
    serde_json::to_value(spotter::http::openapi()).unwrap()
}

#[test]
fn the_committed_document_is_the_generated_one() {
    let committed = std::fs::read_to_string(repo("openapi/openapi.json")).unwrap();
    let committed: Value = serde_json::from_str(&committed).unwrap();
    assert!(committed == document(), "run `cargo run -- openapi > openapi/openapi.json` and look at the difference");
}

#[test]
fn every_operation_is_described_and_every_failure_is_a_problem() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} twice");
            assert!(operation["summary"].is_string(), "{method} {path}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert!(!response["description"].as_str().unwrap().is_empty(), "{method} {path} {status}");
                assert!(response["headers"]["X-Request-Id"].is_object(), "{method} {path} {status}");
                if !status.starts_with('2') {
                    let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
                    assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
                }
            }
        }
    }
}

#[test]
fn every_body_of_every_request_and_answer_has_an_example() {
    let document = document();
    let mut without = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let request = ("request".to_owned(), &operation["requestBody"]);
            let answers =
                operation["responses"].as_object().unwrap().iter().map(|(status, answer)| (status.clone(), answer));
            for (place, body) in answers.chain([request]) {
                for (media_type, content) in body["content"].as_object().into_iter().flatten() {
                    let has_one = !content["example"].is_null() || !content["examples"].is_null();
                    if !has_one {
                        without.push(format!("{method} {path} {place} {media_type}"));
                    }
                }
            }
        }
    }
    assert!(without.is_empty(), "{}", without.join("\n"));
}

#[test]
fn every_code_is_documented_somewhere() {
    let text = document().to_string();
    for code in Code::ALL {
        assert!(text.contains(&format!("\"{}\"", code.name())), "{}", code.name());
    }
}

#[tokio::test]
async fn the_service_serves_the_document_and_accepts_its_examples() {
    let spotter = Spotter::start(&[]).await;
    let served: Value = spotter.get("/openapi.json").send().await.unwrap().json().await.unwrap();
    assert_eq!(served, document());
    spotter.ready().await;

    for (path, item) in served["paths"].as_object().unwrap() {
        let path = fill(path, item);
        if item["get"].is_object() {
            let response = spotter.get(&path).send().await.unwrap();
            assert_eq!(response.status(), 200, "GET {path}");
            let content = item["get"]["responses"]["200"]["content"].as_object().unwrap();
            let declared = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
            let documented = content.keys().find(|&media_type| declared.starts_with(media_type));
            assert!(documented.is_some(), "GET {path} answers {declared}");
            if let Some(json) = content.get("application/json") {
                assert_eq!(form(&json["example"]), form(&response.json().await.unwrap()), "GET {path}");
            }
        }
        let Some(content) = item["post"]["requestBody"]["content"].as_object() else { continue };
        let answers = &item["post"]["responses"]["200"]["content"];
        for (media_type, content) in content {
            let request = spotter.post(&path);
            let request = if media_type == "application/json" {
                let example = &content["example"];
                assert!(example.to_string().len() < 8_000, "the UI freezes on large examples");
                request.json(example)
            } else {
                let (declared, body) = file(&spotter, content).await;
                assert!(
                    media_type == "multipart/form-data" && declared.starts_with(media_type) || declared == "image/jpeg"
                );
                // A photo is recognised by its bytes, whatever its type.
                request.header(CONTENT_TYPE, if declared == "image/jpeg" { media_type } else { &declared }).body(body)
            };
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 200, "POST {path} {media_type}");
            let body: Value = response.json().await.unwrap();
            let found = if path.ends_with("batch") { &body["photos"][0]["answer"] } else { &body };
            assert_eq!(found["detections"][0]["label"], "person", "there is something to see: {body}");
            let example = &answers["application/json"]["example"];
            let shown = if path.ends_with("batch") { &example["photos"][0]["answer"] } else { example };
            assert_eq!(form(shown), form(found), "POST {path} {media_type}");
        }
        for (media_type, content) in answers.as_object().unwrap().iter().filter(|(name, _)| name.starts_with("image/"))
        {
            let (declared, shown) = file(&spotter, content).await;
            assert_eq!(&declared, media_type);
            let photo = spotter.get("/example.jpg").send().await.unwrap().bytes().await.unwrap();
            let answer = spotter.post(&path).header(ACCEPT, media_type).body(photo).send().await.unwrap();
            assert_eq!(answer.status(), 200, "POST {path} for {media_type}");
            assert!(answer.bytes().await.unwrap() == shown, "the annotated {media_type} is not the answer");
        }
    }
}

/// Type and bytes of the file that the only example of a body names.
async fn file(spotter: &Spotter, content: &Value) -> (String, Bytes) {
    let examples: Vec<_> = content["examples"].as_object().unwrap().values().collect();
    assert_eq!(examples.len(), 1);
    let response = spotter.get(examples[0]["externalValue"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let media_type = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
    (media_type, response.bytes().await.unwrap())
}

/// Names and types at every depth; of a list, of its first item.
fn form(value: &Value) -> Value {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "boolean".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(items) => items.iter().take(1).map(form).collect(),
        Value::Object(members) => members.iter().map(|(name, member)| (name.clone(), form(member))).collect(),
    }
}

/// The path with its parameters' examples.
fn fill(path: &str, item: &Value) -> String {
    let operations = item.as_object().unwrap().values();
    let parameters = operations.filter_map(|operation| operation["parameters"].as_array()).flatten();
    parameters.filter(|parameter| parameter["in"] == "path").fold(path.to_owned(), |path, parameter| {
        let name = parameter["name"].as_str().unwrap();
        path.replace(&format!("{{{name}}}"), parameter["example"].as_str().unwrap())
    })
}

#[tokio::test]
async fn swagger_ui_and_its_assets_come_from_the_binary() {
    let spotter = Spotter::start(&[]).await;
    let page = spotter.get("/docs/").send().await.unwrap();
    assert_eq!(page.status(), 200);
    let page = page.text().await.unwrap();
    assert!(!page.contains("https://") && !page.contains("//unpkg"), "nothing comes from elsewhere: {page}");
    for asset in ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js"] {
        let response = spotter.get(&format!("/docs/{asset}")).send().await.unwrap();
        assert_eq!(response.status(), 200, "{asset}");
    }
    assert_eq!(spotter.get("/docs").send().await.unwrap().status(), 200, "without the slash it redirects");
}

#[tokio::test]
async fn the_example_photo_is_served_for_the_first_curl_line() {
    let spotter = Spotter::start(&[]).await;
    let photo = spotter.get("/example.jpg").send().await.unwrap().bytes().await.unwrap();
    let body = spotter.detect("/v1/detect", photo).await;
    assert_eq!(body["detections"][0]["label"], "person");
}
