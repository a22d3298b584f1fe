//! The least that a gateway can be made of the same parts: no check, no limit, no orientation, no signature, no version, no
//! deadline, no log. What spotter takes longer than this is the price of having them.
//!
//! `minimal_gateway MODEL_SERVER` takes photos as `load` sends them, fits them into 1024 x 1024, and prints its address.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{DefaultBodyLimit, Multipart, State};
use axum::routing::post;
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use serde_json::{Value, json};
use spotter::backend::serving::proto::tensorflow::serving::prediction_service_client::PredictionServiceClient;
use spotter::backend::serving::proto::tensorflow::serving::{ModelSpec, PredictRequest};
use spotter::backend::serving::proto::tensorflow::tensor_shape_proto::Dim;
use spotter::backend::serving::proto::tensorflow::{DataType, TensorProto, TensorShapeProto};
use tonic::transport::Channel;

const MAX_SIDE: usize = 1024;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

struct Photo {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

/// At the smallest scale that is at least as large as needed.
#[cfg(feature = "turbojpeg")]
fn decode(file: &[u8]) -> Outcome<Photo> {
    use turbojpeg::{Decompressor, Image, PixelFormat, ScalingFactor};

    let mut decompressor = Decompressor::new()?;
    let header = decompressor.read_header(file)?;
    let longest = header.width.max(header.height);
    let scale = [8, 4, 2].into_iter().find(|scale| longest >= MAX_SIDE * scale).unwrap_or(1);
    let factor = ScalingFactor::new(1, scale);
    decompressor.set_scaling_factor(factor)?;
    let (width, height) = (factor.scale(header.width), factor.scale(header.height));
    let mut rgb = vec![0; width * height * 3];
    let image = Image { pixels: &mut rgb[..], width, height, pitch: width * 3, format: PixelFormat::RGB };
    decompressor.decompress(file, image)?;
    Ok(Photo { width, height, rgb })
}

/// At the smallest scale that is at least as large as needed.
#[cfg(not(feature = "turbojpeg"))]
fn decode(file: &[u8]) -> Outcome<Photo> {
    let mut decoder = jpeg_decoder::Decoder::new(file);
    decoder.read_info()?;
    let info = decoder.info().ok_or("no header")?;
    let side = |length: u16, other: u16| if length >= other { length.min(MAX_SIDE as u16) } else { u16::MAX };
    let (width, height) = decoder.scale(side(info.width, info.height), side(info.height, info.width))?;
    Ok(Photo { width: width.into(), height: height.into(), rgb: decoder.decode()? })
}

fn fit(photo: Photo) -> Outcome<Photo> {
    let longest = photo.width.max(photo.height);
    if longest <= MAX_SIDE {
        return Ok(photo);
    }
    let (width, height) = (photo.width * MAX_SIDE / longest, photo.height * MAX_SIDE / longest);
    let source = ImageRef::new(photo.width as u32, photo.height as u32, &photo.rgb, PixelType::U8x3)?;
    let mut resized = Image::new(width as u32, height as u32, PixelType::U8x3);
    let bilinear = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize(&source, &mut resized, &bilinear)?;
    Ok(Photo { width, height, rgb: resized.into_vec() })
}

async fn detect(model: PredictionServiceClient<Channel>, mut form: Multipart) -> Outcome<Value> {
    let file = form.next_field().await?.ok_or("no field")?.bytes().await?;
    let photo = tokio::task::spawn_blocking(move || fit(decode(&file)?)).await??;
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
