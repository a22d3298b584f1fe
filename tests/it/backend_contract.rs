//! What every backend promises, asked of each: the detector in this process, and the same detector behind TensorFlow
//! Serving's API over real gRPC.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use spotter::backend::embedded::{Embedded, Engine};
use spotter::backend::serving::Serving;
use spotter::backend::serving::proto::tensorflow::serving::{PredictRequest, PredictResponse};
use spotter::backend::serving::proto::tensorflow::{
    DataType, SignatureDef, TensorInfo, TensorShapeProto, tensor_shape_proto::Dim,
};
use spotter::backend::{Backend, Call, Predict, Target};
use spotter::background::Background;
use spotter::deadline::Deadline;
use spotter::fault::Code;
use spotter::geometry::View;
use spotter::model::adapter::{self, Candidate};
use spotter::model::signature::Signature;
use spotter::model::version::{State, VersionChoice};
use spotter::request_id::RequestId;
use spotter::telemetry::metrics::Metrics;
use spotter::tensor::{Tensor, TensorSpec, Values};
use spotter::workers::Workers;

use crate::support::photos::photo;
use crate::support::scripted_serving::{Script, ScriptedServing, floats};
use crate::support::service::settings;

fn call(budget: Duration) -> Call {
    Call::new(Deadline::after(budget), RequestId::generate())
}

fn minute() -> Call {
    call(Duration::from_secs(60))
}

fn target(model: &str, version: VersionChoice) -> Target {
    Target { model: model.to_owned(), version }
}

/// The promises. `version` is the version there is.
async fn keeps_its_promises(backend: &dyn Backend, model: &str, version: i64) -> Vec<Candidate> {
    let versions = backend.versions(model, &minute()).await.unwrap();
    assert_eq!(versions.len(), 1);
    assert_eq!((versions[0].version, versions[0].state), (version, State::Available));

    let latest = target(model, VersionChoice::Latest);
    let (found, signature) = backend.signature(&latest, None, &minute()).await.unwrap();
    assert_eq!(found, version);
    let by_number = target(model, VersionChoice::Number(version));
    assert_eq!(backend.signature(&by_number, None, &minute()).await.unwrap(), (version, signature.clone()));
    for missing in [VersionChoice::Number(version + 6), VersionChoice::Label("canary".to_owned())] {
        let fault = backend.signature(&target(model, missing.clone()), None, &minute()).await.unwrap_err();
        assert_eq!(fault.code(), Code::UnknownVersion);
        let predict = predict(&signature, target(model, missing), vec![]);
        assert_eq!(backend.predict(predict, &minute()).await.unwrap_err().code(), Code::UnknownVersion);
    }

    let adapter = adapter::choose(&signature).unwrap();
    let wanted = &adapter.outputs[..1];
    let some = backend.predict(predict(&signature, latest.clone(), wanted.to_vec()), &minute()).await.unwrap();
    let keys: Vec<_> = some.outputs.iter().map(|(key, _)| key.to_owned()).collect();
    assert_eq!(keys, wanted, "only what was asked for is answered");

    let all = backend.predict(predict(&signature, latest.clone(), adapter.outputs.clone()), &minute()).await.unwrap();
    assert_eq!(all.version, version);
    let canvas = spotter::geometry::Size::new(416, 416);
    let candidates = adapter.interpret(&all.outputs, canvas, 0.3).unwrap();
    assert_eq!(candidates.len(), 1, "a cat");

    let late = backend.predict(predict(&signature, latest, adapter.outputs.clone()), &call(Duration::ZERO)).await;
    let code = late.unwrap_err().code();
    assert!(matches!(code, Code::ModelDeadline | Code::DeadlineExceeded), "{code:?}");
    candidates
}

fn predict(signature: &Signature, target: Target, outputs: Vec<String>) -> Predict {
    let adapter = adapter::choose(signature).unwrap();
    let limits = spotter::image::Limits { max_bytes: 1 << 20, max_pixels: 1 << 20 };
    let photo = spotter::image::Encoded::inspect(photo("chelsea.png"), &limits).unwrap().decode().unwrap();
    let letterbox = adapter.input.letterbox(View::whole(photo.photo()), 416);
    let tensor = adapter.input.prepare(Cow::Owned(photo), letterbox).unwrap().tensor;
    Predict { target, signature: signature.name.clone(), input: (adapter.input.key.clone(), tensor), outputs }
}

#[tokio::test]
async fn both_backends_keep_the_same_promises_and_see_the_same() {
    let embedded = Arc::new(Embedded::nanodet_g(&Engine::Rten, Workers::new(2)).unwrap());
    let here = keeps_its_promises(&*embedded, "nanodet-g", 1).await;

    let server = ScriptedServing::start(script(Arc::clone(&embedded)).await).await;
    let settings = settings(&["--serving", &server.url()]);
    let (serving, answers) = (settings.serving(&[]), settings.model_answers());
    let series = &Metrics::new().hosts;
    let serving = Serving::new(serving, Workers::new(2), answers, series, &Background::default()).unwrap();
    let there = keeps_its_promises(&serving, "model", 3).await;
    assert_eq!(here, there);
}

/// The embedded detector behind the scripted server.
async fn script(embedded: Arc<Embedded>) -> Script {
    let (_, signature) =
        embedded.signature(&target("nanodet-g", VersionChoice::Latest), None, &minute()).await.unwrap();
    let infos = |specs: &std::collections::BTreeMap<String, TensorSpec>| -> HashMap<String, TensorInfo> {
        specs.iter().map(|(key, spec)| (key.clone(), info(spec))).collect()
    };
    let signature = SignatureDef {
        inputs: infos(&signature.inputs),
        outputs: infos(&signature.outputs),
        method_name: "tensorflow/serving/predict".to_owned(),
    };
    let runtime = tokio::runtime::Handle::current();
    let predict = move |request: &PredictRequest| {
        let (key, message) = request.inputs.iter().next().unwrap();
        let numbers =
            message.tensor_content.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let tensor = Tensor::new(vec![1, 3, 416, 416], Values::F32(numbers)).unwrap();
        let predict = Predict {
            target: target("nanodet-g", VersionChoice::Latest),
            signature: String::new(),
            input: (key.clone(), tensor),
            outputs: request.output_filter.clone(),
        };
        let embedded = Arc::clone(&embedded);
        let runtime = runtime.clone();
        let answer =
            std::thread::spawn(move || runtime.block_on(embedded.predict(predict, &minute()))).join().unwrap().unwrap();
        let outputs = answer.outputs.iter().map(|(key, tensor)| {
            let sides: Vec<_> = tensor.shape().iter().map(|&side| side as i64).collect();
            (key.to_owned(), floats(&sides, tensor.numbers().unwrap()))
        });
        Ok(PredictResponse { outputs: outputs.collect(), model_spec: None })
    };
    Script { signature, predict: Arc::new(predict), ..Script::image_tensor() }
}

fn info(spec: &TensorSpec) -> TensorInfo {
    let side = |side: &Option<usize>| Dim { size: side.map_or(-1, |side| side as i64), name: String::new() };
    let shape = TensorShapeProto { dim: spec.axes.as_ref().unwrap().iter().map(side).collect(), unknown_rank: false };
    TensorInfo { name: "tensor:0".to_owned(), dtype: DataType::DtFloat.into(), tensor_shape: Some(shape) }
}
