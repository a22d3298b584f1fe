//! SSD and EfficientDet-Lite whose last op is `TFLite_Detection_PostProcess`: four outputs that are told apart by their
//! shapes and, where shapes do not do, by the documented order of their names.
//!
//! Source of the op: tensorflow, `lite/kernels/detection_postprocess.cc`: boxes `[1, N, 4]`, y first, fractions of the
//! input; classes `[1, N]`, floats from 0 without a background, hence places in the label map; scores `[1, N]`; how many
//! of the N rows count, `[1]`.
//!
//! Classes and scores have one shape. Two namings say which is which, and each is checked against the two outputs that
//! shapes do tell:
//!
//! | names | order | source |
//! |---|---|---|
//! | `TFLite_Detection_PostProcess`, `…:1` to `…:3` | boxes, classes, scores, count | the op; `export_tflite_ssd_graph.py` |
//! | `StatefulPartitionedCall:0` to `:3`, `output_0` to `output_3` | count, scores, classes, boxes | TF2's converter; the tutorial of `TFLite` Model Maker |
//!
//! Any other naming or order is refused: `output_0` to `output_3` with the boxes first is what `YOLOv5` and
//! `combined_non_max_suppression` write, with scores before classes and boxes x first.
//!
//! Input: uint8 as it is, or float32 as `x / 127.5 - 1`; RGB, `[1, H, W, 3]`.

use crate::fault::Fault;
use crate::geometry::Size;
use crate::model::adapter::rows::{Row, Rows};
use crate::model::adapter::{
    Adapter, Candidate, Origin, Outputs, Reader, best_first, class_place, only_input, picture,
};
use crate::model::input::{Form, Input, Samples};
use crate::model::signature::Signature;
use crate::tensor::{DType, TensorSpec};

const NORMALISED: Samples = Samples::F32 { mean: [127.5; 3], std: [127.5; 3] };

/// How the names begin, how their number is set off, and the numbers of boxes, scores, classes and count.
const NAMINGS: [(&str, char, [usize; 4]); 3] = [
    ("TFLite_Detection_PostProcess", ':', [0, 2, 1, 3]),
    ("StatefulPartitionedCall", ':', [3, 1, 2, 0]),
    ("output", '_', [3, 1, 2, 0]),
];

#[derive(Debug)]
struct Ssd {
    rows: Rows,
    classes: String,
}

/// Reads the signature, or says what it lacks.
pub(super) fn recognise(signature: &Signature) -> Result<Adapter, String> {
    const NEEDS: &str = "SSD of the TFLite kind needs one picture input (uint8 or float32 [1, H, W, 3]) and four float32 \
                         outputs: boxes [1, N, 4], classes [1, N], scores [1, N] and a count [1]";
    let of = |shape: Shape| signature.outputs.iter().filter(move |(_, spec)| Shape::of(spec) == Some(shape));
    let shapes = [Shape::Boxes, Shape::PerBox, Shape::Count].map(|shape| of(shape).count());
    if shapes != [1, 2, 1] || signature.outputs.len() != 4 {
        return Err(format!("{NEEDS}."));
    }
    let (key, spec) =
        only_input(signature).ok_or_else(|| format!("{NEEDS}; it has {} inputs.", signature.inputs.len()))?;
    let form = picture(spec, NORMALISED)
        .filter(|form| *form != Form::Encoded)
        .ok_or_else(|| format!("{NEEDS}; its input '{key}' is {spec}."))?;
    let [boxes, scores, classes, count] = named(signature).ok_or_else(|| {
        let alike: Vec<_> = of(Shape::PerBox).map(|(key, _)| format!("'{key}'")).collect();
        format!(
            "{NEEDS}; {} have one shape, and their names do not say which is the scores: an explicit mapping is needed.",
            alike.join(" and ")
        )
    })?;
    let rows = Rows::named(&boxes, &scores, &classes, Some(&count));
    Ok(Adapter {
        kind: "SSD (TFLite)",
        input: Input { key: key.to_owned(), form },
        outputs: rows.keys(),
        classes: None,
        or_one_more: false,
        masks: None,
        keypoints: None,
        class_offset: None,
        reader: Box::new(Ssd { rows, classes }),
    })
}

/// What a shape alone says of an output.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    Boxes,
    /// Classes or scores.
    PerBox,
    Count,
}

impl Shape {
    fn of(spec: &TensorSpec) -> Option<Self> {
        if spec.dtype != DType::F32 {
            return None;
        }
        match spec.axes.as_deref()? {
            [Some(1) | None, _, Some(4)] => Some(Self::Boxes),
            [Some(1) | None, _] => Some(Self::PerBox),
            [Some(1) | None] => Some(Self::Count),
            _ => None,
        }
    }
}

/// The keys of boxes, scores, classes and count, where the names follow one of the namings and the shapes agree.
fn named(signature: &Signature) -> Option<[String; 4]> {
    let shapes = [Shape::Boxes, Shape::PerBox, Shape::PerBox, Shape::Count];
    NAMINGS.into_iter().find_map(|(stem, mark, places)| {
        let key = |(place, shape): (usize, Shape)| {
            let names = [Some(format!("{stem}{mark}{place}")), (place == 0).then(|| stem.to_owned())];
            let (name, spec) = names.into_iter().flatten().find_map(|name| {
                let spec = signature.outputs.get(&name)?;
                Some((name, spec))
            })?;
            (Shape::of(spec) == Some(shape)).then_some(name)
        };
        let keys = places.into_iter().zip(shapes).map(key).collect::<Option<Vec<_>>>()?;
        keys.try_into().ok()
    })
}

impl Reader for Ssd {
    fn read(&self, outputs: &Outputs, canvas: Size, min_score: f32) -> Result<Vec<Candidate>, Fault> {
        let candidate = |row: Row| {
            let class = class_place(&self.classes, row.class)?;
            Ok(Candidate { class, score: row.score, rect: row.as_fractions_of(canvas), origin: Origin::row(row.index) })
        };
        let candidates = self.rows.read(outputs, min_score)?.into_iter().map(candidate);
        Ok(best_first(candidates.collect::<Result<_, Fault>>()?))
    }
}
