//! `spotter doctor`: one check after the other, each failure with its fix.

use std::sync::Arc;

use bytes::Bytes;

use crate::app::{self, StartError};
use crate::backend::serving::{self, Serving};
use crate::backend::{Backend, Call};
use crate::cli::{Failure, print};
use crate::config::{Runs, Settings};
use crate::deadline::Deadline;
use crate::detect::{Job, Keep, Model, Resolved, Wanted};
use crate::fault::{Code, Fault};
use crate::http::EXAMPLE_PHOTO;
use crate::model::version::State;
use crate::request_id::RequestId;
use crate::service::Service;

pub(super) async fn run(settings: &Settings) -> Result<(), Failure> {
    // Files that the settings name are checked here; what is wrong with them ends the command.
    let service = app::build(settings)?;
    let mut report = Report::default();
    for (model, declared) in service.catalog.iter().zip(settings.models()) {
        match &declared.runs {
            Runs::Embedded(_) => check(&service, model, &mut report).await,
            Runs::Serving { addresses, .. } => {
                let serving = settings.serving(addresses);
                for address in &serving.addresses {
                    let one = serving::Settings { addresses: vec![address.clone()], ..serving.clone() };
                    let workers = &service.pipeline.workers;
                    let (answers, series) = (settings.model_answers(), &service.metrics.hosts);
                    let backend = Serving::new(one, workers.clone(), answers, series, &service.background)
                        .map_err(StartError::ServingTls)?;
                    let backend: Arc<dyn Backend> = Arc::new(backend);
                    let model = Arc::new(Model::new(model.profile().clone(), backend, workers.clone()));
                    check(&service, &model, &mut report).await;
                }
            }
        }
    }
    report.end()
}

/// What was found so far.
#[derive(Default)]
struct Report {
    failures: usize,
}

impl Report {
    fn ok(what: &str) {
        print::line(format_args!("  ok    {what}"));
    }

    fn note(what: &str) {
        print::line(format_args!("  note  {what}"));
    }

    fn fail(&mut self, what: &str, fix: &str) {
        self.failures += 1;
        print::line(format_args!("  FAIL  {what}\n        fix: {fix}"));
    }

    fn end(self) -> Result<(), Failure> {
        match self.failures {
            0 => {
                print::line("All is well.");
                Ok(())
            }
            1 => {
                print::line("1 check failed.");
                Err(Failure::Said)
            }
            failures => {
                print::line(format_args!("{failures} checks failed."));
                Err(Failure::Said)
            }
        }
    }
}

/// One model at one place. A check that needs a failed one is left out.
async fn check(service: &Service, model: &Arc<Model>, report: &mut Report) {
    print::line(format_args!("Model '{}', run by {}", model.name(), model.backend().describe()));
    let call = Call::new(Deadline::after(service.request_timeout), RequestId::generate());
    if !available(model, &call, report).await {
        return;
    }
    let resolved = match model.ready(&call, service.request_timeout).await {
        Ok(resolved) => resolved,
        Err(fault) => return report.fail(&with_cause(&fault), fix(&fault)),
    };
    Report::ok(&format!("version {} is read as {}: {}", resolved.version, resolved.adapter.kind, resolved.signature));
    Report::ok("a blank picture was answered");
    labels(model, &resolved, report);
    example(service, model, &call, report).await;
}

async fn available(model: &Model, call: &Call, report: &mut Report) -> bool {
    let versions = match model.versions(call).await {
        Ok(versions) => versions,
        Err(fault) => {
            report.fail(&with_cause(&fault), fix(&fault));
            return false;
        }
    };
    let states: Vec<_> = versions.iter().map(|status| format!("{} {}", status.version, status.state.name())).collect();
    let states = if states.is_empty() { "none".to_owned() } else { states.join(", ") };
    for failed in versions.iter().filter_map(|status| status.error.as_ref().map(|error| (status.version, error))) {
        Report::note(&format!("version {} could not be loaded: {}", failed.0, failed.1));
    }
    if versions.iter().any(|status| status.state == State::Available) {
        Report::ok(&format!("reachable, versions: {states}"));
        return true;
    }
    let fix = "the model server needs a folder MODEL_BASE_PATH/NAME/1/ with saved_model.pb in it; its own log says why it was not loaded";
    report.fail(&format!("no version is AVAILABLE, versions: {states}"), fix);
    false
}

/// Whether the label map and the model agree on the number of classes, as far as the signature tells.
fn labels(model: &Model, resolved: &Resolved, report: &mut Report) {
    let labels = model.labels();
    if labels.is_empty() {
        return report.fail(
            "there is no label map: classes are called class_1, class_2, …",
            "--labels FILE.pbtxt, or --labels coco",
        );
    }
    let highest = labels.iter().map(|(id, _)| id).max().unwrap_or_default();
    let fits = |classes: usize| classes == labels.len() || classes as i64 == highest;
    let adapter = &resolved.adapter;
    match adapter.classes {
        None => Report::note(&format!(
            "the signature does not tell how many classes there are; the label map has {}",
            labels.len()
        )),
        Some(classes) if fits(classes) => Report::ok(&format!("the label map fits the model's {classes} classes")),
        Some(classes) if adapter.or_one_more && fits(classes + 1) => {
            Report::ok(&format!("the label map fits the model's {} classes, none of them the background", classes + 1));
        }
        Some(classes) => {
            let what = format!(
                "the model tells {classes} classes apart, the label map has {} up to id {highest}",
                labels.len()
            );
            report.fail(&what, "--labels with the map that the model was trained with");
        }
    }
}

/// What the model makes of a photo that everybody has.
async fn example(service: &Service, model: &Model, call: &Call, report: &mut Report) {
    let job = Job { image: Bytes::from_static(EXAMPLE_PHOTO), wanted: Wanted::default(), keep: Keep::Nothing };
    match service.pipeline.detect(model, job, call).await {
        Err(fault) => report.fail(&format!("the example photo: {}", with_cause(&fault)), fix(&fault)),
        Ok(answer) => {
            let found: Vec<_> =
                answer.detections.iter().map(|found| format!("{} {:.2}", found.label, found.score)).collect();
            let found = if found.is_empty() { "nothing".to_owned() } else { found.join(", ") };
            Report::note(&format!("the example photo, a person, is read as: {found}"));
        }
    }
}

fn with_cause(fault: &Fault) -> String {
    match fault.cause_chain() {
        Some(cause) => format!("{fault} ({cause})"),
        None => fault.to_string(),
    }
}

/// What an operator does about it.
fn fix(fault: &Fault) -> &'static str {
    match fault.code() {
        Code::ModelUnavailable => {
            "check --serving (TensorFlow Serving's gRPC port is 8500, 8501 is REST) and --model (its MODEL_NAME), and that the server runs"
        }
        Code::ModelContract => {
            "export the model with exporter_main_v2.py, say in a configuration file what its outputs are (docs/MODELS.md), or check that --serving is a TensorFlow Serving gRPC port"
        }
        Code::ModelDeadline | Code::DeadlineExceeded => {
            "the model is too slow for --request-timeout-ms, or still warming up: try again"
        }
        Code::Overloaded => "the model server's queue is full: add replicas or try again",
        _ => "see the detail above",
    }
}
