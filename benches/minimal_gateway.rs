//! The least that a gateway can be made of the same parts: no check, no limit, no orientation, no signature, no version, no
//! deadline, no log. What spotter takes longer than this is the price of having them.
//!
//! `minimal_gateway MODEL_SERVER` takes photos as `load` sends them, fits them into 1024 x 1024, and prints its address.

mod barest;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{DefaultBodyLimit, Multipart, State};
use axum::routing::post;
use barest::{Outcome, photo};
use serde_json::{Value, json};
use spotter::backend::serving::proto::tensorflow::serving::prediction_service_client::PredictionServiceClient;
use spotter::backend::serving::proto::tensorflow::serving::{ModelSpec, PredictRequest};
use spotter::backend::serving::proto::tensorflow::tensor_shape_proto::Dim;
use spotter::backend::serving::proto::tensorflow::{DataType, TensorProto, TensorShapeProto};
use tonic::transport::Channel;

const MAX_SIDE: usize = 1024;

async fn detect(model: PredictionServiceClient<Channel>, mut form: Multipart) -> Outcome<Value> {
    let file = form.next_field().await?.ok_or("no field")?.bytes().await?;
    let photo = tokio::task::spawn_blocking(move || photo(&file, MAX_SIDE)).await??;
    let dim = [1, photo.height, photo.width, 3].map(|size| Dim { size: size as i64, name: String::new() });
    let tensor = TensorProto {
        dtype: DataType::DtUint8.into(),
        tensor_shape: Some(TensorShapeProto { dim: dim.into(), unknown_rank: false }),
        tensor_content: photo.rgb.into(),
        ..TensorProto::default()
    };
    let request = PredictRequest {
        model_spec: Some(ModelSpec { name: "model".to_owned(), ..ModelSpec::default() }),
        inputs: HashMap::from([("input_tensor".to_owned(), tensor)]),
        ..PredictRequest::default()
    };
    let outputs = model.clone().predict(request).await?.into_inner().outputs;
    let values = |key: &str| outputs.get(key).map(|tensor| &tensor.float_val[..]).ok_or("an output is missing");
    let (boxes, scores) = (values("detection_boxes")?, values("detection_scores")?);
    let detections = boxes.chunks_exact(4).zip(scores);
    let shown = detections.map(|(corners, score)| json!({"box": corners, "score": score})).collect::<Vec<_>>();
    Ok(json!({ "detections": shown }))
}

async fn answer(State(model): State<Arc<PredictionServiceClient<Channel>>>, form: Multipart) -> Json<Value> {
    let model = PredictionServiceClient::clone(&model);
    Json(detect(model, form).await.unwrap_or_else(|error| panic!("{error}")))
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let server = std::env::args().nth(1).ok_or("usage: minimal_gateway MODEL_SERVER")?;
    let channel = Channel::from_shared(server)?.connect().await?;
    let model = Arc::new(PredictionServiceClient::new(channel));
    let routes =
        axum::Router::new().route("/v1/detect", post(answer)).layer(DefaultBodyLimit::disable()).with_state(model);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, routes).await?;
    Ok(())
}
