//! What a hostile model server answers, read by the adapter of each kind of model.

use std::sync::LazyLock;

use prost::Message;
use spotter::backend::Prediction;
use spotter::backend::serving::answer;
use spotter::backend::serving::proto::tensorflow::serving::PredictResponse;
use spotter::geometry::{Letterbox, PixelBox, Size, View};
use spotter::model::adapter::{self, Adapter, Candidate, Extras};
use spotter::model::nms::{self, Among};

use super::model_server;

/// As `--serving-max-answer-bytes`, but smaller: more elements only take longer.
const MAX_BYTES: usize = 1 << 16;
const PHOTO: Size = Size::new(97, 31);

const ALL: Extras = Extras { masks: true, keypoints: true };

/// The first byte chooses the kind, the second the least score; the rest is the message.
pub fn run(data: &[u8]) {
    static ADAPTERS: LazyLock<Vec<Adapter>> = LazyLock::new(|| {
        let fit = |kind: &model_server::Kind| adapter::fit(&kind.signature, &kind.mapping).expect("a kind of its own");
        model_server::kinds().iter().map(fit).collect()
    });
    let Some((kind, rest)) = super::choice(data, ADAPTERS.len()) else { return };
    let Some((score, message)) = rest.split_first() else { return };
    let (adapter, min_score) = (&ADAPTERS[kind], f32::from(*score) / 255.0);
    let Ok(message) = PredictResponse::decode(message) else { return };
    let Ok(prediction) = answer::prediction(message, &adapter.outputs_with(ALL), MAX_BYTES) else { return };
    let elements: usize = prediction.outputs.iter().map(|(_, tensor)| tensor.len()).sum();
    assert!(elements * size_of::<f32>() <= MAX_BYTES, "{elements} elements");

    let letterbox = adapter.input.letterbox(View::whole(PHOTO), 64);
    let Ok(candidates) = adapter.interpret(&prediction.outputs, letterbox.canvas, min_score) else { return };
    for candidate in &candidates {
        assert!((min_score..=1.0).contains(&candidate.score), "{candidate:?} for at least {min_score}");
        assert!(candidate.rect.is_finite(), "{candidate:?}");
        let whole = PixelBox::whole(PHOTO);
        if let Some(pixels) = letterbox.inverse(&candidate.rect).to_pixels(whole) {
            assert!(pixels.x_min < pixels.x_max && pixels.x_max <= PHOTO.width, "{pixels:?}");
            assert!(pixels.y_min < pixels.y_max && pixels.y_max <= PHOTO.height, "{pixels:?}");
        }
    }
    // All of them would only take longer.
    for candidate in candidates.iter().take(4) {
        look_closer(adapter, &prediction, &letterbox, candidate);
    }
    assert!(candidates.is_sorted_by(|a, b| a.best_first(b).is_le()), "best first");
    let once = nms::suppress_among(candidates, 0.5, Among::AllClasses);
    assert_eq!(nms::suppress_among(once.clone(), 0.5, Among::AllClasses), once, "suppressed once is suppressed");
}

/// The mask and the keypoints of a box.
fn look_closer(adapter: &Adapter, prediction: &Prediction, letterbox: &Letterbox, candidate: &Candidate) {
    let (row, rect) = (candidate.origin.row, letterbox.inverse(&candidate.rect));
    let Some(pixels) = rect.to_pixels(PixelBox::whole(PHOTO)) else { return };
    if let Some(Ok(grid)) = adapter.masks.map(|output| output.read(&prediction.outputs, row)) {
        let mask = grid.mask(&rect, pixels, PHOTO);
        let lengths = mask.run_lengths();
        assert_eq!(lengths.iter().sum::<u64>(), PHOTO.pixels(), "every pixel is inside or outside");
        assert_eq!(lengths.iter().skip(1).step_by(2).sum::<u64>(), mask.area());
        assert!(lengths.iter().skip(1).all(|length| *length > 0), "{lengths:?}");
        for run in mask.runs() {
            assert!((pixels.x_min..pixels.x_max).contains(&run.x), "{run:?} in {pixels:?}");
            assert!(
                pixels.y_min <= run.y_min && run.y_min < run.y_max && run.y_max <= pixels.y_max,
                "{run:?} in {pixels:?}"
            );
        }
        for corner in grid.outlines(&rect, pixels).iter().flatten() {
            assert!((pixels.x_min as f32..=pixels.x_max as f32).contains(&corner.x), "{corner:?} in {pixels:?}");
            assert!((pixels.y_min as f32..=pixels.y_max as f32).contains(&corner.y), "{corner:?} in {pixels:?}");
        }
    }
    if let Some(Ok(points)) = adapter.keypoints.map(|output| output.read(&prediction.outputs, row, letterbox.canvas)) {
        assert!(points.iter().all(|point| point.score.is_none_or(|score| (0.0..=1.0).contains(&score))), "{points:?}");
    }
}
