//! What a hostile model server says its model takes and answers.

use prost::Message;
use spotter::backend::serving::answer;
use spotter::backend::serving::proto::tensorflow::serving::GetModelMetadataResponse;
use spotter::geometry::{Size, View};
use spotter::model::adapter;
use spotter::model::mapping::Mapping;

use super::model_server;

/// Blank pictures are made of canvases up to this; larger ones only take longer.
const MAX_PIXELS: u64 = 1 << 14;
/// The longest side that `MAX_CANVAS_SIDE` of the adapters allows.
const MAX_SIDE: u32 = 8192;

/// The first byte chooses what the configuration says of the model: nothing, or one of the kinds; the rest is the message.
pub fn run(data: &[u8]) {
    let kinds = model_server::kinds();
    let Some((kind, message)) = super::choice(data, kinds.len() + 1) else { return };
    let Ok(message) = GetModelMetadataResponse::decode(message) else { return };
    let Ok((_, signature)) = answer::signature(message, None) else { return };
    let mapping = kinds.get(kind).map_or_else(Mapping::default, |kind| kind.mapping.clone());
    let adapter = match adapter::fit(&signature, &mapping) {
        Ok(adapter) => adapter,
        Err(unfit) => {
            assert!(!unfit.to_string().is_empty());
            return;
        }
    };
    assert!(signature.inputs.contains_key(&adapter.input.key), "an input that the signature does not have");
    assert!(adapter.outputs.iter().all(|key| signature.outputs.contains_key(key)), "an output that it does not have");
    let letterbox = adapter.input.letterbox(View::whole(Size::new(97, 31)), 64);
    assert!((1..=MAX_SIDE).contains(&letterbox.canvas.width) && (1..=MAX_SIDE).contains(&letterbox.canvas.height));
    if letterbox.canvas.pixels() <= MAX_PIXELS {
        adapter.input.blank().expect("a blank picture for every size that an adapter accepts");
    }
}
